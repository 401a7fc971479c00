#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffers.h"
#include "control.h"
#include "link.h"
#include "notify.h"
#include "service.h"
#include "vsock.h"

#define KEPT 8192

const char *check_name;

static struct sent kept[KEPT];
static uint32_t kept_put, kept_taken;
static uint32_t room, now;
static uint8_t *memory;
static struct identity id;

void check_fail(const char *file, int line, const char *what)
{
	printf("FAIL %s\n  %s:%d: %s\n", check_name, file, line, what);
	exit(1);
}

void check_text(const char *file, int line, const char *got, const char *want)
{
	if (strcmp(got, want) == 0)
		return;
	printf("got  %s\nwant %s\n", got, want);
	check_fail(file, line, "texts differ");
}

const struct sent *check_sent(const char *file, int line, enum packet_op op, uint32_t local_port, uint32_t port)
{
	const struct sent *s = peer_take();
	if (!s)
		check_fail(file, line, "nothing was sent");
	if (s->p.op != op || s->p.src_port != local_port || s->p.dst_port != port) {
		printf("got op %d from port %u to %u, want op %d from %u to %u\n", s->p.op, s->p.src_port, s->p.dst_port, op, local_port, port);
		check_fail(file, line, "another packet was sent");
	}
	if (s->p.src_cid != vsock_cid() || s->p.dst_cid >> 32)
		check_fail(file, line, "wrong CIDs");
	return s;
}

bool link_ready(void)
{
	return room > 0;
}

void link_send(const struct packet *p, struct span first, struct span second)
{
	CHECK(room > 0);
	CHECK(kept_put - kept_taken < KEPT);
	CHECK(p->len == first.len + second.len && p->len <= LINK_PAYLOAD_MAX);
	struct sent *s = &kept[kept_put++ % KEPT];
	s->p = *p;
	if (first.len)
		memcpy(s->payload, first.start, first.len);
	if (second.len)
		memcpy(s->payload + first.len, second.start, second.len);
	room--;
}

uint32_t link_clock_ms(void)
{
	return now;
}

void peer_start(void)
{
	free(memory);
	memory = malloc(BUFFERS_MEMORY);
	memset(memory, 0xa5, BUFFERS_MEMORY);
	kept_put = kept_taken = 0;
	room = UINT32_MAX;
	now = UINT32_MAX - 1000; /* so that every test of some length sees the clock turn over */
	id = (struct identity){.name = "web", .token = "secret"};
	buffers_start(memory);
	vsock_start(GUEST_CID);
	ports_start();
	control_start(&id);
}

void peer_room(uint32_t packets)
{
	room = packets;
	vsock_pump();
}

void peer_pass_time(uint32_t ms)
{
	for (; ms >= 50; ms -= 50) {
		now += 50;
		vsock_tick();
		notify_tick();
		vsock_pump();
	}
}

struct packet peer_packet(enum packet_op op, uint32_t port, uint32_t local_port)
{
	return (struct packet){
		.src_cid = HOST_CID,
		.dst_cid = vsock_cid(),
		.src_port = port,
		.dst_port = local_port,
		.type = PACKET_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = HOST_WINDOW,
	};
}

void peer_deliver_raw(const void *bytes, uint32_t len)
{
	uint8_t *exact = malloc(len ? len : 1);
	if (len)
		memcpy(exact, bytes, len);
	vsock_receive(exact, len);
	free(exact);
	vsock_pump();
}

void peer_deliver(struct packet p, const void *payload)
{
	uint32_t len = (uint32_t)sizeof p + p.len;
	uint8_t *bytes = malloc(len);
	memcpy(bytes, &p, sizeof p);
	if (p.len)
		memcpy(bytes + sizeof p, payload, p.len);
	peer_deliver_raw(bytes, len);
	free(bytes);
}

void peer_op(enum packet_op op, uint32_t port, uint32_t local_port)
{
	peer_deliver(peer_packet(op, port, local_port), 0);
}

void peer_data(uint32_t port, uint32_t local_port, const void *bytes, uint32_t len)
{
	struct packet p = peer_packet(PACKET_DATA, port, local_port);
	p.len = len;
	peer_deliver(p, bytes);
}

const struct sent *peer_take(void)
{
	return kept_taken == kept_put ? 0 : &kept[kept_taken++ % KEPT];
}

uint32_t peer_waiting(void)
{
	return kept_put - kept_taken;
}

void peer_connect(uint32_t port, uint32_t local_port)
{
	peer_op(PACKET_REQUEST, port, local_port);
	CHECK_SENT(PACKET_RESPONSE, local_port, port);
}

const char *peer_text(uint32_t port)
{
	static char text[65536];
	uint32_t len = 0;
	const struct sent *s;

	while ((s = peer_take())) {
		if (s->p.op != PACKET_DATA || s->p.dst_port != port)
			continue;
		CHECK(len + s->p.len < sizeof text);
		memcpy(text + len, s->payload, s->p.len);
		len += s->p.len;
	}
	text[len] = 0;
	return text;
}
