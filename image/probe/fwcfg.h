/* QEMU's firmware configuration: what `-fw_cfg name=NAME,string=TEXT` put there. See docs/specs/fw_cfg in QEMU. */
#ifndef PROBE_FWCFG_H
#define PROBE_FWCFG_H

#include <stdbool.h>
#include <stdint.h>

/* A file, as the directory has it. Numbers are big-endian. */
struct fwcfg_file {
	uint32_t size;
	uint16_t selector, reserved;
	char name[56];
};

/* Reads the directory into the bytes at space, as much of it as fits; it is looked at by fwcfg_text. */
void fwcfg_start(void *space, uint32_t bytes);

/* Reads the file called name into text, cut to size-1 bytes and ended by a zero. Everything that is not printable ASCII, and
 * the space, becomes '?', because the text goes out again as a word of a line. False, and text empty, if there is no such file. */
bool fwcfg_text(const char *name, char *text, uint32_t size);

#endif
