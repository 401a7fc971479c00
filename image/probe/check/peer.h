/*
 * The other side of the link in the native tests: it plays host. What the protocol code sends is kept in order until a test
 * takes it; what a test delivers is handed over in memory of exactly its size, so that a read beyond it is found.
 */
#ifndef PROBE_CHECK_PEER_H
#define PROBE_CHECK_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet.h"

#define GUEST_CID 42u
#define HOST_CID 2u
#define HOST_WINDOW 262144u

/* A packet that the guest sent. */
struct sent {
	struct packet p;
	uint8_t payload[8192];
};

/* Everything new: the guest's state, the clock at a moment before its turn, room for any number of packets. */
void peer_start(void);

/* How many packets the link takes from now on. */
void peer_room(uint32_t packets);
void peer_pass_time(uint32_t ms); /* in steps of 50 ms, as main.c does; the guest sends in between */

/* A packet from port of the host to local_port of the guest, as a correct host sends it; tests change what they are about. */
struct packet peer_packet(enum packet_op op, uint32_t port, uint32_t local_port);
/* Delivers the header and p.len bytes of payload, and lets the guest send. */
void peer_deliver(struct packet p, const void *payload);
/* Delivers len bytes as they are. */
void peer_deliver_raw(const void *bytes, uint32_t len);
/* Delivers a packet without payload; peer_data one with. */
void peer_op(enum packet_op op, uint32_t port, uint32_t local_port);
void peer_data(uint32_t port, uint32_t local_port, const void *bytes, uint32_t len);

/* The oldest packet not taken yet, or 0. It stays valid until the next call. */
const struct sent *peer_take(void);
uint32_t peer_waiting(void);

/* Opens a connection and takes the response. */
void peer_connect(uint32_t port, uint32_t local_port);
/* Takes all data for port out of what waits, as text; other packets are dropped. Valid until the next call. */
const char *peer_text(uint32_t port);

extern const char *check_name; /* the test that runs */
void check_fail(const char *file, int line, const char *what) __attribute__((noreturn));
#define CHECK(condition) \
	do { \
		if (!(condition)) \
			check_fail(__FILE__, __LINE__, #condition); \
	} while (0)
#define CHECK_TEXT(got, want) check_text(__FILE__, __LINE__, got, want)
void check_text(const char *file, int line, const char *got, const char *want);
/* Takes the next packet and checks its op and that it goes between these ports; returns it. */
#define CHECK_SENT(op, local_port, port) check_sent(__FILE__, __LINE__, op, local_port, port)
const struct sent *check_sent(const char *file, int line, enum packet_op op, uint32_t local_port, uint32_t port);
#define CHECK_QUIET() CHECK(peer_waiting() == 0)

#endif
