/* SPDX-License-Identifier: MIT */
/* How long a GIL was held where its releases are not seen: by samples whose truth is known. */
#include <math.h>

#include "model_test.h"
#include "report.h"

#define GIL_ADDR  0x7000ull
#define COND      (GIL_ADDR + 0x48)
#define TSTATE(t) (0x55550000ull + (t)*0x100)
#define HAS       (GIL_S_LOCKED | GIL_S_MINE)

static struct tb *threads(void)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id <= 4; id++) {
		struct rec_pythread r = {.task = id, .tstate = TSTATE(id)};

		tb_thread(tb, id, 1, "worker", 0);
		tb_on(tb, id, id - 1);
		tb_raw(tb, REC_K_PYTHREAD, TB_EPOCH, &r);
	}
	tb_gil(tb, 1, 1, GIL_ADDR, true, 0x030b07f0);
	return tb;
}

static void sample(struct tb *tb, uint32_t task, uint64_t t, uint64_t state)
{
	struct rec_sample r = {.task = task, .gil = 1, .gil_state = state};

	tb_raw(tb, REC_K_SAMPLE, TB_EPOCH + t, &r);
}

/* Each ms from lo to hi, in its middle; the first `with` in ten have it. */
static void samples(struct tb *tb, uint32_t task, uint64_t lo_ms, uint64_t hi_ms, uint64_t with)
{
	for (uint64_t t = lo_ms; t < hi_ms; t++)
		sample(tb, task, t * MS + MS / 2, (t - lo_ms) % 10 < with ? HAS : 0);
}

struct result {
	struct model *m;
	struct report r;
	const struct gil_row *gil;
};

static struct result analyzed(struct tb *tb)
{
	struct result x = {0};
	struct err err = {0};

	x.m = load(tb, NULL);
	cr_assert_eq(report_build(&x.r, x.m, &err), 0, "%s", err.msg);
	cr_assert_eq(x.r.gils.n, 1);
	x.gil = &x.r.gils.v[0];
	return x;
}

static const struct gil_time *time_of(const struct result *x, uint32_t task)
{
	for (size_t i = 0; i < x->gil->tasks.n; i++)
		if (x->gil->tasks.v[i].task == task)
			return &x->gil->tasks.v[i].time;
	return NULL;
}

static void done(struct result *x)
{
	report_release(&x->r);
	model_free(x->m);
}

#define expect_near(got, want)                                                             \
	cr_expect(fabs((double)(got) - (double)(want)) < MS / 1000.0, "%.3f ms, not %.3f", \
	          (double)(got) / 1e6, (double)(want) / 1e6)

/* A thread that is in the evaluation loop without the GIL that is known has another one; one that
 * calls C may have released it. */
static bool has_others(uint64_t innermost, unsigned of_ten)
{
	static const char lib[] = "/usr/lib/libpython3.13.so.1.0";
	uint64_t native[] = {innermost, 0x1000200};
	static uint64_t py[] = {PY_FRAME(1, 1, 1)};
	struct rec_stack stack = {.id = 900,
	                          .kind = STACK_USER,
	                          .space = 1,
	                          .flags = STACK_F_PY,
	                          .frames = {native, ARRAY_LEN(native)},
	                          .py = {py, ARRAY_LEN(py)}};
	struct tb *tb = threads();
	struct rec_pycode code = {
	        .id = 1, .name = tb_string(tb, "f"), .file = tb_string(tb, "/a.py")};
	struct result x;
	size_t notes = 0;
	bool others;

	tb_map(tb, 1, 0x1000000, 0x1010000, 0, lib);
	tb_symbol(tb, lib, 0x100, "_PyEval_EvalFrameDefault", 4, 0);
	tb_symbol(tb, lib, 0x200, "long_add", 4, 0);
	tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &code);
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &stack);
	for (uint64_t t = 0; t < 100; t++) {
		struct rec_sample s = {.task = 2, .gil = 1, .ustack = t % 10 < of_ten ? 900 : 0};

		tb_raw(tb, REC_K_SAMPLE, TB_EPOCH + t * MS + MS / 2, &s);
	}
	sample(tb, 1, MS / 4, HAS);
	tb_run(tb, 1, 0, 100 * MS);
	tb_run(tb, 2, 0, 100 * MS);
	x = analyzed(tb);
	others = x.gil->others;
	for (size_t i = 0; i < x.r.notes.n; i++)
		notes += strstr(x.r.notes.v[i], "whose own GILs nobody waited for") != NULL;
	cr_expect_eq(notes, others);
	done(&x);
	return others;
}

Test(gil_share, another_gil_that_is_not_known)
{
	cr_expect(has_others(0x1000100, 10));
	cr_expect(has_others(0x1000100, 1));
	cr_expect_not(has_others(0x1000200, 10));
	cr_expect_not(has_others(0x1000100, 0));
}

/* It has the GIL at both ends, and for 4 in 10 of its samples in between. */
Test(gil_share, nobody_waits)
{
	struct tb *tb = threads();
	const struct gil_time *t;
	struct result x;

	samples(tb, 2, 0, 100, 4);
	tb_run(tb, 2, 0, 100 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 120 * MS);
	x = analyzed(tb);
	t = time_of(&x, 2);
	cr_assert(t);
	expect_near(t->cpu_ns, 99.5 * MS);
	expect_near(t->cpu_hold_ns, 39.8 * MS);
	expect_near(t->hold_ns, 39.8 * MS);
	cr_expect_eq(t->samples, 100);
	/* 2 * sqrt(0.402 * 0.598 / 100) of it */
	cr_expect(fabs((double)t->doubt_ns / MS - 9.76) < 0.05, "%.3f", (double)t->doubt_ns / MS);
	cr_expect_eq(x.gil->time.hold_ns, t->hold_ns);
	cr_expect_eq(x.gil->time.cpu_hold_ns, t->cpu_hold_ns);
	done(&x);
}

/* While another waits the readings know, whatever samples say. */
Test(gil_share, somebody_waits)
{
	struct tb *tb = threads();
	const struct gil_time *t;
	struct result x;

	samples(tb, 2, 0, 20, 5);
	samples(tb, 2, 20, 60, 0);
	samples(tb, 2, 60, 100, 5);
	tb_run(tb, 3, 0, 20 * MS);
	tb_reads_gil(tb, 3, 1, true, TSTATE(2), 5);
	tb_futex_wait(tb, 3, COND, 60 * MS, 2);
	tb_run(tb, 3, 60 * MS, 61 * MS);
	tb_call(tb, 3, TB_NR_nanosleep, 1, FD_UNKNOWN, 120 * MS, 0);
	tb_run(tb, 2, 0, 100 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 120 * MS);
	x = analyzed(tb);
	t = time_of(&x, 2);
	cr_assert(t);
	cr_expect_eq(t->samples, 60);
	expect_near(t->hold_ns, 40 * MS + 59.5 * MS / 2);
	expect_near(t->cpu_hold_ns, 40 * MS + 59.5 * MS / 2);
	done(&x);
}

/* As long as one of several waits; and another time, later. */
Test(gil_share, several_wait)
{
	struct tb *tb = threads();
	const struct gil_time *t;
	struct result x;

	samples(tb, 2, 0, 10, 5);
	samples(tb, 2, 10, 60, 0);
	samples(tb, 2, 60, 80, 5);
	samples(tb, 2, 80, 90, 0);
	samples(tb, 2, 90, 100, 5);
	for (uint32_t id = 3; id <= 4; id++) {
		uint64_t from = id == 3 ? 20 : 10, to = id == 3 ? 60 : 40;

		tb_run(tb, id, 0, from * MS);
		tb_reads_gil(tb, id, 1, true, TSTATE(2), 5);
		tb_futex_wait(tb, id, COND, to * MS, 2);
		tb_run(tb, id, to * MS, (to + 1) * MS);
		tb_call(tb, id, TB_NR_nanosleep, 1, FD_UNKNOWN, (id == 3 ? 120 : 79) * MS, 0);
	}
	tb_run(tb, 4, 79 * MS, 80 * MS);
	tb_futex_wait(tb, 4, COND, 90 * MS, 2);
	tb_run(tb, 4, 90 * MS, 91 * MS);
	tb_call(tb, 4, TB_NR_nanosleep, 1, FD_UNKNOWN, 120 * MS, 0);
	tb_run(tb, 2, 0, 100 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 120 * MS);
	x = analyzed(tb);
	t = time_of(&x, 2);
	cr_assert(t);
	cr_expect_eq(t->samples, 40);
	expect_near(t->hold_ns, (50 + 10) * MS + 39.5 * MS / 2);
	expect_near(t->cpu_hold_ns, (50 + 10) * MS + 39.5 * MS / 2);
	done(&x);
}

/* A holder that has lost its CPU still has it; that needs no sample. */
Test(gil_share, holder_that_does_not_run)
{
	struct tb *tb = threads();
	const struct gil_time *t;
	struct result x;

	samples(tb, 2, 0, 50, 10);
	samples(tb, 2, 80, 100, 10);
	tb_run(tb, 2, 0, 50 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_preempt(tb, 2);
	tb_run(tb, 2, 80 * MS, 100 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 100 * MS);
	x = analyzed(tb);
	t = time_of(&x, 2);
	cr_assert(t);
	expect_near(t->cpu_hold_ns, 69.5 * MS);
	expect_near(t->hold_ns, 99.5 * MS);
	done(&x);
}

/* Threads that never have it, as those of a C library, are part of what their process computes. */
Test(gil_share, threads_without_python)
{
	struct tb *tb = threads();
	struct result x;

	samples(tb, 2, 0, 100, 10);
	samples(tb, 3, 0, 100, 0);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_run(tb, id, 0, 100 * MS);
		if (id == 2)
			tb_reads_gil(tb, id, 1, true, TSTATE(2), 5);
		tb_exit(tb, id, 0);
	}
	tb_stop(tb, 120 * MS);
	x = analyzed(tb);
	cr_expect(!time_of(&x, 3));
	expect_near(x.gil->time.cpu_ns, 199 * MS);
	expect_near(x.gil->time.cpu_hold_ns, 99.5 * MS);
	done(&x);
}

/* Of a thread that no sample met, as of the others. */
Test(gil_share, short_threads)
{
	struct tb *tb = threads();
	const struct gil_time *t;
	struct result x;

	samples(tb, 2, 0, 50, 5);
	tb_run(tb, 2, 0, 50 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 60 * MS, 62 * MS);
	tb_reads_gil(tb, 3, 1, true, TSTATE(3), 6);
	tb_exit(tb, 3, 0);
	tb_stop(tb, 62 * MS);
	x = analyzed(tb);
	t = time_of(&x, 3);
	cr_assert(t);
	cr_expect_eq(t->samples, 0);
	expect_near(t->cpu_hold_ns, 1 * MS);
	done(&x);
}

/* Without samples it stays the bound that it is. */
Test(gil_share, no_samples)
{
	struct tb *tb = threads();
	struct result x;

	tb_run(tb, 2, 0, 10 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_call(tb, 2, TB_NR_nanosleep, 1, FD_UNKNOWN, 20 * MS, 0);
	tb_run(tb, 2, 20 * MS, 50 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 62 * MS);
	x = analyzed(tb);
	cr_expect_eq(x.gil->time.samples, 0);
	expect_near(x.gil->time.hold_ns, 40 * MS);
	expect_near(x.gil->time.doubt_ns, 30 * MS);
	done(&x);
}

/* A child of vfork runs with its creator's thread state, until its exec: it is no thread that has
 * the GIL. */
Test(gil_share, child_of_vfork)
{
	struct tb *tb = threads();
	struct result x;

	samples(tb, 2, 0, 20, 10);
	samples(tb, 5, 20, 22, 10);
	tb_run(tb, 2, 0, 20 * MS);
	tb_reads_gil(tb, 2, 1, true, TSTATE(2), 5);
	tb_call(tb, 2, TB_NR_vfork, 0, FD_UNKNOWN, 24 * MS, 0);
	tb_vfork(tb, 5, 2, "worker", 20 * MS);
	tb_run(tb, 5, 20 * MS, 23 * MS);
	tb_exec(tb, 5, 23 * MS, "/bin/true", "true");
	tb_run(tb, 5, 23 * MS, 24 * MS);
	tb_exit(tb, 5, 0);
	tb_run(tb, 2, 24 * MS, 30 * MS);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 40 * MS);
	x = analyzed(tb);
	cr_expect(time_of(&x, 2) && !time_of(&x, 5));
	cr_expect_eq(x.gil->time.samples, 20);
	done(&x);
}
