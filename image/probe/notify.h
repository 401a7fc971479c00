/*
 * Readiness, pushed: READY=1 by the text protocol of sd_notify(3) over a stream, repeated until somebody took it. That a
 * connection was accepted proves little: the kernel accepts for a listener that is about to die. So, as the built-in Linux
 * guest does, it is repeated until the listener has answered with at least a byte. A listener that knows nothing of that, but
 * ends the connection in good order, is taken at its word after a few times.
 */
#ifndef PROBE_NOTIFY_H
#define PROBE_NOTIFY_H

#include <stdbool.h>

#include "identity.h"

/* Begins, if id says where to. id is kept, not copied. */
void notify_start(const struct identity *id);
/* Tries again when it is time to. */
void notify_tick(void);
/* Is there a next try to wait for? */
bool notify_waiting(void);
/* Did it get through? */
bool notify_done(void);

#endif
