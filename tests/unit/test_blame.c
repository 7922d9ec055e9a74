/* SPDX-License-Identifier: MIT */
/* Of whom a wait waited where more than one may be meant: children, threads of a process that ends,
 * the GIL from hand to hand. */
#include "locks_test.h"

#define L          0x10000
#define GIL_ADDR   0x7000ull
#define GIL_COND   (GIL_ADDR + 0x48)
#define TSTATE(id) (0x55550000ull + (id)*0x100)

static uint32_t exits(struct tb *tb)
{
	return tb_site(tb, TB_NR_exit_group, 0, 0, 0, FD_UNKNOWN);
}

/* --- children and processes that end --- */

/* Waiting for any child, it waits for the youngest that lives. */
Test(blame, the_youngest_child_that_lives)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "parent");
	for (uint32_t id = 2; id <= 4; id++) {
		tb_fork(tb, id, 1, "child", id * MS);
		tb_on(tb, id, id);
		tb_run(tb, id, id * MS, id < 4 ? 30 * MS : 5 * MS);
	}
	tb_exit(tb, 4, 0);
	tb_run(tb, 1, 0, 6 * MS);
	tb_call(tb, 1, TB_NR_wait4, UINT64_MAX, FD_UNKNOWN, TB_NEVER, 0);
	tb_stop(tb, 30 * MS);
	b = build_waits(tb);
	expect_blame(&b, 1, 0, 10 * MS, BLAME_HELD, 3);
	built_free(&b);
}

/* Of a process whose thread 3 calls exit_group, thread 2 tells the parent. Before that, what 2 did
 * was its own, and within the process so are joins. */
Test(blame, who_ended_the_process)
{
	struct tb *tb = tb_new();
	uint32_t file = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
	struct built b;

	tb_task(tb, 1, "parent");
	tb_fork(tb, 2, 1, "child", 0);
	for (uint32_t id = 3; id <= 5; id++)
		tb_thread(tb, id, 2, "thread", 0);
	for (uint32_t id = 2; id <= 5; id++)
		tb_on(tb, id, id);
	tb_on_file(tb, 1, file);
	tb_wakes_by(tb, 2, tb_site(tb, TB_NR_write, 4, 0, 0, FD_PIPE), file);
	tb_wakes_by(tb, 3, exits(tb), 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, 5 * MS, 2);
	tb_run(tb, 1, 5 * MS, 6 * MS);
	tb_call(tb, 1, TB_NR_wait4, UINT64_MAX, FD_UNKNOWN, 21 * MS, 2);
	tb_run(tb, 1, 21 * MS, 22 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 0, 8 * MS);
	tb_futex(tb, 2, L, TB_FUTEX_WAIT, 2, 0, 20 * MS, 3);
	tb_run(tb, 2, 20 * MS, 21 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 0, 20 * MS);
	tb_exit(tb, 3, 0);
	tb_run(tb, 4, 0, 1 * MS);
	tb_join(tb, 4, 5, 10 * MS);
	tb_run(tb, 4, 10 * MS, 20 * MS);
	tb_exit(tb, 4, 0);
	tb_run(tb, 5, 0, 10 * MS);
	tb_exit(tb, 5, 0);
	b = build_waits(tb);
	expect_blame(&b, 1, 0, 3 * MS, BLAME_HELD, 2);
	expect_blame(&b, 1, 1, 10 * MS, BLAME_HELD, 3);
	expect_blame(&b, 4, 0, 5 * MS, BLAME_HELD, 5);
	built_free(&b);
}

/* As 3 ends it closes the pipe that 2 reads: 2 goes then, but by itself. */
Test(blame, another_process_ends_only_itself)
{
	struct tb *tb = tb_new();
	uint32_t file = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
	struct built b;

	tb_task(tb, 1, "parent");
	tb_fork(tb, 2, 1, "reader", 0);
	tb_fork(tb, 3, 1, "writer", 0);
	tb_on(tb, 2, 1);
	tb_on(tb, 3, 2);
	tb_on_file(tb, 2, file);
	tb_wakes_by(tb, 3, exits(tb), 0);
	tb_run(tb, 2, 0, 1 * MS);
	tb_call(tb, 2, TB_NR_read, 0, FD_PIPE, 10 * MS, 3);
	tb_run(tb, 2, 10 * MS, 15 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 0, 10 * MS);
	tb_exit(tb, 3, 0);
	tb_run(tb, 1, 0, 11 * MS);
	tb_call(tb, 1, TB_NR_wait4, UINT64_MAX, FD_UNKNOWN, 15 * MS, 2);
	tb_run(tb, 1, 15 * MS, 16 * MS);
	tb_exit(tb, 1, 0);
	b = build_waits(tb);
	expect_blame(&b, 1, 0, 13 * MS, BLAME_HELD, 2);
	built_free(&b);
}

/* A killed task never got what it waited for; one that lives on after a signal gave it up. */
Test(blame, a_signal_ends_the_wait_of_who_lives_on)
{
	for (unsigned lives = 0; lives < 2; lives++) {
		struct tb *tb = tb_program(2, "main", "worker");
		struct built b;

		tb_wakes_by(tb, 1, tb_site(tb, TB_NR_tgkill, 1, 2, 10, FD_UNKNOWN), 0);
		tb_run(tb, 1, 0, 30 * MS);
		tb_run(tb, 2, 0, 1 * MS);
		tb_futex(tb, 2, L, TB_FUTEX_WAIT, 2, 0, 5 * MS, 1);
		tb_run(tb, 2, 5 * MS, lives ? 30 * MS : 6 * MS);
		if (!lives)
			tb_exit(tb, 2, 9);
		tb_stop(tb, 30 * MS);
		b = build_waits(tb);
		cr_expect_eq(wait_no(&b, 2, 0)->open, !lives);
		built_free(&b);
	}
}

/* --- the GIL --- */

/* Thread `by` is seen with the GIL, or without, as it wakes somebody. */
static void reads(struct tb *tb, uint64_t t, uint32_t by, bool locked, uint32_t holder,
                  uint64_t switches)
{
	struct rec_waking r = {
	        .task = 5,
	        .waker = by,
	        .flags = WK_F_SYSCALL,
	        .site = tb_site(tb, TB_NR_futex, locked ? 0x100 : GIL_COND, TB_FUTEX_WAKE, 1,
	                        FD_UNKNOWN),
	        .gil = 1,
	        .gil_state = locked,
	        .gil_holder = TSTATE(holder),
	        .gil_switches = switches,
	};

	tb_raw(tb, REC_K_WAKING, TB_EPOCH + t, &r);
}

/* Threads 1 to 5; 4 waits for the GIL until `until`, when 3 wakes it. */
static struct tb *gil_program(uint64_t until)
{
	struct tb *tb = tb_program(5, "main", "worker");

	tb_gil(tb, 1, 1, GIL_ADDR, true, 0x030b07f0);
	for (uint32_t id = 1; id <= 4; id++) {
		struct rec_pythread r = {.task = id, .tstate = TSTATE(id)};

		tb_raw(tb, REC_K_PYTHREAD, TB_EPOCH + 1 * MS, &r);
	}
	tb_run(tb, 4, 0, 1 * MS);
	tb_futex_wait(tb, 4, GIL_COND, until, 3);
	tb_run(tb, 4, until, until + 1 * MS);
	return tb;
}

/* 2 lets it go at 20 ms, 3 has it from 21 ms on: in between, 4 waits for 3 to take it. */
Test(blame, while_the_gil_is_free_for_who_takes_it_next)
{
	struct tb *tb = gil_program(40 * MS);
	struct built b;

	tb_run(tb, 2, 0, 40 * MS);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex_wait(tb, 3, GIL_COND, 20 * MS, 2);
	tb_run(tb, 3, 21 * MS, 45 * MS);
	reads(tb, 10 * MS, 2, true, 2, 5);
	reads(tb, 20 * MS, 2, false, 2, 5);
	reads(tb, 30 * MS, 3, true, 3, 6);
	reads(tb, 40 * MS, 3, false, 3, 6);
	tb_stop(tb, 50 * MS);
	b = build_waits(tb);
	expect_blame(&b, 4, 0, 15 * MS, BLAME_HELD, 2);
	expect_blame(&b, 4, 0, 20500 * US, BLAME_HANDOFF, 3);
	expect_blame(&b, 4, 0, 25 * MS, BLAME_HELD, 3);
	cr_expect_eq(b.w->locks.v[0].owner_known, 2, "each was woken by who had it");
	cr_expect_eq(b.w->locks.v[0].owner_agree, 2);
	cr_expect_eq(b.w->locks.v[0].owner_differ, 0);
	built_free(&b);
}

/* Nobody waits for itself: who had it already when it was late to say so waits for nobody. */
Test(blame, a_gil_that_the_waiter_has)
{
	struct tb *tb = gil_program(40 * MS);
	struct built b;

	tb_run(tb, 2, 0, 45 * MS);
	tb_run(tb, 3, 0, 45 * MS);
	reads(tb, 10 * MS, 2, true, 4, 5);
	reads(tb, 39 * MS, 2, true, 4, 5);
	tb_stop(tb, 50 * MS);
	b = build_waits(tb);
	expect_blame(&b, 4, 0, 5 * MS, BLAME_NOBODY, 0);
	expect_blame(&b, 4, 0, 20 * MS, BLAME_HANDOFF, 0);
	built_free(&b);
}

/* Two threads pass it on a hundred times: the first of them are told, what is left is nobody's. */
Test(blame, pieces_of_one_wait_are_limited)
{
	const unsigned passes = 100, most = 64;
	struct tb *tb = gil_program(passes * MS + 5 * MS);
	const struct wait *x;
	struct built b;

	for (uint32_t id = 2; id <= 3; id++)
		tb_run(tb, id, 0, passes * MS + 10 * MS);
	for (unsigned i = 0; i < passes; i++)
		reads(tb, (2 + i) * MS, 2 + i % 2, true, 2 + i % 2, 5 + i);
	tb_stop(tb, passes * MS + 10 * MS);
	b = build_waits(tb);
	x = wait_no(&b, 4, 0);
	cr_expect_gt(x->n_blame, most / 2);
	cr_expect_leq(x->n_blame, most + 1, "%u pieces", x->n_blame);
	cr_expect_eq(b.w->blames.v[x->blame + most / 2].state, BLAME_HELD);
	expect_blame(&b, 4, 0, passes * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* --- sums, channels --- */

/* The program waits once, in four calls with a timeout: so often it waited for the holder. */
Test(blame, a_stitched_wait_counts_once)
{
	struct tb *tb = tb_program(2, "main", "worker");
	struct built b;

	tb_wakes_by(tb, 1, tb_site(tb, TB_NR_futex, L, TB_FUTEX_WAKE, 1, FD_UNKNOWN), 0);
	tb_run(tb, 1, 0, 30 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	for (uint64_t t = 1; t < 21; t += 5) {
		tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 0x7fff, (t + 5) * MS, t + 5 < 21 ? 0 : 1);
		tb_run(tb, 2, (t + 5) * MS, (t + 5) * MS + 10 * US);
	}
	tb_run(tb, 2, 21 * MS + 10 * US, 30 * MS);
	b = build_waits(tb);
	cr_expect_eq(wait_no(&b, 2, 0)->n_blame, 4);
	cr_assert_eq(b.w->locks.v[0].blockers.n, 1);
	cr_expect_eq(b.w->locks.v[0].blockers.v[0].waits, 1);
	built_free(&b);
}

/* System V: a queue of messages has two ends, semaphores have none. */
Test(blame, system_v_queues_are_channels)
{
	for (unsigned queue = 0; queue < 2; queue++) {
		const struct rec_file file = {
		        .id = 1, .kind = FD_SYSV, .dev = queue ? 1 : 2, .inode = 5};
		struct tb *tb = tb_program(2, "main", "worker");
		struct built b;

		tb_raw(tb, REC_K_FILE, TB_EPOCH - TB_START, &file);
		tb_on_file(tb, 2, 1);
		tb_run(tb, 1, 0, 30 * MS);
		tb_run(tb, 2, 0, 1 * MS);
		tb_call(tb, 2, TB_NR_read, 1, FD_SYSV, 5 * MS, 1);
		tb_run(tb, 2, 5 * MS, 30 * MS);
		b = build_waits(tb);
		cr_assert_eq(b.w->channels.n, queue);
		if (queue)
			cr_expect_str_eq(b.w->channels.v[0].what, "System V queue");
		built_free(&b);
	}
}
