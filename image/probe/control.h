/* The control port: lines in, one line of answer each. PROTOCOL.md describes them. */
#ifndef PROBE_CONTROL_H
#define PROBE_CONTROL_H

#include "conn.h"
#include "identity.h"

/* What a command has asked of the whole machine. */
enum control_wish { WISH_NOTHING, WISH_RESTART, WISH_OFF };

/* id is kept, not copied. */
void control_start(const struct identity *id);

/* The wish, once its answer has been read or was given time enough to be. */
enum control_wish control_wish(void);

/* For dial.c: the answer to the DIAL that c is waiting on. */
void control_dial_failed(struct conn *c, int error);
void control_dial_done(struct conn *c, struct conn *dial, const char *end);

#endif
