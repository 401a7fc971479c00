/* A machine whose only purpose is to answer on vsock. PROTOCOL.md says what it answers; README.md how it is built up. */
#include "buffers.h"
#include "console.h"
#include "control.h"
#include "cpu.h"
#include "fwcfg.h"
#include "identity.h"
#include "interrupt.h"
#include "notify.h"
#include "power.h"
#include "service.h"
#include "virtio.h"
#include "vsock.h"

/* How often deadlines are looked at while there are any. Without any the machine sleeps until an interrupt. */
#define TICK_MS 50

/* How long a restart waits for the host to take the last packets. */
#define GOODBYE_MS 500

extern uint8_t buffers_memory[]; /* probe.ld */

void main(void);

static struct identity identity;

static void log_line(const char *what)
{
	console_text("probe ");
	console_text(identity.name);
	console_text(what);
	console_text("\n");
}

static void log_cid(const char *what)
{
	console_text("probe ");
	console_text(identity.name);
	console_text(" cid ");
	console_number(vsock_cid());
	console_text(what);
}

static void read_identity(void)
{
	char address[24];

	/* What will hold connections' bytes is free for now. */
	fwcfg_start(buffers_memory, BUFFERS_MEMORY);
	if (!fwcfg_text("opt/vmlaunch/name", identity.name, sizeof identity.name))
		__builtin_memcpy(identity.name, "probe", sizeof "probe");
	fwcfg_text("opt/vmlaunch/token", identity.token, sizeof identity.token);
	if (fwcfg_text("opt/vmlaunch/notify", address, sizeof address) && !identity_notify(&identity, address))
		log_line(": opt/vmlaunch/notify is not of the form CID:PORT, nobody will be told");
}

static void __attribute__((noreturn)) stop(const char *why)
{
	log_line(why);
	cpu_stop();
}

/* Resets all connections: a host does not notice by itself that its guest starts anew. Off is different, QEMU's end tells it. */
static void say_goodbye(void)
{
	vsock_end_all();
	virtio_flush();
	for (uint32_t began = power_clock(); !virtio_sent_all() && power_clock() - began < GOODBYE_MS;)
		;
}

/* Ends the machine when the power button or a command says so. */
static void obey(void)
{
	enum control_wish wish = control_wish();

	if (power_button()) {
		log_line(" off: power button");
		power_off();
	}
	if (wish == WISH_OFF) {
		log_line(" off: asked to");
		power_off();
	}
	if (wish == WISH_RESTART) {
		log_line(" restart: asked to");
		say_goodbye();
		power_restart();
	}
}

/* Sleeps until there is something to do. Interrupts are on only inside cpu_sleep. */
static void rest(void)
{
	if (!virtio_may_sleep() || power_button())
		return;
	if (conn_any_timed() || notify_waiting())
		interrupt_after(TICK_MS);
	cpu_sleep();
}

void main(void)
{
	read_identity();
	interrupt_start();
	if (!power_start())
		stop(": neither a pc nor a q35 board, or one without ACPI");
	const char *trouble = virtio_start();
	if (trouble) {
		console_text("probe: ");
		stop(trouble);
	}
	buffers_start(buffers_memory);
	vsock_start(virtio_cid());
	ports_start();
	control_start(&identity);
	log_cid(" ready\n");
	notify_start(&identity);

	bool told = false;
	for (;;) {
		bool busy = virtio_poll();
		if (conn_any_timed() || notify_waiting()) {
			vsock_tick();
			notify_tick();
		}
		busy |= vsock_pump();
		virtio_flush();
		obey();
		if (notify_done() && !told) {
			told = true;
			log_line(" told that it is ready");
		}
		if (!busy)
			rest();
	}
}
