/* What stands behind a port: a set of functions that vsock.c calls, and the ports that are open. */
#ifndef PROBE_SERVICE_H
#define PROBE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"

/* Any function but offer and sent may be 0. */
struct service {
	/* A peer wants in. Gets c its buffers and sets c->alloc. False turns the peer away with a reset. */
	bool (*open)(struct conn *c);
	/* The peer took us in: the other side of a connection of our own making. */
	void (*connected)(struct conn *c);
	/* Bytes came, never more than the window has room for. They count as used until vsock_forward(). 0: dropped and forwarded. */
	void (*arrived)(struct conn *c, struct span bytes);
	/* The peer will send nothing more. c->peer_no_send is set. */
	void (*ended)(struct conn *c);
	/* What to send next, at most so many bytes, in two pieces; returns how many. 0: nothing for now. */
	uint32_t (*offer)(struct conn *c, uint32_t most, struct span parts[2]);
	/* The first n bytes of the last offer went out. */
	void (*sent)(struct conn *c, uint32_t n);
	/* Can more still come from offer although the peer sends no more? 0: no. */
	bool (*busy)(const struct conn *c);
	/* The deadline set by the service passed. */
	void (*timeout)(struct conn *c);
	/* The connection is gone; c is freed on return. error is a Linux errno, or 0 for an orderly end. */
	void (*closed)(struct conn *c, int error);
};

/* A port that is open, and its count. */
struct port {
	const struct service *service; /* 0: a free entry */
	uint32_t number;
	uint32_t accepted;
	uint64_t bytes_in, bytes_out;
};

#define PORTS_MAX 64

enum well_known_port { PORT_ECHO = 7, PORT_DISCARD = 9, PORT_CHARGEN = 19, PORT_CONTROL = 1234 };

/* Opens the well-known ports, and closes all others. */
void ports_start(void);
/* The open port of that number, or 0. */
struct port *ports_find(uint32_t number);
/* Opens a port for echo. Returns 0 or a Linux errno: EADDRINUSE, EINVAL (reserved number), ENOSPC. */
int ports_open(uint32_t number);
/* Closes a port that ports_open opened; its connections stay. Returns 0 or a Linux errno: ENOENT, EPERM (well-known). */
int ports_close(uint32_t number);

extern const struct service service_echo, service_discard, service_chargen, service_control;

#endif
