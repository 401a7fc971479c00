/* The packet on the wire: virtio 1.2, section 5.10.6 "Device Operation" of the socket device. Little-endian, as we are. */
#ifndef PROBE_PACKET_H
#define PROBE_PACKET_H

#include <stdint.h>

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* bytes of payload behind the header */
	uint16_t type;
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc; /* the sender's receive window, in bytes */
	uint32_t fwd_cnt;   /* bytes the sender has taken out of it since the connection began, modulo 2^32 */
} __attribute__((packed));

_Static_assert(sizeof(struct packet) == 44, "struct virtio_vsock_hdr");

enum packet_type { PACKET_STREAM = 1, PACKET_SEQPACKET = 2 };

enum packet_op {
	PACKET_INVALID,
	PACKET_REQUEST,
	PACKET_RESPONSE,
	PACKET_RESET,
	PACKET_SHUTDOWN,
	PACKET_DATA,
	PACKET_CREDIT_UPDATE,
	PACKET_CREDIT_REQUEST,
};

/* Flags of PACKET_SHUTDOWN: what the sender will not do any more. */
enum packet_shutdown { PACKET_NO_RECEIVE = 1, PACKET_NO_SEND = 2 };

/* A run of bytes that somebody else owns. */
struct span {
	const uint8_t *start;
	uint32_t len;
};

#endif
