#include "pci.h"

#include "cpu.h"

#define ADDRESS_PORT 0xcf8
#define DATA_PORT 0xcfc

/* Where BARs go: above all memory below 4 GiB that QEMU gives its x86 boards, below the APICs. Each gets 1 MiB, more than
 * any BAR of a virtio device. */
#define WINDOW 0xe0000000u
#define WINDOW_STEP 0x100000u

#define NO_FUNCTION 0xffffffffu

#define BAR_IO 1u
#define BAR_TYPE 6u
#define BAR_64BIT 4u

static void select(pci_function f, uint8_t reg)
{
	outl(ADDRESS_PORT, 0x80000000u | (uint32_t)f << 8 | (reg & 0xfcu));
}

uint32_t pci_read(pci_function f, uint8_t reg)
{
	select(f, reg);
	return inl(DATA_PORT);
}

void pci_write(pci_function f, uint8_t reg, uint32_t value)
{
	select(f, reg);
	outl(DATA_PORT, value);
}

bool pci_find(uint32_t id, pci_function *f)
{
	for (unsigned n = 0; n < 256; n++) {
		uint32_t have = pci_read((pci_function)n, 0);
		if (have == id) {
			*f = (pci_function)n;
			return true;
		}
		if (have == NO_FUNCTION && n % 8 == 0)
			n += 7; /* without a function 0 there is none */
	}
	return false;
}

void pci_place(pci_function f, uint32_t bar[PCI_BARS])
{
	uint32_t next = WINDOW;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint8_t reg = (uint8_t)(PCI_BAR0 + 4 * i);
		bar[i] = 0;
		pci_write(f, reg, 0xffffffff);
		uint32_t kind = pci_read(f, reg);
		if (kind == 0 || kind & BAR_IO) {
			pci_write(f, reg, 0);
			continue;
		}
		pci_write(f, reg, next);
		bar[i] = next;
		next += WINDOW_STEP;
		if ((kind & BAR_TYPE) == BAR_64BIT && i + 1 < PCI_BARS) {
			bar[++i] = 0;
			pci_write(f, (uint8_t)(reg + 4), 0); /* the upper half of the address */
		}
	}
	/* The status half is written as zeroes, which changes nothing there. */
	pci_write(f, PCI_COMMAND, (pci_read(f, PCI_COMMAND) & 0xffff) | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}
