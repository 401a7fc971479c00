/* One split virtqueue (virtio 1.2, section 2.7) over a fixed set of equal buffers, descriptor n for buffer n. */
#ifndef PROBE_VIRTQUEUE_H
#define PROBE_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define VIRTQUEUE_SIZE 32

struct virtqueue_descriptor {
	uint64_t address;
	uint32_t len;
	uint16_t flags, next;
};

struct virtqueue_available {
	uint16_t flags, index, ring[VIRTQUEUE_SIZE], event;
};

struct virtqueue_used {
	uint16_t flags, index;
	struct {
		uint32_t id, len;
	} ring[VIRTQUEUE_SIZE];
	uint16_t event;
};

struct virtqueue {
	struct virtqueue_descriptor descriptors[VIRTQUEUE_SIZE] __attribute__((aligned(16)));
	volatile struct virtqueue_available available;
	volatile struct virtqueue_used used __attribute__((aligned(4)));
	volatile uint16_t *doorbell; /* write the queue's number here to wake the device */
	uint16_t number;
	uint16_t seen;  /* used entries already taken */
	bool unannounced; /* something was made available since the last virtqueue_notify */
};

/* Describes buffer n. The device may write it if incoming, else it reads it. */
void virtqueue_describe(struct virtqueue *q, uint16_t n, void *buffer, uint32_t len, bool incoming);

/* Hands buffer n to the device. It is told at the next virtqueue_notify. */
void virtqueue_give(struct virtqueue *q, uint16_t n);

/* Takes back the next buffer that the device is done with: its number and the bytes written. False if there is none. */
bool virtqueue_take(struct virtqueue *q, uint16_t *n, uint32_t *len);

/* Would virtqueue_take find one? */
bool virtqueue_waiting(const struct virtqueue *q);

/* Wakes the device if it has something new and wants to be woken. */
void virtqueue_notify(struct virtqueue *q);

/* Whether the device should interrupt when it is done with a buffer. A hint: look again after turning it on. */
void virtqueue_interrupts(struct virtqueue *q, bool wanted);

#endif
