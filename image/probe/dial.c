#include "dial.h"

#include "buffers.h"
#include "control.h"
#include "service.h"
#include "text.h"
#include "vsock.h"

/* How long a connected peer may say nothing before the dial is answered with what there is. */
#define QUIET_MS 2000

static const struct service service_dial;

struct conn *dial_start(struct conn *asker, uint32_t cid, uint32_t port, const char *text)
{
	struct conn *c = vsock_connect(cid, port, &service_dial);
	if (!c)
		return 0;
	if (!buffers_narrow(&c->in) || !buffers_narrow(&c->out)) {
		conn_free(c);
		return 0;
	}
	c->alloc = DIAL_READ_MAX;
	c->asker = asker;
	if (*text) {
		ring_put(&c->out, (struct span){(const uint8_t *)text, text_length(text)});
		ring_put(&c->out, (struct span){(const uint8_t *)"\n", 1});
	}
	return c;
}

void dial_abandon(struct conn *c)
{
	c->asker = 0;
	vsock_abort(c, 0);
}

static void finish(struct conn *c, const char *how)
{
	if (c->asker)
		control_dial_done(c->asker, c, how);
	c->asker = 0;
	conn_deadline(c, 0);
	vsock_finish(c);
}

static void dial_connected(struct conn *c)
{
	c->connected = true;
	conn_deadline(c, QUIET_MS);
}

static void dial_arrived(struct conn *c, struct span bytes)
{
	ring_put(&c->in, bytes);
	if (!c->asker)
		return;
	conn_deadline(c, QUIET_MS);
	for (uint32_t i = 0; i < bytes.len; i++) {
		if (bytes.start[i] == '\n') {
			finish(c, "line");
			return;
		}
	}
	if (ring_used(&c->in) >= DIAL_READ_MAX)
		finish(c, "full");
}

static void dial_ended(struct conn *c)
{
	finish(c, "eof");
}

static void dial_timeout(struct conn *c)
{
	finish(c, "quiet");
}

static uint32_t dial_offer(struct conn *c, uint32_t most, struct span parts[2])
{
	ring_peek(&c->out, most, parts);
	return parts[0].len + parts[1].len;
}

static void dial_sent(struct conn *c, uint32_t n)
{
	ring_drop(&c->out, n);
}

static void dial_closed(struct conn *c, int error)
{
	if (!c->asker)
		return;
	if (c->connected)
		control_dial_done(c->asker, c, error ? "reset" : "eof");
	else
		control_dial_failed(c->asker, error);
}

static const struct service service_dial = {
	.connected = dial_connected,
	.arrived = dial_arrived,
	.ended = dial_ended,
	.offer = dial_offer,
	.sent = dial_sent,
	.timeout = dial_timeout,
	.closed = dial_closed,
};
