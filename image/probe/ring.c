#include "ring.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint32_t ring_put(struct ring *r, struct span bytes)
{
	uint32_t n = least(bytes.len, ring_room(r));
	if (n == 0)
		return 0;
	uint32_t at = r->put & (r->size - 1);
	uint32_t first = least(n, r->size - at);
	__builtin_memcpy(r->space + at, bytes.start, first);
	__builtin_memcpy(r->space, bytes.start + first, n - first);
	r->put += n;
	return n;
}

void ring_peek(const struct ring *r, uint32_t most, struct span parts[2])
{
	uint32_t n = least(most, ring_used(r));
	parts[0] = parts[1] = (struct span){r->space, 0};
	if (n == 0)
		return;
	uint32_t at = r->taken & (r->size - 1);
	parts[0] = (struct span){r->space + at, least(n, r->size - at)};
	parts[1] = (struct span){r->space, n - parts[0].len};
}

uint8_t ring_at(const struct ring *r, uint32_t n)
{
	return r->space[(r->taken + n) & (r->size - 1)];
}

void ring_drop(struct ring *r, uint32_t n)
{
	r->taken += n;
}
