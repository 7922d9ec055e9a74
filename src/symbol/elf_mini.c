/* SPDX-License-Identifier: MIT */
/*
 * .gnu_debugdata: a whole ELF file with nothing but the symbols that .dynsym lacks, packed by
 * xz. Fedora's programs have it ("MiniDebugInfo").
 */
#include <errno.h>
#include <lzma.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf_priv.h"

#define PACKED_MAX   (32u << 20)
#define UNPACKED_MAX (128u << 20)
#define MEMORY_MAX   (128u << 20) /* of the decoder: what `xz -9` needs is half */

/* Unpacks all of in to fd. 0 or -errno. */
static int unpack(int fd, const uint8_t *in, size_t n)
{
	lzma_stream z = LZMA_STREAM_INIT;
	uint8_t out[65536];
	uint64_t total = 0;
	lzma_ret ret = lzma_stream_decoder(&z, MEMORY_MAX, 0);
	int err = ret == LZMA_OK ? 0 : -ENOMEM;

	z.next_in = in;
	z.avail_in = n;
	while (!err && ret == LZMA_OK) {
		z.next_out = out;
		z.avail_out = sizeof(out);
		ret = lzma_code(&z, LZMA_FINISH);
		total += sizeof(out) - z.avail_out;
		if (ret != LZMA_OK && ret != LZMA_STREAM_END)
			err = ret == LZMA_MEM_ERROR ? -ENOMEM : -ENOEXEC;
		else if (total > UNPACKED_MAX)
			err = -E2BIG;
		else
			err = write_full(fd, out, sizeof(out) - z.avail_out);
	}
	lzma_end(&z);
	return err;
}

int elf_mini_open(const struct elf_file *main, struct elf_file *mini)
{
	const struct elf_section *s = elf_section_named(main, ".gnu_debugdata");
	uint8_t *packed;
	int fd, err;

	*mini = (struct elf_file){0};
	if (!s)
		return -ENOENT;
	if (s->size > PACKED_MAX)
		return -E2BIG;
	packed = malloc(s->size);
	if (!packed)
		return -ENOMEM;
	fd = memfd_create("debugdata", MFD_CLOEXEC);
	err = fd < 0 ? -errno : elf_read(main, packed, s->size, s->off);
	if (!err)
		err = unpack(fd, packed, s->size);
	free(packed);
	if (!err)
		return elf_file_open(mini, fd, "", NULL);
	if (fd >= 0)
		close(fd);
	return err;
}
