/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "resolve_priv.h"

/* The image comes from our own kernel, so its header can be believed; it ends with the
 * section table. */
static size_t image_size(const ElfW(Ehdr) * h)
{
	size_t table = h->e_shoff + (size_t)h->e_shnum * h->e_shentsize, end = table;
	const ElfW(Phdr) *ph = (const void *)((const char *)h + h->e_phoff);

	for (int i = 0; i < h->e_phnum; i++) {
		if (ph[i].p_offset + ph[i].p_filesz > end)
			end = ph[i].p_offset + ph[i].p_filesz;
	}
	return end;
}

int vdso_open(void)
{
	const ElfW(Ehdr) *h = (const void *)getauxval(AT_SYSINFO_EHDR);
	int fd, err;

	if (!h)
		return -ENOENT;
	fd = memfd_create("vdso", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = write_full(fd, h, image_size(h));
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}
