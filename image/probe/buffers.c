#include "buffers.h"

static uint8_t *free_wide[BUFFERS_WIDE], *free_narrow[BUFFERS_NARROW];
static unsigned free_wide_count, free_narrow_count;

void buffers_start(uint8_t *memory)
{
	for (free_wide_count = 0; free_wide_count < BUFFERS_WIDE; memory += BUFFERS_WIDE_SIZE)
		free_wide[free_wide_count++] = memory;
	for (free_narrow_count = 0; free_narrow_count < BUFFERS_NARROW; memory += BUFFERS_NARROW_SIZE)
		free_narrow[free_narrow_count++] = memory;
}

bool buffers_narrow(struct ring *r)
{
	if (free_narrow_count == 0)
		return false;
	*r = (struct ring){.space = free_narrow[--free_narrow_count], .size = BUFFERS_NARROW_SIZE};
	return true;
}

bool buffers_widest(struct ring *r)
{
	if (free_wide_count == 0)
		return buffers_narrow(r);
	*r = (struct ring){.space = free_wide[--free_wide_count], .size = BUFFERS_WIDE_SIZE};
	return true;
}

void buffers_free(struct ring *r)
{
	if (r->size == BUFFERS_WIDE_SIZE)
		free_wide[free_wide_count++] = r->space;
	else if (r->size == BUFFERS_NARROW_SIZE)
		free_narrow[free_narrow_count++] = r->space;
	*r = (struct ring){0};
}
