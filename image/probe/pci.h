/* PCI configuration space of bus 0, by the ports 0xcf8 and 0xcfc. */
#ifndef PROBE_PCI_H
#define PROBE_PCI_H

#include <stdbool.h>
#include <stdint.h>

/* A function on bus 0: device << 3 | function. */
typedef uint8_t pci_function;

#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY 2u
#define PCI_COMMAND_MASTER 4u
#define PCI_BAR0 0x10
#define PCI_BARS 6
#define PCI_CAPABILITIES 0x34

/* Registers are multiples of 4. */
uint32_t pci_read(pci_function f, uint8_t reg);
void pci_write(pci_function f, uint8_t reg, uint32_t value);

/* Finds the first function with this device and vendor (device << 16 | vendor). */
bool pci_find(uint32_t id, pci_function *f);

/* Gives every memory BAR of f a place of its own and turns on memory access and bus mastering. bar[i] is the address of
 * BAR i, 0 where there is none. */
void pci_place(pci_function f, uint32_t bar[PCI_BARS]);

#endif
