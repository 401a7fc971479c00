#include "power.h"

#include "cpu.h"
#include "pci.h"

/* Both boards get their power management registers at the same ports, where SeaBIOS has them too. */
#define PM_BASE 0x600
#define PM_STATUS PM_BASE
#define PM_ENABLE (PM_BASE + 2)
#define PM_CONTROL (PM_BASE + 4)
#define PM_TIMER (PM_BASE + 8)

#define PM_BUTTON (1u << 8)
#define PM_SLEEP (1u << 13) /* with sleep type 0, which is S5 (off) on both boards: hw/acpi/core.c */

/* pc: function 3 of the PIIX4. The register at 0x80 opens the ports. */
#define PIIX4_PM 0x71138086u
#define PIIX4_PM_BASE 0x40
#define PIIX4_PM_OPEN 0x80
/* q35: the LPC bridge of the ICH9. Bit 7 of the register at 0x44 opens the ports; its low bits 0 choose ISA line 9. */
#define ICH9_LPC 0x29188086u
#define ICH9_PM_BASE 0x40
#define ICH9_ACPI_CONTROL 0x44

#define RESET_CONTROL 0xcf9
#define RESET_NOW 6

#define TIMER_MASK 0xffffffu /* 24 bits: comes round every 4.7 s */
#define TIMER_TICKS_PER_MS 3580u

static volatile bool button;

/* Called from interrupt_power in start.S. Writing a status bit back clears it, and with it the interrupt. */
void power_interrupt(void);
void power_interrupt(void)
{
	uint16_t status = inw(PM_STATUS);
	if (status & PM_BUTTON)
		button = true;
	outw(PM_STATUS, status);
}

bool power_start(void)
{
	pci_function f;

	if (pci_find(PIIX4_PM, &f)) {
		pci_write(f, PIIX4_PM_BASE, PM_BASE | 1);
		pci_write(f, PIIX4_PM_OPEN, pci_read(f, PIIX4_PM_OPEN) | 1);
	} else if (pci_find(ICH9_LPC, &f)) {
		pci_write(f, ICH9_PM_BASE, PM_BASE | 1);
		pci_write(f, ICH9_ACPI_CONTROL, pci_read(f, ICH9_ACPI_CONTROL) | 0x80);
	} else {
		return false;
	}
	outw(PM_STATUS, 0xffff);
	outw(PM_ENABLE, PM_BUTTON);
	return true;
}

bool power_button(void)
{
	return button;
}

void power_off(void)
{
	outw(PM_CONTROL, PM_SLEEP);
	cpu_stop();
}

void power_restart(void)
{
	outb(RESET_CONTROL, RESET_NOW);
	cpu_stop();
}

uint32_t power_clock(void)
{
	static uint32_t last, rest, ms;

	uint32_t now = inl(PM_TIMER) & TIMER_MASK;
	rest += (now - last) & TIMER_MASK;
	last = now;
	ms += rest / TIMER_TICKS_PER_MS;
	rest %= TIMER_TICKS_PER_MS;
	return ms;
}
