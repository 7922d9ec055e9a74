/* SPDX-License-Identifier: MIT */
/* The GIL's holder timeline, from readings whose truth is known. */
#include <stdlib.h>

#include "locks_test.h"
#include "report.h"

#define GIL_ADDR 0x7000ull
#define COND     (GIL_ADDR + 0x48)
#define OTHER    9 /* a thread that others wake, to have a moment to read at */

enum { FREE, LOCKED, RELEASED }; /* RELEASED: free, told by who wakes a waiter */

#define TSTATE(id) (0x55550000ull + (id)*0x100)

static struct tb *threads(void)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id <= 4; id++)
		tb_thread(tb, id, 1, "worker", 0);
	tb_thread(tb, OTHER, 1, "other", 0);
	tb_gil(tb, 1, 1, GIL_ADDR, true, 0x030b07f0);
	return tb;
}

/* `by` wakes somebody at t and reads the GIL of number `gil`. */
static void reads(struct tb *tb, uint32_t gil, uint64_t t, uint32_t by, int state, uint64_t tstate,
                  uint64_t switches)
{
	struct rec_waking r = {
	        .task = OTHER,
	        .waker = by,
	        .flags = WK_F_SYSCALL,
	        .site = tb_site(tb, TB_NR_futex, state == RELEASED ? COND : 0x100, TB_FUTEX_WAKE, 1,
	                        FD_UNKNOWN),
	        .gil = gil,
	        .gil_state = state == LOCKED,
	        .gil_holder = tstate,
	        .gil_switches = switches,
	};

	tb_raw(tb, REC_K_WAKING, TB_EPOCH + t, &r);
}

static void at(struct tb *tb, uint64_t t, uint32_t by, int state, uint32_t holder,
               uint64_t switches)
{
	reads(tb, 1, t, by, state, TSTATE(holder), switches);
}

static void knows(struct tb *tb, uint64_t t, uint32_t task, uint64_t tstate)
{
	struct rec_pythread r = {.task = task, .tstate = tstate};

	tb_raw(tb, REC_K_PYTHREAD, TB_EPOCH + t, &r);
}

static void knows_all(struct tb *tb)
{
	for (uint32_t id = 1; id <= 4; id++)
		knows(tb, 1 * MS, id, TSTATE(id));
}

struct timeline {
	struct model *m;
	struct gil_timeline *tl;
	const struct gil_span *v;
	size_t n;
};

static struct timeline build(struct tb *tb)
{
	struct timeline t = {0};
	struct err err = {0};

	t.m = load(tb, NULL);
	t.tl = gil_timeline_build(t.m, &err);
	cr_assert(t.tl, "%s", err.msg);
	t.v = gil_timeline_spans(t.tl, 0, &t.n);
	for (size_t i = 0; i < t.n; i++) {
		cr_assert_lt(t.v[i].start_ns, t.v[i].end_ns);
		cr_assert(!i || t.v[i - 1].end_ns == t.v[i].start_ns, "a gap or an overlap");
		cr_assert_eq(t.v[i].state == BLAME_HELD, t.v[i].task != 0);
	}
	return t;
}

static void done(struct timeline *t)
{
	gil_timeline_free(t->tl);
	model_free(t->m);
}

#define expect_span(t, i, from, to, who, what)                                                \
	do {                                                                                  \
		cr_assert_lt((size_t)(i), (t).n);                                             \
		cr_expect_eq((t).v[i].start_ns - TB_EPOCH, (uint64_t)(from), "from %" PRIu64, \
		             (uint64_t)((t).v[i].start_ns - TB_EPOCH));                       \
		cr_expect_eq((t).v[i].end_ns - TB_EPOCH, (uint64_t)(to), "to %" PRIu64,       \
		             (uint64_t)((t).v[i].end_ns - TB_EPOCH));                         \
		cr_expect_eq((t).v[i].task, (uint32_t)(who), "task %u", (t).v[i].task);       \
		cr_expect_eq((t).v[i].state, (what), "state %u", (t).v[i].state);             \
	} while (0)

Test(gil, hand_over)
{
	struct tb *tb = threads();
	struct timeline t;

	knows_all(tb);
	tb_run(tb, 2, 0, 25 * MS);
	tb_futex_wait(tb, 2, COND, 40 * MS, 3);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex_wait(tb, 3, COND, 20 * MS, 2);
	tb_run(tb, 3, 21 * MS, 45 * MS);
	at(tb, 10 * MS, 2, LOCKED, 2, 5);
	at(tb, 20 * MS, 2, RELEASED, 2, 5);
	at(tb, 30 * MS, 3, LOCKED, 3, 6);
	at(tb, 40 * MS, 3, RELEASED, 3, 6);
	tb_stop(tb, 50 * MS);
	t = build(tb);
	expect_span(t, 0, 10 * MS, 20 * MS, 2, BLAME_HELD);
	expect_span(t, 1, 20 * MS, 21 * MS, 0, BLAME_HANDOFF);
	expect_span(t, 2, 21 * MS, 30 * MS, 3, BLAME_HELD);
	expect_span(t, 3, 30 * MS, 40 * MS, 3, BLAME_HELD);
	expect_span(t, 4, 40 * MS, 50 * MS, 0, BLAME_HANDOFF);
	cr_expect_eq(t.v[0].evidence, EVIDENCE_OWNER);
	cr_expect_eq(t.v[2].evidence, EVIDENCE_HOLDER);
	cr_expect_eq(t.v[3].evidence, EVIDENCE_OWNER);
	done(&t);
}

/* Who is woken finds that another one, who ran all the time, was quicker: he never had it. */
Test(gil, overtaken)
{
	struct tb *tb = threads();
	struct timeline t;

	knows_all(tb);
	tb_run(tb, 2, 0, 40 * MS);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex_wait(tb, 3, COND, 20 * MS, 2);
	tb_run(tb, 3, 22 * MS, 23 * MS);
	tb_futex_wait(tb, 3, COND, 40 * MS, 4);
	tb_on(tb, 4, 2);
	tb_run(tb, 4, 0, 45 * MS);
	at(tb, 10 * MS, 2, LOCKED, 2, 5);
	at(tb, 20 * MS, 2, RELEASED, 2, 5);
	at(tb, 23 * MS, 3, LOCKED, 4, 6);
	at(tb, 40 * MS, 4, RELEASED, 4, 6);
	tb_stop(tb, 50 * MS);
	t = build(tb);
	expect_span(t, 0, 10 * MS, 20 * MS, 2, BLAME_HELD);
	expect_span(t, 1, 20 * MS, 23 * MS, 4, BLAME_HELD);
	expect_span(t, 2, 23 * MS, 40 * MS, 4, BLAME_HELD);
	done(&t);
}

/* It changed hands twice between two readings: the one in between came back from waiting. */
Test(gil, unseen_holder)
{
	struct tb *tb = threads();
	struct timeline t;

	knows_all(tb);
	tb_run(tb, 2, 0, 20 * MS);
	tb_futex_wait(tb, 2, COND, TB_NEVER, 0);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex_wait(tb, 3, COND, 20 * MS, 2);
	tb_run(tb, 3, 21 * MS, 30 * MS);
	tb_futex_wait(tb, 3, 0x100, TB_NEVER, 0);
	tb_on(tb, 4, 2);
	tb_run(tb, 4, 0, 1 * MS);
	tb_futex_wait(tb, 4, COND, 29 * MS, 3);
	tb_run(tb, 4, 31 * MS, 40 * MS);
	at(tb, 20 * MS, 2, RELEASED, 2, 5);
	at(tb, 35 * MS, 4, LOCKED, 4, 7);
	tb_stop(tb, 35 * MS);
	t = build(tb);
	expect_span(t, 0, 20 * MS, 21 * MS, 0, BLAME_HANDOFF);
	expect_span(t, 1, 21 * MS, 31 * MS, 3, BLAME_HELD);
	expect_span(t, 2, 31 * MS, 35 * MS, 4, BLAME_HELD);
	done(&t);
}

/* Two releases by the same thread without anybody else in between: it took it again. */
Test(gil, taken_again)
{
	struct tb *tb = threads();
	struct timeline t;

	knows_all(tb);
	tb_run(tb, 2, 0, 30 * MS);
	at(tb, 10 * MS, 2, RELEASED, 2, 5);
	at(tb, 20 * MS, 2, RELEASED, 2, 5);
	tb_stop(tb, 30 * MS);
	t = build(tb);
	expect_span(t, 0, 10 * MS, 20 * MS, 2, BLAME_HELD);
	expect_span(t, 1, 20 * MS, 30 * MS, 0, BLAME_HANDOFF);
	done(&t);
}

/* Nobody waits: what it does ends in waits for other things, and it holds it while it runs. */
Test(gil, alone)
{
	struct tb *tb = threads();
	struct timeline t;

	knows_all(tb);
	tb_reads_gil(tb, 2, 1, false, TSTATE(2), 5);
	tb_run(tb, 2, 0, 10 * MS);
	tb_call(tb, 2, TB_NR_read, 3, FD_PIPE, 18 * MS, 0);
	tb_run(tb, 2, 20 * MS, 30 * MS);
	tb_call(tb, 2, TB_NR_read, 3, FD_PIPE, TB_NEVER, 0);
	tb_stop(tb, 40 * MS);
	t = build(tb);
	expect_span(t, 0, 10 * MS, 20 * MS, 0, BLAME_HANDOFF);
	expect_span(t, 1, 20 * MS, 30 * MS, 2, BLAME_HELD);
	expect_span(t, 2, 30 * MS, 40 * MS, 0, BLAME_HANDOFF);
	done(&t);
}

/* Whose a thread state is becomes known after the first reading; later it is another thread's. */
Test(gil, names_by_time)
{
	struct tb *tb = threads();
	struct timeline t;

	tb_run(tb, 2, 0, 50 * MS);
	at(tb, 10 * MS, 4, LOCKED, 7, 1);
	knows(tb, 15 * MS, 2, TSTATE(7));
	at(tb, 20 * MS, 2, RELEASED, 7, 1);
	knows(tb, 30 * MS, 3, TSTATE(7));
	at(tb, 30 * MS, 3, LOCKED, 7, 2);
	at(tb, 40 * MS, 3, LOCKED, 8, 3); /* nobody's */
	tb_stop(tb, 50 * MS);
	t = build(tb);
	expect_span(t, 0, 10 * MS, 20 * MS, 2, BLAME_HELD);
	cr_expect_eq(t.v[t.n - 2].task, 3);
	cr_expect_eq(t.v[t.n - 1].state, BLAME_NOBODY);
	cr_expect_eq(t.v[t.n - 1].evidence, EVIDENCE_UNKNOWN);
	done(&t);
}

/* --- pieces ---------------------------------------------------------------------------------- */

struct seen {
	struct gil_span v[8];
	size_t n;
};

static int see(void *ctx, const struct gil_span *piece)
{
	struct seen *s = ctx;

	cr_assert_lt(s->n, 8);
	s->v[s->n++] = *piece;
	return 0;
}

static int refuse(void *ctx, const struct gil_span *piece)
{
	(void)ctx;
	(void)piece;
	return 7;
}

Test(gil, pieces_tile_what_was_asked_for)
{
	struct tb *tb = threads();
	struct seen s = {0};
	struct timeline t;

	knows_all(tb);
	tb_run(tb, 2, 0, 30 * MS);
	at(tb, 10 * MS, 2, LOCKED, 2, 5);
	at(tb, 20 * MS, 2, RELEASED, 2, 5);
	tb_stop(tb, 30 * MS);
	t = build(tb);
	cr_assert_eq(gil_segments(t.tl, 0, TB_EPOCH + 5 * MS, TB_EPOCH + 60 * MS, see, &s), 0);
	cr_assert_eq(s.n, 4);
	cr_expect_eq(s.v[0].state, BLAME_NOBODY);
	cr_expect_eq(s.v[0].start_ns, TB_EPOCH + 5 * MS);
	cr_expect_eq(s.v[1].task, 2);
	cr_expect_eq(s.v[1].start_ns, TB_EPOCH + 10 * MS);
	cr_expect_eq(s.v[2].state, BLAME_HANDOFF);
	cr_expect_eq(s.v[3].state, BLAME_NOBODY);
	cr_expect_eq(s.v[3].end_ns, TB_EPOCH + 60 * MS);
	s.n = 0;
	gil_segments(t.tl, 0, TB_EPOCH + 12 * MS, TB_EPOCH + 13 * MS, see, &s);
	cr_assert_eq(s.n, 1);
	cr_expect_eq(s.v[0].end_ns - s.v[0].start_ns, 1 * MS);
	s.n = 0;
	gil_segments(t.tl, 0, TB_EPOCH + 12 * MS, TB_EPOCH + 12 * MS, see, &s);
	cr_expect_eq(s.n, 0);
	cr_expect_eq(gil_segments(t.tl, 0, TB_EPOCH, TB_EPOCH + 1, refuse, NULL), 7);
	gil_segments(t.tl, 77, TB_EPOCH, TB_EPOCH + 1, see, &s);
	cr_assert_eq(s.n, 1);
	cr_expect_eq(s.v[0].state, BLAME_NOBODY);
	done(&t);
}

Test(gil, words_belong_to_one_space)
{
	struct tb *tb = threads();
	struct model *m;

	tb_task(tb, 20, "forked");
	tb_gil(tb, 2, 20, GIL_ADDR, true, 0);
	tb_stop(tb, 10 * MS);
	m = load(tb, NULL);
	cr_expect_eq(gil_of_futex(m, 1, GIL_ADDR), 1);
	cr_expect_eq(gil_of_futex(m, 1, GIL_ADDR + GIL_BYTES - 1), 1);
	cr_expect_eq(gil_of_futex(m, 1, GIL_ADDR + GIL_BYTES), 0);
	cr_expect_eq(gil_of_futex(m, 1, GIL_ADDR - 1), 0);
	cr_expect_eq(gil_of_futex(m, 20, COND), 2);
	cr_expect_eq(gil_of_futex(m, 3, COND), 0);
	model_free(m);
}

/* A later record of a GIL adds what was not known. */
Test(gil, known_later)
{
	struct tb *tb = threads();
	struct rec_gil r = {.id = 5, .space = 1, .addr = 0x9000};
	const struct gil *g;
	struct model *m;

	tb_raw(tb, REC_K_GIL, TB_EPOCH, &r);
	r.main = 1;
	r.version = 0x030d00f0;
	tb_raw(tb, REC_K_GIL, TB_EPOCH + 1, &r);
	tb_stop(tb, 10 * MS);
	m = load(tb, NULL);
	cr_assert_eq(model_gils(m, &g), 2);
	cr_expect(g[1].main);
	cr_expect_eq(g[1].version, 0x030d00f0);
	model_free(m);
}

/* A child of vfork reads its creator's thread state as its own, until its exec. */
Test(gil, vfork)
{
	struct tb *tb = threads();
	struct timeline t;

	knows_all(tb);
	tb_vfork(tb, 5, 2, "worker", 2 * MS);
	knows(tb, 3 * MS, 5, TSTATE(2));
	tb_run(tb, 5, 2 * MS, 4 * MS);
	tb_exec(tb, 5, 4 * MS, "/bin/true", "true");
	tb_run(tb, 2, 0, 45 * MS);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex_wait(tb, 3, COND, 40 * MS, 2);
	tb_run(tb, 3, 41 * MS, 45 * MS);
	at(tb, 10 * MS, 2, LOCKED, 2, 5);
	at(tb, 20 * MS, 2, LOCKED, 2, 5);
	at(tb, 30 * MS, 2, RELEASED, 2, 5);
	tb_stop(tb, 50 * MS);
	t = build(tb);
	expect_span(t, 0, 10 * MS, 30 * MS, 2, BLAME_HELD);
	done(&t);
}

/* --- the report ------------------------------------------------------------------------------ */

Test(gil, rows)
{
	struct tb *tb = threads();
	struct report r = {0};
	struct err err = {0};
	struct model *m;

	knows_all(tb);
	tb_run(tb, 2, 0, 25 * MS);
	tb_futex_wait(tb, 2, COND, 40 * MS, 3);
	tb_run(tb, 2, 41 * MS, 50 * MS);
	tb_exit(tb, 2, 0);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex_wait(tb, 3, COND, 5 * MS, 0); /* two turns of one wait */
	tb_run(tb, 3, 5 * MS, 5 * MS + 10 * US);
	tb_futex_wait(tb, 3, COND + 4, 20 * MS, 2);
	tb_run(tb, 3, 21 * MS, 45 * MS);
	tb_exit(tb, 3, 0);
	at(tb, 10 * MS, 2, LOCKED, 2, 5);
	at(tb, 20 * MS, 2, RELEASED, 2, 5);
	at(tb, 40 * MS, 3, RELEASED, 3, 6);
	tb_stop(tb, 60 * MS);
	m = load(tb, NULL);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	cr_assert_eq(r.gils.n, 1);
	cr_expect_eq(r.gils.v[0].proc, 1);
	cr_expect_eq(r.gils.v[0].switches, 1);
	cr_expect_eq(r.gils.v[0].time.hold_ns, 29 * MS);
	cr_assert_eq(r.gils.v[0].tasks.n, 2);
	cr_expect_eq(r.gils.v[0].tasks.v[0].task, 3);
	cr_expect_eq(r.gils.v[0].tasks.v[0].time.hold_ns, 19 * MS);
	cr_expect_eq(r.gils.v[0].tasks.v[0].waits, 1);
	cr_expect_eq(r.gils.v[0].tasks.v[1].time.hold_ns, 10 * MS);
	cr_expect_eq(r.gils.v[0].tasks.v[1].wait_ns, 15 * MS);
	cr_expect_eq(r.gils.v[0].wait_ns,
	             r.gils.v[0].tasks.v[0].wait_ns + r.gils.v[0].tasks.v[1].wait_ns);
	report_release(&r);
	model_free(m);
}

/* Readings before and after the window count elsewhere. */
Test(gil, switches_of_a_window)
{
	static const struct {
		uint64_t since_ms, until_ms, want;
	} windows[] = {{0, 0, 20}, {15, 0, 10}, {0, 35, 10}, {25, 35, 0}};

	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		const struct model_opts opts = {.since_ns = windows[i].since_ms * MS,
		                                .until_ns = windows[i].until_ms * MS,
		                                .flags = MODEL_SLICES};
		struct tb *tb = threads();
		struct report r = {0};
		struct err err = {0};
		struct model *m;

		knows_all(tb);
		tb_run(tb, 2, 0, 50 * MS);
		tb_exit(tb, 2, 0);
		for (uint64_t k = 0; k < 3; k++)
			at(tb, (10 + 15 * k) * MS, 2, LOCKED, 2, 5 + 10 * k);
		tb_stop(tb, 60 * MS);
		m = load(tb, &opts);
		cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
		cr_assert_eq(r.gils.n, 1);
		cr_expect_eq(r.gils.v[0].switches, windows[i].want, "window %zu: %" PRIu64, i,
		             r.gils.v[0].switches);
		report_release(&r);
		model_free(m);
	}
}

/* --- what no recorder writes
 * ---------------------------------------------------------------------- */

static uint64_t wild(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	switch (*seed >> 60) {
	case 0:
		return *seed >> 8;
	case 1:
		return UINT64_MAX - (*seed >> 50);
	default:
		return *seed >> 33 & 7;
	}
}

Test(gil, nonsense_stays_tiled)
{
	uint64_t seed = 4711;

	for (int round = 0; round < 50; round++) {
		struct tb *tb = threads();
		struct timeline t;

		tb_run(tb, 2, 0, 50 * MS);
		tb_futex_wait(tb, 2, COND, 60 * MS, 3);
		tb_run(tb, 2, 61 * MS, 70 * MS);
		for (int i = 0; i < 200; i++) {
			struct rec_gil g = {.id = wild(&seed),
			                    .space = wild(&seed),
			                    .addr = wild(&seed),
			                    .main = wild(&seed)};

			if (!(i & 15))
				tb_raw(tb, REC_K_GIL, TB_EPOCH, &g);
			if (!(i & 7))
				knows(tb, wild(&seed) % (90 * MS), (uint32_t)wild(&seed),
				      wild(&seed));
			reads(tb, (uint32_t)wild(&seed), (wild(&seed) * MS) % (90 * MS),
			      (uint32_t)wild(&seed), (int)(wild(&seed) % 3), wild(&seed),
			      wild(&seed));
		}
		tb_stop(tb, 80 * MS);
		t = build(tb);
		for (size_t g = 0; g < 32; g++)
			gil_timeline_spans(t.tl, g, &t.n);
		done(&t);
	}
}
