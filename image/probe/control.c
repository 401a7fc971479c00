#include "control.h"

#include "buffers.h"
#include "dial.h"
#include "errno.h"
#include "link.h"
#include "service.h"
#include "text.h"
#include "vsock.h"

#define VERSION "1"

/* A line and its end fill the receive ring at most. */
#define LINE_MAX BUFFERS_NARROW_SIZE

/* How long OFF and REBOOT wait at most for the peer to read the answer and hang up: QEMU's end takes unread bytes with it. */
#define FAREWELL_MS 1000

static const struct identity *id;
static enum control_wish wish;
static uint32_t wish_at;

void control_start(const struct identity *who)
{
	id = who;
	wish = WISH_NOTHING;
}

enum control_wish control_wish(void)
{
	if (wish != WISH_NOTHING && (int32_t)(link_clock_ms() - wish_at) >= 0)
		return wish;
	return WISH_NOTHING;
}

/* --- Answers: written to c->out, which is empty when a line is taken up and larger than any answer. --- */

struct answer {
	char space[BUFFERS_NARROW_SIZE];
	struct text text;
};

static struct text *begin(struct answer *a, const char *start)
{
	a->text = text_over(a->space, sizeof a->space);
	text_add(&a->text, start);
	return &a->text;
}

static void end(struct conn *c, struct answer *a)
{
	/* One byte of the space was kept back: the line always gets its end. */
	a->space[a->text.len++] = '\n';
	ring_put(&c->out, (struct span){(const uint8_t *)a->space, a->text.len});
	conn_wake(c);
}

static void say(struct conn *c, const char *line)
{
	struct answer a;
	begin(&a, line);
	end(c, &a);
}

static void say_number(struct conn *c, const char *start, uint32_t n)
{
	struct answer a;
	text_number(begin(&a, start), n);
	end(c, &a);
}

static void say_error(struct conn *c, int error)
{
	struct answer a;
	text_add(begin(&a, "ERR "), errno_name(error));
	end(c, &a);
}

static void say_result(struct conn *c, int error)
{
	if (error)
		say_error(c, error);
	else
		say(c, "OK");
}

static void add_field(struct text *t, const char *name, uint64_t n)
{
	text_char(t, ' ');
	text_add(t, name);
	text_char(t, '=');
	text_number(t, n);
}

static void say_who(struct conn *c, const char *start)
{
	struct answer a;
	struct text *t = begin(&a, start);
	text_add(t, " name=");
	text_add(t, id->name);
	add_field(t, "cid", vsock_cid());
	text_add(t, " token=");
	text_add(t, id->token);
	add_field(t, "peer", c->peer_cid);
	text_char(t, ':');
	text_number(t, c->peer_port);
	end(c, &a);
}

/* --- Commands: each gets the rest of its line. --- */

static void do_ping(struct conn *c, char *rest)
{
	(void)rest;
	say(c, "OK pong");
}

static void do_name(struct conn *c, char *rest)
{
	(void)rest;
	struct answer a;
	text_add(begin(&a, "OK "), id->name);
	end(c, &a);
}

static void do_cid(struct conn *c, char *rest)
{
	(void)rest;
	say_number(c, "OK ", vsock_cid());
}

static void do_whoami(struct conn *c, char *rest)
{
	(void)rest;
	say_who(c, "OK");
}

static void do_dial(struct conn *c, char *rest)
{
	uint32_t cid, port;
	if (!text_parse(text_word(&rest), &cid) || !text_parse(text_word(&rest), &port)) {
		say(c, "ERR EINVAL usage: DIAL CID PORT [TEXT]");
		return;
	}
	c->dial = dial_start(c, cid, port, rest);
	if (!c->dial)
		say_error(c, ENOMEM);
}

static void do_listen(struct conn *c, char *rest)
{
	uint32_t port;
	if (text_parse(text_word(&rest), &port) && !*rest)
		say_result(c, ports_open(port));
	else
		say(c, "ERR EINVAL usage: LISTEN PORT");
}

static void do_unlisten(struct conn *c, char *rest)
{
	uint32_t port;
	if (text_parse(text_word(&rest), &port) && !*rest)
		say_result(c, ports_close(port));
	else
		say(c, "ERR EINVAL usage: UNLISTEN PORT");
}

static void count_port(struct conn *c, char *word)
{
	uint32_t number;
	const struct port *p;
	struct answer a;

	if (!text_parse(word, &number)) {
		say(c, "ERR EINVAL usage: COUNT [PORT]");
		return;
	}
	p = ports_find(number);
	if (!p) {
		say_error(c, ENOENT);
		return;
	}
	struct text *t = begin(&a, "OK");
	add_field(t, "port", number);
	add_field(t, "connections", p->accepted);
	add_field(t, "bytes_in", p->bytes_in);
	add_field(t, "bytes_out", p->bytes_out);
	end(c, &a);
}

static void do_count(struct conn *c, char *rest)
{
	if (*rest) {
		count_port(c, rest);
		return;
	}
	const struct vsock_counts *n = vsock_counts();
	struct answer a;
	struct text *t = begin(&a, "OK");
	add_field(t, "open", conn_count());
	add_field(t, "connections", n->connections);
	add_field(t, "bytes_in", n->bytes_in);
	add_field(t, "bytes_out", n->bytes_out);
	add_field(t, "resets_in", n->resets_in);
	add_field(t, "resets_out", n->resets_out);
	add_field(t, "refused", n->refused);
	add_field(t, "bad", n->bad);
	end(c, &a);
}

static void farewell(struct conn *c, enum control_wish w, const char *answer)
{
	say(c, answer);
	wish = w;
	wish_at = link_clock_ms() + FAREWELL_MS;
	c->farewell = true;
	vsock_finish(c);
}

static void do_restart(struct conn *c, char *rest)
{
	(void)rest;
	farewell(c, WISH_RESTART, "OK restarting");
}

static void do_off(struct conn *c, char *rest)
{
	(void)rest;
	farewell(c, WISH_OFF, "OK going off");
}

static const struct {
	const char *word;
	void (*run)(struct conn *c, char *rest);
} commands[] = {
	{"PING", do_ping},     {"NAME", do_name},         {"CID", do_cid},     {"WHOAMI", do_whoami}, {"DIAL", do_dial},
	{"LISTEN", do_listen}, {"UNLISTEN", do_unlisten}, {"COUNT", do_count}, {"REBOOT", do_restart}, {"OFF", do_off},
};

static void run_line(struct conn *c, char *line)
{
	const char *word = text_word(&line);
	for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (text_same(commands[i].word, word)) {
			commands[i].run(c, line);
			return;
		}
	}
	say(c, "ERR unknown command");
}

/* --- The service --- */

/* Takes the next line, without its end, out of c->in. A line that the peer's end cut off counts too. */
static bool take_line(struct conn *c, char line[LINE_MAX + 1])
{
	uint32_t have = ring_used(&c->in);
	uint32_t n = 0;

	while (n < have && ring_at(&c->in, n) != '\n')
		n++;
	bool ended = n < have;
	if (!ended && have < c->in.size && !(c->peer_no_send && have > 0))
		return false;
	for (uint32_t i = 0; i < n; i++)
		line[i] = (char)ring_at(&c->in, i);
	line[n] = 0;
	if (n > 0 && line[n - 1] == '\r')
		line[n - 1] = 0;
	ring_drop(&c->in, n + ended);
	vsock_forward(c, n + ended);

	/* A full ring without a line end: the line is said to be too long once, and swallowed up to its end. */
	bool was_overlong = c->overlong;
	c->overlong = !ended && !c->peer_no_send;
	if (c->overlong && !was_overlong)
		say(c, "ERR line too long");
	line[c->overlong || was_overlong ? 0 : n] = 0;
	return true;
}

/* Runs lines while the last one has been answered and the answer is out: a peer that does not read is not worked for. */
static void work(struct conn *c)
{
	char line[LINE_MAX + 1];

	while (!c->dial && !c->finish && ring_used(&c->out) == 0 && take_line(c, line))
		if (*line)
			run_line(c, line);
}

static bool control_open(struct conn *c)
{
	if (!buffers_narrow(&c->in) || !buffers_narrow(&c->out))
		return false; /* vsock.c frees what c has */
	c->alloc = c->in.size;
	say_who(c, "vmlaunch-probe " VERSION);
	return true;
}

static void control_arrived(struct conn *c, struct span bytes)
{
	ring_put(&c->in, bytes);
	conn_wake(c);
}

static uint32_t control_offer(struct conn *c, uint32_t most, struct span parts[2])
{
	work(c); /* here and nowhere else: what an earlier offer showed has been sent by now */
	ring_peek(&c->out, most, parts);
	return parts[0].len + parts[1].len;
}

static void control_sent(struct conn *c, uint32_t n)
{
	ring_drop(&c->out, n);
}

static bool control_busy(const struct conn *c)
{
	return c->dial || ring_used(&c->in) > 0;
}

static void control_closed(struct conn *c, int error)
{
	(void)error;
	if (c->dial)
		dial_abandon(c->dial);
	if (c->farewell)
		wish_at = link_clock_ms();
}

void control_dial_failed(struct conn *c, int error)
{
	c->dial = 0;
	say_error(c, error);
}

void control_dial_done(struct conn *c, struct conn *dial, const char *how)
{
	struct answer a;
	struct span parts[2];
	struct text *t = begin(&a, "OK connected");

	c->dial = 0;
	ring_peek(&dial->in, dial->in.size, parts);
	add_field(t, "from", dial->local_port);
	text_add(t, " end=");
	text_add(t, how);
	add_field(t, "read", parts[0].len + parts[1].len);
	text_add(t, " text=");
	text_escaped(t, parts[0].start, parts[0].len);
	text_escaped(t, parts[1].start, parts[1].len);
	end(c, &a);
}

const struct service service_control = {
	.open = control_open,
	.arrived = control_arrived,
	.offer = control_offer,
	.sent = control_sent,
	.busy = control_busy,
	.closed = control_closed,
};
