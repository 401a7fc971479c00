/*
 * The socket protocol of virtio 1.2, section 5.10.6, over link.h: what arrives is checked and sorted to connections, what
 * services have to say goes out as far as credit and the link allow. Where the specification is silent it does as Linux does
 * (net/vmw_vsock/virtio_transport_common.c). No call blocks and none recurses into another connection's service.
 */
#ifndef PROBE_VSOCK_H
#define PROBE_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"

struct vsock_counts {
	uint64_t connections; /* accepted and made */
	uint64_t bytes_in, bytes_out;
	uint64_t resets_in, resets_out;
	uint64_t refused; /* requests for a closed port or without memory left */
	uint64_t bad;     /* packets that no correct peer sends */
};

/* Forgets everything; cid is ours. */
void vsock_start(uint32_t cid);
uint32_t vsock_cid(void);
const struct vsock_counts *vsock_counts(void);

/* May vsock_receive() be called? No while too many answers wait for the link: the host then has to wait, and nothing is lost. */
bool vsock_can_receive(void);
/* One packet: its header and what follows, len bytes as the device counts them. Anything may be in it. */
void vsock_receive(const uint8_t *bytes, uint32_t len);
/* Sends what can be sent. True if it did anything. */
bool vsock_pump(void);
/* Lets deadlines pass. */
void vsock_tick(void);
/* The transport's other end was exchanged (VIRTIO_VSOCK_EVENT_TRANSPORT_RESET): all connections are gone, the CID may be new. */
void vsock_transport_reset(uint32_t cid);

/* Ends all connections with a reset each, before the machine goes. */
void vsock_end_all(void);

/* For services. */

/* Begins a connection to a peer from a port of our choosing; the service's connected or closed follows. 0 without memory. */
struct conn *vsock_connect(uint32_t cid, uint32_t port, const struct service *service);
/* n received bytes have been dealt with: their room in the window is free again. */
void vsock_forward(struct conn *c, uint32_t n);
/* Tells the peer, once everything offered is out, that nothing more will come; the peer may still talk. */
void vsock_end_sending(struct conn *c);
/* Ends the connection in good order once everything offered is out. */
void vsock_finish(struct conn *c);
/* Ends it at once with a reset; service->closed is called with error. */
void vsock_abort(struct conn *c, int error);

#endif
