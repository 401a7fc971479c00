/* Services and the life of a connection. */
#include <string.h>

#include "buffers.h"
#include "check.h"
#include "conn.h"
#include "peer.h"
#include "service.h"
#include "vsock.h"

void request_to_a_closed_port_is_reset(void)
{
	peer_op(PACKET_REQUEST, 1000, 4711);
	const struct sent *s = CHECK_SENT(PACKET_RESET, 4711, 1000);
	CHECK(s->p.dst_cid == HOST_CID && s->p.type == PACKET_STREAM && s->p.len == 0);
	CHECK(vsock_counts()->refused == 1 && vsock_counts()->bad == 0);
	CHECK(conn_count() == 0);
}

void echo_returns_bytes_and_credit(void)
{
	peer_op(PACKET_REQUEST, 1000, PORT_ECHO);
	const struct sent *s = CHECK_SENT(PACKET_RESPONSE, PORT_ECHO, 1000);
	CHECK(s->p.buf_alloc == BUFFERS_WIDE_SIZE && s->p.fwd_cnt == 0);

	peer_data(1000, PORT_ECHO, "hello", 5);
	s = CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000);
	CHECK(s->p.len == 5 && memcmp(s->payload, "hello", 5) == 0);
	CHECK(s->p.fwd_cnt == 5); /* the room is free again, and the packet says so */
	CHECK_QUIET();

	peer_op(PACKET_CREDIT_REQUEST, 1000, PORT_ECHO);
	s = CHECK_SENT(PACKET_CREDIT_UPDATE, PORT_ECHO, 1000);
	CHECK(s->p.fwd_cnt == 5 && s->p.buf_alloc == BUFFERS_WIDE_SIZE);
	CHECK_QUIET();
}

void echo_stops_at_the_peers_credit(void)
{
	static uint8_t bytes[100];
	struct packet p = peer_packet(PACKET_REQUEST, 1000, PORT_ECHO);
	p.buf_alloc = 30;
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_RESPONSE, PORT_ECHO, 1000);

	p = peer_packet(PACKET_DATA, 1000, PORT_ECHO);
	p.buf_alloc = 30;
	p.len = sizeof bytes;
	peer_deliver(p, bytes);
	CHECK(CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000)->p.len == 30);
	CHECK_SENT(PACKET_CREDIT_REQUEST, PORT_ECHO, 1000); /* once */
	CHECK_QUIET();

	p = peer_packet(PACKET_CREDIT_UPDATE, 1000, PORT_ECHO);
	p.buf_alloc = 30;
	p.fwd_cnt = 10;
	peer_deliver(p, 0);
	CHECK(CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000)->p.len == 10);
	CHECK_SENT(PACKET_CREDIT_REQUEST, PORT_ECHO, 1000);
	CHECK_QUIET();

	p.buf_alloc = 0; /* the window shrinks below what is on its way */
	peer_deliver(p, 0);
	CHECK_QUIET();

	p.buf_alloc = 1000;
	p.fwd_cnt = 40;
	peer_deliver(p, 0);
	CHECK(CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000)->p.len == 60);
	CHECK_QUIET();
}

void credit_counts_turn_over_at_32_bits(void)
{
	peer_connect(1000, PORT_ECHO);
	struct conn *c = conn_find(HOST_CID, 1000, PORT_ECHO);
	c->sent = c->peer_forwarded = c->received = c->forwarded = c->told = UINT32_MAX - 2;

	struct packet p = peer_packet(PACKET_DATA, 1000, PORT_ECHO);
	p.fwd_cnt = UINT32_MAX - 2;
	p.buf_alloc = 5;
	p.len = 8;
	peer_deliver(p, "12345678");
	CHECK(CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000)->p.len == 5);
	CHECK_SENT(PACKET_CREDIT_REQUEST, PORT_ECHO, 1000);
	p = peer_packet(PACKET_CREDIT_UPDATE, 1000, PORT_ECHO);
	p.fwd_cnt = 2; /* five further on */
	p.buf_alloc = 5;
	peer_deliver(p, 0);
	const struct sent *s = CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000);
	CHECK(s->p.len == 3 && s->p.fwd_cnt == 5);
	CHECK(vsock_counts()->bad == 0);
}

void discard_keeps_the_window_open(void)
{
	static uint8_t bytes[4096];
	uint32_t told = 0, sent = 0, updates = 0;

	peer_connect(1000, PORT_DISCARD);
	uint32_t window = conn_find(HOST_CID, 1000, PORT_DISCARD)->alloc;
	for (int i = 0; i < 1000; i++) {
		CHECK(window - (sent - told) >= sizeof bytes);
		peer_data(1000, PORT_DISCARD, bytes, sizeof bytes);
		sent += sizeof bytes;
		for (const struct sent *s; (s = peer_take());) {
			CHECK(s->p.op == PACKET_CREDIT_UPDATE);
			told = s->p.fwd_cnt;
			updates++;
		}
	}
	CHECK(updates <= sent / (window / 2)); /* not one for each packet */
	CHECK(ports_find(PORT_DISCARD)->bytes_in == sent);
}

void chargen_sends_the_pattern(void)
{
	peer_connect(1000, PORT_CHARGEN);
	peer_data(1000, PORT_CHARGEN, "7", 1);
	CHECK_QUIET(); /* the number may go on */
	peer_data(1000, PORT_CHARGEN, "6\r\n", 3);
	CHECK_TEXT(peer_text(1000), " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n!\"");
	peer_data(1000, PORT_CHARGEN, "3\n", 2);
	CHECK_TEXT(peer_text(1000), "#$%"); /* goes on where it was */

	/* More than the pattern is long, and the half close: everything asked for still comes. */
	peer_data(1000, PORT_CHARGEN, "20000\n", 6);
	CHECK(strlen(peer_text(1000)) == 20000);
	peer_data(1000, PORT_CHARGEN, "0\n\n", 3);
	CHECK_TEXT(peer_text(1000), "");
	CHECK(vsock_counts()->bytes_out == 76 + 3 + 20000);
}

void chargen_resets_nonsense(void)
{
	peer_connect(1000, PORT_CHARGEN);
	peer_data(1000, PORT_CHARGEN, "12x", 3);
	CHECK_SENT(PACKET_RESET, PORT_CHARGEN, 1000);
	CHECK(conn_count() == 0);
}

void bytes_beyond_the_window_reset(void)
{
	static uint8_t bytes[BUFFERS_WIDE_SIZE + 1];

	peer_connect(1000, PORT_ECHO);
	peer_data(1000, PORT_ECHO, bytes, sizeof bytes);
	CHECK_SENT(PACKET_RESET, PORT_ECHO, 1000);
	CHECK_QUIET();
	CHECK(vsock_counts()->bad == 1 && conn_count() == 0);

	/* The same in pieces, to an echo that cannot get rid of them. */
	struct packet p = peer_packet(PACKET_REQUEST, 1000, PORT_ECHO);
	p.buf_alloc = 0;
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_RESPONSE, PORT_ECHO, 1000);
	p.op = PACKET_DATA;
	p.len = BUFFERS_WIDE_SIZE / 2;
	peer_deliver(p, bytes);
	CHECK_SENT(PACKET_CREDIT_REQUEST, PORT_ECHO, 1000);
	peer_deliver(p, bytes);
	CHECK_QUIET();
	p.len = 1;
	peer_deliver(p, bytes);
	CHECK_SENT(PACKET_RESET, PORT_ECHO, 1000);
	CHECK(vsock_counts()->bad == 2 && conn_count() == 0);
}

void data_after_its_end_is_ignored(void)
{
	struct packet p = peer_packet(PACKET_SHUTDOWN, 1000, PORT_ECHO);
	p.flags = PACKET_NO_SEND;

	peer_connect(1000, PORT_ECHO);
	peer_room(0);
	peer_deliver(p, 0);
	peer_data(1000, PORT_ECHO, "late", 4);
	peer_room(UINT32_MAX);
	CHECK_SENT(PACKET_SHUTDOWN, PORT_ECHO, 1000);
	CHECK_QUIET();
	CHECK(vsock_counts()->bad == 1);
}

void half_close_delivers_the_rest(void)
{
	static uint8_t bytes[50];
	struct packet p = peer_packet(PACKET_REQUEST, 1000, PORT_ECHO);
	p.buf_alloc = 20;
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_RESPONSE, PORT_ECHO, 1000);
	p = peer_packet(PACKET_DATA, 1000, PORT_ECHO);
	p.buf_alloc = 20;
	p.len = sizeof bytes;
	peer_deliver(p, bytes);
	CHECK(CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000)->p.len == 20);
	CHECK_SENT(PACKET_CREDIT_REQUEST, PORT_ECHO, 1000);

	p = peer_packet(PACKET_SHUTDOWN, 1000, PORT_ECHO);
	p.buf_alloc = 20;
	p.flags = PACKET_NO_SEND;
	peer_deliver(p, 0);
	CHECK_QUIET(); /* thirty bytes still wait for credit: no end yet */

	p = peer_packet(PACKET_CREDIT_UPDATE, 1000, PORT_ECHO);
	p.fwd_cnt = 20;
	peer_deliver(p, 0);
	CHECK(CHECK_SENT(PACKET_DATA, PORT_ECHO, 1000)->p.len == 30);
	CHECK(CHECK_SENT(PACKET_SHUTDOWN, PORT_ECHO, 1000)->p.flags == (PACKET_NO_RECEIVE | PACKET_NO_SEND));
	CHECK_QUIET();

	peer_op(PACKET_RESET, 1000, PORT_ECHO);
	CHECK_QUIET();
	CHECK(conn_count() == 0 && vsock_counts()->bad == 0);
}

void full_shutdown_is_answered_with_a_reset(void)
{
	struct packet p = peer_packet(PACKET_SHUTDOWN, 1000, PORT_ECHO);

	/* Both flags at once, then one after the other. */
	peer_connect(1000, PORT_ECHO);
	p.flags = PACKET_NO_RECEIVE | PACKET_NO_SEND;
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_RESET, PORT_ECHO, 1000);
	CHECK(conn_count() == 0);

	peer_connect(1000, PORT_DISCARD);
	p.dst_port = PORT_DISCARD;
	p.flags = PACKET_NO_RECEIVE;
	peer_deliver(p, 0);
	CHECK_QUIET();
	p.flags = PACKET_NO_SEND;
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_RESET, PORT_DISCARD, 1000);
	CHECK(conn_count() == 0);

	/* No flag says nothing, unknown ones neither. */
	peer_connect(1000, PORT_DISCARD);
	p.flags = 0;
	peer_deliver(p, 0);
	p.flags = 0xfffffffc;
	peer_deliver(p, 0);
	CHECK_QUIET();
	CHECK(conn_count() == 1);
}

void peer_that_stops_receiving_ends_an_echo(void)
{
	struct packet p = peer_packet(PACKET_SHUTDOWN, 1000, PORT_ECHO);
	p.flags = PACKET_NO_RECEIVE;

	peer_connect(1000, PORT_ECHO);
	peer_deliver(p, 0);
	CHECK_QUIET();
	peer_data(1000, PORT_ECHO, "x", 1);
	CHECK_SENT(PACKET_SHUTDOWN, PORT_ECHO, 1000);
	CHECK_QUIET();
}

void silent_peer_is_reset_after_close(void)
{
	struct packet p = peer_packet(PACKET_SHUTDOWN, 1000, PORT_ECHO);
	p.flags = PACKET_NO_SEND;

	peer_connect(1000, PORT_ECHO);
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_SHUTDOWN, PORT_ECHO, 1000);
	peer_pass_time(7950);
	CHECK_QUIET();
	CHECK(conn_any_timed());
	peer_pass_time(50);
	CHECK_SENT(PACKET_RESET, PORT_ECHO, 1000);
	CHECK(conn_count() == 0 && !conn_any_timed());
}

void ports_of_a_closing_connection_can_be_used_again(void)
{
	struct packet p = peer_packet(PACKET_SHUTDOWN, 1000, PORT_ECHO);
	p.flags = PACKET_NO_SEND;

	peer_connect(1000, PORT_ECHO);
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_SHUTDOWN, PORT_ECHO, 1000);
	peer_connect(1000, PORT_ECHO);
	peer_data(1000, PORT_ECHO, "new", 3);
	CHECK_TEXT(peer_text(1000), "new");
	CHECK(conn_count() == 1);
}
