/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "trace/trace_priv.h"

/* --- files: ctx is the caller's descriptor ------------------------------------------- */

static int fd_of(const void *ctx)
{
	return *(const int *)ctx;
}

static ssize_t fd_read_at(void *ctx, void *p, size_t n, uint64_t off)
{
	return pread_full(fd_of(ctx), p, n, off);
}

static int fd_write(void *ctx, const void *p, size_t n)
{
	return write_full(fd_of(ctx), p, n);
}

static int fd_write_at(void *ctx, const void *p, size_t n, uint64_t off)
{
	const char *s = p;
	ssize_t put;

	while (n) {
		put = pwrite(fd_of(ctx), s, n, (off_t)off);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put ? -errno : -EIO;
		s += put;
		off += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

struct trace_sink trace_sink_fd(const int *fd)
{
	return (struct trace_sink){fd_write, fd_write_at, (void *)(uintptr_t)fd};
}

struct trace_source trace_source_fd(const int *fd)
{
	return (struct trace_source){fd_read_at, (void *)(uintptr_t)fd};
}

/* --- memory ---------------------------------------------------------------------------- */

static ssize_t buf_read_at(void *ctx, void *p, size_t n, uint64_t off)
{
	const struct buf *b = ctx;

	if (off >= b->n)
		return 0;
	if (n > b->n - off)
		n = b->n - (size_t)off;
	memcpy(p, b->p + off, n);
	return (ssize_t)n;
}

static int buf_write(void *ctx, const void *p, size_t n)
{
	return buf_put(ctx, p, n);
}

static int buf_write_at(void *ctx, const void *p, size_t n, uint64_t off)
{
	struct buf *b = ctx;

	if (off > b->n || n > b->n - off)
		return -EINVAL;
	memcpy(b->p + off, p, n);
	return 0;
}

struct trace_sink trace_sink_buf(struct buf *b)
{
	return (struct trace_sink){buf_write, buf_write_at, b};
}

struct trace_source trace_source_buf(const struct buf *b)
{
	return (struct trace_source){buf_read_at, (void *)(uintptr_t)b};
}

/* --- questions to a source ---------------------------------------------------------------- */

ssize_t source_read(const struct trace_source *src, void *p, size_t n, uint64_t off)
{
	size_t done = 0;
	ssize_t got;

	while (done < n) {
		got = src->read_at(src->ctx, (uint8_t *)p + done, n - done, off + done);
		if (got < 0)
			return got;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int64_t source_size(const struct trace_source *src)
{
	uint64_t low = 0, high = 1, mid; /* low bytes are there, byte high - 1 is not */
	uint8_t byte;
	ssize_t got;

	for (;; high *= 2) {
		got = source_read(src, &byte, 1, high - 1);
		if (got < 0)
			return got;
		if (!got)
			break;
		low = high;
		if (high > INT64_MAX / 2)
			return -EFBIG;
	}
	while (low + 1 < high) {
		mid = low + (high - low) / 2;
		got = source_read(src, &byte, 1, mid - 1);
		if (got < 0)
			return got;
		if (got)
			low = mid;
		else
			high = mid;
	}
	return (int64_t)low;
}
