/* Who this machine is: told by whoever started it, through fw_cfg. */
#ifndef PROBE_IDENTITY_H
#define PROBE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

struct identity {
	char name[64];   /* opt/vmlaunch/name, or "probe" */
	char token[129]; /* opt/vmlaunch/token, or empty */
	bool notify;     /* opt/vmlaunch/notify was there and had the form CID:PORT, */
	uint32_t notify_cid, notify_port; /* … and said this */
};

/* Reads text of the form CID:PORT into id's notify fields. False, and notify off, if it has another form. Writes into text. */
bool identity_notify(struct identity *id, char *text);

#endif
