/* Random traffic with a fixed seed: noise that must do no harm, and streams that must come back whole. */
#include <stdlib.h>
#include <string.h>

#include "buffers.h"
#include "check.h"
#include "conn.h"
#include "peer.h"
#include "service.h"
#include "vsock.h"

static uint32_t state;

/* xorshift32: the same numbers everywhere. */
static uint32_t any(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % below;
}

#define NOISE_ROUNDS 200000

static struct packet noise(void)
{
	static const uint32_t ports[] = {PORT_ECHO, PORT_DISCARD, PORT_CHARGEN, PORT_CONTROL, 4711, 49152, 49153, 49160};
	struct packet p = peer_packet(any(9), 1000 + any(6), ports[any(8)]);

	if (any(4) == 0)
		p.src_port = 5000;
	p.flags = any(5);
	p.fwd_cnt = any(3) ? 0 : any(64);
	p.buf_alloc = any(8) ? any(300) : any(UINT32_MAX);
	switch (any(60)) {
	case 0:
		p.type = (uint16_t)any(4);
		break;
	case 1:
		p.op = (uint16_t)any(65536);
		break;
	case 2:
		p.dst_cid = any(100);
		break;
	case 3:
		p.src_cid = any(5) | (uint64_t)any(2) << 32;
		break;
	}
	return p;
}

static uint32_t noise_payload(uint8_t *bytes, uint32_t most)
{
	static const char *const lines[] = {"DIAL 2 5000 x\n", "PING\n", "COUNT\n", "LISTEN 4711\nUNLISTEN 4711\n", "99\n", "OFF\n", "\n"};

	if (any(2)) {
		const char *line = lines[any(7)];
		memcpy(bytes, line, strlen(line));
		return (uint32_t)strlen(line) - any(2);
	}
	uint32_t n = any(8) ? any(64) : any(most);
	for (uint32_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)any(256);
	return n;
}

/* Takes what was sent and looks at what must always be true of it. */
static void drain(void)
{
	for (const struct sent *s; (s = peer_take());) {
		CHECK(s->p.type == PACKET_STREAM || s->p.op == PACKET_RESET);
		CHECK(s->p.src_cid == vsock_cid());
		if (s->p.op != PACKET_DATA)
			CHECK(s->p.len == 0);
	}
}

void noise_does_no_harm(void)
{
	static uint8_t bytes[4096];

	state = 1;
	for (int round = 0; round < NOISE_ROUNDS; round++) {
		struct packet p = noise();
		p.len = noise_payload(bytes, sizeof bytes);
		if (any(50) == 0)
			peer_deliver_raw(&p, any(sizeof p + 1));
		else if (vsock_can_receive())
			peer_deliver(p, bytes);
		if (any(3) == 0)
			peer_room(any(4));
		if (any(10) == 0)
			peer_pass_time(any(600));
		drain();
		if (any(5000) == 0)
			vsock_transport_reset(any(2) ? GUEST_CID : 43);
		if (vsock_cid() != GUEST_CID && any(20) == 0)
			vsock_transport_reset(GUEST_CID);
	}
	CHECK(vsock_counts()->bad > 1000 && vsock_counts()->connections > 1000);

	/* Nothing is held once everybody is gone. */
	peer_room(UINT32_MAX);
	vsock_transport_reset(GUEST_CID);
	CHECK(conn_count() == 0 && !conn_any_timed());
	struct ring r;
	for (unsigned i = 0; i < BUFFERS_WIDE; i++)
		CHECK(buffers_widest(&r) && r.size == BUFFERS_WIDE_SIZE);
	for (unsigned i = 0; i < BUFFERS_NARROW; i++)
		CHECK(buffers_narrow(&r));
	CHECK(!buffers_narrow(&r));
}

#define STREAMS 40
#define STREAM_BYTES 100000u

/* A correct peer's end of one echoed stream: it keeps to its credit, and has a small and changing window of its own. */
static struct stream {
	uint32_t window;           /* ours */
	uint32_t sent, back, read; /* bytes sent, come back, and read by the application: read <= back <= sent */
	uint32_t their_window, their_forwarded;
	bool ended, over;          /* we, and both, have ended it */
} streams[STREAMS];

static uint8_t byte_of(uint32_t stream, uint32_t at)
{
	return (uint8_t)(at * 7 + at / 251 + stream);
}

static struct packet stream_packet(uint32_t i, enum packet_op op)
{
	struct packet p = peer_packet(op, 1000 + i, PORT_ECHO);
	p.buf_alloc = streams[i].window;
	p.fwd_cnt = streams[i].read;
	return p;
}

static void stream_send(uint32_t i)
{
	static uint8_t bytes[4096];
	struct stream *s = &streams[i];
	uint32_t n = 1 + any(sizeof bytes);
	uint32_t credit = s->their_window - (s->sent - s->their_forwarded);

	n = n < credit ? n : credit;
	n = n < STREAM_BYTES - s->sent ? n : STREAM_BYTES - s->sent;
	struct packet p = stream_packet(i, PACKET_DATA);
	p.len = n;
	for (uint32_t at = 0; at < n; at++)
		bytes[at] = byte_of(i, s->sent + at);
	s->sent += n;
	if (n)
		peer_deliver(p, bytes);
	if (s->sent == STREAM_BYTES && !s->ended) {
		s->ended = true;
		p = stream_packet(i, PACKET_SHUTDOWN);
		p.flags = PACKET_NO_SEND;
		peer_deliver(p, 0);
	}
}

/* Takes what the guest sent, and holds it to the rules. Returns how many streams ended. */
static uint32_t stream_take(void)
{
	uint32_t over = 0;

	for (const struct sent *k; (k = peer_take());) {
		uint32_t i = k->p.dst_port - 1000;
		struct stream *s = &streams[i];
		s->their_window = k->p.buf_alloc;
		s->their_forwarded = k->p.fwd_cnt;
		CHECK(s->sent - s->their_forwarded <= s->their_window);
		if (k->p.op == PACKET_DATA) {
			for (uint32_t at = 0; at < k->p.len; at++)
				CHECK(k->payload[at] == byte_of(i, s->back + at));
			s->back += k->p.len;
			CHECK(s->back - s->read <= s->window); /* within our window */
			CHECK(s->back <= s->sent);
		} else if (k->p.op == PACKET_SHUTDOWN) {
			CHECK(s->ended && s->back == STREAM_BYTES);
			over++;
			s->over = true;
			peer_op(PACKET_RESET, 1000 + i, PORT_ECHO);
		} else {
			CHECK(k->p.op == PACKET_RESPONSE || k->p.op == PACKET_CREDIT_UPDATE || k->p.op == PACKET_CREDIT_REQUEST);
		}
	}
	return over;
}

void streams_come_back_whole(void)
{
	uint32_t over = 0, rounds = 0;

	state = 2;
	memset(streams, 0, sizeof streams);
	for (uint32_t i = 0; i < STREAMS; i++) {
		streams[i].window = 1 + any(5000);
		peer_deliver(stream_packet(i, PACKET_REQUEST), 0);
	}
	for (; over < STREAMS; rounds++) {
		CHECK(rounds < 2000000); /* a stall */
		uint32_t i = any(STREAMS);
		if (streams[i].over)
			continue;
		if (any(2)) {
			stream_send(i);
		} else if (streams[i].read < streams[i].back) {
			streams[i].read += 1 + any(streams[i].back - streams[i].read);
			peer_deliver(stream_packet(i, PACKET_CREDIT_UPDATE), 0);
		}
		peer_room(any(5));
		over += stream_take();
	}
	CHECK(vsock_counts()->bad == 0 && conn_count() == 0);
	CHECK(vsock_counts()->bytes_out == (uint64_t)STREAMS * STREAM_BYTES);
}
