/* The error numbers of Linux that the protocol's outcomes correspond to, and their names. */
#ifndef PROBE_ERRNO_H
#define PROBE_ERRNO_H

enum {
	EPERM = 1,
	ENOENT = 2,
	ENOMEM = 12,
	EINVAL = 22,
	ENOSPC = 28,
	EPROTO = 71,
	EADDRINUSE = 98,
	ECONNRESET = 104,
	ETIMEDOUT = 110,
};

static inline const char *errno_name(int error)
{
	switch (error) {
	case EPERM:
		return "EPERM";
	case ENOENT:
		return "ENOENT";
	case ENOMEM:
		return "ENOMEM";
	case EINVAL:
		return "EINVAL";
	case ENOSPC:
		return "ENOSPC";
	case EPROTO:
		return "EPROTO";
	case EADDRINUSE:
		return "EADDRINUSE";
	case ECONNRESET:
		return "ECONNRESET";
	case ETIMEDOUT:
		return "ETIMEDOUT";
	}
	return "EIO";
}

#endif
