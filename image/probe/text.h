/* Text built into a fixed space, and words and numbers taken out of a line. */
#ifndef PROBE_TEXT_H
#define PROBE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text under construction. What does not fit is left out; one byte more than room is there, for a final zero. */
struct text {
	char *start;
	uint32_t len, room;
};

struct text text_over(char *space, uint32_t size); /* size at least 1 */
void text_char(struct text *t, char c);
void text_add(struct text *t, const char *s);
void text_number(struct text *t, uint64_t n);
/* Adds n raw bytes so that they stay on one line: \n, \r, \\ and \xNN for what is not printable ASCII. */
void text_escaped(struct text *t, const uint8_t *bytes, uint32_t n);

/* Takes the next word, ended by a space or the end, off the front of *line, and the one space after it. The word is ended
 * by a zero in place. An empty word means that there was none. */
char *text_word(char **line);
bool text_same(const char *a, const char *b);
/* Reads all of word as a decimal number below 2^32. False, and *n untouched, for anything else. */
bool text_parse(const char *word, uint32_t *n);
uint32_t text_length(const char *s);

#endif
