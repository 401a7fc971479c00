#include "text.h"

struct text text_over(char *space, uint32_t size)
{
	return (struct text){.start = space, .len = 0, .room = size - 1};
}

void text_char(struct text *t, char c)
{
	if (t->len < t->room)
		t->start[t->len++] = c;
}

void text_add(struct text *t, const char *s)
{
	while (*s)
		text_char(t, *s++);
}

void text_number(struct text *t, uint64_t n)
{
	char digits[20]; /* 2^64 has 20 */
	int count = 0;

	/* Long division by 10 in 16-bit steps: a 64-bit division would need a compiler library that 32-bit code has not here. */
	do {
		uint32_t rest = 0;
		uint64_t quotient = 0;
		for (int shift = 48; shift >= 0; shift -= 16) {
			uint32_t part = rest << 16 | (uint32_t)(n >> shift & 0xffff);
			quotient |= (uint64_t)(part / 10) << shift;
			rest = part % 10;
		}
		digits[count++] = (char)('0' + rest);
		n = quotient;
	} while (n);
	while (count)
		text_char(t, digits[--count]);
}

void text_escaped(struct text *t, const uint8_t *bytes, uint32_t n)
{
	static const char hex[] = "0123456789abcdef";

	for (uint32_t i = 0; i < n; i++) {
		uint8_t b = bytes[i];
		if (b == '\\') {
			text_add(t, "\\\\");
		} else if (b == '\n') {
			text_add(t, "\\n");
		} else if (b == '\r') {
			text_add(t, "\\r");
		} else if (b >= ' ' && b <= '~') {
			text_char(t, (char)b);
		} else {
			text_add(t, "\\x");
			text_char(t, hex[b >> 4]);
			text_char(t, hex[b & 15]);
		}
	}
}

char *text_word(char **line)
{
	char *word = *line;
	char *end = word;
	while (*end && *end != ' ')
		end++;
	*line = *end ? end + 1 : end;
	*end = 0;
	return word;
}

bool text_same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

bool text_parse(const char *word, uint32_t *n)
{
	uint32_t value = 0;

	if (!*word)
		return false;
	for (; *word; word++) {
		if (*word < '0' || *word > '9')
			return false;
		uint32_t digit = (uint32_t)(*word - '0');
		if (value > (UINT32_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*n = value;
	return true;
}

uint32_t text_length(const char *s)
{
	uint32_t n = 0;
	while (s[n])
		n++;
	return n;
}
