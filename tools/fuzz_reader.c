/* SPDX-License-Identifier: MIT */
/*
 * fuzz_reader FILE…: reads each file to its end, twice, and whatever it holds exits with 0,
 * unless it cannot be read at all. For runs under sanitizers; with -DMT_LIBFUZZER a target for
 * libFuzzer instead.
 */
#include <fcntl.h>
#include <string.h>

#include "trace.h"

/* Looks at every byte that a record points to. */
static uint64_t touch(const struct trace_record *rec)
{
	const struct rec_stack *st = rec->rec;
	const struct rec_meta *meta = rec->rec;
	const struct rec_map *map = rec->rec;
	const struct rec_string *s = rec->rec;
	const struct rec_waitv *wv = rec->rec;

	switch (rec->kind) {
	case REC_K_STACK:
		return hash_bytes(st->frames.v, st->frames.n * sizeof(*st->frames.v), 0);
	case REC_K_WAITV:
		return hash_bytes(wv->addrs.v, wv->addrs.n * sizeof(*wv->addrs.v), 0);
	case REC_K_META:
		return hash_bytes(meta->key.p, meta->key.n, 0) ^
		       hash_bytes(meta->value.p, meta->value.n, 0);
	case REC_K_MAP:
		return hash_bytes(map->build_id.p, map->build_id.n, 0);
	case REC_K_STRING:
		return hash_bytes(s->text.p, s->text.n, 0);
	default:
		return rec->ts;
	}
}

static uint64_t read_all(const struct buf *b, struct err *err)
{
	struct trace_reader *r = trace_reader_new(trace_source_buf(b), err);
	struct trace_record rec;
	uint64_t sum = 0;
	int pass;

	for (pass = 0; r && pass < 2; pass++) {
		while (trace_read(r, &rec) == 1)
			sum += touch(&rec);
		trace_reader_window(r, sum, sum + (1ull << 40));
		trace_reader_rewind(r);
	}
	trace_reader_free(r);
	return sum;
}

#ifdef MT_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b = {(uint8_t *)(uintptr_t)data, size, size};

	read_all(&b, NULL);
	return 0;
}
#else
int main(int argc, char **argv)
{
	struct buf b = {0};
	struct err err;
	int i, failed = 0;

	for (i = 1; i < argc; i++) {
		err = (struct err){0};
		b.n = 0;
		if (read_file_at(AT_FDCWD, argv[i], 1u << 30, &b)) {
			fprintf(stderr, "%s: cannot be read\n", argv[i]);
			failed = 1;
			continue;
		}
		read_all(&b, &err);
		printf("%s: %s\n", argv[i], err.msg[0] ? err.msg : "read");
	}
	buf_release(&b);
	return failed;
}
#endif
