/*
 * The seam between the protocol (vsock.c and what stands on it) and what carries it: virtio.c in the firmware, a recording
 * double in the native tests. Nothing above this line touches hardware, so that the tests run the very same code.
 */
#ifndef PROBE_LINK_H
#define PROBE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "packet.h"

/* The most payload one packet carries out. */
#define LINK_PAYLOAD_MAX 8192u

/* Is there room to send one more packet now? If not, the link calls vsock_pump() again when there is. */
bool link_ready(void);

/* Sends a header and its payload, which lies in two pieces (a ring wraps) and is p->len bytes together. Copies both.
 * Only to be called after link_ready() said yes. */
void link_send(const struct packet *p, struct span first, struct span second);

/* Time since start. Comes round after 49 days: compare by difference only. */
uint32_t link_clock_ms(void);

#endif
