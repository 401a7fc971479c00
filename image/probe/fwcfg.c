#include "fwcfg.h"

#include "cpu.h"
#include "text.h"

#define SELECT_PORT 0x510
#define DATA_PORT 0x511
#define FILE_DIRECTORY 0x19
#define NAME_SIZE 56

/* Numbers are big-endian. */
static uint32_t read_number(unsigned bytes)
{
	uint32_t n = 0;
	while (bytes--)
		n = n << 8 | inb(DATA_PORT);
	return n;
}

static bool find(const char *name, uint16_t *selector, uint32_t *size)
{
	outw(SELECT_PORT, FILE_DIRECTORY);
	for (uint32_t count = read_number(4); count; count--) {
		char have[NAME_SIZE + 1];
		*size = read_number(4);
		*selector = (uint16_t)read_number(2);
		read_number(2); /* reserved */
		for (unsigned i = 0; i < NAME_SIZE; i++)
			have[i] = (char)inb(DATA_PORT);
		have[NAME_SIZE] = 0;
		if (text_same(have, name))
			return true;
	}
	return false;
}

bool fwcfg_text(const char *name, char *text, uint32_t size)
{
	uint16_t selector;
	uint32_t have, n = 0;

	if (find(name, &selector, &have)) {
		outw(SELECT_PORT, selector);
		for (; n < have && n + 1 < size; n++) {
			char c = (char)inb(DATA_PORT);
			text[n] = c > ' ' && c <= '~' ? c : '?';
		}
	}
	text[n] = 0;
	return n > 0;
}
