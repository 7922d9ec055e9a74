/* SPDX-License-Identifier: MIT */
/* What the tests of reader and writer share: small traces of marks, opening, refusing. */
#ifndef MT_TRACE_TEST_H
#define MT_TRACE_TEST_H

#include <criterion/criterion.h>
#include <string.h>

#include "../support/trace_gen.h"

static inline struct trace_reader *must_open(const struct buf *b)
{
	struct err err = {0};
	struct trace_reader *r = trace_reader_new(trace_source_buf(b), &err);

	cr_assert(r, "%s", err.msg);
	return r;
}

static inline void expect_refused(const struct buf *b, int status, const char *part)
{
	struct err err = {0};

	cr_expect_null(trace_reader_new(trace_source_buf(b), &err));
	cr_expect_eq(err.status, status, "%d: %s", err.status, err.msg);
	cr_expect(strstr(err.msg, part), "\"%s\" lacks \"%s\"", err.msg, part);
	cr_expect_null(trace_reader_new(trace_source_buf(b), NULL));
}

static inline void write_marks(struct trace_writer *w, uint64_t first, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct rec_mark m = {.what = first + i};

		cr_assert_eq(trace_write(w, REC_K_MARK, 1000 * (first + i), &m), 0);
	}
}

/* A trace whose `blocks` EVENTS blocks hold ten marks each: 0…9, 10…19, … */
static inline void marks_in_blocks(struct buf *b, size_t blocks, bool finish)
{
	struct trace_writer *w = trace_writer_new(trace_sink_buf(b), NULL);
	size_t i;

	cr_assert(w);
	for (i = 0; i < blocks; i++) {
		write_marks(w, 10 * i, 10);
		cr_assert_eq(trace_writer_flush(w), 0);
	}
	if (finish)
		cr_assert_eq(trace_writer_finish(w), 0);
	trace_writer_free(w);
}

#endif
