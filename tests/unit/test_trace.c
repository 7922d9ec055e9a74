/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/trace_gen.h"

/* --- helpers -------------------------------------------------------------------------- */

static struct trace_reader *must_open(const struct buf *b)
{
	struct err err = {0};
	struct trace_reader *r = trace_reader_new(trace_source_buf(b), &err);

	cr_assert(r, "%s", err.msg);
	return r;
}

static void expect_refused(const struct buf *b, int status, const char *part)
{
	struct err err = {0};

	cr_expect_null(trace_reader_new(trace_source_buf(b), &err));
	cr_expect_eq(err.status, status, "%d: %s", err.status, err.msg);
	cr_expect(strstr(err.msg, part), "\"%s\" lacks \"%s\"", err.msg, part);
	cr_expect_null(trace_reader_new(trace_source_buf(b), NULL));
}

static void write_marks(struct trace_writer *w, uint64_t first, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct rec_mark m = {.what = first + i};

		cr_assert_eq(trace_write(w, REC_K_MARK, 1000 * (first + i), &m), 0);
	}
}

/* A trace whose `blocks` EVENTS blocks hold ten marks each: 0…9, 10…19, … */
static void marks_in_blocks(struct buf *b, size_t blocks, bool finish)
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

/* --- round trips -------------------------------------------------------------------------- */

Test(trace, all_kinds_round_trip)
{
	enum { N = 60000 };
	struct gen g = {.seed = 1};
	const struct trace_stats *st;
	struct trace_writer *w;
	struct buf b = {0};
	struct gen_rec rec;
	struct trace_record out;
	struct trace_reader *r;
	VEC(struct gen) defs = {0}, events = {0};
	size_t i, nd = 0, ne = 0;
	uint64_t blocks;
	int got;

	w = trace_writer_new(trace_sink_buf(&b), NULL);
	for (i = 0; i < N; i++) {
		struct gen before = g;
		const struct kind_desc *k = &trace_schema.kinds[gen_below(&g, trace_schema.n)];

		cr_assert_eq(k->block == BLOCK_DEFS ? vec_push(&defs, before)
		                                    : vec_push(&events, before),
		             0);
		gen_fill(&g, k, &rec);
		cr_assert_eq(trace_write(w, k->number, gen_ts(&g), rec.words), 0);
	}
	cr_assert_eq(trace_writer_finish(w), 0);
	st = trace_writer_stats(w);
	cr_expect_eq(st->records, N);
	cr_expect_eq(st->events, events.n);
	cr_expect_eq(st->file_bytes, b.n);
	blocks = st->blocks;

	r = must_open(&b);
	while ((got = trace_read(r, &out)) == 1) {
		const struct kind_desc *k = schema_kind(&trace_schema, out.kind);
		/* Definitions come in their order, events in theirs. */
		g = k->block == BLOCK_DEFS ? defs.v[nd++] : events.v[ne++];
		cr_assert_eq(&trace_schema.kinds[gen_below(&g, trace_schema.n)], k);
		gen_fill(&g, k, &rec);
		cr_assert_eq(out.ts, gen_ts(&g));
		cr_assert(gen_equal(k, rec.words, out.rec));
	}
	cr_expect_eq(got, 0);
	cr_expect_eq(nd + ne, N);
	cr_expect_eq(trace_reader_info(r)->blocks, blocks);
	cr_expect(blocks > 10, "several blocks");
	cr_expect_eq(memcmp(trace_reader_info(r)->by_kind, st->by_kind, sizeof(st->by_kind)), 0);
	cr_expect(trace_reader_info(r)->complete && !trace_reader_info(r)->damaged_blocks);
	cr_expect_eq(trace_read(r, &out), 0, "the end is the end");
	trace_reader_free(r);
	trace_writer_free(w);
	vec_release(&defs);
	vec_release(&events);
	buf_release(&b);
}

Test(trace, read_and_written_again_is_the_same_file)
{
	struct gen g = {.seed = 2};
	struct buf a = {0}, b = {0};
	struct trace_record rec;
	struct trace_reader *r;
	struct trace_writer *w;

	cr_assert_eq(gen_trace(&g, &trace_schema, 30000, true, &a), 0);
	r = must_open(&a);
	w = trace_writer_new(trace_sink_buf(&b), NULL);
	while (trace_read(r, &rec) == 1)
		cr_assert_eq(trace_write(w, rec.kind, rec.ts, rec.rec), 0);
	cr_assert_eq(trace_writer_finish(w), 0);
	cr_assert_eq(a.n, b.n);
	cr_expect_eq(memcmp(a.p, b.p, a.n), 0);
	trace_reader_free(r);
	trace_writer_free(w);
	buf_release(&a);
	buf_release(&b);
}

Test(trace, definitions_are_on_disk_before_the_events)
{
	struct rec_string s = {.id = 1, .text = {(const uint8_t *)"x", 1}};
	struct trace_record rec;
	struct trace_reader *r;
	struct trace_writer *w;
	struct buf b = {0};

	w = trace_writer_new(trace_sink_buf(&b), NULL);
	write_marks(w, 0, 1);
	cr_assert_eq(trace_write(w, REC_K_STRING, 0, &s), 0);
	cr_assert_eq(trace_writer_flush(w), 0);
	trace_writer_free(w);
	r = must_open(&b);
	cr_assert_eq(trace_read(r, &rec), 1);
	cr_expect_eq(rec.kind, REC_K_STRING);
	cr_assert_eq(trace_read(r, &rec), 1);
	cr_expect_eq(rec.kind, REC_K_MARK);
	trace_reader_free(r);
	buf_release(&b);
}

Test(trace, files)
{
	char path[] = "/tmp/mpvtrace-test-XXXXXX";
	int fd = mkstemp(path);
	struct trace_source src = trace_source_fd(&fd);
	struct trace_record rec;
	struct trace_writer *w;
	struct trace_reader *r;
	struct err err = {0};
	uint64_t n = 0;

	cr_assert(fd >= 0);
	unlink(path);
	w = trace_writer_new(trace_sink_fd(&fd), NULL);
	write_marks(w, 0, 50000);
	cr_assert_eq(trace_writer_finish(w), 0);
	r = trace_reader_new(src, &err);
	cr_assert(r, "%s", err.msg);
	while (trace_read(r, &rec) == 1)
		n++;
	cr_expect_eq(n, 50000);
	cr_expect_eq(trace_reader_info(r)->file_bytes, trace_writer_stats(w)->file_bytes);
	cr_expect_eq(lseek(fd, 0, SEEK_END), (off_t)trace_reader_info(r)->file_bytes);
	trace_reader_free(r);
	trace_writer_free(w);
	close(fd);
	cr_expect_null(trace_reader_new(src, &err), "closed");
	cr_expect_eq(err.status, MT_EXIT_TRACE_UNREADABLE);
	fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_expect_null(trace_reader_new(src, &err), "a directory");
	cr_expect_eq(err.status, MT_EXIT_TRACE_UNREADABLE);
	close(fd);
}

/* --- writing --------------------------------------------------------------------------------- */

Test(trace, what_cannot_be_written)
{
	uint8_t *big = calloc(1, 17 << 20);
	struct rec_meta meta = {.key = {big, 3}, .value = {big, 17 << 20}};
	struct trace_info info;
	struct trace_writer *w;
	struct buf b = {0};

	w = trace_writer_new(trace_sink_buf(&b), NULL);
	cr_expect_eq(trace_write(w, 9, 0, &meta), -EINVAL, "no such kind");
	cr_expect_eq(trace_write(w, 64, 0, &meta), -EINVAL);
	cr_expect_eq(trace_write(w, (enum rec_kind) - 1, 0, &meta), -EINVAL);
	cr_expect_eq(trace_write(w, REC_K_META, 0, &meta), -E2BIG);
	meta.value.n = UINT64_MAX;
	cr_expect_eq(trace_write(w, REC_K_META, 0, &meta), -E2BIG);
	meta.value.n = 15 << 20;
	cr_expect_eq(trace_write(w, REC_K_META, 0, &meta), 0, "none of these is for ever");
	cr_expect_eq(trace_write(w, REC_K_META, 0, &meta), 0);
	cr_expect_eq(trace_writer_finish(w), 0);
	cr_expect_eq(trace_writer_finish(w), 0);
	cr_expect_eq(trace_write(w, REC_K_META, 0, &meta), -EINVAL, "finished");
	trace_writer_free(w);
	trace_writer_free(NULL);
	trace_reader_free(NULL);
	cr_expect_eq(gen_read_all(&b, &info), 2);
	cr_expect_eq(info.damaged_blocks, 0);
	buf_release(&b);
	free(big);
}

struct full_disk {
	struct buf b;
	size_t room;
};

/* As write(2) on a full disk: what fits is written, then ENOSPC. */
static int full_write(void *ctx, const void *p, size_t n)
{
	struct full_disk *d = ctx;
	size_t fits = n < d->room ? n : d->room;

	cr_assert_eq(buf_put(&d->b, p, fits), 0);
	d->room -= fits;
	return fits < n ? -ENOSPC : 0;
}

static int full_write_at(void *ctx, const void *p, size_t n, uint64_t off)
{
	struct full_disk *d = ctx;

	memcpy(d->b.p + off, p, n);
	return 0;
}

Test(trace, full_disk_keeps_what_was_whole)
{
	struct full_disk d = {.room = 100000};
	struct trace_sink sink = {full_write, full_write_at, &d};
	struct trace_info info;
	struct trace_writer *w;
	struct rec_mark m = {0};
	struct gen g = {.seed = 5};
	uint64_t written = 0;
	int64_t n;
	int err = 0;

	w = trace_writer_new(sink, NULL);
	while (!err) {
		m.what = gen_next(&g);
		err = trace_write(w, REC_K_MARK, ++written, &m);
	}
	cr_expect_eq(err, -ENOSPC);
	d.room = 1000000; /* too late */
	cr_expect_eq(trace_write(w, REC_K_MARK, 1, &m), -ENOSPC);
	cr_expect_eq(trace_writer_flush(w), -ENOSPC);
	cr_expect_eq(trace_writer_finish(w), -ENOSPC);
	n = gen_read_all(&d.b, &info);
	cr_expect(n == 0 || (n > 0 && (uint64_t)n < written));
	cr_expect(!info.complete && info.truncated);
	cr_expect_eq(info.damaged_blocks, 0);
	trace_writer_free(w);
	buf_release(&d.b);
}

Test(trace, full_disk_at_once)
{
	struct full_disk d = {.room = 20};
	struct err err = {0};

	cr_expect_null(trace_writer_new((struct trace_sink){full_write, full_write_at, &d}, &err));
	cr_expect_eq(err.status, MT_EXIT_DISK_FULL);
	buf_release(&d.b);
}

/* --- files of others -----------------------------------------------------------------------------
 */

Test(trace, not_ours)
{
	char text[] = "\x7f"
	              "ELF and some more text that is longer than a header";
	struct buf b = {(uint8_t *)text, sizeof(text), sizeof(text)};

	expect_refused(&b, MT_EXIT_TRACE_FOREIGN, "not an mpvtrace trace");
	b.n = 3;
	expect_refused(&b, MT_EXIT_TRACE_FOREIGN, "not an mpvtrace trace");
	b.n = 0;
	expect_refused(&b, MT_EXIT_TRACE_DAMAGED, "empty");
}

Test(trace, newer_major_version)
{
	struct buf b = {0};
	struct trace_writer *w;

	w = trace_writer_new_schema(trace_sink_buf(&b), &trace_schema, 2, 3, NULL);
	trace_writer_free(w);
	expect_refused(&b, MT_EXIT_TRACE_NEWER,
	               "written by format 2.3; this mpvtrace reads up to 1.x");
	buf_release(&b);
}

Test(trace, newer_minor_version)
{
	static const struct field_desc mark[] = {
	        {"what", FIELD_U}, {"why", FIELD_B}, {"value", FIELD_U}};
	static const struct field_desc novel[] = {{"a", FIELD_A}};
	static const struct kind_desc kinds[] = {
	        {"mark", mark, REC_K_MARK, ARRAY_LEN(mark), BLOCK_EVENTS},
	        {"novel", novel, 50, ARRAY_LEN(novel), BLOCK_EVENTS},
	};
	static const struct schema s = {kinds, ARRAY_LEN(kinds)};
	struct gen g = {.seed = 9};
	struct trace_info info;
	struct buf b = {0};

	cr_assert_eq(gen_trace(&g, &s, 1000, true, &b), 0);
	cr_assert(gen_read_all(&b, &info) > 300);
	cr_expect_eq(info.records + info.unknown_records, 1000);
	cr_expect_eq(info.by_kind[REC_K_MARK], info.records);
	cr_expect_eq(info.damaged_blocks, 0);
	buf_release(&b);
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

/* --- index, window, rewind
 * ------------------------------------------------------------------------------ */

Test(trace, index_gives_the_time_range_at_once)
{
	struct trace_reader *r;
	struct buf b = {0};

	marks_in_blocks(&b, 5, true);
	r = must_open(&b);
	cr_expect_eq(trace_reader_info(r)->first_ts, 0);
	cr_expect_eq(trace_reader_info(r)->last_ts, 49000);
	cr_expect_eq(trace_reader_info(r)->records, 0);
	trace_reader_free(r);
	buf_release(&b);
}

Test(trace, window_leaves_out_blocks_of_events_only)
{
	struct rec_string s = {.id = 1, .text = {(const uint8_t *)"x", 1}};
	struct trace_writer *w;
	struct trace_record rec;
	struct trace_reader *r;
	struct buf b = {0};
	uint64_t marks = 0, strings = 0, i;
	int pass;

	w = trace_writer_new(trace_sink_buf(&b), NULL);
	for (i = 0; i < 10; i++) {
		cr_assert_eq(trace_write(w, REC_K_STRING, 0, &s), 0);
		write_marks(w, 10 * i, 10); /* 10000 * i … 10000 * i + 9000 */
		cr_assert_eq(trace_writer_flush(w), 0);
	}
	cr_assert_eq(trace_writer_finish(w), 0);
	trace_writer_free(w);
	r = must_open(&b);
	trace_reader_window(r, 29000, 50000); /* the ends count: blocks 2, 3, 4, 5 */
	for (pass = 0; pass < 2; pass++) {
		marks = strings = 0;
		while (trace_read(r, &rec) == 1) {
			marks += rec.kind == REC_K_MARK;
			strings += rec.kind == REC_K_STRING;
		}
		cr_expect_eq(marks, 40);
		cr_expect_eq(strings, 10);
		cr_expect_eq(trace_reader_info(r)->damaged_blocks, 0);
		cr_expect_eq(trace_reader_info(r)->records, 50);
		trace_reader_rewind(r);
	}
	trace_reader_window(r, 0, UINT64_MAX);
	for (marks = 0; trace_read(r, &rec) == 1;)
		marks += rec.kind == REC_K_MARK;
	cr_expect_eq(marks, 100);
	trace_reader_free(r);
	buf_release(&b);
}

Test(trace, rewind_in_the_middle)
{
	struct trace_info first, second;
	struct gen g = {.seed = 4};
	struct trace_record rec;
	struct trace_reader *r;
	struct buf b = {0};
	size_t i;

	cr_assert_eq(gen_trace(&g, &trace_schema, 5000, true, &b), 0);
	cr_expect_eq(gen_read_all(&b, &first), 5000);
	r = must_open(&b);
	for (i = 0; i < 1234; i++)
		cr_assert_eq(trace_read(r, &rec), 1);
	trace_reader_rewind(r);
	for (i = 0; trace_read(r, &rec) == 1; i++)
		;
	second = *trace_reader_info(r);
	cr_expect_eq(i, 5000);
	cr_expect(second.records == first.records && second.blocks == first.blocks &&
	          second.damaged_blocks == first.damaged_blocks);
	cr_expect_eq(memcmp(second.by_kind, first.by_kind, sizeof(first.by_kind)), 0);
	trace_reader_free(r);
	buf_release(&b);
}

/* --- files of released versions must open for ever
 * ------------------------------------------------------------ */

static void load_golden(const char *name, struct buf *b)
{
	const char *dir = getenv("MT_TESTDIR");
	char path[4096];

	snprintf(path, sizeof(path), "%s/golden/%s", dir ? dir : "tests", name);
	if (read_file_at(AT_FDCWD, path, 1 << 20, b)) { /* run from somewhere else */
		snprintf(path, sizeof(path), "%.*s/../golden/%s",
		         (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__, name);
		cr_assert_eq(read_file_at(AT_FDCWD, path, 1 << 20, b), 0, "%s", path);
	}
}

Test(golden, format_1)
{
	struct trace_info info;
	struct trace_record rec;
	struct trace_reader *r;
	struct buf b = {0};
	size_t kinds = 0, i;

	load_golden("v1.mpv", &b);
	r = must_open(&b);
	while (trace_read(r, &rec) == 1) {
		const struct rec_switch *sw = rec.rec;
		const struct rec_stack *st = rec.rec;

		if (rec.kind == REC_K_SWITCH && rec.ts == 1000) {
			cr_expect(sw->cpu == 1 && sw->prev == 2 && sw->next == 3);
			cr_expect(sw->flags == (SW_F_VOLUNTARY | SW_F_SYSCALL) && sw->exec == 4);
		}
		if (rec.kind == REC_K_STACK && rec.ts == 1000) {
			cr_expect_eq(st->frames.n, 3);
			cr_expect_eq(st->frames.v[2], 0x7f0000000000);
		}
	}
	info = *trace_reader_info(r);
	cr_expect(info.major == 1 && info.minor == 0 && info.complete);
	cr_expect_eq(info.records, 2300);
	for (i = 0; i < REC_K_MAX; i++)
		kinds += info.by_kind[i] == 100;
	cr_expect_eq(kinds, 23);
	cr_expect(!info.damaged_blocks && !info.unknown_records && !info.truncated);
	cr_expect_eq(info.first_ts, 1000);
	cr_expect_eq(info.last_ts, 100000);
	trace_reader_free(r);
	buf_release(&b);
}
