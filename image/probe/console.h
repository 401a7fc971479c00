/* The serial console, 0x3f8. Written, never read. A machine without one loses the text and nothing else. */
#ifndef PROBE_CONSOLE_H
#define PROBE_CONSOLE_H

#include <stdint.h>

void console_text(const char *text); /* a \n goes out as \r\n */
void console_number(uint32_t number); /* decimal */
void console_hex(uint32_t number);    /* eight digits */

#endif
