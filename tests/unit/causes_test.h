/* SPDX-License-Identifier: MIT */
/* causes_test.h: what the tests of capacity, critical path and deadlocks share. */
#ifndef MT_CAUSES_TEST_H
#define MT_CAUSES_TEST_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "../support/tb.h"
#include "report.h"

#define MUTEX 0x601000
#define COOL  0x602000
#define COND  0x603008
#define SEM   0x604000

struct built {
	struct model *m;
	struct report r;
};

static inline void expect_sums(const struct built *b)
{
	const struct recording *rec = model_recording(b->m);
	uint64_t sum = 0, heights = 0, critical = 0, procs = 0, at = rec->wall_start_ns, on_cpu = 0;

	for (size_t i = 0; i < b->r.breakdown.n; i++)
		sum += b->r.breakdown.v[i].ns;
	cr_expect_eq(sum, b->r.capacity_ns, "the breakdown is capacity: %" PRIu64 " of %" PRIu64,
	             sum, b->r.capacity_ns);
	for (size_t i = 0; i < b->r.path.n; i++) {
		const struct path_row *p = &b->r.path.v[i];

		cr_expect_eq(p->start_ns, at, "path piece %zu begins where the last ended", i);
		cr_expect_gt(p->end_ns, p->start_ns);
		at = p->end_ns;
	}
	cr_expect_eq(at, rec->wall_end_ns, "the path reaches the end");
	for (size_t i = 0; i < b->r.shares.n; i++) {
		heights += b->r.shares.v[i].height_ns;
		critical += b->r.shares.v[i].critical_ns;
	}
	for (size_t i = 0; i < b->r.proc_shares.n; i++)
		procs += b->r.proc_shares.v[i].height_ns;
	for (size_t i = 0; i < model_n_tasks(b->m); i++)
		on_cpu += model_task_at(b->m, i)->on_cpu_ns;
	cr_expect_eq(heights, procs);
	cr_expect_leq(heights, rec->wall_end_ns - rec->wall_start_ns);
	cr_expect_leq(heights, on_cpu);
	cr_expect_leq(critical, heights + b->r.shares.n);
}

/* What the account charged to a lock or channel is in the list of what each kept idle. */
static inline void expect_idle(const struct report *r)
{
	cr_assert_eq(r->lock_idle_ns.n, r->w->locks.n);
	cr_assert_eq(r->channel_idle_ns.n, r->w->channels.n);
	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];
		bool lock = row->cause == CAUSE_LOCK || row->cause == CAUSE_GIL;

		if (!row->id || (!lock && row->cause != CAUSE_CHANNEL))
			continue;
		cr_expect_geq((lock ? r->lock_idle_ns.v : r->channel_idle_ns.v)[row->id - 1] + 2,
		              row->ns, "%s", row->name);
	}
}

static inline struct built build_opts(struct tb *tb, const struct analyze_opts *o)
{
	struct model_opts opts = {.flags = MODEL_SLICES};
	struct built b = {.m = tb_load(tb, &opts)};
	struct err err = {0};

	cr_assert(b.m);
	tb_free(tb);
	cr_assert_eq(report_build_opts(&b.r, b.m, o, &err), 0, "%s", err.msg);
	cr_assert(b.r.causes_known);
	if (!o) {
		expect_sums(&b);
		expect_idle(&b.r);
	}
	return b;
}

static inline struct built build(struct tb *tb)
{
	return build_opts(tb, NULL);
}

static inline void drop(struct built *b)
{
	report_release(&b->r);
	model_free(b->m);
}

static inline uint64_t of_cause(const struct built *b, enum cause cause)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < b->r.breakdown.n; i++)
		if (b->r.breakdown.v[i].cause == cause)
			ns += b->r.breakdown.v[i].ns;
	return ns;
}

static inline const struct cause_row *first(const struct built *b, enum cause cause)
{
	for (size_t i = 0; i < b->r.breakdown.n; i++)
		if (b->r.breakdown.v[i].cause == cause)
			return &b->r.breakdown.v[i];
	cr_assert_fail("no row of cause %s", cause_key(cause));
	return NULL;
}

static inline void expect_verdict(const struct built *b, enum verdict v, const char *part)
{
	cr_expect_eq(b->r.verdict, v, "%s, not %s: %s", verdict_key(b->r.verdict), verdict_key(v),
	             b->r.headline);
	cr_expect(strstr(b->r.headline, part), "'%s' has no '%s'", b->r.headline, part);
}

/* main starts two workers and joins them both; it runs for the first ms and the last. */
static inline struct tb *two_workers(uint64_t end)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "alpha", 1 * MS);
	tb_thread(tb, 3, 1, "beta", 1 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, end);
	tb_run(tb, 1, end, end + 1 * MS);
	tb_exit(tb, 1, 0);
	tb_on(tb, 2, 1);
	tb_on(tb, 3, 2);
	return tb;
}

/* beta consumes in 1 ms what alpha makes in 9. */
static inline struct tb *producer(void)
{
	struct tb *tb = two_workers(41 * MS);

	tb_run(tb, 2, 1 * MS, 41 * MS);
	tb_exit(tb, 2, 0);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t t = (1 + 10 * i) * MS;

		tb_run(tb, 3, t, t + 1 * MS);
		if (i < 3)
			tb_futex(tb, 3, COND, TB_FUTEX_BITSET, 0, 0, t + 10 * MS, 2);
	}
	tb_exit(tb, 3, 0);
	return tb;
}

#endif
