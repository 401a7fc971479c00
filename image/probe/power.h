/* ACPI power management of the two boards: off, restart, the power button, and the timer that is our clock. */
#ifndef PROBE_POWER_H
#define PROBE_POWER_H

#include <stdbool.h>
#include <stdint.h>

/* Finds the board's power management and maps it. False on a board that is neither pc nor q35, or has ACPI turned off. */
bool power_start(void);

/* Has the power button been pressed (QMP system_powerdown)? */
bool power_button(void);

/* Ends QEMU with exit status 0. */
void power_off(void) __attribute__((noreturn));

/* Resets the machine; QEMU and its claim on the CID stay. */
void power_restart(void) __attribute__((noreturn));

/* Milliseconds since start, from the 3.58 MHz ACPI timer. Wants to be called at least every 4 s while time matters. */
uint32_t power_clock(void);

#endif
