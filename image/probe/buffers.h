/* The memory that connections keep bytes in: a few wide buffers for speed, many narrow ones for number. 1 MiB together. */
#ifndef PROBE_BUFFERS_H
#define PROBE_BUFFERS_H

#include <stdbool.h>

#include "ring.h"

#define BUFFERS_WIDE 8
#define BUFFERS_WIDE_SIZE 65536u
#define BUFFERS_NARROW 512
#define BUFFERS_NARROW_SIZE 1024u

#define BUFFERS_MEMORY (BUFFERS_WIDE * BUFFERS_WIDE_SIZE + BUFFERS_NARROW * BUFFERS_NARROW_SIZE)

/* All buffers free, in BUFFERS_MEMORY bytes at memory. */
void buffers_start(uint8_t *memory);

/* Gives *r an empty narrow buffer. False if none is left. */
bool buffers_narrow(struct ring *r);
/* Gives *r the widest buffer that is left. False if none is. */
bool buffers_widest(struct ring *r);
/* Takes the buffer back from *r, if it has one. */
void buffers_free(struct ring *r);

#endif
