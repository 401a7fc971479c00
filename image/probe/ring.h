/* A queue of bytes in a space that somebody else owns, of a size that is a power of two. */
#ifndef PROBE_RING_H
#define PROBE_RING_H

#include <stdint.h>

#include "packet.h"

struct ring {
	uint8_t *space; /* 0: a ring without room */
	uint32_t size;
	uint32_t put, taken; /* totals, modulo 2^32 */
};

static inline uint32_t ring_used(const struct ring *r) { return r->put - r->taken; }
static inline uint32_t ring_room(const struct ring *r) { return r->size - ring_used(r); }

/* Appends what fits of the bytes; returns how many. */
uint32_t ring_put(struct ring *r, struct span bytes);
/* The oldest bytes, at most so many, in the two pieces in which they lie. Nothing is taken. */
void ring_peek(const struct ring *r, uint32_t most, struct span parts[2]);
/* The byte n places behind the oldest, of those that are there. */
uint8_t ring_at(const struct ring *r, uint32_t n);
/* Takes the oldest n bytes out, of those that are there. */
void ring_drop(struct ring *r, uint32_t n);

#endif
