/* Packets that no correct host sends, and crowds of them. */
#include <string.h>

#include "buffers.h"
#include "check.h"
#include "conn.h"
#include "peer.h"
#include "service.h"
#include "vsock.h"

void malformed_packets_are_dropped(void)
{
	struct packet p;

	peer_connect(1000, PORT_ECHO);
	p = peer_packet(PACKET_DATA, 1000, PORT_ECHO);

	/* Shorter than a header. */
	for (uint32_t len = 0; len < sizeof p; len++)
		peer_deliver_raw(&p, len);
	CHECK(vsock_counts()->bad == sizeof p);

	/* More payload announced than came. */
	p.len = 1;
	peer_deliver_raw(&p, sizeof p);
	p.len = UINT32_MAX;
	peer_deliver_raw(&p, sizeof p);
	p.len = UINT32_MAX - (uint32_t)sizeof p + 1;
	peer_deliver_raw(&p, sizeof p);
	CHECK(vsock_counts()->bad == sizeof p + 3);

	/* Not for us, or from nobody: not even a reset. */
	p = peer_packet(PACKET_REQUEST, 1001, PORT_ECHO);
	p.dst_cid = GUEST_CID + 1;
	peer_deliver(p, 0);
	p.dst_cid = GUEST_CID | 1ull << 32;
	peer_deliver(p, 0);
	p.dst_cid = GUEST_CID;
	p.src_cid = HOST_CID | 1ull << 32;
	peer_deliver(p, 0);
	CHECK(vsock_counts()->bad == sizeof p + 6);
	CHECK_QUIET();

	peer_data(1000, PORT_ECHO, "fine", 4);
	CHECK_TEXT(peer_text(1000), "fine");
}

void wrong_types_are_reset_and_harm_nothing(void)
{
	struct packet p;

	peer_connect(1000, PORT_ECHO);
	p = peer_packet(PACKET_REQUEST, 1001, PORT_ECHO);
	p.type = PACKET_SEQPACKET;
	peer_deliver(p, 0);
	CHECK(CHECK_SENT(PACKET_RESET, PORT_ECHO, 1001)->p.type == PACKET_SEQPACKET);

	/* The ports of a stream connection do not make a packet of another type part of it. */
	p = peer_packet(PACKET_DATA, 1000, PORT_ECHO);
	p.type = 77;
	p.len = 1;
	peer_deliver(p, "x");
	CHECK(CHECK_SENT(PACKET_RESET, PORT_ECHO, 1000)->p.type == 77);
	p.op = PACKET_RESET;
	peer_deliver(p, "x");
	CHECK_QUIET();
	CHECK(vsock_counts()->bad == 3 && conn_count() == 1);

	peer_data(1000, PORT_ECHO, "fine", 4);
	CHECK_TEXT(peer_text(1000), "fine");
}

void wrong_ops_are_counted(void)
{
	static const uint16_t wrong[] = {PACKET_INVALID, 8, 0x7fff, 0xffff};

	peer_connect(1000, PORT_ECHO);
	for (unsigned i = 0; i < 4; i++) {
		peer_op(wrong[i], 1000, PORT_ECHO); /* ignored, as Linux does */
		CHECK_QUIET();
		peer_op(wrong[i], 1001, PORT_ECHO);
		CHECK_SENT(PACKET_RESET, PORT_ECHO, 1001);
	}
	/* Right ops in the wrong place. */
	peer_op(PACKET_REQUEST, 1000, PORT_ECHO);
	peer_op(PACKET_RESPONSE, 1000, PORT_ECHO);
	CHECK_QUIET();
	CHECK(vsock_counts()->bad == 10 && conn_count() == 1);
}

void packets_without_connection_are_reset(void)
{
	static const uint16_t ops[] = {PACKET_RESPONSE, PACKET_SHUTDOWN, PACKET_DATA, PACKET_CREDIT_UPDATE, PACKET_CREDIT_REQUEST};

	for (unsigned i = 0; i < 5; i++) {
		peer_op(ops[i], 1000, PORT_ECHO);
		CHECK_SENT(PACKET_RESET, PORT_ECHO, 1000);
	}
	peer_op(PACKET_RESET, 1000, PORT_ECHO); /* never a reset for a reset */
	CHECK_QUIET();
	CHECK(vsock_counts()->resets_out == 5 && vsock_counts()->resets_in == 1 && vsock_counts()->bad == 0);
}

void a_lie_about_credit_is_not_believed(void)
{
	struct packet p;

	peer_connect(1000, PORT_ECHO);
	p = peer_packet(PACKET_CREDIT_UPDATE, 1000, PORT_ECHO);
	p.buf_alloc = 10;
	p.fwd_cnt = 1; /* nothing was sent to it */
	peer_deliver(p, 0);
	CHECK(vsock_counts()->bad == 1);
	p.fwd_cnt = UINT32_MAX;
	p.buf_alloc = UINT32_MAX;
	peer_deliver(p, 0);
	CHECK(vsock_counts()->bad == 2);
	CHECK(conn_credit(conn_find(HOST_CID, 1000, PORT_ECHO)) == HOST_WINDOW);

	p.fwd_cnt = 0; /* all of 32 bits is a window like any other */
	peer_deliver(p, 0);
	CHECK(conn_credit(conn_find(HOST_CID, 1000, PORT_ECHO)) == UINT32_MAX);
}

void full_link_loses_nothing(void)
{
	uint32_t port = 0;

	peer_connect(7, PORT_ECHO);
	peer_room(0);
	peer_data(7, PORT_ECHO, "late", 4);
	for (; vsock_can_receive(); port++) {
		CHECK(port < 1000);
		peer_op(PACKET_REQUEST, 1000 + port, 4711);
	}
	CHECK(port > 100);
	CHECK_QUIET();

	peer_room(UINT32_MAX);
	for (uint32_t i = 0; i < port; i++)
		CHECK_SENT(PACKET_RESET, 4711, 1000 + i);
	CHECK(vsock_can_receive());
	CHECK_TEXT(peer_text(7), "late");
}

static void open_all(void)
{
	for (uint32_t i = 0; i < CONN_MAX; i++)
		peer_connect(1000 + i, PORT_ECHO);
	CHECK(conn_count() == CONN_MAX);
}

void full_table_refuses_and_recovers(void)
{
	open_all();
	peer_op(PACKET_REQUEST, 1, PORT_ECHO);
	CHECK_SENT(PACKET_RESET, PORT_ECHO, 1);
	CHECK(vsock_counts()->refused == 1);

	/* Every one of them works, each with its own bytes. */
	for (uint32_t i = 0; i < CONN_MAX; i++)
		peer_data(1000 + i, PORT_ECHO, &i, sizeof i);
	for (uint32_t i = 0; i < CONN_MAX; i++) {
		const struct sent *s = CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000 + i);
		CHECK(s->p.len == sizeof i && memcmp(s->payload, &i, sizeof i) == 0);
	}
	/* Twice around: nothing of the first round is left behind. */
	for (uint32_t i = 0; i < CONN_MAX; i++)
		peer_op(PACKET_RESET, 1000 + i, PORT_ECHO);
	CHECK(conn_count() == 0);
	open_all();
	vsock_transport_reset(GUEST_CID);

	/* A control connection takes two buffers: memory ends before the table does, and is whole again after. */
	uint32_t n = 0;
	for (; vsock_counts()->refused == 1 && n < CONN_MAX; n++)
		peer_op(PACKET_REQUEST, 1000 + n, PORT_CONTROL);
	CHECK(n == BUFFERS_NARROW / 2 + 1 && conn_count() == BUFFERS_NARROW / 2);
	vsock_transport_reset(GUEST_CID);
	while (peer_take())
		;
	open_all();
}

void transport_reset_drops_everything(void)
{
	peer_connect(1000, PORT_ECHO);
	peer_connect(1001, PORT_CONTROL);
	peer_text(1001);
	peer_data(1001, PORT_CONTROL, "DIAL 2 5000\n", 12);
	CHECK(conn_count() == 3);
	while (peer_take())
		;

	vsock_transport_reset(99);
	CHECK(conn_count() == 0 && vsock_cid() == 99 && !conn_any_timed());
	peer_connect(1000, PORT_CONTROL);
	CHECK_TEXT(peer_text(1000), "vmlaunch-probe 1 name=web cid=99 token=secret peer=2:1000\n");
}

void end_of_all_resets_everybody(void)
{
	open_all();
	vsock_end_all();
	for (uint32_t i = 0; i < CONN_MAX; i++)
		CHECK_SENT(PACKET_RESET, PORT_ECHO, 1000 + i);
	CHECK_QUIET();
	CHECK(conn_count() == 0);
}
