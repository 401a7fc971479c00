#include "errno.h"
#include "service.h"

static struct port ports[PORTS_MAX];

static const struct {
	uint32_t number;
	const struct service *service;
} well_known[] = {
	{PORT_ECHO, &service_echo},
	{PORT_DISCARD, &service_discard},
	{PORT_CHARGEN, &service_chargen},
	{PORT_CONTROL, &service_control},
};

#define WELL_KNOWN (sizeof well_known / sizeof well_known[0])

/* VMADDR_PORT_ANY of Linux: not a port. */
#define PORT_ANY 0xffffffffu

void ports_start(void)
{
	__builtin_memset(ports, 0, sizeof ports);
	for (unsigned i = 0; i < WELL_KNOWN; i++)
		ports[i] = (struct port){.service = well_known[i].service, .number = well_known[i].number};
}

struct port *ports_find(uint32_t number)
{
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i].service && ports[i].number == number)
			return &ports[i];
	return 0;
}

int ports_open(uint32_t number)
{
	if (number == PORT_ANY)
		return EINVAL;
	if (ports_find(number))
		return EADDRINUSE;
	for (unsigned i = WELL_KNOWN; i < PORTS_MAX; i++) {
		if (!ports[i].service) {
			ports[i] = (struct port){.service = &service_echo, .number = number};
			return 0;
		}
	}
	return ENOSPC;
}

int ports_close(uint32_t number)
{
	struct port *p = ports_find(number);
	if (!p)
		return ENOENT;
	if (p < ports + WELL_KNOWN)
		return EPERM;
	p->service = 0;
	return 0;
}
