#include "notify.h"

#include "buffers.h"
#include "errno.h"
#include "link.h"
#include "service.h"
#include "text.h"
#include "vsock.h"

#define RETRY_MS 1000
/* How long a listener that accepted may take to read and answer. */
#define ANSWER_MS 10000
/* How often a message that was taken without an answer is said. */
#define UNANSWERED_MAX 3
/* The room for an answer, of which nothing is kept. */
#define ANSWER_WINDOW 256u

static const char message[] = "READY=1\n";

static const struct service service_notify;
static const struct identity *id;
static enum { IDLE, TRYING, WAITING, DONE } state;
static uint32_t next_try, unanswered;

static void wait_for_next(void)
{
	state = WAITING;
	next_try = link_clock_ms() + RETRY_MS;
}

static void try_now(void)
{
	struct conn *c = vsock_connect(id->notify_cid, id->notify_port, &service_notify);
	if (c && buffers_narrow(&c->out)) {
		ring_put(&c->out, (struct span){(const uint8_t *)message, sizeof message - 1});
		c->alloc = ANSWER_WINDOW;
		state = TRYING;
		return;
	}
	if (c)
		conn_free(c);
	wait_for_next();
}

void notify_start(const struct identity *who)
{
	id = who;
	state = IDLE;
	unanswered = 0;
	if (id->notify)
		try_now();
}

void notify_tick(void)
{
	if (state == WAITING && (int32_t)(link_clock_ms() - next_try) >= 0)
		try_now();
}

bool notify_waiting(void)
{
	return state == WAITING;
}

bool notify_done(void)
{
	return state == DONE;
}

static void notify_connected(struct conn *c)
{
	conn_deadline(c, ANSWER_MS);
	vsock_end_sending(c);
}

static void notify_arrived(struct conn *c, struct span bytes)
{
	vsock_forward(c, bytes.len);
	if (bytes.len > 0)
		state = DONE;
}

static void notify_timeout(struct conn *c)
{
	vsock_abort(c, ETIMEDOUT);
}

static uint32_t notify_offer(struct conn *c, uint32_t most, struct span parts[2])
{
	ring_peek(&c->out, most, parts);
	return parts[0].len + parts[1].len;
}

static void notify_sent(struct conn *c, uint32_t n)
{
	ring_drop(&c->out, n);
}

static void notify_closed(struct conn *c, int error)
{
	if (state == DONE)
		return;
	bool taken = error == 0 && ring_used(&c->out) == 0;
	if (taken && ++unanswered == UNANSWERED_MAX)
		state = DONE;
	else
		wait_for_next();
}

static const struct service service_notify = {
	.connected = notify_connected,
	.arrived = notify_arrived,
	.offer = notify_offer,
	.sent = notify_sent,
	.timeout = notify_timeout,
	.closed = notify_closed,
};
