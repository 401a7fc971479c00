#include "console.h"

#include "cpu.h"
#include "text.h"

#define SERIAL 0x3f8
#define SERIAL_LINE_STATUS (SERIAL + 5)
#define SERIAL_CAN_SEND 0x20u

/* How often the port is asked whether it can take a character before the character is given up: a console whose reader
 * stalls must not stall the guest. */
#define PATIENCE 20000

static void put(char character)
{
	for (int i = 0; i < PATIENCE; i++) {
		/* No port at all reads as 0xff, which is "can send" as well. */
		if (inb(SERIAL_LINE_STATUS) & SERIAL_CAN_SEND) {
			outb(SERIAL, (uint8_t)character);
			return;
		}
	}
}

void console_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			put('\r');
		put(*text);
	}
}

void console_number(uint32_t number)
{
	char digits[24];
	struct text t = text_over(digits, sizeof digits);
	text_number(&t, number);
	t.start[t.len] = 0;
	console_text(digits);
}

void console_hex(uint32_t number)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		put("0123456789abcdef"[number >> shift & 15]);
}
