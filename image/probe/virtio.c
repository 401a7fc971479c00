#include "virtio.h"

#include "cpu.h"
#include "interrupt.h"
#include "link.h"
#include "pci.h"
#include "power.h"
#include "virtqueue.h"
#include "vsock.h"

#define DEVICE_ID 0x10531af4u /* virtio 1.0 socket device */

/* Vendor capabilities (virtio 1.2, section 4.1.4) and MSI-X. */
#define CAPABILITY_VENDOR 0x09
#define CAPABILITY_MSIX 0x11
#define MSIX_ENABLE 0x80000000u
#define MSIX_MASK_ALL 0x40000000u
#define NO_VECTOR 0xffff

enum structure { STRUCTURE_COMMON = 1, STRUCTURE_NOTIFY = 2, STRUCTURE_DEVICE = 4 };

struct common {
	uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
	uint16_t msix_config, queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_offset;
	uint64_t queue_descriptors, queue_available, queue_used;
} __attribute__((packed));

enum status { STATUS_SEEN = 1, STATUS_DRIVER = 2, STATUS_RUNNING = 4, STATUS_FEATURES = 8 };

#define FEATURE_VERSION_1 1u /* bit 32, the only one we want: no seqpacket */

enum queue { QUEUE_RECEIVE, QUEUE_SEND, QUEUE_EVENT, QUEUES };

#define RECEIVE_SIZE 4096
#define EVENT_SIZE 4 /* struct virtio_vsock_event: a 32-bit id, of which there is one */
#define EVENTS 4

/* Where the device's structures are, found by find_structures. */
struct place {
	volatile struct common *common;
	volatile uint32_t *device;
	uint32_t notify, notify_step;
	volatile uint32_t *msix;
	uint8_t msix_capability;
};

static volatile uint32_t *device_cid;
static struct virtqueue queues[QUEUES] __attribute__((aligned(16)));
static uint8_t receive_buffers[VIRTQUEUE_SIZE][RECEIVE_SIZE] __attribute__((aligned(16)));
static uint8_t send_buffers[VIRTQUEUE_SIZE][sizeof(struct packet) + LINK_PAYLOAD_MAX] __attribute__((aligned(16)));
static uint8_t event_buffers[EVENTS][EVENT_SIZE] __attribute__((aligned(4)));
static uint16_t free_sends[VIRTQUEUE_SIZE], free_send_count;

static void find_structures(pci_function f, struct place *place)
{
	uint32_t bar[PCI_BARS];
	pci_place(f, bar);

	uint32_t word;
	for (uint8_t at = (uint8_t)pci_read(f, PCI_CAPABILITIES); at; at = (uint8_t)(word >> 8)) {
		word = pci_read(f, at);
		if ((word & 0xff) == CAPABILITY_MSIX) {
			uint32_t table = pci_read(f, (uint8_t)(at + 4));
			place->msix_capability = at;
			if ((table & 7) < PCI_BARS && bar[table & 7])
				place->msix = (volatile uint32_t *)(bar[table & 7] + (table & ~7u));
			continue;
		}
		if ((word & 0xff) != CAPABILITY_VENDOR)
			continue;
		uint32_t which = pci_read(f, (uint8_t)(at + 4)) & 0xff;
		if (which >= PCI_BARS || !bar[which])
			continue;
		uint32_t address = bar[which] + pci_read(f, (uint8_t)(at + 8));
		switch (word >> 24) {
		case STRUCTURE_COMMON:
			place->common = (volatile struct common *)address;
			break;
		case STRUCTURE_NOTIFY:
			place->notify = address;
			place->notify_step = pci_read(f, (uint8_t)(at + 16));
			break;
		case STRUCTURE_DEVICE:
			place->device = (volatile uint32_t *)address;
			break;
		}
	}
}

/* All queues share one MSI-X entry: the main loop looks at all of them anyway. */
static void open_msix(pci_function f, const struct place *place)
{
	place->msix[0] = INTERRUPT_MESSAGE_ADDRESS;
	place->msix[1] = 0;
	place->msix[2] = INTERRUPT_MESSAGE_DATA;
	place->msix[3] = 0; /* not masked */
	uint32_t control = pci_read(f, place->msix_capability);
	pci_write(f, place->msix_capability, (control & ~MSIX_MASK_ALL) | MSIX_ENABLE);
}

static void open_queue(const struct place *place, enum queue number)
{
	volatile struct common *c = place->common;
	struct virtqueue *q = &queues[number];

	c->queue_select = number;
	c->queue_size = VIRTQUEUE_SIZE;
	c->queue_vector = 0;
	c->queue_descriptors = (uintptr_t)q->descriptors;
	c->queue_available = (uintptr_t)&q->available;
	c->queue_used = (uintptr_t)&q->used;
	q->number = number;
	q->doorbell = (volatile uint16_t *)(place->notify + c->queue_notify_offset * place->notify_step);
	c->queue_enable = 1;
}

static void fill_queues(void)
{
	for (uint16_t n = 0; n < VIRTQUEUE_SIZE; n++) {
		virtqueue_describe(&queues[QUEUE_RECEIVE], n, receive_buffers[n], RECEIVE_SIZE, true);
		virtqueue_give(&queues[QUEUE_RECEIVE], n);
		free_sends[free_send_count++] = n;
	}
	for (uint16_t n = 0; n < EVENTS; n++) {
		virtqueue_describe(&queues[QUEUE_EVENT], n, event_buffers[n], EVENT_SIZE, true);
		virtqueue_give(&queues[QUEUE_EVENT], n);
	}
}

const char *virtio_start(void)
{
	pci_function f;
	struct place place = {0};

	if (!pci_find(DEVICE_ID, &f))
		return "no vhost-vsock-pci device on PCI bus 0";
	find_structures(f, &place);
	volatile struct common *c = place.common;
	if (!c || !place.device || !place.notify || !place.msix)
		return "the vsock device lacks a virtio 1.0 structure or MSI-X";
	open_msix(f, &place);

	c->status = 0;
	while (c->status)
		; /* the reset is over when it reads 0 */
	c->status = STATUS_SEEN;
	c->status = STATUS_SEEN | STATUS_DRIVER;
	c->driver_feature_select = 0;
	c->driver_feature = 0;
	c->driver_feature_select = 1;
	c->driver_feature = FEATURE_VERSION_1;
	c->status = STATUS_SEEN | STATUS_DRIVER | STATUS_FEATURES;
	if (!(c->status & STATUS_FEATURES))
		return "the vsock device refuses virtio 1.0";
	c->msix_config = NO_VECTOR;
	for (int n = 0; n < QUEUES; n++)
		open_queue(&place, (enum queue)n);
	fill_queues();
	c->status = STATUS_SEEN | STATUS_DRIVER | STATUS_FEATURES | STATUS_RUNNING;

	device_cid = place.device;
	virtqueue_notify(&queues[QUEUE_RECEIVE]);
	virtqueue_notify(&queues[QUEUE_EVENT]);
	return 0;
}

uint32_t virtio_cid(void)
{
	return *device_cid; /* the upper half of the 64-bit field is 0 by the specification */
}

static void collect_sent(void)
{
	uint16_t n;
	uint32_t len;
	while (virtqueue_take(&queues[QUEUE_SEND], &n, &len))
		free_sends[free_send_count++] = n;
}

bool link_ready(void)
{
	if (free_send_count == 0)
		collect_sent();
	return free_send_count > 0;
}

void link_send(const struct packet *p, struct span first, struct span second)
{
	uint16_t n = free_sends[--free_send_count];
	uint8_t *to = send_buffers[n];

	__builtin_memcpy(to, p, sizeof *p);
	__builtin_memcpy(to + sizeof *p, first.start, first.len);
	__builtin_memcpy(to + sizeof *p + first.len, second.start, second.len);
	virtqueue_describe(&queues[QUEUE_SEND], n, to, (uint32_t)sizeof *p + first.len + second.len, false);
	virtqueue_give(&queues[QUEUE_SEND], n);
}

uint32_t link_clock_ms(void)
{
	return power_clock();
}

static bool poll_events(void)
{
	struct virtqueue *q = &queues[QUEUE_EVENT];
	uint16_t n;
	uint32_t len;
	bool any = false;

	for (; virtqueue_take(q, &n, &len); any = true) {
		/* VIRTIO_VSOCK_EVENT_TRANSPORT_RESET (0) is the only event there is. */
		if (len >= EVENT_SIZE && *(const uint32_t *)(const void *)event_buffers[n] == 0)
			vsock_transport_reset(virtio_cid());
		virtqueue_give(q, n);
	}
	virtqueue_notify(q);
	return any;
}

bool virtio_poll(void)
{
	struct virtqueue *q = &queues[QUEUE_RECEIVE];
	uint16_t n;
	uint32_t len;
	bool any = poll_events();

	virtqueue_interrupts(q, false);
	virtqueue_interrupts(&queues[QUEUE_SEND], false);
	/* One round of buffers at most, so that answers go out in between. */
	for (int i = 0; i < VIRTQUEUE_SIZE && vsock_can_receive() && virtqueue_take(q, &n, &len); i++) {
		vsock_receive(receive_buffers[n], len < RECEIVE_SIZE ? len : RECEIVE_SIZE);
		virtqueue_give(q, n);
		any = true;
	}
	virtqueue_notify(q);
	return any;
}

void virtio_flush(void)
{
	virtqueue_notify(&queues[QUEUE_SEND]);
}

bool virtio_sent_all(void)
{
	collect_sent();
	return free_send_count == VIRTQUEUE_SIZE;
}

bool virtio_may_sleep(void)
{
	/* A finished send is news only to those who wait for room. */
	bool blocked = !link_ready();
	virtqueue_interrupts(&queues[QUEUE_RECEIVE], true);
	virtqueue_interrupts(&queues[QUEUE_SEND], blocked);
	if (blocked && virtqueue_waiting(&queues[QUEUE_SEND]))
		return false;
	if (vsock_can_receive() && virtqueue_waiting(&queues[QUEUE_RECEIVE]))
		return false;
	return !virtqueue_waiting(&queues[QUEUE_EVENT]);
}
