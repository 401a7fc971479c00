/* Connections that we make: for a DIAL command, and to report readiness. */
#ifndef PROBE_DIAL_H
#define PROBE_DIAL_H

#include "conn.h"

/* Dials for the control connection asker, sends text (if not empty) and a line end, and reads what comes back until a line
 * end, the peer's end, DIAL_READ_MAX bytes, or two seconds of silence; then tells asker and hangs up. 0 without memory. */
struct conn *dial_start(struct conn *asker, uint32_t cid, uint32_t port, const char *text);
#define DIAL_READ_MAX 200u

/* The asker is gone: resets its dial. */
void dial_abandon(struct conn *c);

#endif
