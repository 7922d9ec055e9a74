/* SPDX-License-Identifier: MIT */
/* files.c: where the file of a mapping is to be had by now. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf_priv.h"
#include "resolve_priv.h"

struct how {
	uint64_t max_bytes;
	bool data;
};

static struct elf_syms *open_elf(const struct how *how, int fd, const char *path,
                                 const struct sym_file *f, struct err *err)
{
	return how->data ? elf_syms_open_data(fd, path, f->build_id, f->build_id_n, err)
	                 : elf_syms_open(fd, path, f->build_id, f->build_id_n, err);
}

static int too_large(uint64_t max_bytes, int fd, const char *path, struct err *err)
{
	char safe[256];
	struct stat st;

	if (fstat(fd, &st) || (uint64_t)st.st_size <= max_bytes)
		return 0;
	return err_set(err, -EFBIG, MT_EXIT_FAIL, "%s: no symbols: the file is too large",
	               fmt_safe(safe, sizeof(safe), path));
}

static struct elf_syms *open_at(const struct how *how, const struct sym_file *f, const char *path,
                                struct err *err)
{
	struct elf_syms *e = NULL;
	char safe[256];
	int fd = regular_open(path);

	if (fd < 0) {
		err_set(err, fd, MT_EXIT_FAIL, "%s: no symbols: %s",
		        fmt_safe(safe, sizeof(safe), path),
		        fd == -ENXIO ? "not a regular file" : strerror(-fd));
		return NULL;
	}
	if (!too_large(how->max_bytes, fd, path, err))
		e = open_elf(how, fd, path, f, err);
	close(fd);
	return e;
}

static struct elf_syms *open_vdso(struct err *err)
{
	int fd = vdso_open();
	struct elf_syms *e;

	if (fd < 0) {
		err_set(err, fd, MT_EXIT_FAIL, VDSO_NAME ": no symbols: %s", strerror(-fd));
		return NULL;
	}
	e = elf_syms_open(fd, VDSO_NAME, NULL, 0, err);
	close(fd);
	return e;
}

/* Through the descriptor that the recorder kept; separate debug files are looked for where the
 * process would find them. */
static struct elf_syms *open_kept(const struct how *how, const struct sym_file *f, struct err *err)
{
	char path[PATH_MAX];

	if (!f->pids[0] || snprintf(path, sizeof(path), "/proc/%u/root%s", f->pids[0], f->path) >=
	                           (int)sizeof(path))
		snprintf(path, sizeof(path), "%s", f->path);
	if (too_large(how->max_bytes, f->fd, f->path, err))
		return NULL;
	return open_elf(how, f->fd, path, f, err);
}

static bool is_deleted(const char *path)
{
	static const char tail[] = " (deleted)";
	size_t n = strlen(path);

	return n >= sizeof(tail) && !strcmp(path + n - (sizeof(tail) - 1), tail);
}

/* The file as its process sees it, which may be in a container, else as we see it. */
struct elf_syms *sym_file_open(const struct sym_file *f, uint64_t max_bytes, bool data,
                               struct err *err)
{
	struct how how = {max_bytes, data};
	char path[PATH_MAX], safe[256];
	struct elf_syms *e;

	if (!strcmp(f->path, VDSO_NAME))
		return open_vdso(err);
	if (f->fd >= 0) {
		e = open_kept(&how, f, err);
		if (e)
			return e;
	}
	if (is_deleted(f->path)) {
		err_set(err, -ENOENT, MT_EXIT_FAIL, "%s: no symbols: the file was gone already",
		        fmt_safe(safe, sizeof(safe), f->path));
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(f->pids); i++) {
		if (!f->pids[i] || (i && f->pids[i] == f->pids[i - 1]))
			continue;
		if (snprintf(path, sizeof(path), "/proc/%u/root%s", f->pids[i], f->path) >=
		    (int)sizeof(path))
			continue;
		e = open_at(&how, f, path, NULL);
		if (e)
			return e;
	}
	return open_at(&how, f, f->path, err);
}
