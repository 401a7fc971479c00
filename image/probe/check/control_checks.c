/* The control port, and what the guest dials by itself. */
#include <stdio.h>
#include <string.h>

#include "buffers.h"
#include "check.h"
#include "conn.h"
#include "control.h"
#include "notify.h"
#include "peer.h"
#include "service.h"
#include "text.h"
#include "vsock.h"

#define ME 1000
/* The port that the guest's first own connection comes from. */
#define FIRST 49152u

static const char *ask(const char *line)
{
	peer_data(ME, PORT_CONTROL, line, (uint32_t)strlen(line));
	return peer_text(ME);
}

static void enter(void)
{
	peer_connect(ME, PORT_CONTROL);
	CHECK_TEXT(peer_text(ME), "vmlaunch-probe 1 name=web cid=42 token=secret peer=2:1000\n");
}

void control_greets_and_answers(void)
{
	enter();
	CHECK_TEXT(ask("PING\n"), "OK pong\n");
	CHECK_TEXT(ask("NAME\r\n"), "OK web\n");
	CHECK_TEXT(ask("CID\n"), "OK 42\n");
	CHECK_TEXT(ask("WHOAMI\n"), "OK name=web cid=42 token=secret peer=2:1000\n");
	CHECK_TEXT(ask("\n\r\n\n"), "");
	CHECK_TEXT(ask("ping\n"), "ERR unknown command\n");
	CHECK_TEXT(ask(" PING\n"), "ERR unknown command\n");
	CHECK_TEXT(ask("PINGPONG\n"), "ERR unknown command\n");
	CHECK_TEXT(ask("DIAL 2\n"), "ERR EINVAL usage: DIAL CID PORT [TEXT]\n");
	CHECK_TEXT(ask("DIAL 4294967296 1\n"), "ERR EINVAL usage: DIAL CID PORT [TEXT]\n");
	CHECK_TEXT(ask("DIAL -1 x\n"), "ERR EINVAL usage: DIAL CID PORT [TEXT]\n");
}

void control_takes_lines_in_any_pieces(void)
{
	enter();
	CHECK_TEXT(ask("PI"), "");
	CHECK_TEXT(ask("NG\nNA"), "OK pong\n");
	CHECK_TEXT(ask("ME\nCID\nPING\n"), "OK web\nOK 42\nOK pong\n");
	/* The ring that lines wait in turns over. */
	for (int i = 0; i < 1000; i++)
		CHECK_TEXT(ask("PING\nCID\n"), "OK pong\nOK 42\n");
	CHECK(vsock_counts()->bad == 0);
}

void control_says_when_a_line_is_too_long(void)
{
	static char line[BUFFERS_NARROW_SIZE];
	memset(line, 'x', sizeof line);

	enter();
	for (int i = 0; i < 3; i++) {
		peer_data(ME, PORT_CONTROL, line, sizeof line);
		CHECK_TEXT(peer_text(ME), i ? "" : "ERR line too long\n");
	}
	CHECK_TEXT(ask("PING\n"), ""); /* its end */
	CHECK_TEXT(ask("PING\n"), "OK pong\n");

	/* The longest line that fits. */
	memcpy(line, "DIAL ", 5);
	line[sizeof line - 1] = '\n';
	peer_data(ME, PORT_CONTROL, line, sizeof line);
	CHECK_TEXT(peer_text(ME), "ERR EINVAL usage: DIAL CID PORT [TEXT]\n");
}

void control_waits_for_a_peer_that_does_not_read(void)
{
	struct packet p = peer_packet(PACKET_REQUEST, ME, PORT_CONTROL);
	p.buf_alloc = 8;
	peer_deliver(p, 0);
	p = peer_packet(PACKET_DATA, ME, PORT_CONTROL);
	p.buf_alloc = 8;
	p.len = 15;
	for (int i = 0; i < 60; i++)
		peer_deliver(p, "PING\nPING\nPING\n");
	CHECK_TEXT(peer_text(ME), "vmlaunch");
	CHECK(vsock_counts()->bad == 0);

	p = peer_packet(PACKET_CREDIT_UPDATE, ME, PORT_CONTROL);
	p.buf_alloc = UINT32_MAX;
	peer_deliver(p, 0);
	const char *text = peer_text(ME);
	unsigned pongs = 0;
	for (const char *at = text; (at = strstr(at, "OK pong\n")); at++)
		pongs++;
	CHECK(pongs == 180);
}

void control_answers_before_the_end(void)
{
	struct packet p = peer_packet(PACKET_SHUTDOWN, ME, PORT_CONTROL);
	p.flags = PACKET_NO_SEND;

	enter();
	peer_room(0);
	peer_data(ME, PORT_CONTROL, "PING\nCID\nNAME", 13); /* the last without its line end */
	peer_deliver(p, 0);
	peer_room(UINT32_MAX);
	CHECK(peer_waiting() == 4);
	CHECK(memcmp(CHECK_SENT(PACKET_DATA, PORT_CONTROL, ME)->payload, "OK pong\n", 8) == 0);
	CHECK(memcmp(CHECK_SENT(PACKET_DATA, PORT_CONTROL, ME)->payload, "OK 42\n", 6) == 0);
	CHECK(memcmp(CHECK_SENT(PACKET_DATA, PORT_CONTROL, ME)->payload, "OK web\n", 7) == 0);
	CHECK_SENT(PACKET_SHUTDOWN, PORT_CONTROL, ME);
}

void listen_and_unlisten(void)
{
	enter();
	peer_op(PACKET_REQUEST, 5, 8000);
	CHECK_SENT(PACKET_RESET, 8000, 5);
	CHECK_TEXT(ask("LISTEN 8000\n"), "OK\n");
	CHECK_TEXT(ask("LISTEN 8000\n"), "ERR EADDRINUSE\n");
	CHECK_TEXT(ask("LISTEN 7\n"), "ERR EADDRINUSE\n");
	CHECK_TEXT(ask("LISTEN 4294967295\n"), "ERR EINVAL\n");
	CHECK_TEXT(ask("LISTEN 1 2\n"), "ERR EINVAL usage: LISTEN PORT\n");
	peer_connect(5, 8000);
	peer_data(5, 8000, "abc", 3);
	CHECK_TEXT(peer_text(5), "abc");
	CHECK_TEXT(ask("COUNT 8000\n"), "OK port=8000 connections=1 bytes_in=3 bytes_out=3\n");

	CHECK_TEXT(ask("UNLISTEN 8000\n"), "OK\n");
	CHECK_TEXT(ask("UNLISTEN 8000\n"), "ERR ENOENT\n");
	CHECK_TEXT(ask("UNLISTEN 1234\n"), "ERR EPERM\n");
	CHECK_TEXT(ask("COUNT 8000\n"), "ERR ENOENT\n");
	peer_op(PACKET_REQUEST, 6, 8000);
	CHECK_SENT(PACKET_RESET, 8000, 6);
	peer_data(5, 8000, "still", 5); /* connections stay */
	CHECK_TEXT(peer_text(5), "still");

	/* The counts of a closed port do not go to whoever gets its place. */
	CHECK_TEXT(ask("LISTEN 8001\n"), "OK\n");
	peer_data(5, 8000, "x", 1);
	CHECK_TEXT(peer_text(5), "x");
	CHECK_TEXT(ask("COUNT 8001\n"), "OK port=8001 connections=0 bytes_in=0 bytes_out=0\n");
	for (int i = 0; i < 100; i++) {
		char line[32];
		snprintf(line, sizeof line, "LISTEN %d\n", 9000 + i);
		CHECK_TEXT(ask(line), i < PORTS_MAX - 5 ? "OK\n" : "ERR ENOSPC\n");
	}
}

void counts_are_kept(void)
{
	enter();
	peer_connect(5, PORT_ECHO);
	peer_data(5, PORT_ECHO, "12345", 5);
	CHECK_TEXT(peer_text(5), "12345");
	peer_op(PACKET_REQUEST, 6, 4711);
	CHECK_SENT(PACKET_RESET, 4711, 6);
	peer_op(99, 6, 4711);
	CHECK_SENT(PACKET_RESET, 4711, 6);
	/* 58 bytes of greeting, 5 of echo; 6 of this command. */
	CHECK_TEXT(ask("COUNT\n"), "OK open=2 connections=2 bytes_in=11 bytes_out=63 resets_in=0 resets_out=2 refused=1 bad=1\n");
	CHECK_TEXT(ask("COUNT x\n"), "ERR EINVAL usage: COUNT [PORT]\n");
}

void off_waits_until_the_answer_is_read(void)
{
	enter();
	CHECK(control_wish() == WISH_NOTHING);
	peer_data(ME, PORT_CONTROL, "OFF\nPING\n", 9);
	const struct sent *s = CHECK_SENT(PACKET_DATA, PORT_CONTROL, ME);
	CHECK(s->p.len == 13 && memcmp(s->payload, "OK going off\n", 13) == 0);
	CHECK_SENT(PACKET_SHUTDOWN, PORT_CONTROL, ME); /* nothing is taken up after it */
	CHECK(control_wish() == WISH_NOTHING);
	peer_op(PACKET_RESET, ME, PORT_CONTROL); /* read and hung up */
	CHECK(control_wish() == WISH_OFF);

	/* A peer that never hangs up. */
	peer_start();
	enter();
	ask("REBOOT\n");
	peer_pass_time(950);
	CHECK(control_wish() == WISH_NOTHING);
	peer_pass_time(50);
	CHECK(control_wish() == WISH_RESTART);
}

/* Dials 2:5000 and answers the request. */
static void dial_and_accept(const char *line)
{
	CHECK_TEXT(ask(line), "");
	struct packet p = peer_packet(PACKET_RESPONSE, 5000, FIRST);
	peer_deliver(p, 0);
}

void dial_reports_a_line(void)
{
	enter();
	peer_data(ME, PORT_CONTROL, "DIAL 2 5000 hello  there\nPING\n", 30);
	CHECK(CHECK_SENT(PACKET_REQUEST, FIRST, 5000)->p.dst_cid == 2);
	CHECK_QUIET(); /* the next command waits */
	peer_op(PACKET_RESPONSE, 5000, FIRST);
	const struct sent *s = CHECK_SENT(PACKET_DATA, FIRST, 5000);
	CHECK(s->p.len == 13 && memcmp(s->payload, "hello  there\n", 13) == 0);
	peer_data(5000, FIRST, "a\\b\t", 4);
	CHECK_QUIET();
	peer_data(5000, FIRST, "\xff\r\n", 3);
	CHECK_TEXT(peer_text(ME), "OK connected from=49152 end=line read=7 text=a\\\\b\\x09\\xff\\r\\n\nOK pong\n");
	CHECK(conn_count() == 2); /* closing */
	peer_op(PACKET_RESET, 5000, FIRST);
	CHECK(conn_count() == 1);
}

void dial_reports_every_end(void)
{
	static uint8_t many[200];
	struct packet p = peer_packet(PACKET_SHUTDOWN, 5000, FIRST);
	p.flags = PACKET_NO_SEND;

	enter();
	dial_and_accept("DIAL 2 5000\n");
	peer_deliver(p, 0);
	CHECK_TEXT(peer_text(ME), "OK connected from=49152 end=eof read=0 text=\n");
	peer_start();
	enter();
	dial_and_accept("DIAL 2 5000\n");
	p.flags = PACKET_NO_RECEIVE | PACKET_NO_SEND;
	peer_data(5000, FIRST, "bye", 3);
	peer_deliver(p, 0);
	CHECK_TEXT(peer_text(ME), "OK connected from=49152 end=eof read=3 text=bye\n");
	CHECK(conn_count() == 1);

	peer_start();
	enter();
	dial_and_accept("DIAL 2 5000\n");
	peer_op(PACKET_RESET, 5000, FIRST);
	CHECK_TEXT(peer_text(ME), "OK connected from=49152 end=reset read=0 text=\n");

	peer_start();
	enter();
	dial_and_accept("DIAL 2 5000\n");
	peer_pass_time(1950);
	peer_data(5000, FIRST, "hm", 2);
	peer_pass_time(1950);
	CHECK_TEXT(peer_text(ME), "");
	peer_pass_time(50);
	CHECK_TEXT(peer_text(ME), "OK connected from=49152 end=quiet read=2 text=hm\n");

	/* All 200 bytes at their longest still fit the answer. */
	peer_start();
	enter();
	dial_and_accept("DIAL 2 5000\n");
	peer_data(5000, FIRST, many, sizeof many);
	const char *text = peer_text(ME);
	CHECK(strncmp(text, "OK connected from=49152 end=full read=200 text=\\x00\\x00", 55) == 0);
	CHECK(strlen(text) == 47 + 4 * 200 + 1 && text[strlen(text) - 1] == '\n');
}

void dial_gives_up_on_a_peer_without_room(void)
{
	struct packet p = peer_packet(PACKET_RESPONSE, 5000, FIRST);
	p.buf_alloc = 0;

	enter();
	CHECK_TEXT(ask("DIAL 2 5000 hello\n"), "");
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_CREDIT_REQUEST, FIRST, 5000);
	peer_pass_time(2000);
	CHECK_TEXT(peer_text(ME), "OK connected from=49152 end=quiet read=0 text=\n");
	peer_pass_time(7950);
	CHECK(conn_count() == 2);
	peer_pass_time(50);
	CHECK_SENT(PACKET_RESET, FIRST, 5000);
	CHECK(conn_count() == 1 && !conn_any_timed());
}

void dial_reports_errors(void)
{
	enter();
	ask("DIAL 2 5000\n");
	peer_op(PACKET_RESET, 5000, FIRST);
	CHECK_TEXT(peer_text(ME), "ERR ECONNRESET\n");

	ask("DIAL 77 5000\n");
	peer_pass_time(1950);
	CHECK_TEXT(peer_text(ME), "");
	peer_pass_time(50);
	CHECK_TEXT(peer_text(ME), "ERR ETIMEDOUT\n");

	ask("DIAL 2 5000\n");
	peer_data(5000, FIRST + 2, "before the response", 19);
	CHECK(peer_waiting() == 2);
	CHECK_SENT(PACKET_RESET, FIRST + 2, 5000);
	CHECK_TEXT(peer_text(ME), "ERR EPROTO\n");
	CHECK(conn_count() == 1 && !conn_any_timed());

	/* An answer that comes after its time is answered with a reset. */
	peer_op(PACKET_RESPONSE, 5000, FIRST);
	CHECK_SENT(PACKET_RESET, FIRST, 5000);

	for (uint32_t i = 0; i < CONN_MAX - 1; i++)
		peer_op(PACKET_REQUEST, 2000 + i, PORT_DISCARD);
	while (peer_take())
		;
	CHECK_TEXT(ask("DIAL 2 5000\n"), "ERR ENOMEM\n");
}

void dial_dies_with_its_asker(void)
{
	enter();
	dial_and_accept("DIAL 2 5000 x\n");
	while (peer_take())
		;
	peer_op(PACKET_RESET, ME, PORT_CONTROL);
	CHECK_SENT(PACKET_RESET, FIRST, 5000);
	CHECK_QUIET();
	CHECK(conn_count() == 0 && !conn_any_timed());
}

void ready_is_repeated_until_taken(void)
{
	struct identity who = {.name = "web", .notify = true, .notify_cid = 2, .notify_port = 5000};

	notify_start(&who);
	peer_pass_time(50);
	CHECK_SENT(PACKET_REQUEST, FIRST, 5000);
	peer_op(PACKET_RESET, 5000, FIRST);
	CHECK(notify_waiting() && !notify_done());
	peer_pass_time(950);
	CHECK_QUIET();
	peer_pass_time(50);
	CHECK_SENT(PACKET_REQUEST, FIRST + 1, 5000);
	CHECK(!notify_waiting());
	peer_pass_time(2000); /* no answer at all */
	CHECK(notify_waiting());
	peer_pass_time(1000);
	CHECK_SENT(PACKET_REQUEST, FIRST + 2, 5000);
	peer_op(PACKET_RESPONSE, 5000, FIRST + 2);
	const struct sent *s = CHECK_SENT(PACKET_DATA, FIRST + 2, 5000);
	CHECK(s->p.len == 8 && memcmp(s->payload, "READY=1\n", 8) == 0);
	CHECK(CHECK_SENT(PACKET_SHUTDOWN, FIRST + 2, 5000)->p.flags == PACKET_NO_SEND);
	CHECK(!notify_done());
	peer_data(5000, FIRST + 2, "\n", 1);
	CHECK(notify_done());
	struct packet p = peer_packet(PACKET_SHUTDOWN, 5000, FIRST + 2);
	p.flags = PACKET_NO_RECEIVE | PACKET_NO_SEND;
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_RESET, FIRST + 2, 5000);
	peer_pass_time(20000);
	CHECK_QUIET();
	CHECK(conn_count() == 0);
}

/* Accepts try n of the guest and ends the connection without an answer. */
static void take_without_answer(uint32_t n)
{
	struct packet p = peer_packet(PACKET_SHUTDOWN, 5000, FIRST + n);
	p.flags = PACKET_NO_RECEIVE | PACKET_NO_SEND;

	peer_pass_time(1000);
	CHECK_SENT(PACKET_REQUEST, FIRST + n, 5000);
	peer_op(PACKET_RESPONSE, 5000, FIRST + n);
	CHECK_SENT(PACKET_DATA, FIRST + n, 5000);
	CHECK_SENT(PACKET_SHUTDOWN, FIRST + n, 5000);
	CHECK(!notify_done());
	peer_deliver(p, 0);
	CHECK_SENT(PACKET_RESET, FIRST + n, 5000);
}

void ready_without_an_answer_is_said_three_times(void)
{
	struct identity who = {.name = "web", .notify = true, .notify_cid = 2, .notify_port = 5000};

	notify_start(&who);
	take_without_answer(0);
	take_without_answer(1);
	CHECK(notify_waiting());
	take_without_answer(2);
	CHECK(notify_done());

	/* A listener that accepts and then does nothing, or resets, has not taken it. */
	peer_start();
	notify_start(&who);
	for (uint32_t n = 0; n < 5; n++) {
		peer_pass_time(1000);
		CHECK_SENT(PACKET_REQUEST, FIRST + n, 5000);
		peer_op(PACKET_RESPONSE, 5000, FIRST + n);
		CHECK(peer_waiting() == 2);
		peer_take();
		peer_take();
		if (n % 2) {
			peer_op(PACKET_RESET, 5000, FIRST + n);
		} else {
			peer_pass_time(9950);
			CHECK_QUIET();
			peer_pass_time(50);
			CHECK_SENT(PACKET_RESET, FIRST + n, 5000);
		}
		CHECK(notify_waiting());
	}
}

void ready_address_is_read(void)
{
	static const char *const wrong[] = {"", ":", "2", "2:", ":5", "2:x", "2:5:6", "-2:5", "2:4294967296", "2: 5"};
	struct identity who = {0};
	char text[24];

	strcpy(text, "2:50000");
	CHECK(identity_notify(&who, text) && who.notify_cid == 2 && who.notify_port == 50000 && who.notify);
	for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		strcpy(text, wrong[i]);
		CHECK(!identity_notify(&who, text) && !who.notify);
	}
}

void numbers_and_words(void)
{
	char space[32];
	uint32_t n = 5;
	static const uint64_t numbers[] = {0, 9, 10, 4294967295u, 4294967296u, 18446744073709551615u, 1000000000000000000u};

	for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		char want[32];
		struct text t = text_over(space, sizeof space);
		text_number(&t, numbers[i]);
		space[t.len] = 0;
		snprintf(want, sizeof want, "%llu", (unsigned long long)numbers[i]);
		CHECK_TEXT(space, want);
	}
	CHECK(text_parse("4294967295", &n) && n == 4294967295u);
	CHECK(!text_parse("4294967296", &n) && !text_parse("", &n) && !text_parse("1 ", &n) && n == 4294967295u);

	struct text t = text_over(space, 4);
	text_add(&t, "abcdef");
	CHECK(t.len == 3); /* one byte is kept for the end */
}
