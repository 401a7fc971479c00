/* The vhost-vsock-pci device: found, set up by virtio 1.0 with MSI-X, and its three queues worked. Implements link.h. */
#ifndef PROBE_VIRTIO_H
#define PROBE_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

/* Finds and starts the device. NULL, or what is wrong with this machine. */
const char *virtio_start(void);

/* The CID that the device says we have. It may change at a transport reset. */
uint32_t virtio_cid(void);

/* Hands what has arrived to vsock_receive() and vsock_transport_reset(), a bounded amount at a time, and tells the device
 * about buffers given back and packets sent. True if there was anything. */
bool virtio_poll(void);

/* Tells the device about packets sent since. */
void virtio_flush(void);

/* Is everything that was sent in the host's hands? */
bool virtio_sent_all(void);

/* Readies the interrupts for a sleep and looks once more: false if there is work and sleeping would be wrong. To be called
 * with the processor's interrupts off. */
bool virtio_may_sleep(void);

#endif
