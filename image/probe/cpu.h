/* The processor: ports, fences, sleep. */
#ifndef PROBE_CPU_H
#define PROBE_CPU_H

#include <stdint.h>

static inline void outb(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void outw(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void outl(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t value;
	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t value;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* Orders all memory accesses before it against all after it, for the device as well. mfence wants SSE2; this does not. */
static inline void cpu_fence(void) { __asm__ volatile("lock; addl $0, (%%esp)" : : : "memory", "cc"); }

static inline void cpu_interrupts_off(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void cpu_interrupts_on(void) { __asm__ volatile("sti" : : : "memory"); }

/* Sleeps until an interrupt, with interrupts off before and after. sti takes effect after the hlt, so that an interrupt
 * between the caller's last look and the sleep is not lost. */
static inline void cpu_sleep(void) { __asm__ volatile("sti; hlt; cli" : : : "memory"); }

/* Stops for good. */
static inline void __attribute__((noreturn)) cpu_stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

#endif
