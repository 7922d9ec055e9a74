/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

/* Sizes in /proc are 0, so read until the end; the first read gets most files whole. */
#define READ_STEP 4096

static int read_all(int fd, size_t limit, struct buf *b)
{
	size_t start = b->n, step = READ_STEP;
	ssize_t got;

	for (;;) {
		if (vec_grow_((void **)&b->p, &b->cap, b->n, step + 1, 1))
			return -ENOMEM;
		got = read(fd, b->p + b->n, step);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		b->n += (size_t)got;
		b->p[b->n] = 0; /* text files can be used as a string */
		if (!got)
			return 0;
		if (b->n - start > limit)
			return -EFBIG;
		if ((size_t)got == step && step < (1 << 20))
			step *= 2;
	}
}

int read_file_at(int dirfd, const char *path, size_t limit, struct buf *b)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int err;

	if (fd < 0)
		return -errno;
	err = read_all(fd, limit, b);
	close(fd);
	return err;
}

int write_full(int fd, const void *p, size_t n)
{
	const char *s = p;
	ssize_t put;

	while (n) {
		put = write(fd, s, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		if (!put)
			return -EIO; /* would loop for ever */
		s += put;
		n -= (size_t)put;
	}
	return 0;
}

int stream_end(FILE *out, const char *what, struct err *err)
{
	int code;

	errno = 0;
	if (!fflush(out) && !ferror(out))
		return 0;
	/* It was an earlier write that failed, and errno has gone. Another fails for the same. */
	if (!errno && fputc('\n', out) != EOF)
		fflush(out);
	code = errno ? errno : EIO;
	return err_set(err, -code, MT_EXIT_OUTPUT, "cannot write %s: %s", what, strerror(code));
}

ssize_t pread_full(int fd, void *p, size_t n, uint64_t off)
{
	size_t done = 0;
	ssize_t got;

	if (n > PTRDIFF_MAX)
		return -EINVAL;
	while (done < n) {
		if (off > INT64_MAX - done)
			break; /* no file reaches there */
		got = pread(fd, (char *)p + done, n - done, (off_t)(off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

const char *path_base(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash && slash[1] ? slash + 1 : path ? path : "";
}

const char *path_label(const char *path)
{
	static const char *const common[] = {"__init__.py", "__main__.py"};
	const char *base = path_base(path), *slash;

	for (size_t i = 0; i < ARRAY_LEN(common); i++) {
		if (strcmp(base, common[i]) != 0 || base < path + 2)
			continue;
		slash = memrchr(path, '/', (size_t)(base - 1 - path));
		base = slash ? slash + 1 : path;
	}
	return base;
}
