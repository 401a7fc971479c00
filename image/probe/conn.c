#include "conn.h"

#include "buffers.h"
#include "link.h"

#define CHAINS 256

static struct conn table[CONN_MAX];
static struct conn *chains[CHAINS];
static struct conn *free_list, *ready_first, *ready_last;
static uint32_t used_count, timed_count;

static struct conn **chain(uint32_t peer_port, uint32_t local_port)
{
	/* Ports of one peer count up, so their low bits alone spread well. */
	return &chains[(peer_port ^ local_port * 31) % CHAINS];
}

void conn_start(void)
{
	__builtin_memset(table, 0, sizeof table);
	__builtin_memset(chains, 0, sizeof chains);
	free_list = ready_first = ready_last = 0;
	used_count = timed_count = 0;
	for (unsigned i = CONN_MAX; i-- > 0;) {
		table[i].next_same = free_list;
		free_list = &table[i];
	}
}

struct conn *conn_find(uint32_t peer_cid, uint32_t peer_port, uint32_t local_port)
{
	for (struct conn *c = *chain(peer_port, local_port); c; c = c->next_same)
		if (c->peer_cid == peer_cid && c->peer_port == peer_port && c->local_port == local_port)
			return c;
	return 0;
}

struct conn *conn_new(uint32_t peer_cid, uint32_t peer_port, uint32_t local_port)
{
	struct conn *c = free_list;
	if (!c)
		return 0;
	free_list = c->next_same;

	/* A freed entry may still stand in the ready list; it stays there and counts for its new owner. */
	bool ready = c->ready;
	struct conn *next_ready = c->next_ready;
	struct conn **head = chain(peer_port, local_port);
	*c = (struct conn){
		.peer_cid = peer_cid,
		.peer_port = peer_port,
		.local_port = local_port,
		.ready = ready,
		.next_ready = next_ready,
		.next_same = *head,
	};
	*head = c;
	used_count++;
	return c;
}

void conn_free(struct conn *c)
{
	struct conn **at = chain(c->peer_port, c->local_port);
	while (*at != c)
		at = &(*at)->next_same;
	*at = c->next_same;

	conn_deadline(c, 0);
	buffers_free(&c->in);
	buffers_free(&c->out);
	c->state = CONN_FREE;
	c->next_same = free_list;
	free_list = c;
	used_count--;
}

void conn_each(void (*visit)(struct conn *))
{
	for (unsigned i = 0; i < CONN_MAX; i++)
		if (table[i].state != CONN_FREE)
			visit(&table[i]);
}

uint32_t conn_count(void)
{
	return used_count;
}

void conn_wake(struct conn *c)
{
	if (c->ready)
		return;
	c->ready = true;
	c->next_ready = 0;
	if (ready_last)
		ready_last->next_ready = c;
	else
		ready_first = c;
	ready_last = c;
}

struct conn *conn_next_ready(void)
{
	struct conn *c = ready_first;
	if (!c)
		return 0;
	ready_first = c->next_ready;
	if (!ready_first)
		ready_last = 0;
	c->ready = false;
	return c;
}

void conn_deadline(struct conn *c, uint32_t ms)
{
	timed_count += (ms > 0) - c->timed;
	c->timed = ms > 0;
	c->deadline = ms ? link_clock_ms() + ms : 0;
}

bool conn_any_timed(void)
{
	return timed_count > 0;
}

uint32_t conn_credit(const struct conn *c)
{
	uint32_t in_flight = c->sent - c->peer_forwarded;
	return in_flight < c->peer_alloc ? c->peer_alloc - in_flight : 0;
}
