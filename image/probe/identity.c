#include "identity.h"

#include "text.h"

bool identity_notify(struct identity *id, char *text)
{
	char *port = text;
	while (*port && *port != ':')
		port++;
	if (*port)
		*port++ = 0;
	id->notify = text_parse(text, &id->notify_cid) && text_parse(port, &id->notify_port);
	return id->notify;
}
