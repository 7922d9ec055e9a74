/* SPDX-License-Identifier: MIT */
/* Files that are incomplete or damaged in one known way: what is whole is read, what is not is
 * counted. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "trace_test.h"

/* Where block number `seq` begins. */
static size_t block_at(const struct buf *b, uint32_t seq, size_t *len)
{
	struct block_head h;
	size_t at = HEADER_BYTES;

	while (at + HEAD_BYTES <= b->n && head_decode(b->p + at, &h)) {
		*len = HEAD_BYTES + h.comp_len;
		if (h.seq == seq)
			return at;
		at += *len;
	}
	cr_assert_fail("no block %u", seq);
	return 0;
}

/* The marks that are read, as a string of digits by block: "012" = ten of each. */
static char *blocks_read(const struct buf *b, struct trace_info *info)
{
	static char out[64];
	struct trace_reader *r = must_open(b);
	const struct rec_mark *m;
	struct trace_record rec;
	size_t n = 0;

	memset(out, 0, sizeof(out));
	while (trace_read(r, &rec) == 1) {
		m = rec.rec;
		cr_assert_eq(rec.ts, 1000 * m->what);
		if (m->what % 10 == 9)
			out[n++] = (char)('0' + m->what / 10);
	}
	*info = *trace_reader_info(r);
	trace_reader_free(r);
	return out;
}

/* --- incomplete and damaged
 * ------------------------------------------------------------------------- */

Test(trace, still_being_written)
{
	struct trace_info info;
	struct trace_writer *w;
	struct buf b = {0};

	w = trace_writer_new(trace_sink_buf(&b), NULL);
	cr_expect_eq(gen_read_all(&b, &info), 0, "nothing yet, but it opens");
	cr_expect(!info.complete && !info.truncated);
	write_marks(w, 0, 10);
	cr_expect_eq(gen_read_all(&b, &info), 0, "buffered");
	cr_assert_eq(trace_writer_flush(w), 0);
	cr_assert_eq(trace_writer_flush(w), 0);
	cr_expect_str_eq(blocks_read(&b, &info), "0");
	cr_expect(!info.complete && !info.truncated && !info.damaged_blocks);
	cr_expect(info.first_ts == 0 && info.last_ts == 9000);
	trace_writer_free(w);
	buf_release(&b);
}

Test(trace, cut)
{
	struct trace_info info;
	struct buf b = {0};
	size_t at, len;

	marks_in_blocks(&b, 3, true);
	at = block_at(&b, 3, &len); /* 0 is SCHEMA */
	b.n = at + len - 1;
	cr_expect_str_eq(blocks_read(&b, &info), "01");
	cr_expect(info.truncated && !info.damaged_blocks);
	cr_expect_eq(info.skipped_bytes, len - 1);
	b.n = at; /* between blocks: the header knows that there was more */
	cr_expect_str_eq(blocks_read(&b, &info), "01");
	cr_expect(info.truncated && !info.damaged_blocks);
	b.n = HEADER_BYTES - 1;
	expect_refused(&b, MT_EXIT_TRACE_DAMAGED, "header");
	b.n = 5;
	expect_refused(&b, MT_EXIT_TRACE_DAMAGED, "header");
	b.n = HEADER_BYTES;
	expect_refused(&b, MT_EXIT_TRACE_DAMAGED, "no whole block");
	b.n = HEADER_BYTES + 60;
	expect_refused(&b, MT_EXIT_TRACE_DAMAGED, "cut before its first whole block");
	buf_release(&b);
}

Test(trace, damaged_payload_and_head)
{
	struct trace_info info;
	struct buf b = {0};
	size_t at, len;

	marks_in_blocks(&b, 4, true);
	at = block_at(&b, 2, &len);
	b.p[at + HEAD_BYTES + 9] ^= 4;
	cr_expect_str_eq(blocks_read(&b, &info), "023");
	cr_expect_eq(info.damaged_blocks, 1);
	cr_expect_eq(info.skipped_bytes, len);
	cr_expect(info.complete && !info.truncated);
	b.p[at + HEAD_BYTES + 9] ^= 4;
	b.p[at + 30] ^= 4;
	cr_expect_str_eq(blocks_read(&b, &info), "023");
	cr_expect_eq(info.damaged_blocks, 1);
	cr_expect_eq(info.skipped_bytes, len);
	buf_release(&b);
}

Test(trace, lost_bytes_cost_one_block)
{
	struct trace_info info;
	struct buf b = {0};
	size_t at, len;

	marks_in_blocks(&b, 4, true);
	at = block_at(&b, 2, &len);
	memmove(b.p + at + HEAD_BYTES + 1, b.p + at + HEAD_BYTES + 6, b.n - at - HEAD_BYTES - 6);
	b.n -= 5;
	cr_expect_str_eq(blocks_read(&b, &info), "023");
	cr_expect_eq(info.damaged_blocks, 1);
	buf_release(&b);
}

Test(trace, missing_doubled_and_swapped_blocks)
{
	struct buf b = {0}, c = {0};
	struct trace_info info;
	size_t at, len, len2;

	marks_in_blocks(&b, 4, true);
	at = block_at(&b, 2, &len);
	buf_put(&c, b.p, at); /* without block 2 */
	buf_put(&c, b.p + at + len, b.n - at - len);
	cr_expect_str_eq(blocks_read(&c, &info), "023");
	cr_expect_eq(info.damaged_blocks, 1);

	c.n = 0;
	buf_put(&c, b.p, at + len); /* block 2 twice */
	buf_put(&c, b.p + at, b.n - at);
	cr_expect_str_eq(blocks_read(&c, &info), "0123");
	cr_expect_eq(info.damaged_blocks, 1);

	c.n = 0;
	block_at(&b, 3, &len2);
	buf_put(&c, b.p, at); /* 3 before 2 */
	buf_put(&c, b.p + at + len, len2);
	buf_put(&c, b.p + at, len);
	buf_put(&c, b.p + at + len + len2, b.n - at - len - len2);
	cr_expect_str_eq(blocks_read(&c, &info), "023");
	cr_expect_eq(info.damaged_blocks, 2);
	buf_release(&b);
	buf_release(&c);
}

Test(trace, damaged_header_and_schema)
{
	struct trace_info info;
	struct buf b = {0};
	size_t at, len;

	marks_in_blocks(&b, 2, true);
	b.p[18] ^= 1;
	cr_expect_str_eq(blocks_read(&b, &info), "01");
	cr_expect_eq(info.damaged_blocks, 1);
	cr_expect(!info.complete, "what the header says is not to be believed");
	b.p[18] ^= 1;
	at = block_at(&b, 0, &len);
	b.p[at + HEAD_BYTES + 20] ^= 1;
	cr_expect_str_eq(blocks_read(&b, &info), "01");
	cr_expect_eq(info.damaged_blocks, 1);
	b.p[18] ^= 1; /* both */
	expect_refused(&b, MT_EXIT_TRACE_DAMAGED, "description of the records");
	buf_release(&b);
}

/* Many valid heads whose payloads are wrong and overlap must not cost quadratic time. */
Test(trace, a_file_of_heads_ends_soon, .timeout = 20)
{
	struct block_head h = {.type = BLOCK_EVENTS, .raw_len = 1 << 20, .comp_len = 4 << 20};
	uint8_t head[HEAD_BYTES];
	struct trace_info info;
	struct buf b = {0};

	marks_in_blocks(&b, 1, false);
	for (h.seq = 1; h.seq < 200000; h.seq++) {
		head_encode(&h, head);
		cr_assert_eq(buf_put(&b, head, sizeof(head)), 0);
	}
	cr_expect_str_eq(blocks_read(&b, &info), "0");
	cr_expect(info.damaged_blocks > 0 || info.truncated);
	buf_release(&b);
}

static ssize_t failing_read(void *ctx, void *p, size_t n, uint64_t off)
{
	const struct buf *b = ctx;
	struct trace_source mem = trace_source_buf(b);

	return off > b->n / 2 && off < b->n - 1 ? -EIO : mem.read_at(mem.ctx, p, n, off);
}

Test(trace, source_fails)
{
	struct trace_source src = {failing_read, NULL};
	struct trace_record rec;
	struct trace_reader *r;
	struct err err = {0};
	struct buf b = {0};
	int got;

	marks_in_blocks(&b, 50, false);
	src.ctx = &b;
	r = trace_reader_new(src, &err);
	if (r) {
		while ((got = trace_read(r, &rec)) == 1)
			;
		cr_expect_eq(got, -EIO);
	} else {
		cr_expect_eq(err.status, MT_EXIT_TRACE_UNREADABLE);
	}
	trace_reader_free(r);
	buf_release(&b);
}
