#include "vsock.h"

#include "errno.h"
#include "link.h"
#include "service.h"

/* How long Linux waits for an answer to a connect (VSOCK_DEFAULT_CONNECT_TIMEOUT), … */
#define CONNECT_TIMEOUT_MS 2000
/* … and for the reset after a shutdown (VSOCK_CLOSE_TIMEOUT). */
#define CLOSE_TIMEOUT_MS 8000

/* Ports of our own connections. */
#define EPHEMERAL_FIRST 49152u
#define EPHEMERAL_COUNT 16384u

/* Resets for packets without a connection, waiting for room on the link. */
#define STRAYS_MAX 256

static uint32_t own_cid;
static struct vsock_counts counts;
static uint32_t next_ephemeral;
static struct stray {
	uint32_t cid, port, local_port;
	uint16_t type;
} strays[STRAYS_MAX];
static uint32_t strays_put, strays_taken;

void vsock_start(uint32_t cid)
{
	own_cid = cid;
	__builtin_memset(&counts, 0, sizeof counts);
	next_ephemeral = 0;
	strays_put = strays_taken = 0;
	conn_start();
}

uint32_t vsock_cid(void)
{
	return own_cid;
}

const struct vsock_counts *vsock_counts(void)
{
	return &counts;
}

/* The port that counts c's bytes, or 0. Its entry may have been closed and given to another number since. */
static struct port *port_of(const struct conn *c)
{
	return c->port && c->port->number == c->local_port ? c->port : 0;
}

/* --- Out --- */

static void send(struct conn *c, enum packet_op op, uint32_t flags, const struct span parts[2])
{
	static const struct span nothing[2];
	if (!parts)
		parts = nothing;
	struct packet p = {
		.src_cid = own_cid,
		.dst_cid = c->peer_cid,
		.src_port = c->local_port,
		.dst_port = c->peer_port,
		.len = parts[0].len + parts[1].len,
		.type = PACKET_STREAM,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = c->alloc,
		.fwd_cnt = c->forwarded,
	};
	/* Every packet carries our credit, so none is owed after it. */
	c->told = c->forwarded;
	c->owes &= (uint8_t)~OWES_CREDIT_UPDATE;
	link_send(&p, parts[0], parts[1]);
}

/* Sends what c owes in the order in which a peer must see it. True if a packet went out: one turn, one packet. */
static bool send_owed(struct conn *c)
{
	static const struct {
		uint8_t owed;
		enum packet_op op;
	} order[] = {
		{OWES_REQUEST, PACKET_REQUEST},
		{OWES_RESPONSE, PACKET_RESPONSE},
		{OWES_CREDIT_UPDATE, PACKET_CREDIT_UPDATE},
		{OWES_CREDIT_REQUEST, PACKET_CREDIT_REQUEST},
	};

	for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++) {
		if (c->owes & order[i].owed) {
			c->owes &= (uint8_t)~order[i].owed;
			send(c, order[i].op, 0, 0);
			return true;
		}
	}
	return false;
}

/* Sends one packet of data if the service has some and the peer has room. */
static bool send_data(struct conn *c)
{
	struct span parts[2];
	uint32_t credit = conn_credit(c);

	if (c->peer_no_receive)
		return false;
	uint32_t n = c->service->offer(c, credit < LINK_PAYLOAD_MAX ? credit : LINK_PAYLOAD_MAX, parts);
	if (n == 0) {
		/* Nothing to say, or no credit to say it. In the second case ask once: an answer or an update ends the wait. */
		if (credit > 0 || c->starved || c->service->offer(c, 1, parts) == 0)
			return false;
		c->starved = true;
		send(c, PACKET_CREDIT_REQUEST, 0, 0);
		return true;
	}
	c->sent += n;
	counts.bytes_out += n;
	if (port_of(c))
		port_of(c)->bytes_out += n;
	c->service->sent(c, n); /* first, so that the packet already tells of room made by it; the bytes stay until overwritten */
	send(c, PACKET_DATA, 0, parts);
	return true;
}

/* Is everything said that will be said? */
static bool all_said(struct conn *c)
{
	struct span parts[2];

	/* To have something to say to a peer that does not listen ends a connection, as EPIPE ends a server. */
	if (c->service->offer(c, 1, parts) > 0)
		return c->peer_no_receive;
	if (c->finish)
		return true;
	return c->peer_no_send && !(c->service->busy && c->service->busy(c));
}

/* Says that nothing more will come, if the service wants that said and everything before it is out. */
static bool send_end(struct conn *c)
{
	struct span parts[2];

	if (!c->end_sending || c->service->offer(c, 1, parts) > 0)
		return false;
	c->end_sending = false;
	send(c, PACKET_SHUTDOWN, PACKET_NO_SEND, 0);
	return true;
}

/* One packet for c, if it has one to send. */
static bool turn(struct conn *c)
{
	if (c->state == CONN_FREE || c->state == CONN_CLOSING)
		return false;
	if (send_owed(c))
		return true;
	if (c->state != CONN_OPEN)
		return false;
	if (send_data(c))
		return true;
	if (!all_said(c))
		return send_end(c);
	send(c, PACKET_SHUTDOWN, PACKET_NO_RECEIVE | PACKET_NO_SEND, 0);
	c->state = CONN_CLOSING;
	conn_deadline(c, CLOSE_TIMEOUT_MS);
	return false;
}

static bool send_stray_reset(void)
{
	if (strays_taken == strays_put)
		return false;
	const struct stray *s = &strays[strays_taken++ % STRAYS_MAX];
	const struct packet p = {
		.src_cid = own_cid,
		.dst_cid = s->cid,
		.src_port = s->local_port,
		.dst_port = s->port,
		.type = s->type,
		.op = PACKET_RESET,
	};
	const struct span nothing = {0};
	link_send(&p, nothing, nothing);
	return true;
}

bool vsock_pump(void)
{
	bool any = false;

	while (link_ready()) {
		if (send_stray_reset()) {
			any = true;
			continue;
		}
		struct conn *c = conn_next_ready();
		if (!c)
			break;
		any = true;
		if (turn(c))
			conn_wake(c); /* behind all others */
	}
	return any;
}

/* --- The end of connections --- */

static void over(struct conn *c, int error)
{
	if (c->service->closed)
		c->service->closed(c, error);
	conn_free(c);
}

static void reset_later(uint32_t cid, uint32_t port, uint32_t local_port, uint16_t type)
{
	counts.resets_out++;
	/* Full only if the caller did not ask vsock_can_receive(), or for a crowd of aborts; the peer then times out. */
	if (strays_put - strays_taken < STRAYS_MAX)
		strays[strays_put++ % STRAYS_MAX] = (struct stray){cid, port, local_port, type};
}

void vsock_abort(struct conn *c, int error)
{
	reset_later(c->peer_cid, c->peer_port, c->local_port, PACKET_STREAM);
	over(c, error);
}

void vsock_end_sending(struct conn *c)
{
	c->end_sending = true;
	conn_wake(c);
}

void vsock_finish(struct conn *c)
{
	c->finish = true;
	conn_deadline(c, CLOSE_TIMEOUT_MS); /* for a peer that never makes room for the rest */
	conn_wake(c);
}

static void drop_one(struct conn *c)
{
	over(c, ECONNRESET);
}

void vsock_transport_reset(uint32_t cid)
{
	own_cid = cid;
	conn_each(drop_one);
	strays_taken = strays_put; /* nobody is left to hear them */
}

static void end_one(struct conn *c)
{
	if (!vsock_can_receive())
		vsock_pump(); /* room for more resets, if the link has any */
	vsock_abort(c, ECONNRESET);
}

void vsock_end_all(void)
{
	conn_each(end_one);
	vsock_pump();
}

/* The connection whose time is checked may be freed by it, others may not: a service's timeout only touches its own. */
static void check_deadline(struct conn *c)
{
	if (!c->timed || (int32_t)(link_clock_ms() - c->deadline) < 0)
		return;
	conn_deadline(c, 0);
	if (c->state == CONN_CONNECTING)
		over(c, ETIMEDOUT);
	else if (c->state == CONN_CLOSING || c->finish)
		vsock_abort(c, 0);
	else if (c->service->timeout)
		c->service->timeout(c);
}

void vsock_tick(void)
{
	if (conn_any_timed())
		conn_each(check_deadline);
}

/* --- For services --- */

void vsock_forward(struct conn *c, uint32_t n)
{
	c->forwarded += n;
	/* The peer may stop when its picture of our window is half full, so tell it by then. */
	if (c->forwarded - c->told >= c->alloc / 2) {
		c->owes |= OWES_CREDIT_UPDATE;
		conn_wake(c);
	}
}

struct conn *vsock_connect(uint32_t cid, uint32_t port, const struct service *service)
{
	uint32_t local;
	do
		local = EPHEMERAL_FIRST + next_ephemeral++ % EPHEMERAL_COUNT;
	while (conn_find(cid, port, local)); /* ends: there are fewer connections than ports */

	struct conn *c = conn_new(cid, port, local);
	if (!c)
		return 0;
	c->state = CONN_CONNECTING;
	c->service = service;
	c->owes = OWES_REQUEST;
	conn_deadline(c, CONNECT_TIMEOUT_MS);
	conn_wake(c);
	return c;
}

/* --- In --- */

static void accept(const struct packet *p)
{
	struct port *port = ports_find(p->dst_port);
	struct conn *c = port ? conn_new((uint32_t)p->src_cid, p->src_port, p->dst_port) : 0;

	if (c) {
		c->state = CONN_OPEN;
		c->service = port->service;
		c->port = port;
		c->peer_alloc = p->buf_alloc;
		c->peer_forwarded = p->fwd_cnt;
		c->owes = OWES_RESPONSE;
		if (c->service->open(c)) {
			port->accepted++;
			counts.connections++;
			conn_wake(c);
			return;
		}
		conn_free(c);
	}
	counts.refused++;
	reset_later((uint32_t)p->src_cid, p->src_port, p->dst_port, p->type);
}

static void receive_data(struct conn *c, struct span bytes)
{
	if (bytes.len > c->alloc - (c->received - c->forwarded)) {
		/* More than we said we had room for. Dropping bytes out of the middle of a stream is no answer. */
		counts.bad++;
		vsock_abort(c, EPROTO);
		return;
	}
	if (c->peer_no_send) {
		counts.bad++;
		return;
	}
	c->received += bytes.len;
	counts.bytes_in += bytes.len;
	if (port_of(c))
		port_of(c)->bytes_in += bytes.len;
	if (c->service->arrived)
		c->service->arrived(c, bytes);
	else
		vsock_forward(c, bytes.len);
}

static void receive_shutdown(struct conn *c, const struct packet *p)
{
	if (p->flags & PACKET_NO_RECEIVE)
		c->peer_no_receive = true;
	if (p->flags & PACKET_NO_SEND && !c->peer_no_send) {
		c->peer_no_send = true;
		if (c->service->ended)
			c->service->ended(c);
	}
	if (c->peer_no_receive && c->peer_no_send) {
		vsock_abort(c, 0); /* the orderly end: a reset answers a full shutdown */
		return;
	}
	conn_wake(c);
}

static void receive_open(struct conn *c, const struct packet *p, struct span bytes)
{
	switch (p->op) {
	case PACKET_DATA:
		receive_data(c, bytes);
		break;
	case PACKET_SHUTDOWN:
		receive_shutdown(c, p);
		break;
	case PACKET_RESET:
		counts.resets_in++;
		over(c, ECONNRESET);
		break;
	case PACKET_CREDIT_REQUEST:
		c->owes |= OWES_CREDIT_UPDATE;
		conn_wake(c);
		break;
	case PACKET_CREDIT_UPDATE:
		break; /* every packet is one */
	default:
		counts.bad++; /* ignored, as Linux does */
	}
}

static void receive_connecting(struct conn *c, const struct packet *p)
{
	switch (p->op) {
	case PACKET_RESPONSE:
		c->state = CONN_OPEN;
		counts.connections++;
		conn_deadline(c, 0);
		conn_wake(c);
		if (c->service->connected)
			c->service->connected(c);
		break;
	case PACKET_RESET:
		counts.resets_in++;
		over(c, ECONNRESET);
		break;
	default:
		counts.bad++;
		vsock_abort(c, EPROTO);
	}
}

/* After our shutdown only the peer's reset is news. Its own shutdown, crossing ours, is answered like any other. */
static void receive_closing(struct conn *c, const struct packet *p)
{
	if (p->op == PACKET_RESET) {
		counts.resets_in++;
		over(c, 0);
	} else if (p->op == PACKET_SHUTDOWN) {
		receive_shutdown(c, p);
	}
}

/* What the peer says about its window. A count of bytes taken that were never sent is a lie, and not believed. */
static void note_credit(struct conn *c, const struct packet *p)
{
	if (p->fwd_cnt - c->peer_forwarded > c->sent - c->peer_forwarded) {
		counts.bad++;
		return;
	}
	c->peer_alloc = p->buf_alloc;
	c->peer_forwarded = p->fwd_cnt;
	if (conn_credit(c) > 0) {
		c->starved = false;
		conn_wake(c);
	}
}

static void receive_for(struct conn *c, const struct packet *p, struct span bytes)
{
	if (p->op != PACKET_RESET)
		note_credit(c, p);
	switch (c->state) {
	case CONN_CONNECTING:
		receive_connecting(c, p);
		break;
	case CONN_OPEN:
		receive_open(c, p, bytes);
		break;
	case CONN_CLOSING:
		receive_closing(c, p);
		break;
	case CONN_FREE:
		break;
	}
}

bool vsock_can_receive(void)
{
	/* A packet causes two resets at most: of itself and of a DIAL that hangs on it. */
	return strays_put - strays_taken <= STRAYS_MAX - 2;
}

void vsock_receive(const uint8_t *bytes, uint32_t len)
{
	struct packet p;

	if (len < sizeof p) {
		counts.bad++;
		return;
	}
	__builtin_memcpy(&p, bytes, sizeof p);
	/* Cut off, or not between the host side and us: nobody to answer. */
	if (p.len > len - sizeof p || p.dst_cid != own_cid || p.src_cid > UINT32_MAX) {
		counts.bad++;
		return;
	}
	uint32_t cid = (uint32_t)p.src_cid;
	struct conn *c = 0;
	if (p.type == PACKET_STREAM)
		c = conn_find(cid, p.src_port, p.dst_port);
	else
		counts.bad++;
	if (c && c->state == CONN_CLOSING && p.op == PACKET_REQUEST) {
		over(c, 0); /* the peer has forgotten the old connection of these ports: its reset was lost */
		c = 0;
	}

	if (c)
		receive_for(c, &p, (struct span){bytes + sizeof p, p.len});
	else if (p.type == PACKET_STREAM && p.op == PACKET_REQUEST)
		accept(&p);
	else if (p.op == PACKET_RESET)
		counts.resets_in++; /* never answered */
	else {
		if (p.type == PACKET_STREAM && (p.op == PACKET_INVALID || p.op > PACKET_CREDIT_REQUEST))
			counts.bad++;
		reset_later(cid, p.src_port, p.dst_port, p.type);
	}
}
