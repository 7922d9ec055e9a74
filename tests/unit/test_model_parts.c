/* SPDX-License-Identifier: MIT */
#include "model_test.h"

/* --- processes
 * ------------------------------------------------------------------------------------ */

Test(model, fork_exec_and_exit)
{
	struct tb *tb = tb_new();
	const struct proc *p;
	const struct task *t;
	struct model *m;

	tb_task(tb, 1, "sh");
	tb_run(tb, 1, 0, 2 * MS);
	tb_fork(tb, 2, 1, "sh", 1 * MS);
	tb_call(tb, 1, TB_NR_vfork, 0, FD_UNKNOWN, 5 * MS, 2);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 1 * MS + 100 * US, 9 * MS);
	tb_exec(tb, 2, 5 * MS, "/usr/bin/make", "make");
	tb_faults(tb, 2, 10, 1, 7, 3);
	tb_exit(tb, 2, 9);
	tb_run(tb, 1, 5 * MS, 10 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	p = model_proc(m, 2);
	t = model_task(m, 2);
	cr_assert(p && t);
	cr_expect_str_eq(p->comm, "make");
	cr_expect_str_eq(p->exe, "/usr/bin/make");
	cr_expect_str_eq(t->first_comm, "sh");
	cr_expect_eq(p->n_execs, 1);
	cr_expect_eq(p->parent, 1);
	cr_expect_eq(p->exit_status, 128 + 9);
	cr_expect_eq(t->kernel.minflt, 10);
	cr_expect_eq(t->kernel.majflt, 1);
	cr_expect_eq(t->first_write_faults, 7);
	cr_expect_eq(p->wp_faults, 3);
	cr_expect_eq(model_task(m, 1)->blocked_by[BLOCK_CHILD], 3 * MS);
	cr_expect_eq(model_n_procs(m), 2);
	cr_expect_eq(model_recording(m)->exit_status, 0);
	model_free(m);
}

/* A forked child's futex is another word than its parent's at the same address; an exec
 * begins a new space. */
Test(model, futex_words_belong_to_spaces)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "thread", 0);
	tb_fork(tb, 3, 1, "child", 0);
	for (uint32_t id = 1; id <= 3; id++) {
		tb_on(tb, id, id);
		tb_run(tb, id, 0, 1 * MS);
		tb_futex_wait(tb, id, 0x1000, 2 * MS, 0);
		tb_run(tb, id, 2 * MS, 3 * MS);
	}
	tb_exec(tb, 3, 3 * MS, "/bin/true", "true");
	tb_futex_wait(tb, 3, 0x1000, 6 * MS, 0);
	tb_run(tb, 3, 6 * MS, 7 * MS);
	for (uint32_t id = 1; id <= 3; id++)
		tb_exit(tb, id, 0);
	m = load(tb, NULL);
	cr_assert_eq(model_n_futexes(m), 3);
	cr_expect_eq(model_futex_at(m, 0)->waiters.n, 2);
	cr_expect_eq(model_futex_at(m, 0)->waits, 2);
	cr_expect_eq(model_futex_at(m, 0)->op, 9);
	cr_expect(model_futex_at(m, 0)->is_private);
	cr_expect_eq(model_futex_at(m, 1)->wait_ns, 1 * MS);
	cr_expect_eq(model_futex_at(m, 2)->wait_ns, 3 * MS);
	model_free(m);
}

Test(model, many_waits_are_sampled_evenly)
{
	struct tb *tb = tb_new();
	const struct futex *f;
	uint64_t sum = 0, t = 0;
	struct model *m;

	tb_task(tb, 1, "main");
	for (uint64_t i = 0; i < 20000; i++) {
		tb_run(tb, 1, t, t + 1 * US);
		tb_futex_wait(tb, 1, 0x1000, t + 2 * US + i, 0);
		t += 30 * US;
	}
	tb_run(tb, 1, t, t + 1);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	f = model_futex_at(m, 0);
	cr_expect_eq(f->waits, 20000);
	cr_expect_eq(f->max_ns, 1 * US + 19999);
	cr_assert_eq(f->durations_ns.n, 4096);
	for (size_t i = 0; i < f->durations_ns.n; i++)
		sum += f->durations_ns.v[i] - 1 * US;
	sum /= f->durations_ns.n; /* mean of 0 … 19999, standard error 90 */
	cr_expect(sum > 9600 && sum < 10400, "mean %" PRIu64, sum);
	model_free(m);
}

/* A thread that calls exec goes on under its leader's id. */
Test(model, exec_by_a_thread)
{
	struct rec_exec exec = {.task = 2, .tid = 1001};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 1, 0, 4 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 0, 9 * MS);
	tb_raw(tb, REC_K_EXEC, TB_EPOCH + 5 * MS, &exec);
	tb_exit(tb, 2, 0);
	m = load(tb, NULL);
	cr_expect_eq(model_task(m, 2)->tid, 1001);
	cr_expect_eq(model_proc(m, 1)->n_execs, 1);
	model_free(m);
}

/* Another thread than the last one ended the process: it says with what. */
Test(model, status_of_a_group)
{
	struct rec_exit exit = {.task = 1, .code = 0, .last = 1, .group_code = 3 << 8};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 9 * MS);
	tb_raw(tb, REC_K_EXIT, TB_EPOCH + 10 * MS, &exit);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	cr_expect_eq(model_proc(m, 1)->exit_status, 3);
	model_free(m);
}

Test(model, memory_samples)
{
	struct rec_exit exit = {.task = 1, .last = 1, .maxrss_bytes = 9 << 20};
	struct tb *tb = tb_new();
	const struct proc *p;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_fork(tb, 2, 1, "child", 0);
	tb_run(tb, 1, 0, 9 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 5 * MS);
	tb_rss(tb, 1, 1 * MS, 1 << 20, 2 << 20);
	tb_rss(tb, 2, 2 * MS, 3 << 20, 2 << 20);
	tb_rss(tb, 2, 3 * MS, 2 << 20, 2 << 20);
	tb_footprint(tb, 2, 3 * MS, 4 << 20, 3 << 20, 2 << 20);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	tb_raw(tb, REC_K_EXIT, TB_EPOCH + 9 * MS, &exit);
	m = load(tb, NULL);
	p = model_proc(m, 2);
	cr_expect_eq(p->rss_peak_bytes, 5 << 20);
	cr_expect_not(p->rss_peak_from_kernel);
	cr_expect_eq(p->rss.n, 2);
	cr_assert_eq(p->footprint.n, 1);
	cr_expect_eq(p->footprint.v[0].pss_bytes, 3 << 20);
	p = model_proc(m, 1);
	cr_expect_eq(p->rss_peak_bytes, 9 << 20);
	cr_expect(p->rss_peak_from_kernel);
	model_free(m);
}

/* What was read of the pages is exact; the kernel's mark is of counters that lag. */
Test(model, no_peak_is_below_a_reading)
{
	struct rec_exit exit = {.task = 1, .last = 1, .maxrss_bytes = 9 << 20};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 9 * MS);
	tb_footprint(tb, 1, 3 * MS, 10 << 20, 9 << 20, 9 << 20);
	tb_exit(tb, 1, 0);
	tb_raw(tb, REC_K_EXIT, TB_EPOCH + 9 * MS, &exit);
	m = load(tb, NULL);
	cr_expect_eq(model_proc(m, 1)->rss_peak_bytes, 10 << 20);
	cr_expect_not(model_proc(m, 1)->rss_peak_from_kernel);
	model_free(m);
}

static void tb_last_exit(struct tb *tb, uint32_t id, uint64_t maxrss_mb)
{
	struct rec_exit exit = {.task = id, .last = 1, .maxrss_bytes = maxrss_mb << 20};

	tb_exit(tb, id, 0);
	tb_raw(tb, REC_K_EXIT, TB_EPOCH + 900 * MS, &exit);
}

/* The kernel carries its high-water mark over an exec: what a large process starts is no larger for
 * that, and what is larger was so itself. */
Test(model, a_program_does_not_have_its_starters_memory)
{
	static const struct {
		uint64_t maxrss_mb, samples, sample_mb, expect_mb;
		bool kernel;
	} cases[] = {{200, 0, 0, 0, false},
	             {200, 2, 3, 0, false},
	             {200, 3, 3, 3, false},
	             {199, 1, 120, 120, false},
	             {201, 1, 3, 201, true}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct tb *tb = tb_new();
		struct model *m;
		const struct proc *p;

		tb_task(tb, 1, "large");
		tb_run(tb, 1, 0, 100 * MS);
		tb_fork(tb, 2, 1, "large", 100 * MS);
		tb_on(tb, 2, 1);
		tb_rss(tb, 2, 101 * MS, 180 << 20, 20 << 20);
		tb_exec(tb, 2, 102 * MS, "/bin/small", "small");
		tb_run(tb, 2, 102 * MS, 500 * MS);
		for (uint64_t k = 0; k < cases[i].samples; k++)
			tb_rss(tb, 2, (200 + k) * MS, cases[i].sample_mb << 20, 0);
		tb_run(tb, 1, 100 * MS, 600 * MS);
		tb_last_exit(tb, 2, cases[i].maxrss_mb);
		tb_last_exit(tb, 1, 200);
		m = load(tb, NULL);
		p = model_proc(m, 2);
		cr_expect_eq(p->rss_peak_bytes, cases[i].expect_mb << 20, "case %zu: %" PRIu64, i,
		             p->rss_peak_bytes >> 20);
		cr_expect_eq(p->rss_peak_from_kernel, cases[i].kernel, "case %zu", i);
		cr_expect_eq(model_proc(m, 1)->rss_peak_bytes, 200 << 20);
		model_free(m);
	}
}

/* --- attach
 * ---------------------------------------------------------------------------------------- */

Test(model, attached_in_every_state)
{
	struct tb *tb = tb_new_attach();
	struct model *m;

	tb_attached(tb, 1, 1, "sleeps", 0, 1, TB_NR_nanosleep, 0, 0);
	tb_attached(tb, 2, 1, "waits", 0, 1, TB_NR_futex, 0x1000, 128);
	tb_attached(tb, 3, 1, "ready", 0, 0, -1, 0, 0);
	tb_attached(tb, 4, 1, "runs", TASK_F_ON_CPU, 0, -1, 0, 0);
	tb_attached(tb, 5, 1, "runs on", TASK_F_ON_CPU, 0, -1, 0, 0);
	tb_attached(tb, 6, 1, "stopped", 0, 4, -1, 0, 0);
	tb_attached(tb, 7, 1, "waits on", 0, 1, TB_NR_futex, 0x1000, 128);
	for (uint32_t id = 1; id <= 7; id++)
		tb_on(tb, id, id);
	tb_block(tb, 4, SW_F_FAULT, 2, 6 * MS, 0); /* leaves at once */
	tb_stop(tb, 10 * MS);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 0, 0, 10 * MS);
	cr_expect_eq(model_task(m, 1)->blocked_by[BLOCK_SLEEP], 10 * MS);
	cr_expect_eq(model_task(m, 2)->blocked_by[BLOCK_FUTEX], 10 * MS);
	expect_states(model_task(m, 3), 0, 10 * MS, 0);
	cr_expect_eq(model_task(m, 4)->blocked_by[BLOCK_FAULT], 6 * MS);
	expect_states(model_task(m, 5), 10 * MS, 0, 0);
	cr_expect_not(model_task(m, 5)->kernel_run_exact);
	cr_expect_eq(model_task(m, 6)->blocked_by[BLOCK_STOPPED], 10 * MS);
	cr_assert_eq(model_n_futexes(m), 1);
	cr_expect_eq(model_futex_at(m, 0)->waits, 2);
	cr_expect_eq(model_futex_at(m, 0)->wait_ns, 20 * MS);
	cr_expect(model_recording(m)->attached);
	cr_expect_eq(model_recording(m)->exit_status, -1);
	cr_expect_eq(rel(model_recording(m)->wall_start_ns), 0);
	cr_expect_eq(rel(model_recording(m)->wall_end_ns), 10 * MS);
	model_free(m);
}

Test(model, attached_first_events)
{
	struct tb *tb = tb_new_attach();
	const struct task *t;
	struct model *m;

	tb_attached(tb, 1, 1, "switch in", 0, 1, TB_NR_nanosleep, 0, 0);
	tb_attached(tb, 2, 1, "was ready", 0, 0, -1, 0, 0);
	tb_attached(tb, 3, 1, "switch out", TASK_F_ON_CPU, 0, -1, 0, 0);
	for (uint32_t id = 1; id <= 3; id++)
		tb_on(tb, id, id);
	tb_run(tb, 3, 0, 2 * MS);
	tb_preempt(tb, 3);
	tb_run(tb, 2, 3 * MS, 5 * MS);
	tb_futex_wait(tb, 2, 0x1000, 7 * MS, 0);
	tb_run(tb, 2, 7 * MS, 8 * MS);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 10 * MS);
	m = load(tb, NULL);
	expect_states(model_task(m, 3), 2 * MS, 8 * MS, 0);
	cr_expect_not(model_task(m, 3)->kernel_run_exact);
	t = model_task(m, 2);
	expect_states(t, 3 * MS, 3 * MS, 2 * MS);
	cr_expect_not(t->kernel_runnable_exact);
	cr_expect_eq(t->voluntary, t->kernel.voluntary);
	cr_expect_eq(t->run_ns, t->kernel.run_ns);
	model_free(m);
}

/* Running when it was attached, though the walk over the tasks saw it off the CPU. */
Test(model, attached_running_unflagged)
{
	struct rec_switch out = {.prev = 1, .flags = SW_F_RUNNABLE, .exec = 50 * MS};
	struct tb *tb = tb_new_attach();
	struct model *m;

	tb_attached(tb, 1, 1, "main", 0, 1, TB_NR_nanosleep, 0, 0);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 4 * MS, &out);
	tb_stop(tb, 10 * MS);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 4 * MS, 6 * MS, 0);
	cr_expect_eq(model_oddities(m)->lost_in, 0);
	model_free(m);
}

static void mark(struct tb *tb, uint64_t what, uint64_t abs_ts)
{
	struct rec_mark m = {.what = what};

	tb_raw(tb, REC_K_MARK, abs_ts, &m);
}

/* One works until it blocks, 5 ms after the end was decided; the other one still does when its
 * counters are read. */
static struct tb *two_workers(void)
{
	struct tb *tb = tb_new_attach();

	for (uint32_t id = 1; id <= 3; id++) {
		tb_attached(tb, id, 1, "worker", TASK_F_ON_CPU, 0, -1, 0, 0);
		tb_on(tb, id, id);
	}
	tb_run(tb, 1, 0, 105 * MS);
	tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, TB_NEVER, 0);
	tb_run(tb, 2, 0, 80 * MS);
	tb_futex_wait(tb, 2, 0x1000, 103 * MS, 0);
	tb_run(tb, 2, 103 * MS, 104 * MS);
	tb_stop(tb, 120 * MS);
	return tb;
}

/* The wall is the time in which the tasks are followed: not what setting up takes before, nor the
 * ends of the tasks, which are seen for different times. */
Test(model, attached_wall)
{
	const struct model_opts first = {.until_ns = 50 * MS}, all = {.until_ns = 110 * MS};
	struct tb *tb = two_workers();
	struct model *m;

	mark(tb, MARK_START, TB_EPOCH - 123 * MS);
	mark(tb, MARK_FOLLOW, TB_EPOCH);
	mark(tb, MARK_STOPPING, TB_EPOCH + 100 * MS);
	tb_bytes(tb);
	m = tb_load(tb, NULL);
	cr_expect_eq(rel(model_recording(m)->wall_start_ns), 0);
	cr_expect_eq(rel(model_recording(m)->wall_end_ns), 100 * MS);
	cr_expect_not(model_recording(m)->windowed);
	cr_expect_eq(model_recording(m)->start_ns, TB_EPOCH - 123 * MS);
	expect_states(model_task(m, 1), 100 * MS, 0, 0);
	expect_states(model_task(m, 2), 80 * MS, 0, 20 * MS);
	expect_states(model_task(m, 3), 100 * MS, 0, 0);
	for (uint32_t id = 1; id <= 3; id++)
		cr_expect(model_task(m, id)->alive);
	model_free(m);
	m = tb_load(tb, &first);
	cr_expect_eq(rel(model_recording(m)->wall_end_ns), 50 * MS);
	cr_expect(model_recording(m)->windowed);
	model_free(m);
	m = tb_load(tb, &all);
	cr_expect_eq(rel(model_recording(m)->wall_end_ns), 100 * MS);
	cr_expect_not(model_recording(m)->windowed);
	model_free(m);
	tb_free(tb);
}

/* A recording of before there were these marks. */
Test(model, attached_wall_without_marks)
{
	struct model *m = load(two_workers(), NULL);

	cr_expect_eq(rel(model_recording(m)->wall_start_ns), 0);
	cr_expect_eq(rel(model_recording(m)->wall_end_ns), 120 * MS);
	expect_states(model_task(m, 1), 105 * MS, 0, 15 * MS);
	model_free(m);
}

/* --- histogram
 * -------------------------------------------------------------------------------------- */

Test(model, histogram_of_running_tasks)
{
	struct tb *tb = tb_new();
	const uint64_t *h;
	struct model *m;
	size_t n;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "a", 0);
	tb_thread(tb, 3, 1, "b", 0);
	tb_run(tb, 1, 1 * MS, 4 * MS);
	tb_futex_wait(tb, 1, 0x1000, 11 * MS, 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 2 * MS, 6 * MS);
	tb_exit(tb, 2, 0);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 6 * MS, 8 * MS); /* follows 2 on its CPU */
	tb_exit(tb, 3, 0);
	tb_run(tb, 1, 11 * MS, 12 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	h = model_running_histogram(m, &n);
	cr_assert_eq(n, 3);
	cr_expect_eq(h[0], 4 * MS); /* 0-1, 8-11 */
	cr_expect_eq(h[1], 6 * MS); /* 1-2, 4-8, 11-12 */
	cr_expect_eq(h[2], 2 * MS); /* 2-4 */
	model_free(m);
}

/* --- window
 * ------------------------------------------------------------------------------------------- */

static struct tb *window_case(void)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "early", 0);
	tb_thread(tb, 3, 1, "late", 15 * MS);
	tb_run(tb, 1, 0, 4 * MS);
	tb_futex_wait(tb, 1, 0x1000, 8 * MS, 0);
	tb_run(tb, 1, 9 * MS, 12 * MS);
	tb_preempt(tb, 1);
	tb_run(tb, 1, 14 * MS, 20 * MS);
	tb_exit(tb, 1, 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 1 * MS);
	tb_exit(tb, 2, 0);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 15 * MS, 18 * MS);
	tb_exit(tb, 3, 0);
	return tb;
}

Test(model, window_clips)
{
	struct model_opts opts = {.since_ns = 6 * MS, .until_ns = 13 * MS, .flags = MODEL_SLICES};
	struct model *m = load(window_case(), &opts);
	const struct task *t = model_task(m, 1);

	cr_assert_eq(model_n_tasks(m), 1, "tasks outside are left out");
	expect_states(t, 3 * MS, 2 * MS, 2 * MS);
	cr_expect_eq(rel(t->start_ns), 6 * MS);
	cr_expect_eq(rel(t->end_ns), 13 * MS);
	cr_expect_eq(t->voluntary, 0);
	cr_expect_eq(t->involuntary, 1);
	cr_expect_eq(t->kernel.voluntary, 0, "less what lies outside");
	cr_expect_eq(t->kernel.involuntary, 1);
	cr_expect_eq(t->kernel.run_ns, 3 * MS);
	cr_expect_eq(t->kernel.runnable_ns, 2 * MS);
	cr_expect_eq(t->futex_waits, 1);
	cr_expect_eq(model_futex_at(m, 0)->wait_ns, 2 * MS);
	cr_expect(model_recording(m)->windowed);
	cr_expect_str_eq(model_task(m, 2)->comm, "early", "names of others stay known");
	model_free(m);
}

/* The turn reaches into the window, the wait that it began with does not. */
Test(model, samples_in_a_window)
{
	struct model_opts opts = {.since_ns = 6 * MS, .until_ns = 13 * MS, .flags = MODEL_SLICES};
	struct rec_touch touch = {.task = 1, .what = TOUCH_COW, .bytes = 4096};
	const struct cpu_sample *samples;
	const struct stack_row *rows;
	struct tb *tb = window_case();
	struct model *m;

	for (uint64_t t = 1; t < 18; t++) {
		tb_sample(tb, 1, t * MS + 500 * US, 0, 0);
		tb_raw(tb, REC_K_TOUCH, TB_EPOCH + t * MS + 500 * US, &touch);
	}
	m = load(tb, &opts);
	cr_assert_eq(model_samples(m, &samples), 7, "at 6.5 to 12.5 ms");
	cr_expect_eq(rel(samples[0].ts), 6 * MS + 500 * US);
	cr_expect_eq(model_task(m, 1)->samples, 7);
	cr_assert_eq(model_on_cpu(m, &rows), 1);
	cr_expect_eq(rows[0].count, 7);
	cr_assert_eq(model_touch(m, &rows), 1);
	cr_expect_eq(rows[0].count, 7 * 4096);
	model_free(m);
}

/* Of a process that goes on through the window. */
Test(model, memory_in_a_window)
{
	struct model_opts opts = {.since_ns = 6 * MS, .until_ns = 13 * MS};
	struct tb *tb = window_case();
	const struct proc *p;
	struct model *m;

	for (uint64_t t = 1; t < 16; t += 2) {
		tb_rss(tb, 1, t * MS, t << 20, 0);
		tb_footprint(tb, 1, t * MS, t << 20, t << 20, t << 20);
	}
	m = load(tb, &opts);
	p = model_proc(m, 1);
	cr_assert_eq(p->rss.n, 4, "at 7, 9, 11 and 13 ms");
	cr_expect_eq(rel(p->rss.v[0].t_ns), 7 * MS);
	cr_expect_eq(rel(p->rss.v[3].t_ns), 13 * MS);
	cr_assert_eq(p->footprint.n, 4);
	cr_expect_eq(rel(p->footprint.v[0].t_ns), 7 * MS);
	model_free(m);
}

Test(model, wait_before_the_window_is_no_wait)
{
	struct model_opts opts = {.since_ns = 9 * MS, .flags = MODEL_SLICES};
	struct model *m = load(window_case(), &opts);

	cr_expect_eq(model_task(m, 1)->futex_waits, 0);
	cr_assert_eq(model_n_futexes(m), 1);
	cr_expect_eq(model_futex_at(m, 0)->waits, 0);
	model_free(m);
}

Test(model, windows_add_up)
{
	uint64_t run = 0, runnable = 0, blocked = 0, voluntary = 0;
	uint64_t edges[] = {0, 1 * MS, 3 * MS + 1, 8 * MS + 7, 11 * MS, 17 * MS, 20 * MS};
	struct model *m;

	for (size_t i = 0; i + 1 < ARRAY_LEN(edges); i++) {
		struct model_opts opts = {.since_ns = edges[i], .until_ns = edges[i + 1]};

		m = load(window_case(), &opts);
		for (size_t k = 0; k < model_n_tasks(m); k++) {
			const struct task *t = model_task_at(m, k);

			run += t->run_ns;
			runnable += t->runnable_ns;
			blocked += t->blocked_ns;
			voluntary += t->voluntary;
		}
		model_free(m);
	}
	cr_expect_eq(run, (13 + 1 + 3) * MS);
	cr_expect_eq(runnable, 3 * MS);
	cr_expect_eq(blocked, 4 * MS);
	cr_expect_geq(voluntary, 4);
}

Test(model, window_outside_the_wall_is_empty)
{
	struct model_opts opts = {.since_ns = 60 * SEC};
	struct model *m = load(window_case(), &opts);

	cr_expect_eq(model_n_tasks(m), 0);
	cr_expect_eq(model_recording(m)->wall_end_ns, model_recording(m)->wall_start_ns);
	model_free(m);
	opts = (struct model_opts){.since_ns = UINT64_MAX, .until_ns = 1};
	m = load(window_case(), &opts);
	cr_expect_eq(model_n_tasks(m), 0);
	model_free(m);
}

/* What happens before the command's exec is not the workload's. */
Test(model, wall_starts_at_exec)
{
	struct rec_switch in = {.next = 1},
	                  out = {.prev = 1, .exec = MS, .state = 1, .flags = SW_F_VOLUNTARY};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH - 3 * MS, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH - 2 * MS, &out);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH - 1 * MS, &in);
	out.exec = 3 * MS;
	out.flags |= SW_F_DEAD;
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 2 * MS, &out);
	tb_no_end(tb, 1);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 2 * MS, 0, 0);
	cr_expect_eq(model_task(m, 1)->voluntary, 1);
	cr_expect_eq(rel(model_task(m, 1)->start_ns), 0);
	cr_expect_eq(rel(model_recording(m)->wall_end_ns), 2 * MS);
	model_free(m);
}

/* The recorder reads the command's counters anew at its exec, while it runs. */
Test(model, account_begins_anew_at_exec)
{
	struct rec_switch in = {.next = 1}, out = {.prev = 1, .state = 1, .flags = SW_F_VOLUNTARY};
	struct rec_base base = {.task = 1, .voluntary = 5, .run = 40 * MS, .runnable = 9 * MS};
	struct rec_end end = {.task = 1, .voluntary = 6, .run = 42 * MS, .runnable = 9 * MS};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH - 3 * MS, &in);
	out.exec = 900 * US;
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH - 2 * MS, &out);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH - 1 * MS, &in);
	tb_drop(tb, REC_K_MARK, 1); /* again after BASE, as it is written */
	tb_raw(tb, REC_K_BASE, TB_EPOCH, &base);
	tb_raw(tb, REC_K_MARK, TB_EPOCH, &(struct rec_mark){.what = MARK_EXEC});
	out.exec = 2 * MS;
	out.flags |= SW_F_DEAD;
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 2 * MS, &out);
	tb_raw(tb, REC_K_END, TB_EPOCH + 2 * MS, &end);
	tb_no_end(tb, 1);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 2 * MS, 0, 0);
	expect_kernel_equal(model_task(m, 1));
	cr_expect_eq(model_task(m, 1)->voluntary, 1);
	model_free(m);
}
