/* Interrupts: who may end the main loop's sleep. Nothing is done in a handler but to note and acknowledge. */
#ifndef PROBE_INTERRUPT_H
#define PROBE_INTERRUPT_H

#include <stdint.h>

enum interrupt_vector {
	INTERRUPT_DEVICE = 0x40, /* MSI-X of the vsock device */
	INTERRUPT_POWER = 0x41,  /* ACPI, for the power button */
	INTERRUPT_CLOCK = 0x42,  /* the local APIC's timer */
	INTERRUPT_SPURIOUS = 0xff,
};

/* What an MSI-X table entry holds to raise INTERRUPT_DEVICE on this processor. */
#define INTERRUPT_MESSAGE_ADDRESS 0xfee00000u
#define INTERRUPT_MESSAGE_DATA INTERRUPT_DEVICE

/* Loads the table of handlers and opens the local APIC and the ACPI line (ISA 9) of the I/O APIC. Interrupts stay off. */
void interrupt_start(void);

/* Raises INTERRUPT_CLOCK once, about ms milliseconds from now. A second call replaces the first. */
void interrupt_after(uint32_t ms);

#endif
