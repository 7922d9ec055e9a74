/* SPDX-License-Identifier: MIT */
#include "model_test.h"

/* --- states ---------------------------------------------------------------------------------- */

Test(model, futex_wait_is_split_at_the_wake_up)
{
	struct tb *tb = tb_new();
	const struct task *t;
	const struct slice *s;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 10 * MS);
	tb_futex_wait(tb, 1, 0x1000, 15 * MS, 0);
	tb_run(tb, 1, 16 * MS, 20 * MS);
	tb_exit(tb, 1, 3 << 8);
	m = load(tb, NULL);
	t = model_task(m, 1);
	expect_states(t, 14 * MS, 1 * MS, 5 * MS);
	expect_kernel_equal(t);
	cr_expect_eq(t->blocked_by[BLOCK_FUTEX], 5 * MS);
	cr_expect_eq(t->voluntary, 2);
	cr_expect_eq(t->futex_waits, 1);
	cr_expect_eq(t->exit_status, 3);
	cr_expect(!t->alive);
	cr_assert_eq(t->slices.n, 2);
	s = &t->slices.v[1];
	cr_expect_eq(rel(s->out_ns), 10 * MS);
	cr_expect_eq(rel(s->queued_ns), 15 * MS);
	cr_expect_eq(rel(s->in_ns), 16 * MS);
	cr_expect_eq(rel(s->end_ns), 20 * MS);
	cr_expect_eq(s->cause, BLOCK_FUTEX);
	cr_expect_eq(model_futex_at(m, s->futex - 1)->addr, 0x1000);
	cr_expect_eq(model_recording(m)->exit_status, 3);
	model_free(m);
}

Test(model, preempted_time_is_runnable)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 4 * MS);
	tb_preempt(tb, 1);
	tb_run(tb, 1, 7 * MS, 9 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 6 * MS, 3 * MS, 0);
	expect_kernel_equal(model_task(m, 1));
	cr_expect_eq(model_task(m, 1)->involuntary, 1);
	model_free(m);
}

Test(model, stolen_time_is_runnable_and_named)
{
	struct tb *tb = tb_new();
	const struct task *t;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 4 * MS);
	tb_steal(tb, 1, 700 * US);
	tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 5 * MS, 0);
	tb_run(tb, 1, 6 * MS, 9 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	t = model_task(m, 1);
	expect_states(t, 7 * MS - 700 * US, 1 * MS + 700 * US, 1 * MS);
	cr_expect_eq(t->on_cpu_ns, 7 * MS);
	cr_expect_eq(t->steal_ns, 700 * US);
	cr_expect_eq(t->blocked_by[BLOCK_SLEEP], 1 * MS);
	expect_kernel_equal(t);
	model_free(m);
}

Test(model, new_task_waits_from_its_creation)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 1 * MS);
	tb_run(tb, 1, 0, 9 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 3 * MS, 5 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	cr_expect_eq(rel(model_task(m, 2)->start_ns), 1 * MS);
	expect_states(model_task(m, 2), 2 * MS, 2 * MS, 0);
	expect_kernel_equal(model_task(m, 2));
	cr_expect_eq(model_n_procs(m), 1);
	cr_expect_eq(model_proc(m, 1)->n_tasks, 2);
	model_free(m);
}

/* The kernel's run delay says when a task became runnable, even before its wake-up event. */
Test(model, queued_comes_from_the_run_delay)
{
	struct rec_switch out = {.prev = 1, .flags = SW_F_VOLUNTARY, .state = 1, .exec = MS},
	                  in = {.next = 1},
	                  out2 = {.prev = 1,
	                          .flags = SW_F_VOLUNTARY | SW_F_DEAD,
	                          .exec = MS,
	                          .delay = 300 * US};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_no_end(tb, 1);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 1 * MS, &out);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 3 * MS, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 4 * MS, &out2);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 2 * MS, 300 * US, 2 * MS - 300 * US);
	model_free(m);
}

/* What the kernel charged as run time beyond the switch-in was run time: its clock of the run
 * queue is older than our time stamp. */
Test(model, run_time_from_before_the_switch_in)
{
	struct rec_switch out = {.prev = 1, .flags = SW_F_VOLUNTARY, .state = 1, .exec = MS},
	                  in = {.next = 1},
	                  out2 = {.prev = 1,
	                          .flags = SW_F_VOLUNTARY | SW_F_DEAD,
	                          .exec = MS + 3 * US,
	                          .delay = 300 * US};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_no_end(tb, 1);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 1 * MS, &out);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 3 * MS, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 4 * MS, &out2);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 2 * MS + 3 * US, 300 * US, 2 * MS - 303 * US);
	cr_expect_eq(model_task(m, 1)->steal_ns, 0);
	model_free(m);
}

/* Preempted turns are ready for as long as the kernel says; what does not fit between our time
 * stamps the next wait makes up for, as far as it is long enough. */
Test(model, clock_skew_of_preempted_turns_is_settled)
{
	static const struct {
		int64_t skew;   /* of each of two preempted turns */
		uint64_t ready; /* of the wait after them */
	} rows[] = {
	        {500, 300 * US + 1000},
	        {-500, 300 * US}, /* it got the CPU earlier: nothing to make up for */
	        {0, 300 * US},
	        {15 * US, 330 * US},
	        {30 * US, 300 * US /* no skew: stolen time */},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct rec_switch in = {.next = 1}, out = {.prev = 1, .exec = MS};
		struct tb *tb = tb_new();
		const struct slice *s;
		struct model *m;
		uint64_t t = TB_EPOCH;

		tb_meta(tb, META_FEATURES, "first," FEATURE_RUN_DELAY ",last");
		tb_task(tb, 1, "main");
		tb_no_end(tb, 1);
		for (int turn = 0; turn < 4; turn++, t += 2 * MS) {
			tb_raw(tb, REC_K_SWITCH, t, &in);
			out.flags = turn < 2 ? SW_F_RUNNABLE : SW_F_VOLUNTARY;
			if (turn == 3)
				out.flags |= SW_F_DEAD;
			tb_raw(tb, REC_K_SWITCH, t + MS, &out);
			out.delay = turn < 2 ? MS + (uint64_t)rows[i].skew : 300 * US;
		}
		m = load(tb, NULL);
		s = &model_task(m, 1)->slices.v[3];
		cr_assert_eq(model_task(m, 1)->slices.n, 4);
		cr_expect_eq(s[-1].queued_ns, s[-1].out_ns, "preempted: ready at once");
		cr_expect_eq(s->in_ns - s->queued_ns, rows[i].ready, "row %zu: %" PRIu64, i,
		             s->in_ns - s->queued_ns);
		model_free(m);
	}
}

/* Without run-delay accounting, the wake-up tells. */
Test(model, queued_falls_back_to_the_wake_up)
{
	struct rec_switch out = {.prev = 1, .flags = SW_F_VOLUNTARY, .state = 1, .exec = MS},
	                  in = {.next = 1},
	                  out2 = {.prev = 1, .flags = SW_F_VOLUNTARY | SW_F_DEAD, .exec = MS};
	struct rec_waking wake = {.task = 1};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_no_end(tb, 1);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 1 * MS, &out);
	tb_raw(tb, REC_K_WAKING, TB_EPOCH + 2 * MS, &wake);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 3 * MS, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 4 * MS, &out2);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 2 * MS, 1 * MS, 1 * MS);
	model_free(m);
}

Test(model, open_intervals_are_closed_at_the_end)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "runs");
	tb_thread(tb, 2, 1, "waits", 0);
	tb_thread(tb, 3, 1, "woken", 0);
	tb_thread(tb, 4, 1, "preempted", 0);
	tb_thread(tb, 5, 1, "never ran", 2 * MS);
	tb_run(tb, 1, 0, 10 * MS);
	for (uint32_t id = 2; id <= 4; id++) {
		tb_on(tb, id, id);
		tb_run(tb, id, 0, 4 * MS);
	}
	tb_futex_wait(tb, 2, 0x1000, TB_NEVER, 0);
	tb_futex_wait(tb, 3, 0x1000, 7 * MS, 0);
	tb_preempt(tb, 4);
	tb_stop(tb, 10 * MS);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 10 * MS, 0, 0);
	expect_states(model_task(m, 2), 4 * MS, 0, 6 * MS);
	expect_states(model_task(m, 3), 4 * MS, 3 * MS, 3 * MS);
	expect_states(model_task(m, 4), 4 * MS, 6 * MS, 0);
	expect_states(model_task(m, 5), 0, 8 * MS, 0);
	cr_expect(model_task(m, 2)->kernel_runnable_exact);
	cr_expect_not(model_task(m, 3)->kernel_runnable_exact);
	cr_expect_not(model_task(m, 4)->kernel_runnable_exact);
	for (uint32_t id = 1; id <= 5; id++)
		cr_expect(model_task(m, id)->alive);
	cr_expect(model_proc(m, 1)->alive);
	cr_expect_eq(model_recording(m)->exit_status, -1);
	model_free(m);
}

/* A running task's last stretch: what the kernel says it ran, not the clock. */
Test(model, last_stretch_is_the_kernels)
{
	struct tb *tb = tb_new();
	const struct task *t;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 2 * MS, 10 * MS);
	tb_steal(tb, 1, 3 * MS);
	tb_stop(tb, 10 * MS);
	m = load(tb, NULL);
	t = model_task(m, 1);
	expect_states(t, 5 * MS, 5 * MS, 0);
	cr_expect_eq(t->steal_ns, 3 * MS);
	expect_kernel_equal(t);
	model_free(m);
}

/* … and how long it waited for the CPU that it is on at the end. */
Test(model, last_wait_for_a_cpu_is_the_kernels)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 2 * MS, 0);
	tb_run(tb, 1, 3 * MS, 4 * MS);
	tb_futex_wait(tb, 1, 0x1000, 5 * MS, 0);
	tb_run(tb, 1, 7 * MS, 8 * MS);
	tb_stop(tb, 8 * MS);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 3 * MS, 3 * MS, 2 * MS);
	expect_kernel_equal(model_task(m, 1));
	model_free(m);
}

Test(model, stale_run_counter_gives_way_to_the_clock)
{
	struct rec_end end = {.task = 1, .flags = CNT_F_ALIVE | CNT_F_ON_CPU, .run = 7 * MS};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 10 * MS);
	tb_no_end(tb, 1);
	tb_raw(tb, REC_K_END, TB_EPOCH + 10 * MS, &end);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 10 * MS, 0, 0);
	cr_expect_not(model_task(m, 1)->kernel_run_exact);
	model_free(m);
}

Test(model, switches_after_end_do_not_count)
{
	struct rec_switch in = {.next = 1};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 4 * MS);
	tb_exit(tb, 1, 0);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 5 * MS, &in);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 4 * MS, 0, 0);
	cr_expect_eq(rel(model_recording(m)->wall_end_ns), 4 * MS);
	cr_expect_eq(model_oddities(m)->lost_in + model_oddities(m)->lost_out, 0);
	model_free(m);
}

/* END of a task that lives on: what it does while recording stops is not recorded any more. */
Test(model, switches_after_the_counters_were_read)
{
	struct rec_end end = {.task = 1, .flags = CNT_F_ALIVE, .run = 4 * MS};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_no_end(tb, 1);
	tb_run(tb, 1, 0, 5 * MS);
	tb_preempt(tb, 1);
	tb_run(tb, 1, 6 * MS, 7 * MS);
	tb_raw(tb, REC_K_END, TB_EPOCH + 4 * MS, &end);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 4 * MS, 0, 0);
	cr_expect_eq(model_task(m, 1)->involuntary, 0);
	cr_expect(model_task(m, 1)->alive);
	model_free(m);
}

/* --- causes ---------------------------------------------------------------------------------- */

Test(model, causes_of_system_calls)
{
	static const struct {
		int32_t nr;
		uint64_t a0;
		enum fd_kind fd;
		enum block_cause cause;
	} rows[] = {
	        {TB_NR_read, 0, FD_PIPE, BLOCK_PIPE},
	        {TB_NR_read, 0, FD_SOCKET, BLOCK_SOCKET},
	        {TB_NR_read, 0, FD_FILE, BLOCK_FILE},
	        {TB_NR_read, 0, FD_BLOCK, BLOCK_FILE},
	        {TB_NR_read, 0, FD_CHAR, BLOCK_OTHER},
	        {TB_NR_read, 0, FD_ANON, BLOCK_OTHER},
	        {TB_NR_read, 0, FD_UNKNOWN, BLOCK_OTHER},
	        {TB_NR_read, 0, 99, BLOCK_OTHER},
	        {TB_NR_poll, 0, FD_UNKNOWN, BLOCK_POLL},
	        {TB_NR_nanosleep, 0, FD_UNKNOWN, BLOCK_SLEEP},
	        {TB_NR_wait4, 0, FD_UNKNOWN, BLOCK_CHILD},
	        {TB_NR_vfork, 0, FD_UNKNOWN, BLOCK_CHILD},
	        {TB_NR_clone, 0x4111, FD_UNKNOWN, BLOCK_CHILD},
	        {TB_NR_clone, 0x11, FD_UNKNOWN, BLOCK_OTHER},
	        {TB_NR_fsync, 0, FD_UNKNOWN, BLOCK_FILE},
	        {TB_NR_recvfrom, 0, FD_UNKNOWN, BLOCK_SOCKET},
	        {9999, 0, FD_UNKNOWN, BLOCK_OTHER},
	};
	uint64_t expected[BLOCK_N] = {0}, t = 0;
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++, t += 3 * MS) {
		tb_run(tb, 1, t, t + 1 * MS);
		tb_call(tb, 1, rows[i].nr, rows[i].a0, rows[i].fd, t + 3 * MS, 0);
		expected[rows[i].cause] += 2 * MS;
	}
	tb_run(tb, 1, t, t + 1 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	for (unsigned i = 0; i < BLOCK_N; i++)
		cr_expect_eq(model_task(m, 1)->blocked_by[i], expected[i], "cause %u", i);
	cr_expect_eq(model_task(m, 1)->futex_waits, 0);
	model_free(m);
}

/* Of no descriptors and for a time. */
Test(model, polls_that_are_sleeps)
{
	enum { POLL = 7, SELECT = 23, PSELECT6 = 270, PPOLL = 271, EPOLL_WAIT = 232 };
	static const struct {
		int32_t nr;
		uint64_t a[3];
		enum block_cause cause;
	} rows[] = {
	        {POLL, {0, 0, 1000}, BLOCK_SLEEP},      {POLL, {0x7fff, 1, 1000}, BLOCK_POLL},
	        {POLL, {0, 0, UINT32_MAX}, BLOCK_POLL}, /* for ever */
	        {PPOLL, {0, 0, 0x7fff}, BLOCK_SLEEP},   {PPOLL, {0x7fff, 1, 0x7fff}, BLOCK_POLL},
	        {PPOLL, {0, 0, 0}, BLOCK_POLL},         {SELECT, {0, 0, 0}, BLOCK_SLEEP},
	        {SELECT, {4, 0x7fff, 0}, BLOCK_POLL},   {PSELECT6, {0, 0, 0}, BLOCK_SLEEP},
	        {PSELECT6, {4, 0x7fff, 0}, BLOCK_POLL}, {EPOLL_WAIT, {0, 0, 1000}, BLOCK_POLL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct site site = {.nr = rows[i].nr};

		memcpy(site.a, rows[i].a, sizeof(rows[i].a));
		cr_expect_eq(syscall_cause("x86_64", &site), rows[i].cause, "row %zu", i);
	}
}

Test(model, causes_of_state_and_flags)
{
	static const struct {
		uint64_t flags, state;
		enum block_cause cause;
	} rows[] = {
	        {SW_F_FAULT, 2, BLOCK_FAULT},       {0, 4, BLOCK_STOPPED},
	        {SW_F_FAULT, 0x108, BLOCK_STOPPED}, {SW_F_IOWAIT, 2, BLOCK_FILE},
	        {SW_F_FUTEX, 1, BLOCK_FUTEX},       {0, 1, BLOCK_OTHER},
	};
	struct tb *tb = tb_new();
	struct model *m;
	uint64_t t = 0;

	tb_task(tb, 1, "main");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++, t += 3 * MS) {
		tb_run(tb, 1, t, t + 1 * MS);
		tb_block(tb, 1, rows[i].flags, rows[i].state, t + 3 * MS, 0);
	}
	tb_run(tb, 1, t, t + 1 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_eq(model_task(m, 1)->slices.v[i + 1].cause, rows[i].cause, "row %zu", i);
	model_free(m);
}

/* Stopped and let go on, the kernel goes on with the call under another number. */
Test(model, calls_that_the_kernel_restarts)
{
	static const struct {
		int32_t nr;
		enum block_cause cause;
	} rows[] = {{TB_NR_nanosleep, BLOCK_SLEEP}, {TB_NR_poll, BLOCK_POLL}, {-1, BLOCK_OTHER}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tb *tb = tb_new();
		const struct task *t;
		struct model *m;

		tb_task(tb, 1, "main");
		tb_run(tb, 1, 0, 1 * MS);
		if (rows[i].nr >= 0)
			tb_call_with(tb, 1, rows[i].nr, 1, 1, FD_UNKNOWN, 3 * MS, 0);
		else
			tb_block(tb, 1, 0, 1, 3 * MS, 0);
		tb_run(tb, 1, 3 * MS, 4 * MS);
		tb_block(tb, 1, 0, 4, 10 * MS, 0);
		tb_run(tb, 1, 10 * MS, 11 * MS);
		tb_call_with(tb, 1, TB_NR_restart_syscall, 1, 1, FD_UNKNOWN, 20 * MS, 0);
		tb_run(tb, 1, 20 * MS, 21 * MS);
		tb_exit(tb, 1, 0);
		m = load(tb, NULL);
		t = model_task(m, 1);
		cr_expect_eq(t->blocked_by[rows[i].cause], (2 + 9) * MS, "row %zu", i);
		cr_expect_eq(t->blocked_by[BLOCK_STOPPED], 6 * MS);
		cr_expect_eq(t->slices.v[3].site,
		             rows[i].nr < 0 ? t->slices.v[3].site : t->slices.v[1].site);
		model_free(m);
	}
}

/* A wait for a futex with a timeout is one, too. */
Test(model, a_futex_wait_that_the_kernel_restarts)
{
	struct tb *tb = tb_new();
	const struct task *t;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex(tb, 1, 0x601000, TB_FUTEX_WAIT, 0, 1, 3 * MS, 0);
	tb_run(tb, 1, 3 * MS, 4 * MS);
	tb_block(tb, 1, 0, 4, 10 * MS, 0);
	tb_run(tb, 1, 10 * MS, 11 * MS);
	tb_call_with(tb, 1, TB_NR_restart_syscall, 0x601000, TB_FUTEX_WAIT, FD_UNKNOWN, 20 * MS, 0);
	tb_run(tb, 1, 20 * MS, 21 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	t = model_task(m, 1);
	cr_expect_eq(t->blocked_by[BLOCK_FUTEX], (2 + 9) * MS);
	cr_expect_eq(t->futex_waits, 2);
	cr_expect_eq(t->slices.v[3].futex, t->slices.v[1].futex);
	cr_expect_neq(t->slices.v[3].futex, 0);
	model_free(m);
}

Test(model, join_is_not_contention)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, 6 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 6 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 6 * MS, 7 * MS);
	tb_join(tb, 1, 2, 8 * MS); /* dead by now: somebody else's use of the word */
	tb_run(tb, 1, 8 * MS, 9 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	cr_expect_eq(model_task(m, 1)->blocked_by[BLOCK_JOIN], 5 * MS);
	cr_expect_eq(model_task(m, 1)->blocked_by[BLOCK_FUTEX], 1 * MS);
	cr_expect_eq(model_task(m, 1)->futex_waits, 2);
	model_free(m);
}

/* --- wake-ups -------------------------------------------------------------------------------- */

Test(model, waker_is_kept)
{
	struct tb *tb = tb_new();
	const struct slice *s;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "waker", 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 3 * MS, 2);
	tb_run(tb, 1, 4 * MS, 5 * MS);
	tb_futex_wait(tb, 1, 0x1000, 6 * MS, 0); /* by a timer */
	tb_run(tb, 1, 7 * MS, 8 * MS);
	tb_exit(tb, 1, 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 8 * MS);
	tb_exit(tb, 2, 0);
	m = load(tb, NULL);
	s = model_task(m, 1)->slices.v;
	cr_expect_eq(s[1].waker, 2);
	cr_expect_eq(s[1].waker_flags, WK_F_SYSCALL);
	cr_expect_eq(s[2].waker, 0);
	cr_expect_eq(s[2].waker_flags, WK_F_IRQ);
	cr_expect_eq(model_task(m, 2)->wakes_given, 1);
	model_free(m);
}

Test(model, wake_up_that_overtakes_the_switch_out)
{
	struct rec_waking early = {.task = 1, .waker = 2}, much_earlier = {.task = 1, .waker = 2};
	struct tb *tb = tb_new();
	const struct slice *s;
	struct model *m;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "waker", 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_raw(tb, REC_K_WAKING, TB_EPOCH + 1 * MS - 2 * US, &early);
	tb_block(tb, 1, SW_F_FUTEX, 1, TB_NEVER, 0);
	tb_stop(tb, 9 * MS);
	m = load(tb, NULL);
	s = model_task(m, 1)->slices.v;
	cr_expect_eq(s[1].waker, 2);
	model_free(m);

	tb = tb_new();
	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "waker", 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_raw(tb, REC_K_WAKING, TB_EPOCH + 500 * US, &much_earlier);
	tb_block(tb, 1, SW_F_FUTEX, 1, TB_NEVER, 0);
	tb_stop(tb, 9 * MS);
	m = load(tb, NULL);
	s = model_task(m, 1)->slices.v;
	cr_expect_eq(s[1].waker, 0, "an older wake-up was for an older wait");
	cr_expect_eq(model_task(m, 1)->blocked_ns, 8 * MS);
	model_free(m);
}
