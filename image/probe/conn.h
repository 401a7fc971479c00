/* A connection: who, its credit in both directions, what it owes the peer, and the table of all of them. */
#ifndef PROBE_CONN_H
#define PROBE_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "packet.h"
#include "ring.h"

#define CONN_MAX 512

struct service;
struct port;

enum conn_state {
	CONN_FREE,
	CONN_CONNECTING, /* we asked; the peer has not answered */
	CONN_OPEN,
	CONN_CLOSING, /* we said that we neither send nor receive any more; the peer answers with a reset */
};

/* Packets that wait for room on the link. */
enum conn_owes { OWES_REQUEST = 1, OWES_RESPONSE = 2, OWES_CREDIT_UPDATE = 4, OWES_CREDIT_REQUEST = 8 };

struct conn {
	enum conn_state state;
	uint32_t peer_cid, peer_port, local_port;
	const struct service *service;
	struct port *port; /* through which the peer came in; 0 for a connection of our own making */

	/* Our receive window: of `alloc` bytes, received - forwarded are in use. All counts are modulo 2^32. */
	uint32_t alloc, received, forwarded;
	uint32_t told; /* `forwarded` as the peer last heard it */
	/* The peer's window: of peer_alloc bytes, sent - peer_forwarded are in use. */
	uint32_t peer_alloc, peer_forwarded, sent;

	uint8_t owes;         /* enum conn_owes */
	bool peer_no_send;    /* the peer has said that it sends no more, */
	bool peer_no_receive; /* … receives no more */
	bool finish;          /* the service wants the end once everything is out, and before the deadline */
	bool end_sending;     /* the service will say nothing after what it offers now, but still listens */
	bool starved;         /* something to send, no credit, and the peer was asked for it */

	bool timed;        /* deadline counts */
	uint32_t deadline; /* link_clock_ms() */

	struct ring in, out; /* the service's; freed with the connection */
	/* The service's own. */
	union {
		struct {
			uint64_t left;  /* chargen: bytes still to send, */
			uint32_t place; /* … from this place in the pattern */
			uint64_t asked; /* the number being read */
		};
		struct {
			struct conn *dial; /* control: the connection made for the DIAL being answered, or 0 */
			bool overlong;     /* skipping the rest of a line that was too long */
			bool farewell;     /* the machine ends or restarts when this connection is over */
		};
		struct {
			struct conn *asker; /* dial: whose DIAL this is, or 0 once it has been answered */
			bool connected;
		};
	};

	bool ready;             /* in the list of connections that want a turn */
	struct conn *next_ready;
	struct conn *next_same; /* next in the same chain of the table */
};

/* Empties the table. */
void conn_start(void);

/* The connection between these ends, or 0. */
struct conn *conn_find(uint32_t peer_cid, uint32_t peer_port, uint32_t local_port);

/* A new, zeroed entry for these ends, between which there must be none. 0 when the table is full. */
struct conn *conn_new(uint32_t peer_cid, uint32_t peer_port, uint32_t local_port);

/* Frees the entry and its buffers. Says nothing to the peer or to the service: vsock.c does. */
void conn_free(struct conn *c);

/* Calls visit for every connection in use. visit may free the one it is given and may close others. */
void conn_each(void (*visit)(struct conn *));

uint32_t conn_count(void);

/* Puts c into the list of those that want a turn, if it is not there. */
void conn_wake(struct conn *c);
/* Takes the one that has waited longest out of that list, or 0. */
struct conn *conn_next_ready(void);

/* Sets or, with 0 ms, clears the deadline of c. */
void conn_deadline(struct conn *c, uint32_t ms);
/* Does any connection have a deadline? */
bool conn_any_timed(void);

/* How much the peer lets us send now. */
uint32_t conn_credit(const struct conn *c);

#endif
