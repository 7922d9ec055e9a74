/* SPDX-License-Identifier: MIT */
/* Memory of all processes together, from readings of different moments. */
#include "report_test.h"

#define MB (1ull << 20)

struct peaks {
	struct tree_sample read; /* the largest sum of readings */
	uint64_t all;            /* carried on between them */
	size_t n;
	struct tree_sample carried;
	struct footprint_sample child; /* process 2 */
};

static struct peaks peaks_of(struct tb *tb)
{
	struct model *m = loaded(tb);
	struct report r = {0};
	struct err err = {0};
	struct peaks p;

	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	p = (struct peaks){r.tree_peak, r.peak_memory_bytes, r.tree.n, r.peak, r.proc_peaks[1]};
	report_release(&r);
	model_free(m);
	return p;
}

/* A parent that was read once, with `rss` MB, has a child from 200 ms on. */
static struct tb *read_once(uint64_t rss)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 200 * MS);
	tb_footprint(tb, 1, 100 * MS, rss * MB, (rss - 2) * MB, (rss - 4) * MB);
	tb_fork(tb, 2, 1, "child", 200 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 200 * MS, 1000 * MS);
	return tb;
}

/* Of 100 MB that a parent was read with, a child shares all but the 5 MB that it wrote. */
static struct tb *forked(void)
{
	struct tb *tb = read_once(100);

	tb_run(tb, 1, 200 * MS, 1000 * MS);
	tb_footprint(tb, 2, 400 * MS, 105 * MB, 55 * MB, 5 * MB);
	return tb;
}

static void leave(struct tb *tb, uint32_t n)
{
	for (; n; n--)
		tb_exit(tb, n, 0);
}

Test(memory, a_parent_read_before_its_fork_counts_what_is_shared)
{
	struct tb *tb = forked();
	struct peaks p;

	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.read.pss_bytes, (98 + 5) * MB, "%llu",
	             (unsigned long long)p.read.pss_bytes / MB);
	cr_expect_eq(p.read.rss_bytes, 205 * MB, "what RSS adds up to is told as it is");
	cr_expect_eq(p.all, (98 + 5) * MB);

	tb = forked();
	tb_footprint(tb, 1, 600 * MS, 100 * MB, 52 * MB, 3 * MB);
	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.read.pss_bytes, (55 + 52) * MB, "%llu",
	             (unsigned long long)p.read.pss_bytes / MB);
	cr_expect_eq(p.all, (55 + 52) * MB);
}

/* The child is read after its own fork, but the grandchild shares the pages of the first of them,
 * which is still to be read. */
Test(memory, a_grandchild_shares_with_the_first)
{
	struct tb *tb = forked();
	struct peaks p;

	tb_fork(tb, 3, 2, "grandchild", 300 * MS);
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 300 * MS, 1000 * MS);
	tb_footprint(tb, 3, 500 * MS, 105 * MB, 36 * MB, 4 * MB);
	leave(tb, 3);
	p = peaks_of(tb);
	cr_expect_eq(p.read.pss_bytes, (98 + 5 + 4) * MB, "%llu",
	             (unsigned long long)p.read.pss_bytes / MB);
	cr_expect_eq(p.all, (98 + 5 + 4) * MB);

	tb = forked();
	tb_fork(tb, 3, 2, "grandchild", 300 * MS);
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 300 * MS, 1000 * MS);
	tb_footprint(tb, 3, 500 * MS, 105 * MB, 40 * MB, 4 * MB);
	tb_footprint(tb, 1, 600 * MS, 100 * MB, 30 * MB, 1 * MB);
	leave(tb, 3);
	p = peaks_of(tb);
	cr_expect_eq(p.read.pss_bytes, (30 + 55 + 40) * MB, "%llu",
	             (unsigned long long)p.read.pss_bytes / MB);
}

/* One that has become another program shares nothing of it. The order of its end and its parent's
 * does not matter. */
Test(memory, a_program_of_its_own_counts_whole)
{
	struct tb *tb = forked();
	struct peaks p;

	tb_fork(tb, 3, 1, "shell", 300 * MS);
	tb_exec(tb, 3, 301 * MS, "/bin/tool", "tool");
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 301 * MS, 900 * MS);
	tb_footprint(tb, 3, 500 * MS, 40 * MB, 36 * MB, 30 * MB);
	leave(tb, 3);
	p = peaks_of(tb);
	cr_expect_eq(p.read.pss_bytes, (98 + 5 + 36) * MB, "%llu",
	             (unsigned long long)p.read.pss_bytes / MB);
	cr_expect_eq(p.read.procs, 3);
}

/* When the one that was read too early has gone, nobody else counts its pages. */
Test(memory, the_end_of_a_parent_leaves_its_pages_to_the_child)
{
	struct tb *tb = read_once(20);
	struct peaks p;

	tb_run(tb, 1, 200 * MS, 300 * MS);
	tb_exit(tb, 1, 0);
	tb_footprint(tb, 2, 400 * MS, 105 * MB, 55 * MB, 5 * MB);
	tb_exit(tb, 2, 0);
	p = peaks_of(tb);
	cr_expect_eq(p.read.pss_bytes, 55 * MB, "%llu", (unsigned long long)p.read.pss_bytes / MB);
	cr_expect_eq(p.read.procs, 1);
}

/* Before its first reading a process counts with its RSS, but for files: who else has these in
 * memory only a reading tells. Of what happens at one moment only the end counts. */
Test(memory, between_readings_and_at_one_moment)
{
	struct tb *tb = tb_new();
	struct peaks p;

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 1000 * MS);
	tb_rss(tb, 1, 100 * MS, 80 * MB, 10 * MB);
	tb_rss(tb, 1, 200 * MS, 40 * MB, 10 * MB);
	tb_footprint(tb, 1, 300 * MS, 50 * MB, 38 * MB, 36 * MB);
	tb_exit(tb, 1, 0);
	p = peaks_of(tb);
	cr_expect_eq(p.all, 80 * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.carried.unread, 1, "it is at least that");

	tb = tb_new();
	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 1000 * MS);
	tb_rss(tb, 1, 100 * MS, 2 * MB, 20 * MB);
	tb_footprint(tb, 1, 300 * MS, 22 * MB, 5 * MB, 2 * MB);
	tb_rss(tb, 1, 400 * MS, 3 * MB, 20 * MB);
	tb_exit(tb, 1, 0);
	p = peaks_of(tb);
	cr_expect_eq(p.all, 6 * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.carried.unread, 0);

	tb = tb_new();
	tb_task(tb, 1, "app");
	tb_fork(tb, 2, 1, "tool", 100 * MS);
	tb_exec(tb, 2, 101 * MS, "/bin/tool", "tool");
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 101 * MS, 500 * MS);
	tb_footprint(tb, 2, 300 * MS, 100 * MB, 100 * MB, 100 * MB);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 0, 1000 * MS);
	tb_footprint(tb, 1, 500 * MS, 100 * MB, 100 * MB, 100 * MB);
	tb_exit(tb, 1, 0);
	p = peaks_of(tb);
	cr_expect_eq(p.all, 100 * MB, "%llu", (unsigned long long)p.all / MB);
}

static void copies(struct tb *tb, uint32_t id, uint64_t t, uint64_t mb)
{
	struct rec_touch r = {.task = id, .what = TOUCH_COW, .bytes = mb * MB};

	tb_raw(tb, REC_K_TOUCH, TB_EPOCH + t, &r);
}

/* Pages that a child copies leave its RSS as it is, but there are two of each now. */
Test(memory, copies_after_a_fork_are_memory_of_their_own)
{
	struct tb *tb = forked();
	struct peaks p;

	tb_rss(tb, 2, 350 * MS, 105 * MB, 0);
	copies(tb, 2, 300 * MS, 5); /* are in its reading */
	copies(tb, 2, 500 * MS, 20);
	copies(tb, 2, 600 * MS, 20);
	tb_rss(tb, 2, 700 * MS, 105 * MB, 0);
	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.all, (98 + 5 + 40) * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.carried.unread, 0);
	cr_expect_eq(p.child.uss_bytes, 45 * MB, "%llu",
	             (unsigned long long)p.child.uss_bytes / MB);
	cr_expect_eq(p.child.pss_bytes, (45 + 30) * MB, "half of the 60 that it shares still: %llu",
	             (unsigned long long)p.child.pss_bytes / MB);
	cr_expect_eq(p.child.shared_bytes, 60 * MB);
}

/* Of a child that was never read the counters at its end tell, however short it lived. */
Test(memory, a_child_never_read_has_what_it_copied)
{
	struct tb *tb = read_once(100);
	struct peaks p;

	tb_run(tb, 1, 200 * MS, 1000 * MS);
	copies(tb, 2, 300 * MS, 30);
	tb_faults(tb, 2, 0, 0, 0, 40 * MB / 4096); /* … and 10 MB after the last sample */
	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.all, (98 + 40) * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.carried.unread, 1, "it is at least that");
	cr_expect_eq(p.child.t_ns, 0);
	cr_expect_eq(p.child.uss_bytes, 40 * MB);
}

/* The parent is read while its child is not: the reading tells half of what they share, the other
 * half is still there. */
Test(memory, a_parent_read_before_its_child_counts_what_is_shared)
{
	struct tb *tb = read_once(100);
	struct peaks p;

	tb_run(tb, 1, 200 * MS, 1000 * MS);
	tb_footprint(tb, 1, 300 * MS, 100 * MB, 50 * MB, 2 * MB);
	copies(tb, 2, 500 * MS, 30);
	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.all, (98 + 30) * MB, "%llu", (unsigned long long)p.all / MB);
}

/* A child that keeps the state of a moment, while its parent writes on: the old pages are the
 * child's. They go with it, so that one fork after the other adds nothing. */
Test(memory, what_a_parent_copies_is_left_to_its_child)
{
	struct tb *tb = read_once(100);
	struct peaks p;

	tb_run(tb, 1, 200 * MS, 2000 * MS);
	tb_rss(tb, 1, 100 * MS, 100 * MB, 0);
	copies(tb, 1, 300 * MS, 60);
	tb_rss(tb, 2, 400 * MS, 100 * MB, 0);
	tb_exit(tb, 2, 0);
	tb_fork(tb, 3, 1, "child", 1200 * MS);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 1200 * MS, 1500 * MS);
	copies(tb, 1, 1300 * MS, 50);
	tb_exit(tb, 3, 0);
	tb_exit(tb, 1, 0);
	p = peaks_of(tb);
	cr_expect_eq(p.all, (98 + 60) * MB, "%llu", (unsigned long long)p.all / MB);
}

/* It has become another program: what it copied before is gone. */
Test(memory, an_exec_leaves_copies_behind)
{
	struct tb *tb = read_once(100);
	struct peaks p;

	tb_run(tb, 1, 200 * MS, 1000 * MS);
	copies(tb, 2, 210 * MS, 3);
	tb_exec(tb, 2, 300 * MS, "/bin/tool", "tool");
	tb_rss(tb, 2, 400 * MS, 2 * MB, 8 * MB);
	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.all, (98 + 3) * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.child.uss_bytes, 3 * MB);
}

/* Also what it was read with before: it counts again when it is read as the new program. */
Test(memory, an_exec_leaves_what_was_read_behind)
{
	struct tb *tb = read_once(100);
	struct peaks p;

	tb_run(tb, 1, 200 * MS, 1000 * MS);
	tb_footprint(tb, 2, 250 * MS, 105 * MB, 55 * MB, 50 * MB);
	tb_exec(tb, 2, 300 * MS, "/bin/tool", "tool");
	tb_footprint(tb, 1, 400 * MS, 200 * MB, 190 * MB, 180 * MB);
	tb_footprint(tb, 2, 600 * MS, 8 * MB, 7 * MB, 6 * MB);
	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.all, (190 + 7) * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.carried.uss_bytes, (180 + 6) * MB);
	cr_expect_eq(p.carried.rss_bytes, (200 + 8) * MB);
	cr_expect_eq(p.carried.unread, 0);
}

/* Each process counts with its latest reading. */
Test(memory, readings_add_up)
{
	struct tb *tb = tb_new();
	struct peaks p;

	for (uint32_t id = 1; id <= 2; id++) {
		tb_task(tb, id, "worker");
		tb_on(tb, id, id);
		tb_run(tb, id, 0, 1000 * MS);
	}
	tb_footprint(tb, 1, 100 * MS, 12 * MB, 10 * MB, 8 * MB);
	tb_footprint(tb, 2, 200 * MS, 24 * MB, 20 * MB, 16 * MB);
	tb_footprint(tb, 1, 300 * MS, 36 * MB, 30 * MB, 25 * MB);
	tb_footprint(tb, 1, 400 * MS, 6 * MB, 5 * MB, 4 * MB);
	leave(tb, 2);
	p = peaks_of(tb);
	cr_expect_eq(p.n, 4);
	for (unsigned i = 0; i < 2; i++) {
		const struct tree_sample *s = i ? &p.carried : &p.read;

		cr_expect_eq(s->t_ns, TB_EPOCH + 300 * MS);
		cr_expect_eq(s->rss_bytes, (24 + 36) * MB, "%u", i);
		cr_expect_eq(s->pss_bytes, (20 + 30) * MB, "%u", i);
		cr_expect_eq(s->uss_bytes, (16 + 25) * MB, "%u", i);
		cr_expect_eq(s->procs, 2, "%u", i);
		cr_expect_eq(s->unread, 0, "%u", i);
	}
}

Test(memory, the_text_says_at_least_where_some_were_not_read)
{
	struct tb *tb = read_once(100);
	struct report_opts o = {.width = 120};
	struct model *m;
	char *text;

	tb_run(tb, 1, 200 * MS, 1000 * MS);
	copies(tb, 2, 300 * MS, 30);
	leave(tb, 2);
	m = loaded(tb);
	text = text_of(m, &o);
	cr_expect(strstr(text, "memory in all    at least 128 MB at the peak of 2 processes"), "%s",
	          text);
	free(text);
	model_free(m);
}

/* One of five that was read is no mean of five. */
Test(memory, few_that_are_known_are_no_mean_of_all)
{
	for (uint32_t read = 2; read <= 3; read++) {
		struct report_opts o = {.width = 120, .top = 3};
		struct tb *tb = tb_new();
		struct model *m;
		char *text;

		tb_task(tb, 1, "app");
		for (uint32_t id = 2; id <= 6; id++) {
			tb_fork(tb, id, 1, "tool", 100 * MS);
			tb_on(tb, id, id);
			tb_run(tb, id, 100 * MS, 900 * MS);
			if (id < 2 + read)
				tb_footprint(tb, id, 300 * MS, 9 * MB, 7 * MB, 5 * MB);
		}
		tb_run(tb, 1, 0, 1000 * MS);
		leave(tb, 6);
		m = loaded(tb);
		text = text_of(m, &o);
		cr_expect_eq(!!strstr(text, " 5      9 MB  7 MB"), read == 3, "%s", text);
		free(text);
		model_free(m);
	}
}

/* A reading that a fork fell into, or that waited for the fork to be over, counts for nothing: of
 * the parent, and of those who have its pages, too. */
Test(memory, readings_that_a_fork_fell_into)
{
	static const struct {
		uint64_t from_ms, took_ms;
		bool torn;
	} cases[] = {{190, 5, false}, {190, 20, true}, {199, 1, true}, {201, 20, false}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (uint32_t who = 1; who <= 2; who++) {
			struct tb *tb = tb_new();
			struct rec_footprint r = {.task = who,
			                          .rss_bytes = 100 * MB,
			                          .pss_bytes = 40 * MB,
			                          .uss_bytes = 4 * MB,
			                          .took_ns = cases[i].took_ms * MS};
			struct model *m;

			tb_task(tb, 1, "app");
			tb_run(tb, 1, 0, 200 * MS);
			tb_fork(tb, 2, 1, "child", 100 * MS);
			tb_on(tb, 2, 1);
			tb_run(tb, 2, 100 * MS, 1000 * MS);
			tb_raw(tb, REC_K_FOOTPRINT, TB_EPOCH + cases[i].from_ms * MS, &r);
			tb_fork(tb, 3, 1, "child", 200 * MS);
			tb_on(tb, 3, 2);
			tb_run(tb, 3, 200 * MS, 1000 * MS);
			tb_run(tb, 1, 200 * MS, 1000 * MS);
			leave(tb, 3);
			m = loaded(tb);
			cr_expect_eq(model_proc(m, who)->footprint.n, !cases[i].torn,
			             "case %zu of %" PRIu32, i, who);
			model_free(m);
		}
	}
}

/* Two workers that share their master's pages, all there before: how much they share is known from
 * their readings on, and what they grow by at once. */
Test(memory, who_was_there_before_counts_when_it_is_read)
{
	struct tb *tb = tb_new_attach();
	struct peaks p;

	for (uint32_t id = 1; id <= 2; id++) {
		tb_attached(tb, id, id, "worker", TASK_F_ON_CPU, 0, -1, 0, 0);
		tb_on(tb, id, id - 1);
		tb_rss(tb, id, 50 * MS, 40 * MB, 20 * MB);
		tb_rss(tb, id, 90 * MS, 41 * MB, 20 * MB);
		tb_footprint(tb, id, 100 * MS, 61 * MB, 30 * MB, 3 * MB);
		tb_rss(tb, id, 300 * MS, 43 * MB, 20 * MB);
		tb_run(tb, id, 0, 350 * MS);
	}
	tb_stop(tb, 400 * MS);
	p = peaks_of(tb);
	cr_expect_eq(p.all, 64 * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.carried.unread, 0);
}

/* The kernel's counters run a little behind what it finds when it looks at the pages. */
Test(memory, no_reading_has_more_than_the_peak)
{
	struct tb *tb = tb_new_attach();
	struct model *m;

	tb_attached(tb, 1, 1, "server", TASK_F_ON_CPU, 0, -1, 0, 0);
	tb_rss(tb, 1, 50 * MS, 4 * MB, 1 * MB);
	tb_footprint(tb, 1, 100 * MS, 6 * MB, 6 * MB, 6 * MB);
	tb_run(tb, 1, 0, 200 * MS);
	tb_stop(tb, 200 * MS);
	m = loaded(tb);
	cr_expect_eq(model_proc_at(m, 0)->rss_peak_bytes, 6 * MB);
	cr_expect(!model_proc_at(m, 0)->rss_peak_from_kernel);
	model_free(m);
}

/* Several that grow are read in turn, one every 20 ms: what one of them had until it went is not
 * waited out. */
Test(memory, a_peak_while_others_are_read_in_turn)
{
	struct tb *tb = tb_new();
	struct peaks p;

	for (uint32_t id = 1; id <= 4; id++) {
		uint64_t end = id < 4 ? 1000 : 330;

		tb_task(tb, id, "worker");
		tb_on(tb, id, id);
		tb_run(tb, id, 0, end * MS);
		for (uint64_t t = 40 + 20 * id; id < 4 && t < 950; t += 60)
			tb_footprint(tb, id, t * MS, 12 * MB, 10 * MB, 8 * MB);
	}
	tb_footprint(tb, 4, 205 * MS, 302 * MB, 300 * MB, 298 * MB);
	leave(tb, 4);
	p = peaks_of(tb);
	cr_expect_eq(p.read.pss_bytes, 330 * MB, "%llu", (unsigned long long)p.read.pss_bytes / MB);
	cr_expect_eq(p.all, 330 * MB, "%llu", (unsigned long long)p.all / MB);
	cr_expect_eq(p.carried.procs, 4);
	cr_expect_geq(p.n, 15, "%zu", p.n); /* each round is a sample */
}
