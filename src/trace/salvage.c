/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "trace/trace_priv.h"

enum { CHUNK_BYTES = 64 << 10 };

/* Offset in p of a valid head that lies whole in its n bytes; n when there is none. */
static size_t find_head(const uint8_t *p, size_t n)
{
	const uint8_t *at = p, *end = p + n;
	struct block_head head;

	while ((at = memmem(at, (size_t)(end - at), BLOCK_MAGIC, 4))) {
		if (end - at >= HEAD_BYTES && head_decode(at, &head))
			return (size_t)(at - p);
		at++;
	}
	return n;
}

int64_t salvage_find(const struct trace_source *src, uint64_t from, uint64_t size)
{
	uint8_t chunk[CHUNK_BYTES];
	ssize_t got;
	size_t at;

	while (from < size && size - from >= HEAD_BYTES) {
		uint64_t n = size - from < sizeof(chunk) ? size - from : sizeof(chunk);

		got = source_read(src, chunk, (size_t)n, from);
		if (got < 0)
			return got;
		at = find_head(chunk, (size_t)got);
		if (at < (size_t)got)
			return (int64_t)(from + at);
		if (got < HEAD_BYTES)
			break;
		from += (uint64_t)got - (HEAD_BYTES - 1); /* a head may lie across */
	}
	return (int64_t)size;
}
