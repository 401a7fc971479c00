#include "virtqueue.h"

#include "cpu.h"

#define DESCRIPTOR_WRITE 2
#define AVAILABLE_NO_INTERRUPT 1
#define USED_NO_NOTIFY 1

void virtqueue_describe(struct virtqueue *q, uint16_t n, void *buffer, uint32_t len, bool incoming)
{
	q->descriptors[n] = (struct virtqueue_descriptor){
		.address = (uintptr_t)buffer,
		.len = len,
		.flags = incoming ? DESCRIPTOR_WRITE : 0,
	};
}

void virtqueue_give(struct virtqueue *q, uint16_t n)
{
	q->available.ring[q->available.index % VIRTQUEUE_SIZE] = n;
	cpu_fence(); /* the entry before the index that shows it */
	q->available.index++;
	q->unannounced = true;
}

bool virtqueue_waiting(const struct virtqueue *q)
{
	return q->seen != q->used.index;
}

bool virtqueue_take(struct virtqueue *q, uint16_t *n, uint32_t *len)
{
	if (!virtqueue_waiting(q))
		return false;
	cpu_fence(); /* the index before the entry */
	uint32_t id = q->used.ring[q->seen % VIRTQUEUE_SIZE].id;
	*n = (uint16_t)(id % VIRTQUEUE_SIZE);
	*len = q->used.ring[q->seen % VIRTQUEUE_SIZE].len;
	q->seen++;
	return true;
}

void virtqueue_notify(struct virtqueue *q)
{
	if (!q->unannounced)
		return;
	q->unannounced = false;
	cpu_fence(); /* the index before the look at the flag */
	if (!(q->used.flags & USED_NO_NOTIFY))
		*q->doorbell = q->number;
}

void virtqueue_interrupts(struct virtqueue *q, bool wanted)
{
	q->available.flags = wanted ? 0 : AVAILABLE_NO_INTERRUPT;
	cpu_fence();
}
