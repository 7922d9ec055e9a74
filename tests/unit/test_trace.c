/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace_test.h"

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
	cr_expect_eq(trace_write(w, 62, 0, &meta), -EINVAL, "no such kind");
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

/* A disk that stalls: nothing is written until `open`. */
struct stalled_disk {
	struct full_disk d;
	pthread_mutex_t lock;
	pthread_cond_t opened;
	bool open;
};

static int stalled_write(void *ctx, const void *p, size_t n)
{
	struct stalled_disk *s = ctx;

	pthread_mutex_lock(&s->lock);
	while (!s->open)
		pthread_cond_wait(&s->opened, &s->lock);
	pthread_mutex_unlock(&s->lock);
	return full_write(&s->d, p, n);
}

static int stalled_write_at(void *ctx, const void *p, size_t n, uint64_t off)
{
	return full_write_at(&((struct stalled_disk *)ctx)->d, p, n, off);
}

static void set_open(struct stalled_disk *s, bool open)
{
	pthread_mutex_lock(&s->lock);
	s->open = open;
	pthread_cond_broadcast(&s->opened);
	pthread_mutex_unlock(&s->lock);
}

/* 20 blocks while the disk stalls: were one of them written at once, this would hang. What comes
 * afterwards, and the header that is patched, is in its place. */
static void through_a_stall(struct stalled_disk *s, struct behind *b, int expected)
{
	struct trace_writer *w = trace_writer_new(behind_sink(b), NULL);
	struct rec_mark m = {0};
	struct gen g = {.seed = 7};
	uint64_t records = 0;

	cr_assert(w);
	set_open(s, false);
	cr_assert_eq(behind_start(b), 0);
	while (trace_writer_stats(w)->blocks < 20) {
		m.what = gen_next(&g);
		cr_assert_eq(trace_write(w, REC_K_MARK, ++records, &m), 0);
	}
	set_open(s, true);
	cr_expect_eq(behind_stop(b), expected);
	m.what = 1;
	cr_expect_eq(trace_write(w, REC_K_MARK, ++records, &m), 0);
	cr_expect_eq(trace_writer_finish(w), expected);
	if (!expected) {
		struct trace_info info;

		cr_expect_eq(gen_read_all(&s->d.b, &info), (int64_t)records);
		cr_expect(info.complete && !info.truncated && !info.damaged_blocks);
	}
	trace_writer_free(w);
}

#define STALLED(bytes)                                                                   \
	{                                                                                \
		.d = {.room = (bytes)}, .open = true, .lock = PTHREAD_MUTEX_INITIALIZER, \
		.opened = PTHREAD_COND_INITIALIZER                                       \
	}

Test(trace, stalled_disk_does_not_stall_the_writer)
{
	struct stalled_disk s = STALLED(100000000);
	struct behind *b = behind_new((struct trace_sink){stalled_write, stalled_write_at, &s});

	through_a_stall(&s, b, 0);
	behind_free(b);
	buf_release(&s.d.b);
}

Test(trace, stalled_disk_that_is_full)
{
	struct stalled_disk s = STALLED(100000);
	struct behind *b = behind_new((struct trace_sink){stalled_write, stalled_write_at, &s});
	struct trace_info info;
	int64_t n;

	through_a_stall(&s, b, -ENOSPC);
	n = gen_read_all(&s.d.b, &info);
	cr_expect(n >= 0 && !info.complete && info.truncated && !info.damaged_blocks);
	behind_free(b);
	buf_release(&s.d.b);
}

Test(trace, full_disk_at_once)
{
	struct full_disk d = {.room = 20};
	struct err err = {0};

	cr_expect_null(trace_writer_new((struct trace_sink){full_write, full_write_at, &d}, &err));
	cr_expect_eq(err.status, MT_EXIT_DISK_FULL);
	buf_release(&d.b);
}

/* --- files of others ------------------------------------------------------------------------- */

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
