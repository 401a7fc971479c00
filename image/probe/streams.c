/* The three simple services: echo, discard (RFC 863 in spirit) and chargen (RFC 864, by the number). */
#include "buffers.h"
#include "errno.h"
#include "service.h"
#include "vsock.h"

/* --- Echo: what came in waits in c->in until it is sent, and only then counts as forwarded. A peer that sends and does not
 * read runs out of credit by itself; nothing is dropped. --- */

static bool echo_open(struct conn *c)
{
	if (!buffers_widest(&c->in))
		return false;
	c->alloc = c->in.size;
	return true;
}

static void echo_arrived(struct conn *c, struct span bytes)
{
	ring_put(&c->in, bytes); /* fits: the window is the ring */
	conn_wake(c);
}

static uint32_t echo_offer(struct conn *c, uint32_t most, struct span parts[2])
{
	ring_peek(&c->in, most, parts);
	return parts[0].len + parts[1].len;
}

static void echo_sent(struct conn *c, uint32_t n)
{
	ring_drop(&c->in, n);
	vsock_forward(c, n);
}

const struct service service_echo = {
	.open = echo_open,
	.arrived = echo_arrived,
	.offer = echo_offer,
	.sent = echo_sent,
};

/* --- Discard: needs no memory, so its window can be as wide as Linux's default. --- */

#define DISCARD_WINDOW 262144u

static bool discard_open(struct conn *c)
{
	c->alloc = DISCARD_WINDOW;
	return true;
}

static uint32_t nothing_to_offer(struct conn *c, uint32_t most, struct span parts[2])
{
	(void)c, (void)most;
	parts[0] = parts[1] = (struct span){0};
	return 0;
}

static void never_sent(struct conn *c, uint32_t n)
{
	(void)c, (void)n;
}

const struct service service_discard = {
	.open = discard_open,
	.offer = nothing_to_offer,
	.sent = never_sent,
};

/* --- Chargen: for each line with a decimal number, so many bytes of the pattern. The pattern goes on from request to
 * request; anything but digits and line ends resets the connection. --- */

#define PATTERN_COLUMNS 72
#define PATTERN_LINE (PATTERN_COLUMNS + 2)
#define PATTERN_CHARACTERS 95 /* ' ' to '~' */
#define PATTERN (PATTERN_CHARACTERS * PATTERN_LINE)
#define CHARGEN_WINDOW 4096u

static uint8_t pattern[PATTERN];

/* Line n begins with the n-th printable character; after 95 lines it all comes again. */
static void draw_pattern(void)
{
	uint8_t *at = pattern;
	for (unsigned line = 0; line < PATTERN_CHARACTERS; line++) {
		for (unsigned column = 0; column < PATTERN_COLUMNS; column++)
			*at++ = (uint8_t)(' ' + (line + column) % PATTERN_CHARACTERS);
		*at++ = '\r';
		*at++ = '\n';
	}
}

static bool chargen_open(struct conn *c)
{
	if (!pattern[0])
		draw_pattern();
	c->alloc = CHARGEN_WINDOW;
	return true;
}

static void chargen_arrived(struct conn *c, struct span bytes)
{
	for (uint32_t i = 0; i < bytes.len; i++) {
		uint8_t b = bytes.start[i];
		if (b >= '0' && b <= '9' && c->asked <= UINT32_MAX) {
			c->asked = c->asked * 10 + (b - '0');
		} else if (b == '\n') {
			c->left += c->asked;
			c->asked = 0;
		} else if (b != '\r') {
			vsock_abort(c, EINVAL);
			return;
		}
	}
	vsock_forward(c, bytes.len);
	conn_wake(c);
}

static uint32_t chargen_offer(struct conn *c, uint32_t most, struct span parts[2])
{
	uint32_t n = c->left < most ? (uint32_t)c->left : most;
	uint32_t first = PATTERN - c->place;
	if (n > PATTERN)
		n = PATTERN;
	if (first > n)
		first = n;
	parts[0] = (struct span){pattern + c->place, first};
	parts[1] = (struct span){pattern, n - first};
	return n;
}

static void chargen_sent(struct conn *c, uint32_t n)
{
	c->left -= n;
	c->place = (c->place + n) % PATTERN;
}

const struct service service_chargen = {
	.open = chargen_open,
	.arrived = chargen_arrived,
	.offer = chargen_offer,
	.sent = chargen_sent,
};
