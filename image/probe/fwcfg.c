#include "fwcfg.h"

#include "cpu.h"
#include "text.h"

/* By DMA: under emulation every byte through the data port would cost as much as all of it this way. */
#define DMA_PORT_HIGH 0x514
#define DMA_PORT_LOW 0x518

enum dma_control { DMA_ERROR = 1, DMA_READ = 2, DMA_SELECT = 8 };

#define FILE_DIRECTORY 0x19

static struct {
	uint32_t control, len;
	uint64_t address;
} __attribute__((aligned(8))) volatile dma;

static const struct fwcfg_file *files;
static uint32_t file_count;

static uint32_t swap(uint32_t n)
{
	return __builtin_bswap32(n);
}

/* Reads len bytes from the selected file, or from where the last read ended with control DMA_READ alone. */
static void read(uint32_t control, void *to, uint32_t len)
{
	dma.control = swap(control | DMA_READ);
	dma.len = swap(len);
	dma.address = (uint64_t)swap((uintptr_t)to) << 32;
	cpu_fence();
	outl(DMA_PORT_HIGH, 0);
	outl(DMA_PORT_LOW, swap((uintptr_t)&dma));
	while (swap(dma.control) & ~(uint32_t)DMA_ERROR)
		; /* done at once, says QEMU, but its specification lets it take time */
}

void fwcfg_start(void *space, uint32_t bytes)
{
	uint32_t count;
	read((uint32_t)FILE_DIRECTORY << 16 | DMA_SELECT, &count, sizeof count);
	file_count = swap(count);
	if (file_count > bytes / sizeof files[0])
		file_count = bytes / sizeof files[0];
	read(0, space, file_count * (uint32_t)sizeof files[0]);
	files = space;
}

static const struct fwcfg_file *find(const char *name)
{
	for (uint32_t i = 0; i < file_count; i++)
		if (text_same(files[i].name, name)) /* ended by a zero */
			return &files[i];
	return 0;
}

bool fwcfg_text(const char *name, char *text, uint32_t size)
{
	const struct fwcfg_file *file = find(name);
	uint32_t n = file ? swap(file->size) : 0;

	if (n > size - 1)
		n = size - 1;
	text[n] = 0;
	if (n == 0)
		return false;
	read((uint32_t)__builtin_bswap16(file->selector) << 16 | DMA_SELECT, text, n);
	for (uint32_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			text[i] = '?';
	return true;
}
