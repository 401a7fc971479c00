/* Readiness, pushed: READY=1 by the text protocol of sd_notify(3) over a stream, repeated until somebody took it. */
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
