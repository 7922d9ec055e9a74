/* SPDX-License-Identifier: MIT */
/* Logical waits and who is to blame for them. */
#include "locks_test.h"

#define L 0x10000

/* Process 1 with threads 2 … n. */
static struct tb *threads(uint32_t n)
{
	struct tb *tb = tb_program(n, "main", "worker");

	for (uint32_t id = 1; id <= n; id++)
		tb_wakes_by(tb, id, tb_site(tb, TB_NR_futex, L, TB_FUTEX_WAKE, 1, FD_UNKNOWN), 0);
	return tb;
}

static void lock_wait(struct tb *tb, uint32_t id, uint32_t owner, uint64_t wake, uint32_t waker)
{
	tb_owner(tb, id, owner);
	tb_futex(tb, id, L, TB_FUTEX_WAIT, 2, 0, wake, waker);
}

Test(waits, mutex_owner_and_waker_agree)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_run(tb, 1, 0, 20 * MS);
	tb_run(tb, 2, 0, 5 * MS);
	lock_wait(tb, 2, 1, 15 * MS, 1);
	tb_run(tb, 2, 16 * MS, 20 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->locks.n, 1);
	cr_expect_eq(b.w->locks.v[0].kind, LOCK_MUTEX);
	cr_expect_eq(b.w->locks.v[0].owner_known, 1);
	cr_expect_eq(b.w->locks.v[0].owner_agree, 1);
	cr_expect_eq(b.w->locks.v[0].held_ns, 10 * MS);
	cr_expect_eq(b.w->locks.v[0].ready_ns, 1 * MS);
	expect_blame(&b, 2, 0, 5 * MS, BLAME_HELD, 1);
	cr_expect_eq(b.w->blames.v[0].evidence, EVIDENCE_OWNER);
	cr_assert_eq(b.w->locks.v[0].blockers.n, 1);
	cr_expect_eq(b.w->locks.v[0].blockers.v[0].task, 1);
	cr_expect_eq(b.w->locks.v[0].blockers.v[0].max_ns, 10 * MS);
	cr_expect_eq(b.w->locks.v[0].blockers.v[0].evidence, EVIDENCE_OWNER);
	built_free(&b);
}

/* 1 holds it, 2 then 3 wait: 3 waits for 1, for 2 to get up, and for 2. 2 names nobody while it
 * gets up itself. */
Test(waits, mutex_turns_in_order)
{
	struct tb *tb = threads(3);
	struct built b;

	tb_run(tb, 1, 0, 40 * MS);
	tb_run(tb, 2, 0, 2 * MS);
	lock_wait(tb, 2, 1, 10 * MS, 1);
	tb_run(tb, 2, 12 * MS, 40 * MS);
	tb_run(tb, 3, 0, 3 * MS);
	lock_wait(tb, 3, 1, 20 * MS, 2);
	tb_run(tb, 3, 20 * MS, 40 * MS);
	b = build_waits(tb);
	expect_blame(&b, 3, 0, 4 * MS, BLAME_HELD, 1);
	expect_blame(&b, 3, 0, 11 * MS, BLAME_HANDOFF, 2);
	expect_blame(&b, 3, 0, 13 * MS, BLAME_HELD, 2);
	cr_expect_eq(b.w->locks.v[0].handoff_ns, 2 * MS);
	cr_expect_eq(b.w->locks.v[0].held_ns, 8 * MS + 7 * MS + 8 * MS);
	cr_expect_eq(b.w->locks.v[0].owner_agree, 2);
	built_free(&b);
}

/* Who let go takes it again before the one it woke gets up. */
Test(waits, mutex_taken_by_a_third)
{
	struct tb *tb = threads(3);
	struct built b;

	tb_run(tb, 1, 0, 40 * MS);
	tb_run(tb, 2, 0, 2 * MS);
	lock_wait(tb, 2, 1, 10 * MS, 1);
	tb_run(tb, 2, 12 * MS, 12 * MS + 5 * US);
	lock_wait(tb, 2, 1, 30 * MS, 1);
	tb_run(tb, 2, 30 * MS, 40 * MS);
	tb_run(tb, 3, 0, 3 * MS);
	lock_wait(tb, 3, 1, 38 * MS, 2);
	tb_run(tb, 3, 38 * MS, 40 * MS);
	b = build_waits(tb);
	/* 2 was late: also from its wake-up to its next wait, 1 had it. */
	expect_blame(&b, 3, 0, 11 * MS, BLAME_HELD, 1);
	expect_blame(&b, 3, 0, 12 * MS + 2 * US, BLAME_HELD, 1);
	expect_blame(&b, 3, 0, 20 * MS, BLAME_HELD, 1);
	expect_blame(&b, 3, 0, 35 * MS, BLAME_HELD, 2);
	/* A wait for somebody is one, in however many pieces. */
	cr_assert_eq(b.w->locks.v[0].blockers.v[0].task, 1);
	cr_expect_eq(b.w->locks.v[0].blockers.v[0].waits, 3);
	built_free(&b);
}

/* By the lock's word 1 had it for 2 ms, by its post for 3 ms: that is how most of it is known. */
Test(waits, the_commonest_evidence)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_run(tb, 1, 0, 40 * MS);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t t = i * 10 * MS;

		tb_run(tb, 2, t, t + 1 * MS);
		lock_wait(tb, 2, i ? 0 : 1, t + (3 + i) * MS, 1);
		tb_run(tb, 2, t + (3 + i) * MS, t + 10 * MS);
	}
	b = build_waits(tb);
	cr_assert_eq(b.w->locks.v[0].blockers.n, 1);
	cr_expect_eq(b.w->locks.v[0].blockers.v[0].wait_ns, 5 * MS);
	cr_expect_eq(b.w->locks.v[0].blockers.v[0].evidence, EVIDENCE_POSTER, "%u",
	             b.w->locks.v[0].blockers.v[0].evidence);
	built_free(&b);
}

/* Timeouts do not end a wait, and whoever runs when they strike has nothing to do with it. */
Test(waits, timeouts_are_stitched)
{
	struct tb *tb = threads(3);
	const struct wait *x;
	struct built b;

	tb_run(tb, 1, 0, 30 * MS);
	tb_run(tb, 3, 0, 30 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	for (uint64_t t = 1; t < 21; t += 5) {
		tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 0x7fff, (t + 5) * MS, t + 5 < 21 ? 0 : 1);
		tb_run(tb, 2, (t + 5) * MS, (t + 5) * MS + 10 * US);
	}
	tb_run(tb, 2, 21 * MS + 10 * US, 30 * MS);
	b = build_waits(tb);
	x = wait_no(&b, 2, 0);
	cr_expect_eq(b.w->locks.v[0].waits, 1);
	cr_expect_eq(x->n_slices, 4);
	cr_expect_eq(x->blocked_ns, 20 * MS - 30 * US);
	cr_expect_eq(x->waker, 1);
	expect_blame(&b, 2, 0, 2 * MS, BLAME_HELD, 1);
	built_free(&b);
}

/* Who looks around every 300 ms may take its time to look. */
Test(waits, longer_pauses_after_longer_waits)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_run(tb, 1, 0, 1000 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	for (uint64_t t = 0; t < 900; t += 300) {
		tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 0x7fff, (t + 300) * MS, t < 600 ? 0 : 1);
		tb_run(tb, 2, (t + 300) * MS, (t + 300) * MS + 1500 * US);
	}
	b = build_waits(tb);
	cr_expect_eq(b.w->waits.n, 1);
	cr_expect_eq(wait_no(&b, 2, 0)->n_slices, 3);
	expect_blame(&b, 2, 0, 100 * MS, BLAME_HELD, 1);
	built_free(&b);
}

/* A timeout after which the task has work of its own is a clock, though others post at times. */
Test(waits, a_timeout_with_work_behind_it_is_a_sleep)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_run(tb, 1, 0, 100 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 0x7fff, 21 * MS, 0);
	tb_run(tb, 2, 21 * MS, 26 * MS);
	tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 0x7fff, 41 * MS, 1);
	tb_run(tb, 2, 41 * MS, 42 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->waits.n, 2);
	cr_expect_eq(wait_no(&b, 2, 0)->kind, WAIT_TIMER);
	cr_expect_eq(wait_no(&b, 2, 1)->kind, WAIT_LOCK);
	expect_blame(&b, 2, 0, 10 * MS, BLAME_NOBODY, 0);
	expect_blame(&b, 2, 1, 30 * MS, BLAME_HELD, 1);
	built_free(&b);
}

/* Who gave up before the first post waited for the poster, too; not for one who was not there. */
Test(waits, those_who_gave_up_waited_for_the_poster)
{
	struct tb *tb = threads(3);
	struct built b;

	tb_thread(tb, 4, 1, "late", 5 * MS);
	tb_on(tb, 4, 4);
	tb_wakes_by(tb, 4, tb_site(tb, TB_NR_futex, L + 64, TB_FUTEX_WAKE, 1, FD_UNKNOWN), 0);
	tb_run(tb, 1, 0, 50 * MS);
	tb_run(tb, 4, 6 * MS, 50 * MS);
	for (uint32_t id = 2; id <= 3; id++) {
		uint64_t addr = id == 2 ? L : L + 64;

		tb_run(tb, id, 0, 1 * MS);
		tb_futex(tb, id, addr, TB_FUTEX_BITSET, 0, 0x7fff, 11 * MS, 0);
		tb_run(tb, id, 11 * MS, 11 * MS + 10 * US);
		tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, 20 * MS, 0);
		tb_run(tb, id, 20 * MS, 21 * MS);
		tb_futex(tb, id, addr, TB_FUTEX_BITSET, 0, 0x7fff, 31 * MS, id == 2 ? 1 : 4);
		tb_run(tb, id, 31 * MS, 50 * MS);
	}
	b = build_waits(tb);
	cr_expect_eq(wait_no(&b, 2, 0)->kind, WAIT_LOCK);
	expect_blame(&b, 2, 0, 5 * MS, BLAME_HELD, 1);
	expect_blame(&b, 2, 2, 25 * MS, BLAME_HELD, 1);
	expect_blame(&b, 3, 0, 8 * MS, BLAME_NOBODY, 0);
	expect_blame(&b, 3, 2, 25 * MS, BLAME_HELD, 4);
	built_free(&b);
}

Test(waits, on_another_lock_is_another_wait)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_run(tb, 1, 0, 30 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 1, 6 * MS, 0);
	tb_run(tb, 2, 6 * MS, 6 * MS + 10 * US);
	tb_futex(tb, 2, L + 64, TB_FUTEX_BITSET, 0, 0, 11 * MS, 1);
	tb_run(tb, 2, 11 * MS, 11 * MS + 10 * US);
	tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 1, 16 * MS, 1);
	tb_run(tb, 2, 16 * MS, 30 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 2);
	cr_expect_eq(b.w->waits.n, 3);
	built_free(&b);
}

/* A timed wait that nobody ever posts to is a sleep. */
Test(waits, a_sleep_on_a_lock_is_a_sleep)
{
	struct tb *tb = threads(1);
	struct built b;

	tb_run(tb, 1, 0, 1 * MS);
	tb_futex(tb, 1, L, TB_FUTEX_BITSET, 0, 1, 50 * MS, 0);
	tb_run(tb, 1, 50 * MS, 60 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 0);
	cr_expect_eq(wait_no(&b, 1, 0)->kind, WAIT_TIMER);
	expect_blame(&b, 1, 0, 20 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* Also if it is slept in turns, right one after the other, and when recording ends meanwhile. */
Test(waits, sleeps_in_turns_are_one)
{
	struct tb *tb = threads(1);
	struct built b;

	for (uint64_t t = 0; t < 40 * MS; t += 10 * MS) {
		tb_run(tb, 1, t, t + 20 * US);
		tb_futex(tb, 1, L, TB_FUTEX_BITSET, 0, 1, t < 30 * MS ? t + 10 * MS : TB_NEVER, 0);
	}
	tb_stop(tb, 50 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 0);
	cr_expect_eq(b.w->waits.n, 1);
	cr_expect_eq(wait_no(&b, 1, 0)->kind, WAIT_TIMER);
	cr_expect_eq(wait_no(&b, 1, 0)->blocked_ns, 50 * MS - 80 * US);
	built_free(&b);
}

/* Each post to a semaphore is waited for, whomever it wakes. */
Test(waits, semaphore_waits_for_the_next_poster)
{
	struct tb *tb = threads(4);
	struct built b;

	tb_run(tb, 1, 0, 30 * MS);
	tb_run(tb, 2, 0, 30 * MS);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex(tb, 3, L, TB_FUTEX_BITSET, 0, 0, 10 * MS, 1);
	tb_run(tb, 3, 10 * MS, 30 * MS);
	tb_run(tb, 4, 0, 2 * MS);
	tb_futex(tb, 4, L, TB_FUTEX_BITSET, 0, 0, 20 * MS, 2);
	tb_run(tb, 4, 20 * MS, 30 * MS);
	b = build_waits(tb);
	expect_blame(&b, 4, 0, 5 * MS, BLAME_HELD, 1);
	expect_blame(&b, 4, 0, 15 * MS, BLAME_HELD, 2);
	cr_expect_eq(b.w->blames.v[wait_no(&b, 4, 0)->blame].evidence, EVIDENCE_POSTER);
	built_free(&b);
}

Test(waits, join_names_the_thread)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_rename(tb, 2, 0, "worker-2");
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, 10 * MS);
	tb_run(tb, 2, 0, 10 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 10 * MS, 11 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->locks.n, 1);
	cr_expect_eq(b.w->locks.v[0].kind, LOCK_JOIN);
	cr_expect_eq(b.w->locks.v[0].join_task, 2);
	cr_expect_str_eq(b.w->locks.v[0].name, "join of worker-2");
	cr_expect_eq(b.w->locks.v[0].owner_known, 1);
	cr_expect_eq(b.w->locks.v[0].owner_agree, 1);
	cr_expect_eq(b.w->locks.v[0].owner_differ, 0);
	expect_blame(&b, 1, 0, 5 * MS, BLAME_HELD, 2);
	built_free(&b);
}

/* The recording ends while it waits: who had the lock when it began is the last that is known. */
Test(waits, open_waits_know_the_owner)
{
	struct tb *tb = threads(3);
	struct built b;

	tb_run(tb, 1, 0, 30 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	lock_wait(tb, 2, 1, TB_NEVER, 0);
	tb_run(tb, 3, 0, 1 * MS);
	tb_futex(tb, 3, L + 64, TB_FUTEX_BITSET, 0, 0, TB_NEVER, 0);
	tb_holds(tb, 2, 1, L + 64, HOLD_WITH_BLOCK);
	tb_stop(tb, 30 * MS);
	b = build_waits(tb);
	cr_expect(wait_no(&b, 2, 0)->open);
	expect_blame(&b, 2, 0, 20 * MS, BLAME_HELD, 1);
	cr_expect(wait_no(&b, 3, 0)->open);
	expect_blame(&b, 3, 0, 20 * MS, BLAME_HELD, 2);
	cr_expect_eq(wait_blame_at(b.w, wait_no(&b, 3, 0), TB_EPOCH + 20 * MS)->evidence,
	             EVIDENCE_FOUND);
	built_free(&b);
}

/* Of a semaphore, who got it last and has not posted since. */
Test(waits, open_waits_for_a_semaphore)
{
	for (unsigned posts = 0; posts < 2; posts++) {
		struct tb *tb = threads(4);
		struct built b;

		tb_object(tb, 1, L, "slots", 0, 32);
		tb_run(tb, 1, 0, 40 * MS);
		tb_run(tb, 4, 0, 1 * MS);
		if (posts) {
			tb_futex(tb, 4, L, TB_FUTEX_BITSET, 0, 0, 20 * MS, 2);
			tb_run(tb, 4, 20 * MS, 40 * MS);
		}
		tb_run(tb, 2, 0, 1 * MS);
		tb_futex(tb, 2, L, TB_FUTEX_BITSET, 0, 0, 10 * MS, 1);
		tb_run(tb, 2, 10 * MS, 40 * MS);
		tb_run(tb, 3, 0, 15 * MS);
		tb_futex(tb, 3, L, TB_FUTEX_BITSET, 0, 0, TB_NEVER, 0);
		tb_stop(tb, 40 * MS);
		b = build_waits(tb);
		cr_assert_eq(b.w->locks.v[0].kind, LOCK_SEMAPHORE);
		cr_expect(wait_no(&b, 3, 0)->open);
		expect_blame(&b, 3, 0, 30 * MS, BLAME_HELD, posts ? 4 : 2);
		built_free(&b);
	}
}

/* Who waits for several words at once waits for the one on which it is woken. */
Test(waits, several_words_at_once)
{
	const uint64_t words[] = {L, L + 64, L + 128};
	const struct rec_waitv more = {.task = 2, .addrs = {words, 3}};
	struct tb *tb = threads(2);
	struct built b;

	tb_wakes_by(tb, 1, tb_site(tb, TB_NR_futex, L + 128, TB_FUTEX_WAKE, 1, FD_UNKNOWN), 0);
	tb_run(tb, 1, 0, 30 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	tb_futex(tb, 2, L, TB_FUTEX_WAIT, 2, 0, 10 * MS, 1);
	tb_raw(tb, REC_K_WAITV, TB_EPOCH + 1 * MS + 1, &more);
	tb_run(tb, 2, 10 * MS, 11 * MS);
	/* A later wait has nothing of it. */
	tb_futex(tb, 2, L, TB_FUTEX_WAIT, 2, 0, 20 * MS, 1);
	tb_run(tb, 2, 20 * MS, 30 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->locks.n, 2);
	cr_expect_eq(b.w->locks.v[wait_no(&b, 2, 0)->lock - 1].addr, L + 128);
	cr_expect_eq(b.w->locks.v[wait_no(&b, 2, 1)->lock - 1].addr, L);
	expect_blame(&b, 2, 0, 5 * MS, BLAME_HELD, 1);
	built_free(&b);
}

/* A signal is no post. */
Test(waits, signals_do_not_post)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_wakes_by(tb, 2, tb_site(tb, TB_NR_tgkill, 1, 1, 10, FD_UNKNOWN), 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex(tb, 1, L, TB_FUTEX_WAIT, 2, 0, 5 * MS, 2);
	tb_run(tb, 1, 5 * MS, 5 * MS + 20 * US);
	tb_futex(tb, 1, L, TB_FUTEX_WAIT, 2, 0, TB_NEVER, 0);
	tb_run(tb, 2, 0, 30 * MS);
	tb_stop(tb, 30 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->waits.n, 1);
	cr_expect(wait_no(&b, 1, 0)->open);
	expect_blame(&b, 1, 0, 3 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* Killed, it never got what it waited for: pages that it waits for on its way out are no use of it.
 * Who sleeps after it lives on. */
Test(waits, what_comes_after_a_kill)
{
	for (unsigned lives = 0; lives < 2; lives++) {
		struct tb *tb = threads(2);
		struct built b;

		tb_wakes_by(tb, 2, tb_site(tb, TB_NR_tgkill, 1, 1, 9, FD_UNKNOWN), 0);
		tb_run(tb, 2, 0, 30 * MS);
		tb_run(tb, 1, 0, 1 * MS);
		tb_futex(tb, 1, L, TB_FUTEX_WAIT, 2, 0, 5 * MS, 2);
		tb_run(tb, 1, 5 * MS, 6 * MS);
		if (lives)
			tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 8 * MS, 0);
		else
			tb_block(tb, 1, SW_F_FAULT, 2, 8 * MS, 0);
		tb_run(tb, 1, 8 * MS, 9 * MS);
		tb_exit(tb, 1, 9);
		tb_exit(tb, 2, 0);
		b = build_waits(tb);
		cr_expect_eq(wait_no(&b, 1, 0)->open, !lives, "%u", lives);
		built_free(&b);
	}
}

/* A process that ends does not let go of a lock for its other threads. */
Test(waits, the_end_of_the_process_is_no_post)
{
	struct tb *tb = threads(3);
	struct built b;

	tb_wakes_by(tb, 1, tb_site(tb, TB_NR_exit_group, 0, 0, 0, FD_UNKNOWN), 0);
	tb_run(tb, 1, 0, 20 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	lock_wait(tb, 2, 3, 20 * MS, 1);
	tb_run(tb, 2, 20 * MS, 21 * MS);
	tb_exit(tb, 2, 9);
	tb_run(tb, 3, 0, 21 * MS);
	tb_exit(tb, 3, 9);
	tb_exit(tb, 1, 0);
	b = build_waits(tb);
	cr_expect(wait_no(&b, 2, 0)->open);
	expect_blame(&b, 2, 0, 10 * MS, BLAME_HELD, 3);
	cr_expect_eq(b.w->locks.v[0].owner_known, 0);
	built_free(&b);
}

/* --- channels, children ---------------------------------------------------------------------- */

/* A terminal's name is its number alone, below /dev/pts. */
Test(waits, a_device_that_is_a_number)
{
	static const struct {
		const char *name, *expect;
	} rows[] = {
	        {"0", "device 0"}, {"17", "device 17"}, {"tty1", "tty1"}, {"urandom", "urandom"}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tb *tb = tb_program(1, "cat", NULL);
		struct built b;

		tb_on_file(tb, 1, tb_file(tb, FD_CHAR, 3, 0, rows[i].name));
		tb_run(tb, 1, 0, 1 * MS);
		tb_call(tb, 1, TB_NR_read, 0, FD_CHAR, 5 * MS, 0);
		tb_run(tb, 1, 5 * MS, 6 * MS);
		b = build_waits(tb);
		cr_assert_eq(b.w->channels.n, 1);
		cr_expect_str_eq(b.w->channels.v[0].name, rows[i].expect);
		built_free(&b);
	}
}

Test(waits, pipe_names_channel_and_writer)
{
	struct tb *tb = tb_new();
	uint32_t file;
	struct built b;

	tb_task(tb, 1, "reader");
	tb_fork(tb, 2, 1, "writer", 0);
	tb_on(tb, 2, 1);
	file = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
	tb_on_file(tb, 1, file);
	tb_wakes_by(tb, 2, tb_site(tb, TB_NR_write, 4, 0, 0, FD_PIPE), file);
	tb_run(tb, 2, 0, 30 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, 10 * MS, 2);
	tb_run(tb, 1, 10 * MS, 11 * MS);
	tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, TB_NEVER, 0);
	tb_stop(tb, 30 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->channels.n, 1);
	cr_expect_str_eq(b.w->channels.v[0].what, "pipe");
	cr_expect_eq(b.w->channels.v[0].read_wait_ns, 9 * MS + 19 * MS);
	expect_blame(&b, 1, 0, 5 * MS, BLAME_HELD, 2);
	/* The writer was seen before, so an open wait is for it, too. */
	expect_blame(&b, 1, 1, 20 * MS, BLAME_HELD, 2);
	cr_expect_eq(wait_no(&b, 1, 1)->kind, WAIT_CHANNEL);
	built_free(&b);
}

/* Those that nobody waited for are left out; the others keep what they are. */
Test(waits, channels_that_nobody_waited_for)
{
	struct tb *tb = tb_new();
	uint32_t files[3];
	struct built b;

	tb_task(tb, 1, "reader");
	tb_fork(tb, 2, 1, "writer", 0);
	tb_on(tb, 2, 1);
	files[0] = tb_file(tb, FD_PIPE, 75, 0, "pipe:[75]");
	files[1] = tb_file(tb, FD_PIPE, 76, 0, "/run/fifo");
	files[2] = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
	tb_run(tb, 2, 0, 30 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	for (unsigned i = 1; i < 3; i++) {
		tb_on_file(tb, 1, files[i]);
		tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, i * 10 * MS, 0);
		tb_run(tb, 1, i * 10 * MS, (1 + i * 10) * MS);
	}
	tb_stop(tb, 30 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->channels.n, 2);
	cr_expect_str_eq(b.w->channels.v[0].what, "FIFO");
	cr_expect_eq(b.w->channels.v[0].wait_ns, 9 * MS);
	cr_expect_str_eq(b.w->channels.v[1].what, "pipe");
	cr_expect_eq(wait_no(&b, 1, 1)->channel, 2);
	built_free(&b);
}

/* All eventfds have the kernel's one inode of that kind. */
Test(waits, eventfds_are_channels_of_their_own)
{
	struct tb *tb = threads(1);
	struct built b;

	for (unsigned i = 0; i < 2; i++) {
		tb_run(tb, 1, i * 10 * MS, (1 + i * 10) * MS);
		tb_on_file(tb, 1, tb_file(tb, FD_ANON, 12, 0, "anon_inode:[eventfd]"));
		tb_call(tb, 1, TB_NR_read, 3 + i, FD_ANON, (10 + i * 10) * MS, 0);
	}
	tb_stop(tb, 30 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->channels.n, 2);
	built_free(&b);
}

Test(waits, poll_is_told_by_its_waker)
{
	struct tb *tb = tb_new();
	uint32_t client, server;
	struct built b;

	tb_task(tb, 1, "server");
	tb_fork(tb, 2, 1, "client", 0);
	tb_on(tb, 2, 1);
	server = tb_tcp(tb, 5432, 40000);
	client = tb_tcp(tb, 40000, 5432);
	tb_wakes_by(tb, 2, tb_site(tb, TB_NR_sendto, 4, 0, 0, FD_SOCKET), client);
	tb_run(tb, 2, 0, 30 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_epoll_wait, 3, FD_UNKNOWN, 10 * MS, 2);
	tb_run(tb, 1, 10 * MS, 11 * MS);
	tb_on_file(tb, 1, server);
	tb_call(tb, 1, TB_NR_recvfrom, 5, FD_SOCKET, 20 * MS, 2);
	tb_run(tb, 1, 20 * MS, 30 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->channels.n, 1, "both ends are one channel");
	cr_expect_eq(wait_no(&b, 1, 0)->channel, 1);
	cr_expect_str_eq(b.w->channels.v[0].what, "TCP");
	expect_blame(&b, 1, 1, 15 * MS, BLAME_HELD, 2);
	cr_expect_eq(b.w->blames.v[wait_no(&b, 1, 1)->blame].evidence, EVIDENCE_POSTER);
	built_free(&b);
}

/* A packet through the loopback arrives in a soft interrupt of its sender: of an epoll it is
 * known who sent it when the socket's other end is seen in the poller's process. */
Test(waits, packets_lead_to_those_who_poll)
{
	struct tb *tb = tb_new();
	uint32_t client, server;
	struct built b;

	tb_task(tb, 1, "server");
	tb_fork(tb, 2, 1, "client", 0);
	tb_fork(tb, 3, 1, "other", 0);
	tb_on(tb, 2, 1);
	tb_on(tb, 3, 2);
	server = tb_tcp(tb, 6379, 40000);
	client = tb_tcp(tb, 40000, 6379);
	for (uint32_t id = 1; id <= 3; id++) {
		tb_wakes_by(tb, id, tb_site(tb, TB_NR_sendto, 4, 0, 0, FD_SOCKET),
		            id == 1 ? server : client);
		tb_wake_flags(tb, id, WK_F_SOFTIRQ);
	}
	/* The server's answer wakes a client that reads; then its question, a server that polls. */
	tb_run(tb, 2, 0, 1 * MS);
	tb_on_file(tb, 2, client);
	tb_call(tb, 2, TB_NR_recvfrom, 5, FD_SOCKET, 5 * MS, 1);
	tb_run(tb, 2, 5 * MS, 30 * MS);
	tb_run(tb, 1, 0, 10 * MS);
	tb_call(tb, 1, TB_NR_epoll_wait, 3, FD_UNKNOWN, 20 * MS, 2);
	tb_run(tb, 1, 20 * MS, 30 * MS);
	/* Whom the same packet interrupts by chance it does not wake. */
	tb_run(tb, 3, 0, 10 * MS);
	tb_call(tb, 3, TB_NR_epoll_wait, 3, FD_UNKNOWN, 20 * MS, 2);
	tb_run(tb, 3, 20 * MS, 30 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->channels.n, 1);
	expect_blame(&b, 2, 0, 3 * MS, BLAME_HELD, 1);
	cr_expect_eq(wait_no(&b, 1, 0)->channel, 1);
	expect_blame(&b, 1, 0, 15 * MS, BLAME_HELD, 2);
	cr_expect_eq(wait_no(&b, 3, 0)->kind, WAIT_EXTERNAL);
	expect_blame(&b, 3, 0, 15 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* A connection for each question: of the asker's end nothing was ever seen, but it is on this
 * machine, and the answer that was being sent to it woke the asker. */
Test(waits, answers_over_short_connections)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "server");
	tb_fork(tb, 2, 1, "client", 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 1 * MS);
	tb_wake_flags(tb, 1, WK_F_SOFTIRQ);
	for (uint32_t k = 0; k < 3; k++) {
		uint32_t server = tb_tcp(tb, 6379, 40000 + k);

		tb_wakes_by(tb, 1, tb_site(tb, TB_NR_sendto, 4 + k, 0, 0, FD_SOCKET), server);
		tb_call(tb, 2, TB_NR_epoll_wait, 3, FD_UNKNOWN, (10 + 10 * k) * MS, 1);
		tb_run(tb, 2, (10 + 10 * k) * MS, (11 + 10 * k) * MS);
	}
	tb_run(tb, 1, 0, 40 * MS);
	b = build_waits(tb);
	for (uint32_t k = 0; k < 3; k++) {
		cr_expect_eq(wait_no(&b, 2, k)->kind, WAIT_CHANNEL);
		expect_blame(&b, 2, k, (5 + 10 * k) * MS, BLAME_HELD, 1);
	}
	built_free(&b);
}

/* What comes in the end of a pipe is written by who did not exist when the wait began: until
 * then it is a wait for who has to make it. */
Test(waits, before_its_birth_its_maker_is_waited_for)
{
	struct tb *tb = tb_new();
	struct built b;
	uint32_t file;

	tb_task(tb, 1, "python");
	tb_fork(tb, 2, 1, "sh", 0);
	tb_fork(tb, 3, 2, "sh", 10 * MS);
	tb_fork(tb, 4, 3, "wc", 20 * MS);
	tb_on(tb, 2, 1);
	file = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
	tb_on_file(tb, 1, file);
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, 29 * MS, 4);
	tb_run(tb, 1, 29 * MS, 30 * MS);
	tb_run(tb, 2, 0, 10 * MS);
	tb_call(tb, 2, TB_NR_wait4, UINT64_MAX, FD_UNKNOWN, 30 * MS, 3);
	tb_run(tb, 2, 30 * MS, 31 * MS);
	tb_exit(tb, 2, 0);
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 10 * MS, 20 * MS);
	tb_run(tb, 3, 20 * MS, 30 * MS);
	tb_exit(tb, 3, 0);
	tb_on(tb, 4, 3);
	tb_wakes_by(tb, 4, tb_site(tb, TB_NR_write, 1, 0, 0, FD_PIPE), file);
	tb_run(tb, 4, 20 * MS, 29 * MS);
	tb_exit(tb, 4, 0);
	b = build_waits(tb);
	expect_blame(&b, 1, 0, 5 * MS, BLAME_HELD, 2);
	expect_blame(&b, 1, 0, 15 * MS, BLAME_HELD, 3);
	expect_blame(&b, 1, 0, 25 * MS, BLAME_HELD, 4);
	cr_assert_eq(b.w->channels.v[0].blockers.n, 1, "the shells were at no end of it");
	cr_expect_eq(b.w->channels.v[0].blockers.v[0].task, 4);
	built_free(&b);
}

Test(waits, nobody_at_the_other_end_is_outside)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "reader");
	tb_on_file(tb, 1, tb_file(tb, FD_PIPE, 77, 0, ""));
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_read, 0, FD_PIPE, TB_NEVER, 0);
	tb_stop(tb, 10 * MS);
	b = build_waits(tb);
	cr_expect_eq(wait_no(&b, 1, 0)->kind, WAIT_EXTERNAL);
	expect_blame(&b, 1, 0, 5 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* In no call and for no page: the kernel's own threads, which wait for something to do. */
Test(waits, threads_of_the_kernel)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "kworker");
	tb_run(tb, 1, 0, MS);
	tb_block(tb, 1, 0, 2, 3 * MS, 0);
	tb_run(tb, 1, 3 * MS, 4 * MS);
	tb_block(tb, 1, SW_F_FAULT, 2, 6 * MS, 0);
	tb_run(tb, 1, 6 * MS, 7 * MS);
	tb_stop(tb, 10 * MS);
	b = build_waits(tb);
	cr_expect_eq(wait_no(&b, 1, 0)->kind, WAIT_EXTERNAL);
	cr_expect_eq(wait_no(&b, 1, 1)->kind, WAIT_FAULT);
	built_free(&b);
}

/* Who wrote there once has gone since. */
Test(waits, those_who_ended_are_not_at_the_other_end)
{
	struct tb *tb = tb_new();
	uint32_t pipe = tb_file(tb, FD_PIPE, 77, 0, "");
	struct built b;

	tb_task(tb, 1, "reader");
	tb_fork(tb, 2, 1, "writer", 0);
	tb_on(tb, 2, 1);
	tb_on_file(tb, 1, pipe);
	tb_on_file(tb, 2, pipe);
	tb_run(tb, 2, 0, 1 * MS);
	tb_call(tb, 2, TB_NR_write, 1, FD_PIPE, 2 * MS, 1);
	tb_run(tb, 2, 2 * MS, 3 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 0, 5 * MS);
	tb_call(tb, 1, TB_NR_read, 0, FD_PIPE, TB_NEVER, 0);
	tb_stop(tb, 10 * MS);
	b = build_waits(tb);
	cr_expect_eq(wait_no(&b, 1, 0)->kind, WAIT_EXTERNAL);
	expect_blame(&b, 1, 0, 8 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

Test(waits, wait4_names_the_child)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "parent");
	tb_fork(tb, 2, 1, "first", 0);
	tb_fork(tb, 3, 1, "second", 0);
	tb_fork(tb, 4, 1, "third", 0);
	tb_on(tb, 2, 1);
	tb_on(tb, 3, 2);
	tb_on(tb, 4, 3);
	tb_run(tb, 4, 0, 30 * MS);
	tb_run(tb, 2, 0, 10 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 0, 30 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_wait4, UINT64_MAX, FD_UNKNOWN, 10 * MS, 2);
	tb_run(tb, 1, 10 * MS, 11 * MS);
	tb_call(tb, 1, TB_NR_wait4, 3, FD_UNKNOWN, TB_NEVER, 0);
	tb_stop(tb, 30 * MS);
	b = build_waits(tb);
	expect_blame(&b, 1, 0, 5 * MS, BLAME_HELD, 2);
	expect_blame(&b, 1, 1, 20 * MS, BLAME_HELD, 3);
	cr_expect_eq(b.w->blames.v[wait_no(&b, 1, 1)->blame].evidence, EVIDENCE_CHILD);
	built_free(&b);
}

/* A timer or a device has nothing to do with who was running. */
Test(waits, interrupts_name_nobody)
{
	struct tb *tb = threads(2);
	struct built b;

	tb_run(tb, 2, 0, 30 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 10 * MS, 0);
	tb_run(tb, 1, 10 * MS, 11 * MS);
	tb_call(tb, 1, TB_NR_fsync, 3, FD_FILE, 20 * MS, 0);
	tb_run(tb, 1, 20 * MS, 30 * MS);
	b = build_waits(tb);
	cr_expect_eq(wait_no(&b, 1, 0)->kind, WAIT_TIMER);
	cr_expect_eq(wait_no(&b, 1, 1)->kind, WAIT_IO);
	expect_blame(&b, 1, 0, 5 * MS, BLAME_NOBODY, 0);
	expect_blame(&b, 1, 1, 15 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* --- many words, one lock -------------------------------------------------------------------- */

/* All wait in this function of that library. */
static void wait_in(struct tb *tb, uint32_t n, const char *function, const char *library)
{
	static const uint64_t frame = 0x400100;
	uint32_t stack;

	tb_map(tb, 1, 0x400000, 0x500000, 0, library);
	tb_symbol(tb, library, 0x100, function, 0, 0);
	stack = tb_stack(tb, STACK_USER, 1, &frame, 1);
	for (uint32_t id = 2; id <= n + 1; id++)
		tb_stacks(tb, id, stack, 0);
}

/* n threads, each with a word of its own, take turns; the next after `i` is next(i). function: in
 * which they wait, NULL = not known. */
static struct built parking_of(const char *library, const char *function, uint32_t n,
                               uint32_t (*next)(uint32_t turn, uint32_t n), uint32_t turns)
{
	struct tb *tb = threads(n + 1);
	uint32_t who = 2;
	struct built b;

	if (function)
		wait_in(tb, n, function, library);
	tb_run(tb, 1, 0, 1 * MS);
	tb_run(tb, 2, 0, 2 * MS);
	for (uint32_t id = 3; id <= n + 1; id++)
		tb_run(tb, id, 0, 1 * MS);
	for (uint32_t turn = 0; turn < turns; turn++) {
		uint32_t other = next(turn, n) + 2;
		uint64_t t = (2 + turn) * MS;

		if (other == who)
			continue;
		tb_futex(tb, other, L + 256 * other, TB_FUTEX_BITSET, 0, 0, t, who);
		tb_run(tb, other, t, t + 1 * MS);
		who = other;
	}
	tb_stop(tb, (3 + turns) * MS);
	b = build_waits(tb);
	return b;
}

static struct built parking_in(const char *function, uint32_t n,
                               uint32_t (*next)(uint32_t turn, uint32_t n), uint32_t turns)
{
	return parking_of("/usr/lib/libjvm.so", function, n, next, turns);
}

static struct built parking(uint32_t n, uint32_t (*next)(uint32_t turn, uint32_t n), uint32_t turns)
{
	return parking_in(NULL, n, next, turns);
}

static uint32_t anyone(uint32_t turn, uint32_t n)
{
	static const uint32_t order[] = {1, 2, 0, 2, 1, 0, 3, 1, 3, 2, 3, 0, 1, 3, 0, 2};

	return order[turn % ARRAY_LEN(order)] % n;
}

static uint32_t neighbour(uint32_t turn, uint32_t n)
{
	return (turn + 1) % n;
}

Test(waits, words_to_park_on_are_one_lock)
{
	struct built b = parking(4, anyone, 64);
	uint32_t head = b.w->locks.v[0].family;

	cr_assert_eq(b.w->locks.n, 4);
	cr_assert_neq(head, 0);
	for (size_t i = 0; i < 4; i++)
		cr_expect_eq(b.w->locks.v[i].family, head);
	cr_expect_eq(b.w->locks.v[head - 1].family_n, 4);
	built_free(&b);
}

/* TBB's threads wake each other for work. */
Test(waits, words_to_wait_for_work_at_are_no_lock)
{
	struct built b = parking_of("/usr/lib/libtbb.so.12", "wake_some", 4, anyone, 64);

	cr_assert_eq(b.w->locks.n, 4);
	for (size_t i = 0; i < 4; i++)
		cr_expect_eq(b.w->locks.v[i].family, 0);
	built_free(&b);
}

/* Handed on from each to the next, as in a pipeline: no lock. */
Test(waits, a_ring_is_no_lock)
{
	struct built b = parking(4, neighbour, 64);

	cr_assert_eq(b.w->locks.n, 4);
	for (size_t i = 0; i < 4; i++)
		cr_expect_eq(b.w->locks.v[i].family, 0);
	built_free(&b);
}

/* But where the place says that it is one. */
Test(waits, a_ring_of_a_locks_waiters_is_one)
{
	struct built b = parking_in("ObjectMonitor::EnterI(JavaThread*)", 4, neighbour, 64);
	uint32_t head = b.w->locks.v[0].family;

	cr_assert_eq(b.w->locks.n, 4);
	cr_assert_neq(head, 0);
	cr_expect_eq(b.w->locks.v[head - 1].family_n, 4);
	built_free(&b);
	b = parking_in("take_the_next(int)", 4, neighbour, 64);
	cr_expect_eq(b.w->locks.v[0].family, 0);
	built_free(&b);
}

static uint32_t always_the_second(uint32_t turn, uint32_t n)
{
	(void)turn;
	(void)n;
	return 1;
}

/* Two wait for each other, or always the same one for one who never has to. */
Test(waits, few_who_wait_for_a_lock)
{
	static const char *const functions[] = {"ObjectMonitor::EnterI(JavaThread*)",
	                                        "take_the_next(int)"};

	for (unsigned i = 0; i < 2; i++) {
		struct built b = parking_in(functions[i], 2, neighbour, 64);
		uint32_t head = b.w->locks.v[0].family;

		cr_assert_eq(b.w->locks.n, 2);
		cr_expect_eq(!head, i, "two in %s", functions[i]);
		cr_expect_eq(b.w->locks.v[1].family, head);
		cr_expect_eq(head && b.w->locks.v[head - 1].family_held, !i);
		built_free(&b);
		b = parking_in(functions[i], 2, always_the_second, 64);
		cr_assert_eq(b.w->locks.n, 1);
		cr_expect_eq(b.w->locks.v[0].family, !i, "one in %s", functions[i]);
		built_free(&b);
	}
}

/* One who gives work to three, each of whom answers: only its own word has several wakers. */
static uint32_t star(uint32_t turn, uint32_t n)
{
	return turn % 2 ? 0 : 1 + turn / 2 % (n - 1);
}

Test(waits, a_star_is_no_lock)
{
	struct built b = parking(4, star, 64);

	cr_assert_eq(b.w->locks.n, 4);
	for (size_t i = 0; i < 4; i++)
		cr_expect_eq(b.w->locks.v[i].family, 0);
	built_free(&b);
}
