#include "interrupt.h"

#include "console.h"
#include "cpu.h"

/* Local APIC registers (Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller"). */
#define APIC_REGISTER(offset) (*(volatile uint32_t *)(0xfee00000u + (offset)))
#define APIC_TASK_PRIORITY APIC_REGISTER(0x080)
#define APIC_SPURIOUS APIC_REGISTER(0x0f0)
#define APIC_ENABLE 0x100u
#define APIC_TIMER APIC_REGISTER(0x320)
#define APIC_TIMER_COUNT APIC_REGISTER(0x380)
#define APIC_TIMER_DIVIDE APIC_REGISTER(0x3e0)
#define APIC_DIVIDE_BY_128 0xau

/* QEMU and KVM both run the APIC timer from a bus clock of 1 GHz. It only wakes; the time itself is read elsewhere (clock.c). */
#define APIC_TICKS_PER_MS (1000000u / 128)

/* I/O APIC: an index and a data register; entry n is the registers 0x10+2n (vector and flags) and 0x11+2n (destination). */
#define IOAPIC_INDEX (*(volatile uint32_t *)0xfec00000u)
#define IOAPIC_DATA (*(volatile uint32_t *)0xfec00010u)
#define IOAPIC_LEVEL (1u << 15)
#define ACPI_LINE 9

/* The programmable interval timer, 8254: counter 0, low and high byte, mode 0 (interrupt on terminal count). */
#define PIT_COUNTER 0x40
#define PIT_MODE 0x43
#define PIT_ONCE 0x30

/* Entries in start.S. */
extern const char interrupt_wake[], interrupt_spurious[], interrupt_power[], interrupt_exceptions[];
void interrupt_fault(uint32_t vector, uint32_t a, uint32_t b);

static struct gate {
	uint16_t offset_low, selector, flags, offset_high;
} gates[256];

static void set_gate(unsigned vector, uint32_t address)
{
	gates[vector] = (struct gate){
		.offset_low = (uint16_t)address,
		.selector = 8,
		.flags = 0x8e00, /* present, 32-bit interrupt gate */
		.offset_high = (uint16_t)(address >> 16),
	};
}

/* The bottom of every processor exception: says which and where, and stops. The machine stays for a debugger to look at. */
void interrupt_fault(uint32_t vector, uint32_t a, uint32_t b)
{
	console_text("probe fault ");
	console_hex(vector);
	console_text(" stack ");
	console_hex(a);
	console_text(" ");
	console_hex(b);
	console_text("\n");
	cpu_stop();
}

void interrupt_start(void)
{
	for (unsigned vector = 0; vector < 32; vector++)
		set_gate(vector, (uint32_t)interrupt_exceptions + 8 * vector);
	set_gate(INTERRUPT_DEVICE, (uint32_t)interrupt_wake);
	set_gate(INTERRUPT_CLOCK, (uint32_t)interrupt_wake);
	set_gate(INTERRUPT_POWER, (uint32_t)interrupt_power);
	set_gate(INTERRUPT_SPURIOUS, (uint32_t)interrupt_spurious);

	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) table = {sizeof gates - 1, (uint32_t)gates};
	__asm__ volatile("lidt %0" : : "m"(table), "m"(gates));

	/* The old interrupt controllers are of no use: all lines masked. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);

	/* Nor is the old timer, which ticks from reset on and wakes QEMU 36 times a second: one last time, and it is still. */
	outb(PIT_MODE, PIT_ONCE);
	outb(PIT_COUNTER, 1);
	outb(PIT_COUNTER, 0);

	APIC_SPURIOUS = APIC_ENABLE | INTERRUPT_SPURIOUS;
	APIC_TASK_PRIORITY = 0;
	APIC_TIMER_DIVIDE = APIC_DIVIDE_BY_128;
	APIC_TIMER = INTERRUPT_CLOCK; /* one shot */

	IOAPIC_INDEX = 0x11 + 2 * ACPI_LINE;
	IOAPIC_DATA = 0; /* local APIC 0 */
	IOAPIC_INDEX = 0x10 + 2 * ACPI_LINE;
	IOAPIC_DATA = IOAPIC_LEVEL | INTERRUPT_POWER;
}

void interrupt_after(uint32_t ms)
{
	APIC_TIMER_COUNT = ms * APIC_TICKS_PER_MS;
}
