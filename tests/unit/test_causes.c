/* SPDX-License-Identifier: MIT */
/* Capacity, shares, serial sections and verdict, on programs built in memory whose truth is known
 * to the ns. Two CPUs, unless said otherwise. Critical path and deadlocks: test_path.c. */
#include "analyze/capacity_priv.h"
#include "causes_test.h"
#include "random_trace.h"

/* --- locks --- */

/* alpha has the lock for 10 ms, beta waits; then beta has it and alpha has nothing to do. */
Test(causes, mutex_is_charged_while_its_holder_runs)
{
	struct tb *tb = two_workers(21 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 11 * MS);
	tb_run(tb, 2, 11 * MS, 21 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 1 * MS + 1000);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 11 * MS, 2);
	tb_run(tb, 3, 11 * MS, 21 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(b.r.capacity_ns, 44 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 10 * MS - 1000);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 32 * MS + 1000);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 2 * MS);
	cr_expect_eq(first(&b, CAUSE_LOCK)->task, 2, "held by alpha");
	cr_expect_eq(first(&b, CAUSE_LOCK)->id, 1);
	expect_verdict(&b, VERDICT_SERIALIZED, "SERIALIZED by ");
	drop(&b);
}

/* What is less than 3 % of the capacity is not worth a word. */
Test(causes, small_causes_are_not_named)
{
	for (uint64_t ms = 4; ms <= 12; ms += 8) {
		struct tb *tb = two_workers(101 * MS);
		struct built b;

		tb_run(tb, 2, 1 * MS, 101 * MS);
		tb_exit(tb, 2, 0);
		tb_run(tb, 3, 1 * MS, 21 * MS);
		tb_call(tb, 3, TB_NR_fsync, 3, FD_FILE, (21 + ms) * MS, 0);
		tb_run(tb, 3, (21 + ms) * MS, 41 * MS);
		tb_owner(tb, 3, 2);
		tb_futex_wait(tb, 3, MUTEX, 101 * MS, 2);
		tb_run(tb, 3, 101 * MS, 101 * MS + US);
		tb_exit(tb, 3, 0);
		b = build(tb);
		cr_expect_eq(of_cause(&b, CAUSE_IO), ms * MS);
		expect_verdict(&b, VERDICT_SERIALIZED, "SERIALIZED by ");
		cr_expect_eq(strstr(b.r.headline, "I/O") != NULL, ms > 6, "%s", b.r.headline);
		drop(&b);
	}
}

/* However little a task does, it is held up when it wants what another one has. */
Test(causes, one_with_little_work_is_held_up_by_a_lock)
{
	struct tb *tb = two_workers(101 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 101 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 1 * MS + 10 * US);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 100 * MS, 2);
	tb_run(tb, 3, 100 * MS, 100 * MS + 10 * US);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 99 * MS - 10 * US);
	expect_verdict(&b, VERDICT_SERIALIZED, "SERIALIZED by ");
	drop(&b);
}

/* Two locks together cost more than the lack of CPUs, which is more than either: both are told. */
Test(causes, sum_of_locks_decides)
{
	struct tb *tb = tb_program(2, "main", "beta");
	struct built b;

	tb_run(tb, 2, 0, US);
	tb_owner(tb, 2, 1);
	tb_futex_wait(tb, 2, MUTEX, 10 * MS, 1);
	tb_run(tb, 2, 10 * MS, 10 * MS + US);
	tb_futex_wait(tb, 2, COOL, 20 * MS, 1);
	tb_run(tb, 2, 33 * MS, 40 * MS); /* ready at 20 ms */
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 0, 40 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 13 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 20 * MS - 2 * US);
	expect_verdict(&b, VERDICT_SERIALIZED,
	               "SERIALIZED by waits for each other (25 %), most for ");
	expect_verdict(&b, VERDICT_SERIALIZED, "no CPU free 16 %");
	drop(&b);
}

/* What no cause's removal changes is told beside the verdict where it is more than all of them. */
Test(causes, nobody_there_for_most_of_the_time)
{
	for (uint64_t born = 40 * MS; born <= 60 * MS; born += 20 * MS) {
		struct tb *tb = tb_new();
		struct built b;

		tb_task(tb, 1, "alpha");
		tb_thread(tb, 2, 1, "beta", born);
		tb_on(tb, 2, 1);
		tb_run(tb, 2, born, born + US);
		tb_owner(tb, 2, 1);
		tb_futex_wait(tb, 2, MUTEX, 100 * MS, 1);
		tb_run(tb, 2, 100 * MS, 101 * MS);
		tb_exit(tb, 2, 0);
		tb_run(tb, 1, 0, 101 * MS);
		tb_exit(tb, 1, 0);
		b = build(tb);
		expect_verdict(&b, VERDICT_SERIALIZED, "by ");
		cr_expect_eq(!!strstr(b.r.headline, "there was no other task"), born > 50 * MS,
		             "%s", b.r.headline);
		drop(&b);
	}
}

/* Woken by an unlock, beta gets no CPU for 20 ms; when it has one, alpha has taken the lock again.
 * A CPU would have been of no use to it: it is the lock that kept it. Where it goes on then, it was
 * the CPU. */
Test(causes, woken_for_a_lock_that_is_taken_again)
{
	for (unsigned taken = 0; taken < 2; taken++) {
		struct tb *tb = tb_program(2, "alpha", "beta");
		struct built b;

		tb_run(tb, 2, 0, US);
		tb_owner(tb, 2, 1);
		tb_futex_wait(tb, 2, MUTEX, 10 * MS, 1);
		tb_run(tb, 2, 30 * MS, 30 * MS + (taken ? US : 2 * MS));
		tb_futex_wait(tb, 2, MUTEX, 60 * MS, 1);
		tb_run(tb, 2, 60 * MS, 61 * MS);
		tb_exit(tb, 2, 0);
		tb_run(tb, 1, 0, 61 * MS);
		tb_exit(tb, 1, 0);
		b = build(tb);
		cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), taken ? 0 : 20 * MS);
		cr_expect_eq(of_cause(&b, CAUSE_LOCK), taken ? 60 * MS - 2 * US : 38 * MS - US);
		cr_expect_eq(first(&b, CAUSE_LOCK)->task, 1, "held by alpha");
		drop(&b);
	}
}

/* Preempted with the GIL in its hands, alpha gets no CPU; then it hands the GIL over at once, as it
 * was asked to, and waits for it. Its 20 ms are want of a CPU. */
Test(causes, the_gils_holder_wants_a_cpu)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "alpha");
	tb_gil(tb, 1, 1, 0x1000, true, 0x030b07f0);
	tb_pythread(tb, 1, 0x100);
	tb_thread(tb, 2, 1, "beta", 0);
	tb_pythread(tb, 2, 0x200);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, US);
	tb_reads_gil(tb, 2, 1, true, 0x100, 1);
	tb_futex(tb, 2, 0x1000 + 72, TB_FUTEX_BITSET, 0, 1, 40 * MS + 5 * US, 1);
	tb_run(tb, 2, 40 * MS + 5 * US, 50 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 0, 20 * MS);
	tb_reads_gil(tb, 1, 1, true, 0x100, 1);
	tb_preempt(tb, 1);
	tb_run(tb, 1, 40 * MS, 40 * MS + 10 * US);
	tb_reads_gil(tb, 1, 1, true, 0x200, 2);
	tb_futex(tb, 1, 0x1000 + 72, TB_FUTEX_BITSET, 0, 1, 50 * MS, 2);
	tb_run(tb, 1, 50 * MS, 51 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 20 * MS, "%" PRIu64,
	             of_cause(&b, CAUSE_CPU_SHORTAGE));
	cr_expect_gt(of_cause(&b, CAUSE_GIL), 19 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 0);
	drop(&b);
}

/* Each sleeps for 10 ms with the lock in its hands: what is idle sleeps, but for the lock they
 * would do so side by side. */
Test(causes, sleeping_with_the_lock)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id <= 4; id++) {
		uint64_t from = id - 2, at = from * 11 * MS + MS;

		tb_thread(tb, id, 1, "w", 0);
		tb_on(tb, id, id);
		tb_run(tb, id, 0, from ? US : MS);
		if (from) {
			tb_owner(tb, id, id - 1);
			tb_futex_wait(tb, id, MUTEX, at - MS, id - 1);
			tb_run(tb, id, at - MS, at);
		}
		tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, at + 10 * MS - US, 0);
		tb_run(tb, id, at + 10 * MS - US, at + 10 * MS);
		tb_exit(tb, id, 0);
	}
	tb_run(tb, 1, 0, US);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_gt(of_cause(&b, CAUSE_SLEEP), of_cause(&b, CAUSE_LOCK));
	cr_expect_gt(b.r.lock_idle_ns.v[0], 20 * MS,
	             "the lock's, though its holder slept: %" PRIu64, b.r.lock_idle_ns.v[0]);
	expect_verdict(&b, VERDICT_SERIALIZED, "whose holder slept: ");
	expect_verdict(&b, VERDICT_SERIALIZED, "besides: sleep");
	drop(&b);
}

/* With the lock in its hands each starts a program that sleeps, as flock(1) does. */
Test(causes, a_child_sleeps_for_the_locks_holder)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id <= 4; id++) {
		uint64_t from = id - 2, at = from * 12 * MS + MS;

		tb_thread(tb, id, 1, "w", 0);
		tb_on(tb, id, id);
		tb_run(tb, id, 0, from ? US : MS);
		if (from) {
			tb_owner(tb, id, id - 1);
			tb_futex_wait(tb, id, MUTEX, at - MS, id - 1);
			tb_run(tb, id, at - MS, at);
		}
		tb_fork(tb, id + 10, id, "sleep", at);
		tb_on(tb, id + 10, id);
		tb_call(tb, id, TB_NR_wait4, 0, FD_UNKNOWN, at + 10 * MS, id + 10);
		tb_run(tb, id + 10, at + 10 * US, at + 100 * US);
		tb_call(tb, id + 10, TB_NR_nanosleep, 0, FD_UNKNOWN, at + 10 * MS - 100 * US, 0);
		tb_run(tb, id + 10, at + 10 * MS - 100 * US, at + 10 * MS);
		tb_exit(tb, id + 10, 0);
		tb_run(tb, id, at + 10 * MS + 10 * US, at + 11 * MS);
		tb_exit(tb, id, 0);
	}
	tb_run(tb, 1, 0, US);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_gt(of_cause(&b, CAUSE_SLEEP), of_cause(&b, CAUSE_LOCK));
	cr_expect_gt(b.r.lock_idle_ns.v[0], 20 * MS,
	             "the lock's, though a child of its holder slept: %" PRIu64,
	             b.r.lock_idle_ns.v[0]);
	expect_verdict(&b, VERDICT_SERIALIZED, "whose holder waited for one that slept: ");
	drop(&b);
}

/* With the lock in its hands each asks the one server, which sleeps before it answers: that it
 * would do for all of them, lock or no lock. */
Test(causes, a_server_sleeps_for_the_locks_holder)
{
	struct tb *tb = tb_new();
	uint32_t file, site;
	struct built b;

	tb_task(tb, 1, "main");
	tb_fork(tb, 9, 1, "server", 0);
	file = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
	site = tb_site(tb, TB_NR_write, 4, 0, 0, FD_PIPE);
	tb_wakes_by(tb, 9, site, file);
	for (uint32_t id = 2; id <= 4; id++) {
		uint64_t from = id - 2, at = from * 12 * MS + MS;

		tb_thread(tb, id, 1, "w", 0);
		tb_on(tb, id, id);
		tb_run(tb, id, 0, from ? US : MS);
		if (from) {
			tb_owner(tb, id, id - 1);
			tb_futex_wait(tb, id, MUTEX, at - MS, id - 1);
			tb_run(tb, id, at - MS, at);
		}
		tb_on_file(tb, id, file);
		tb_call(tb, id, TB_NR_read, 3, FD_PIPE, at + 10 * MS, 9);
		tb_run(tb, 9, at + 10 * US, at + 100 * US);
		tb_call(tb, 9, TB_NR_nanosleep, 0, FD_UNKNOWN, at + 10 * MS - 100 * US, 0);
		tb_run(tb, 9, at + 10 * MS - 100 * US, at + 10 * MS + 10 * US);
		tb_call(tb, 9, TB_NR_nanosleep, 0, FD_UNKNOWN, at + 12 * MS + 10 * US, 0);
		tb_run(tb, id, at + 10 * MS + 10 * US, at + 11 * MS);
		tb_exit(tb, id, 0);
	}
	tb_run(tb, 9, 38 * MS, 39 * MS);
	tb_exit(tb, 9, 0);
	tb_run(tb, 1, 0, US);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_gt(of_cause(&b, CAUSE_SLEEP), of_cause(&b, CAUSE_LOCK));
	cr_expect_lt(b.r.lock_idle_ns.v[0], 25 * MS, "%" PRIu64, b.r.lock_idle_ns.v[0]);
	expect_verdict(&b, VERDICT_IDLE, "it slept");
	drop(&b);
}

/* Whose turn it is waits for clients, with the lock that says so: the server is idle. */
Test(causes, accepting_with_the_lock)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "w", 0);
	tb_on(tb, 2, 2);
	tb_run(tb, 2, 0, 5 * MS);
	tb_owner(tb, 2, 1);
	tb_futex_wait(tb, 2, MUTEX, 90 * MS, 1);
	tb_run(tb, 2, 90 * MS, 95 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 0, 5 * MS);
	tb_call(tb, 1, TB_NR_epoll_wait, 3, FD_UNKNOWN, 90 * MS - US, 0);
	tb_run(tb, 1, 90 * MS - US, 95 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_verdict(&b, VERDICT_IDLE, "outside");
	drop(&b);
}

/* Of three waiters for a hot and one for a cool lock, and one idle CPU of four. */
Test(causes, idle_cpus_are_shared_by_weight)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "4");
	tb_task(tb, 1, "main");
	for (uint32_t id = 1; id <= 7; id++) {
		if (id > 1)
			tb_thread(tb, id, 1, "t", 0);
		tb_on(tb, id, id);
		if (id <= 3) { /* holders, and one that has nothing to do with them */
			tb_run(tb, id, 0, 40 * MS);
			tb_exit(tb, id, 0);
			continue;
		}
		tb_run(tb, id, 0, US);
		tb_owner(tb, id, id == 7 ? 2 : 1);
		tb_futex_wait(tb, id, id == 7 ? COOL : MUTEX, 40 * MS, id == 7 ? 2 : 1);
		tb_run(tb, id, 40 * MS, 41 * MS);
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 124 * MS + 4 * US);
	/* In their first µs seven run on four CPUs: that much is paid back. */
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 40 * MS - 4 * US);
	cr_expect_eq(first(&b, CAUSE_LOCK)->ns, (40 * MS - 4 * US) / 4 * 3,
	             "three of four waiters");
	drop(&b);
}

/* beta waits for a lock of alpha's, alpha for the disk: the disk is what holds both. */
Test(causes, a_chain_is_charged_to_its_root)
{
	struct tb *tb = two_workers(31 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 2 * MS);
	tb_call(tb, 2, TB_NR_fsync, 3, FD_FILE, 30 * MS, 0);
	tb_run(tb, 2, 30 * MS, 31 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 2 * MS);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 31 * MS, 2);
	tb_run(tb, 3, 31 * MS, 32 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_IO), 56 * MS, "both CPUs, 28 ms");
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 1 * MS);
	expect_verdict(&b, VERDICT_IO_BOUND, "I/O");
	drop(&b);
}

/* A chain of three, cut in its middle: what hangs below moves with it. */
Test(causes, subtrees_move_with_their_root)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "4");
	tb_task(tb, 1, "a");
	tb_on(tb, 1, 1);
	tb_run(tb, 1, 0, 30 * MS);
	tb_exit(tb, 1, 0);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_thread(tb, id, 1, "t", 0);
		tb_on(tb, id, id);
	}
	/* 3 waits for 2 all the time; 2 waits for 1 until 10 ms, then runs. */
	tb_run(tb, 2, 0, US);
	tb_owner(tb, 2, 1);
	tb_futex_wait(tb, 2, MUTEX, 10 * MS, 1);
	tb_run(tb, 2, 10 * MS, 30 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 0, US);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, COOL, 30 * MS, 2);
	tb_run(tb, 3, 30 * MS, 31 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	/* Until 10 ms two wait below task 1 by the first lock, then one below 2 by the other. */
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 40 * MS - 2 * US);
	cr_expect_eq(first(&b, CAUSE_LOCK)->ns, 20 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 51 * MS + 2 * US);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 33 * MS);
	drop(&b);
}

/* --- work handed on --- */

Test(causes, slow_producer_is_a_serial_section)
{
	struct built b = build(producer());

	/* Three waits of 9 ms; then main waits for the end of alpha, which had a sibling. */
	cr_expect_eq(first(&b, CAUSE_SERIAL)->ns, 36 * MS);
	cr_expect_eq(first(&b, CAUSE_SERIAL)->id, 2);
	cr_expect_str_eq(first(&b, CAUSE_SERIAL)->name, "alpha");
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 46 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 2 * MS);
	expect_verdict(&b, VERDICT_SERIALIZED, "what alpha does alone");
	cr_expect_eq(b.r.serial.n, 1);
	cr_expect_eq(b.r.serial.v[0].task, 2);
	cr_expect_eq(b.r.serial.v[0].ns, 36 * MS);
	cr_expect_eq(b.r.serial.v[0].count, 4);
	drop(&b);
}

/* A quarter of its samples in one function, the rest in another. */
Test(causes, what_is_done_alone_is_split_by_samples)
{
	static const uint64_t parse[] = {0x1000}, pack[] = {0x2000};
	struct tb *tb = producer();
	uint32_t a = tb_stack(tb, STACK_USER, 1, parse, 1);
	uint32_t b = tb_stack(tb, STACK_USER, 1, pack, 1);
	struct built x;

	/* Another thread is made meanwhile: that does not divide a stretch. */
	tb_thread(tb, 4, 1, "late", 6 * MS);
	tb_sample(tb, 2, 5 * MS, a, 0);
	for (unsigned i = 1; i < 4; i++)
		tb_sample(tb, 2, (5 + 10 * i) * MS, b, 0);
	x = build(tb);
	cr_assert_eq(x.r.serial.n, 2);
	cr_expect_eq(x.r.serial.v[0].ustack, b);
	cr_expect_eq(x.r.serial.v[0].ns, 27 * MS);
	cr_expect_eq(x.r.serial.v[0].count, 3);
	cr_expect_eq(x.r.serial.v[1].ustack, a);
	cr_expect_eq(x.r.serial.v[1].ns, 9 * MS);
	cr_expect_eq(x.r.serial.v[1].count, 1);
	drop(&x);
}

/* alpha holds the lock for 60 ms, beta for 40, and gamma waits for both. beta was seen most, in one
 * function, on as many ways into it as there are samples; alpha twice at one. */
Test(causes, the_next_step_is_what_holders_do_most)
{
	static const char file[] = "/usr/bin/app";
	const uint64_t code = 0x400000;
	struct tb *tb = tb_new();
	uint64_t accept[] = {code + 0x500}, handle[] = {code + 0x900, 0};
	struct built b;

	tb_task(tb, 1, "alpha");
	tb_thread(tb, 2, 1, "beta", 0);
	tb_thread(tb, 3, 1, "gamma", 0);
	tb_map(tb, 1, code, code + 0x10000, 0, file);
	tb_symbol(tb, file, accept[0] - code, "accept", 4, 0);
	tb_symbol(tb, file, handle[0] - code, "handle", 4, 0);
	for (uint64_t i = 0; i < 2; i++)
		tb_sample(tb, 1, (10 + i) * MS, tb_stack(tb, STACK_USER, 1, accept, 1), 0);
	for (uint64_t i = 0; i < 3; i++) {
		handle[1] = code + 0x2000 + i * 0x100;
		tb_sample(tb, 2, (70 + i) * MS, tb_stack(tb, STACK_USER, 1, handle, 2), 0);
	}
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, US);
	tb_owner(tb, 2, 1);
	tb_futex_wait(tb, 2, MUTEX, 60 * MS, 1);
	tb_run(tb, 2, 60 * MS, 100 * MS);
	tb_exit(tb, 2, 0);
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 0, US);
	tb_owner(tb, 3, 1);
	tb_futex_wait(tb, 3, MUTEX, 60 * MS, 1);
	tb_run(tb, 3, 60 * MS, 60 * MS + US);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 100 * MS, 2);
	tb_run(tb, 3, 100 * MS, 101 * MS);
	tb_exit(tb, 3, 0);
	tb_run(tb, 1, 0, 60 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_verdict(&b, VERDICT_SERIALIZED, "by lock");
	cr_expect(strstr(b.r.next_step, "what beta does while it holds"), "%s", b.r.next_step);
	cr_expect(strstr(b.r.next_step, ": most often handle"), "%s", b.r.next_step);
	cr_expect_eq(first(&b, CAUSE_LOCK)->task, 2);
	drop(&b);
}

/* As many idle threads as you like, waiting for work from a busy one. */
Test(causes, idle_pool_costs_nothing)
{
	struct tb *tb = two_workers(101 * MS);
	struct built b;

	for (uint32_t id = 2; id <= 3; id++) {
		tb_run(tb, id, 1 * MS, 101 * MS);
		tb_exit(tb, id, 0);
	}
	for (uint32_t id = 10; id < 210; id++) {
		tb_thread(tb, id, 1, "idle", 1 * MS);
		tb_run(tb, id, 1 * MS, 1 * MS + US / 100);
		tb_futex(tb, id, COND, TB_FUTEX_BITSET, 0, 0, 101 * MS, 1);
		tb_run(tb, id, 101 * MS + 2 * US * (id - 9), 101 * MS + 2 * US * (id - 9) + US);
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	cr_expect_geq(of_cause(&b, CAUSE_WORK), 202 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK) + of_cause(&b, CAUSE_SERIAL), 0);
	cr_expect_gt(b.r.w->locks.v[0].wait_ns, 1000 * MS);
	cr_expect_eq(b.r.lock_idle_ns.v[0], 0);
	expect_verdict(&b, VERDICT_PARALLEL, "PARALLEL: 1.9");
	drop(&b);
}

/* main starts one thread and joins it: that is one thread, not a lack of parallelism. */
Test(causes, one_thread_is_not_serialized)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 1 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, 99 * MS);
	tb_run(tb, 1, 99 * MS, 100 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 1 * MS, 99 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 100 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 100 * MS);
	expect_verdict(&b, VERDICT_CPU_BOUND, "one thread");
	cr_expect(strstr(b.r.headline, "worker"));
	drop(&b);
}

/* A program that for a third of its time has one task only does not run in one thread. */
Test(causes, alone_for_a_while)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 40 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 1, 0, 100 * MS);
	tb_run(tb, 2, 40 * MS, 100 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_verdict(&b, VERDICT_CPU_BOUND,
	               "CPU-BOUND: 1.60 of 2 CPUs did the work; for 20 % of the capacity main");
	drop(&b);
}

/* Two workers, one has more to do: its sibling is done, main waits. */
Test(causes, last_of_several_is_imbalance)
{
	struct tb *tb = two_workers(91 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 91 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 31 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(first(&b, CAUSE_SERIAL)->ns, 60 * MS);
	cr_expect_eq(first(&b, CAUSE_SERIAL)->id, 2);
	expect_verdict(&b, VERDICT_IMBALANCED, "alpha");
	drop(&b);
}

/* A helper that did less than a tenth of the work is no sibling of one that is too slow: there is
 * one worker. */
Test(causes, a_small_helper_is_no_sibling)
{
	struct tb *tb = two_workers(91 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 91 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 9 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_SERIAL), 0);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), (1 + 82 + 1) * MS);
	expect_verdict(&b, VERDICT_CPU_BOUND, "CPU-BOUND in one thread: ");
	drop(&b);
}

/* A join of somebody who waits for a lock is no second waiter. */
Test(causes, join_behind_a_lock)
{
	struct tb *tb = two_workers(51 * MS);
	struct built b;

	tb_meta(tb, META_CPUS, "4");
	tb_run(tb, 3, 1 * MS, 41 * MS);
	tb_exit(tb, 3, 0);
	tb_run(tb, 2, 1 * MS, 2 * MS);
	tb_owner(tb, 2, 3);
	tb_futex_wait(tb, 2, MUTEX, 41 * MS, 3);
	tb_run(tb, 2, 41 * MS, 51 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 39 * MS, "one waiter");
	cr_expect_eq(first(&b, CAUSE_LOCK)->task, 3);
	drop(&b);
}

/* --- nobody's fault --- */

Test(causes, ready_without_a_cpu)
{
	struct tb *tb = two_workers(101 * MS);
	struct built b;

	/* Both on the same CPU, in turns of 10 ms; the other CPU is somebody else's. */
	for (unsigned i = 0; i < 10; i++) {
		uint32_t id = 2 + i % 2;

		tb_on(tb, id, 1);
		tb_run(tb, id, (1 + 10 * i) * MS, (11 + 10 * i) * MS);
		if (i < 8)
			tb_preempt(tb, id);
	}
	tb_exit(tb, 2, 0);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 90 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 102 * MS);
	expect_verdict(&b, VERDICT_CPU_STARVED, "CPU-STARVED: ");
	drop(&b);
}

/* In turns on one CPU for 80 ms, then one waits 20 ms for the other's lock. */
static struct built turns_and_a_lock(const char *busy)
{
	struct tb *tb = two_workers(111 * MS);

	tb_meta(tb, META_BUSY, busy);
	tb_meta(tb, META_CAPACITY, "224000000");
	tb_meta(tb, META_CAPACITY_CPUS, "2");
	for (unsigned i = 0; i < 8; i++) {
		uint32_t id = 2 + i % 2;

		tb_on(tb, id, 1);
		tb_run(tb, id, (1 + 10 * i) * MS, (11 + 10 * i) * MS);
		if (i < 6)
			tb_preempt(tb, id);
	}
	tb_owner(tb, 2, 3);
	tb_futex_wait(tb, 2, MUTEX, 101 * MS, 3);
	tb_run(tb, 2, 101 * MS, 111 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 81 * MS, 101 * MS);
	tb_exit(tb, 3, 0);
	return build(tb);
}

/* What was ready beside a CPU that nobody used did not lack CPUs. */
Test(causes, ready_beside_an_idle_cpu)
{
	struct built b = turns_and_a_lock("112000000");

	cr_expect_gt(of_cause(&b, CAUSE_CPU_SHORTAGE), of_cause(&b, CAUSE_LOCK));
	expect_verdict(&b, VERDICT_SERIALIZED, "SERIALIZED by ");
	drop(&b);
	b = turns_and_a_lock("200000000");
	expect_verdict(&b, VERDICT_CPU_STARVED, "CPU-STARVED: ");
	drop(&b);
}

Test(causes, stolen_time_is_shortage)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "1");
	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 100 * MS);
	tb_steal(tb, 1, 30 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 70 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 30 * MS);
	cr_expect_float_eq(first(&b, CAUSE_WORK)->uncertainty_ratio, 0.3, 1e-9);
	cr_expect_float_eq(first(&b, CAUSE_CPU_SHORTAGE)->uncertainty_ratio, 0.3, 1e-9);
	drop(&b);
}

/* Half a CPU by quota: a period's grant is used up at once, then all wait. That is work. */
Test(causes, quota_is_paid_back)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "0.5");
	tb_task(tb, 1, "main");
	for (uint64_t t = 0; t < 400 * MS; t += 100 * MS) {
		tb_run(tb, 1, t, t + 50 * MS);
		if (t < 300 * MS)
			tb_preempt(tb, 1);
	}
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_eq(b.r.wall_ns, 350 * MS);
	cr_expect_eq(b.r.capacity_ns, 175 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 175 * MS);
	expect_verdict(&b, VERDICT_CPU_BOUND,
	               "CPU-BOUND on the 0.5 CPUs of its quota: 0.50 of 0.5 CPUs did the work.");
	drop(&b);
}

Test(causes, sleepers_and_daemons)
{
	struct tb *tb = two_workers(101 * MS);
	struct built b;

	for (uint32_t id = 2; id <= 3; id++) {
		for (unsigned i = 0; i < 10; i++) {
			tb_run(tb, id, (1 + 10 * i) * MS, (3 + 10 * i) * MS);
			if (i < 9)
				tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, (11 + 10 * i) * MS,
				        0);
		}
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_SLEEP), 144 * MS);
	expect_verdict(&b, VERDICT_IDLE, "it slept.");
	drop(&b);

	tb = tb_new();
	tb_task(tb, 1, "daemon");
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_poll, 0, FD_UNKNOWN, TB_NEVER, 0);
	tb_stop(tb, 500 * MS);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_EXTERNAL), 499 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 500 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 1 * MS);
	expect_verdict(&b, VERDICT_IDLE, "outside");
	drop(&b);
}

/* Three take turns in which they sleep, each woken by the one before at a word of its own: nobody
 * knows whether that is a lock, but it is not their sleep alone. */
Test(causes, others_wait_for_who_sleeps)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "a");
	tb_thread(tb, 2, 1, "b", 0);
	tb_thread(tb, 3, 1, "c", 0);
	for (uint32_t id = 1; id <= 3; id++) {
		tb_on(tb, id, id - 1);
		tb_wakes_by(tb, id, tb_site(tb, TB_NR_futex, COND, TB_FUTEX_WAKE, 1, FD_UNKNOWN),
		            0);
		tb_run(tb, id, 0, 1 * MS);
	}
	for (uint32_t i = 0; i < 12; i++) {
		uint32_t id = i % 3 + 1;
		uint64_t t = 1 * MS + i * 10 * MS;

		if (i) {
			tb_futex(tb, id, COND + 256 * id, TB_FUTEX_BITSET, 0, 0, t,
			         (i + 2) % 3 + 1);
			tb_run(tb, id, t, t + US);
		}
		tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, t + 9 * MS, 0);
		tb_run(tb, id, t + 9 * MS, t + 10 * MS);
		if (i >= 9)
			tb_exit(tb, id, 0);
	}
	b = build(tb);
	expect_verdict(&b, VERDICT_IDLE, "slept, while others waited for the one who did");
	drop(&b);
}

/* A server waits for the outside; its pool and a library's thread have never run: they say nothing,
 * where the server says why. */
Test(causes, bystanders_explain_nothing)
{
	struct tb *tb = tb_new_attach();
	struct built b;

	tb_attached(tb, 1, 1, "server", TASK_F_ON_CPU, 0, -1, 0, 0);
	tb_attached(tb, 2, 1, "pool", 0, 1, TB_NR_futex, COND, TB_FUTEX_BITSET);
	tb_attached(tb, 3, 1, "house", 0, 1, TB_NR_nanosleep, 0, 0);
	for (uint64_t i = 0; i < 10; i++) {
		tb_run(tb, 1, 10 * i * MS, (10 * i + 4) * MS);
		tb_call(tb, 1, TB_NR_epoll_wait, 3, FD_UNKNOWN, (10 * i + 10) * MS, 0);
	}
	tb_run(tb, 1, 100 * MS, 101 * MS);
	tb_stop(tb, 101 * MS);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 41 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_SLEEP) + of_cause(&b, CAUSE_EXTERNAL), 60 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 101 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_UNATTRIBUTED), 0);
	drop(&b);
}

/* io_uring's completions come by interrupts, and are I/O where the kernel counts them so; a poll
 * that an interrupt ends waited for the outside. */
Test(causes, io_uring_waits_for_io)
{
	enum { NR_io_uring_enter = 426 };

	for (int uring = 0; uring < 2; uring++) {
		struct tb *tb = tb_new();
		struct built b;

		tb_task(tb, 1, "server");
		tb_run(tb, 1, 0, 10 * MS);
		tb_iowait(tb, 1, uring);
		tb_call(tb, 1, NR_io_uring_enter, 7, FD_UNKNOWN, 50 * MS, 0);
		tb_run(tb, 1, 50 * MS, 51 * MS);
		tb_exit(tb, 1, 0);
		b = build(tb);
		cr_expect_eq(of_cause(&b, CAUSE_IO), uring ? 40 * MS : 0);
		cr_expect_eq(of_cause(&b, CAUSE_EXTERNAL), uring ? 0 : 40 * MS);
		drop(&b);
	}
}

/* One thread that is busy most of the time, and then waits for clients, is not idle. */
Test(causes, more_work_than_rest_is_not_idle)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "server");
	for (uint64_t i = 0; i < 10; i++) {
		tb_run(tb, 1, 10 * i * MS, (10 * i + 7) * MS);
		tb_call(tb, 1, TB_NR_epoll_wait, 3, FD_UNKNOWN, (10 * i + 10) * MS, 0);
	}
	tb_run(tb, 1, 100 * MS, 101 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_verdict(&b, VERDICT_CPU_BOUND, "server ran with nothing beside it");
	drop(&b);
}

/* It waits for the outside most, but works more than that; of what else held it up the lack of CPUs
 * is the largest. */
Test(causes, more_work_than_rest_and_few_cpus)
{
	struct tb *tb = tb_program(2, "server", "worker");
	struct built b;

	tb_run(tb, 1, 0, 50 * MS);
	tb_call(tb, 1, TB_NR_epoll_wait, 3, FD_UNKNOWN, 100 * MS, 0);
	tb_run(tb, 1, 100 * MS, 100 * MS + US);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 0, 20 * MS);
	tb_preempt(tb, 2);
	tb_run(tb, 2, 55 * MS, 100 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 115 * MS + US);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 35 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_EXTERNAL), 50 * MS);
	expect_verdict(&b, VERDICT_CPU_STARVED, "CPU-STARVED: 1.15 of 2 CPUs");
	drop(&b);
}

/* Where nobody did anything, what they wait for is all that can be said. */
Test(causes, bystanders_among_themselves)
{
	struct tb *tb = tb_new_attach();
	struct built b;

	tb_attached(tb, 1, 1, "main", 0, 1, TB_NR_nanosleep, 0, 0);
	tb_attached(tb, 2, 1, "house", 0, 1, TB_NR_nanosleep, 0, 0);
	tb_stop(tb, 100 * MS);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_SLEEP), 200 * MS);
	expect_verdict(&b, VERDICT_IDLE, "it slept.");
	drop(&b);
}

/* Sleepers on a machine that others have: they run for 1 % of the time, which is all they get, and
 * while one sleeps, the other is ready. */
Test(causes, starved_sleepers_still_sleep)
{
	struct tb *tb = two_workers(1101 * MS);
	struct built b;

	for (uint32_t id = 2; id <= 3; id++) {
		for (unsigned i = 0; i < 10; i++) {
			uint64_t t = (1 + 100 * i + (id == 3 ? 50 : 0)) * MS;

			tb_run(tb, id, t + 79 * MS, t + 80 * MS);
			if (i < 9)
				tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, t + 100 * MS, 0);
		}
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_SLEEP), 2 * 9 * 20 * MS);
	drop(&b);
}

/* From wake-up to running takes an idle CPU some time: that belongs to the wait. */
Test(causes, wake_up_latency_belongs_to_the_wait)
{
	struct tb *tb = two_workers(21 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 11 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 1 * MS + US);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 11 * MS, 2);
	tb_run(tb, 3, 11 * MS + 50 * US, 21 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 0);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 10 * MS + 49 * US);
	drop(&b);
}

Test(causes, loss_widens_what_is_claimed)
{
	struct tb *tb = two_workers(21 * MS);
	struct built b;

	tb_loss(tb, "ring-full", 1000);
	tb_run(tb, 2, 1 * MS, 11 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 21 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	for (size_t i = 0; i < b.r.breakdown.n; i++) {
		cr_expect_gt(b.r.breakdown.v[i].uncertainty_ratio, 0.9);
		cr_expect_leq(b.r.breakdown.v[i].uncertainty_ratio, 1);
	}
	drop(&b);
}

/* The lock's word says that alpha has it, main unlocks it: who was waited for is not certain. */
Test(causes, evidence_that_differs_is_weak)
{
	for (unsigned differs = 0; differs < 2; differs++) {
		struct tb *tb = tb_program(3, "main", "worker");
		uint32_t unlocks = tb_site(tb, TB_NR_futex, MUTEX, TB_FUTEX_WAKE, 1, FD_UNKNOWN);
		struct built b;

		tb_meta(tb, META_CPUS, "4");
		for (uint32_t id = 1; id < 3; id++) {
			tb_wakes_by(tb, id, unlocks, 0);
			tb_run(tb, id, 0, 21 * MS);
			tb_exit(tb, id, 0);
		}
		tb_run(tb, 3, 0, 1 * MS);
		tb_owner(tb, 3, 2);
		tb_futex(tb, 3, MUTEX, TB_FUTEX_WAIT, 2, 0, 20 * MS, differs ? 1 : 2);
		tb_run(tb, 3, 20 * MS, 21 * MS);
		tb_exit(tb, 3, 0);
		b = build(tb);
		cr_expect_eq(first(&b, CAUSE_LOCK)->task, 2);
		cr_expect_float_eq(first(&b, CAUSE_LOCK)->uncertainty_ratio, differs, 0.01);
		drop(&b);
	}
}

/* What a task does alone rests on how it is known that others wait for it: that it writes to what
 * they read from, or only that it woke them. */
Test(causes, evidence_of_serial_sections)
{
	for (unsigned writes = 0; writes < 2; writes++) {
		struct tb *tb = two_workers(41 * MS);
		uint32_t file = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
		struct built b;

		if (writes)
			tb_wakes_by(tb, 2, tb_site(tb, TB_NR_write, 4, 0, 0, FD_PIPE), file);
		tb_on_file(tb, 3, file);
		tb_run(tb, 2, 1 * MS, 41 * MS);
		tb_exit(tb, 2, 0);
		for (uint64_t t = 1 * MS; t < 41 * MS; t += 10 * MS) {
			tb_run(tb, 3, t, t + 1 * MS);
			if (t < 31 * MS)
				tb_call(tb, 3, TB_NR_read, 3, FD_PIPE, t + 10 * MS, 2);
		}
		tb_exit(tb, 3, 0);
		b = build(tb);
		cr_expect_eq(first(&b, CAUSE_SERIAL)->id, 2);
		cr_expect_float_eq(first(&b, CAUSE_SERIAL)->uncertainty_ratio,
		                   writes ? 0 : 27.0 / 67, 1e-6, "%g",
		                   first(&b, CAUSE_SERIAL)->uncertainty_ratio);
		drop(&b);
	}
}

/* Nobody knows what it waits for in the kernel. */
Test(causes, what_is_not_attributed_is_no_certainty)
{
	struct tb *tb = two_workers(41 * MS);
	struct built b;

	tb_meta(tb, META_CPUS, "4");
	tb_run(tb, 2, 1 * MS, 41 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 11 * MS);
	tb_block(tb, 3, SW_F_VOLUNTARY | SW_F_SYSCALL, 2, 31 * MS, 0);
	tb_run(tb, 3, 31 * MS, 41 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_UNATTRIBUTED), 20 * MS);
	cr_expect_float_eq(first(&b, CAUSE_UNATTRIBUTED)->uncertainty_ratio, 1, 1e-9);
	cr_expect_float_eq(first(&b, CAUSE_WORK)->uncertainty_ratio, 0, 1e-9);
	drop(&b);
}

Test(causes, without_slices_or_cpus_nothing_is_claimed)
{
	struct tb *tb = two_workers(21 * MS);
	struct model *m = tb_load(tb, NULL);
	struct report r;
	struct err err = {0};

	cr_assert_eq(report_build(&r, m, &err), 0);
	cr_expect(!r.causes_known && !r.w && !r.breakdown.n);
	cr_expect_null(verdict_key(r.verdict));
	report_release(&r);
	model_free(m);
	tb_free(tb);
}

/* --- shares --- */

Test(causes, heights)
{
	struct tb *tb = two_workers(31 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 31 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 11 * MS, 21 * MS); /* ready since 1 ms */
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(b.r.shares.v[0].task, 2);
	cr_expect_eq(b.r.shares.v[0].height_ns, 25 * MS);
	cr_expect_eq(b.r.shares.v[0].critical_ns, 20 * MS);
	cr_expect_eq(b.r.shares.v[1].task, 3);
	cr_expect_eq(b.r.shares.v[1].height_ns, 5 * MS);
	cr_expect_eq(b.r.shares.v[1].critical_ns, 5 * MS);
	cr_expect_eq(b.r.proc_shares.n, 1);
	cr_expect_eq(b.r.proc_shares.v[0].height_ns, 32 * MS);
	cr_expect_eq(b.r.proc_shares.v[0].critical_ns, (1 + 20 + 5 + 1) * MS);
	drop(&b);
}

/* --- cycles --- */

/* beta tries for what alpha has; alpha waits for what beta has; beta gives up and goes to the disk:
 * from then on alpha waits for the disk, too. */
Test(causes, a_cycle_that_is_given_up)
{
	struct tb *tb = two_workers(92 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 3 * MS);
	tb_owner(tb, 2, 3);
	tb_futex(tb, 2, MUTEX, TB_FUTEX_WAIT, 2, 0, 91 * MS, 3);
	tb_run(tb, 2, 91 * MS, 92 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 2 * MS);
	tb_owner(tb, 3, 2);
	tb_futex(tb, 3, COOL, TB_FUTEX_WAIT, 2, 1, 20 * MS, 0);
	tb_run(tb, 3, 20 * MS, 20 * MS + 10 * US);
	tb_call(tb, 3, TB_NR_fsync, 3, FD_FILE, 90 * MS, 0);
	tb_run(tb, 3, 90 * MS, 92 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(b.r.deadlocks.n, 0);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), (1 + 2 * 17 + 1) * MS + 10 * US, "%" PRIu64,
	             of_cause(&b, CAUSE_LOCK));
	cr_expect_eq(of_cause(&b, CAUSE_IO), 2 * (70 * MS - 10 * US), "%" PRIu64,
	             of_cause(&b, CAUSE_IO));
	drop(&b);
}

/* --- semaphores --- */

/* Two workers wait at a semaphore, each `rounds` times for the other one, who posts after 2 ms of
 * work, and so often as said for main. */
static struct built semaphore(unsigned rounds, unsigned for_main)
{
	struct tb *tb = tb_program(3, "main", "worker");
	uint32_t post = tb_site(tb, TB_NR_futex, SEM, TB_FUTEX_WAKE, 1, FD_UNKNOWN);
	uint64_t t = 1 * MS;

	tb_meta(tb, META_CPUS, "3");
	for (uint32_t id = 1; id <= 3; id++)
		tb_wakes_by(tb, id, post, 0);
	tb_object(tb, 1, SEM, "slots", 0, 32);
	tb_run(tb, 2, 0, 1 * MS);
	tb_run(tb, 3, 0, 1 * MS);
	for (unsigned i = 0; i < rounds; i++, t += 4 * MS) {
		tb_futex(tb, 3, SEM, TB_FUTEX_BITSET, 0, 0, t + 2 * MS, 2);
		tb_run(tb, 2, t, t + 2 * MS);
		tb_futex(tb, 2, SEM, TB_FUTEX_BITSET, 0, 0, t + 4 * MS, 3);
		tb_run(tb, 3, t + 2 * MS, t + 4 * MS);
	}
	if (rounds)
		tb_run(tb, 2, t, t + 10 * US);
	if (for_main) {
		tb_run(tb, 1, t, t + for_main * 4 * MS);
		for (uint32_t id = 2; id <= 3; id++) {
			uint64_t end = t + for_main * 4 * MS;

			tb_futex(tb, id, SEM, TB_FUTEX_BITSET, 0, 0, end, 1);
			tb_run(tb, id, end, end + 1 * MS);
		}
	} else
		tb_run(tb, 1, 0, 1 * MS);
	for (uint32_t id = 3; id; id--)
		tb_exit(tb, id, 0);
	return build(tb);
}

/* It is a lock where those who post wait for it, too; else who posts has something to do first. */
Test(causes, semaphores_are_locks_or_signals)
{
	struct built b = semaphore(10, 0);

	cr_assert_eq(b.r.w->locks.v[0].kind, LOCK_SEMAPHORE);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 40 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_SERIAL), 0);
	drop(&b);
	b = semaphore(0, 10);
	cr_assert_eq(b.r.w->locks.v[0].kind, LOCK_SEMAPHORE);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 0);
	cr_expect_gt(of_cause(&b, CAUSE_SERIAL), 38 * MS);
	drop(&b);
	b = semaphore(2, 10); /* most of it for main */
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 0);
	drop(&b);
}

/* --- rounding --- */

/* Down, and what is missing goes to those of which most was cut off; or up, and what is too much is
 * taken from those of which least was. */
Test(causes, parts_are_rounded_to_their_sum)
{
	static const struct {
		double parts[4];
		uint64_t total, want[4];
	} rows[] = {
	        {{1.2, 2.7, 0, 3.1}, 7, {1, 3, 0, 3}}, {{0.5, 0.5, 0.5, 0.5}, 2, {1, 1, 0, 0}},
	        {{3.9999, 2, 1, 0}, 7, {4, 2, 1, 0}}, /* a hair below a whole number */
	        {{3, 2, 1, 0}, 5, {3, 2, 1, 0}},       {{0, 0, 0, 0}, 0, {0, 0, 0, 0}},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t out[4], sum = 0;

		cr_assert_eq(apportion(rows[i].parts, 4, rows[i].total, out), 0);
		for (size_t k = 0; k < 4; k++) {
			double off = (double)out[k] - rows[i].parts[k];

			sum += out[k];
			cr_expect(off >= -1 && off < 1, "row %zu, %zu: %g", i, k, off);
			cr_expect(i == 3 || out[k] == rows[i].want[k], "row %zu, %zu: %" PRIu64, i,
			          k, out[k]);
		}
		cr_expect_eq(sum, rows[i].total, "row %zu", i);
	}
}

/* --- any recording --- */

Test(causes, sums_hold_for_anything)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct built b = build(anything(seed));

		for (size_t i = 0; i < b.r.breakdown.n; i++)
			cr_expect_lt(b.r.breakdown.v[i].ns, b.r.capacity_ns + 1);
		drop(&b);
	}
}

/* And of parts of it. */
Test(causes, sums_hold_in_windows)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct model_opts opts = {
		        .since_ns = 5 * MS, .until_ns = 17 * MS, .flags = MODEL_SLICES};
		struct tb *tb = anything(seed);
		struct built b = {.m = tb_load(tb, &opts)};
		struct err err = {0};

		cr_assert(b.m);
		cr_assert_eq(report_build(&b.r, b.m, &err), 0, "%s", err.msg);
		expect_sums(&b);
		drop(&b);
		tb_free(tb);
	}
}

static uint64_t in_view(const struct report *r, const char *view)
{
	struct view_rows rows = {0};
	struct err err = {0};
	uint64_t sum = 0;

	if (!report_view(r, view, &rows, &err))
		for (size_t i = 0; i < rows.rows.n; i++)
			sum += rows.rows.v[i].weight;
	vec_release(&rows.rows);
	return sum;
}

/* Each view shows all of what it is of. */
Test(causes, views_are_whole)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct built b = build(anything(seed));
		uint64_t blocked = 0, futex = 0, samples = 0, alone = 0;

		for (size_t i = 0; i < model_n_tasks(b.m); i++) {
			blocked += model_task_at(b.m, i)->blocked_ns;
			samples += model_task_at(b.m, i)->samples;
		}
		for (size_t i = 0; i < b.r.w->locks.n; i++)
			futex += b.r.w->locks.v[i].wait_ns;
		for (size_t i = 0; i < b.r.serial.n; i++)
			alone += b.r.serial.v[i].ns;
		cr_expect_eq(in_view(&b.r, "off-cpu"), blocked);
		cr_expect_eq(in_view(&b.r, "on-cpu"), samples);
		cr_expect_eq(in_view(&b.r, "futex"), futex);
		cr_expect_eq(in_view(&b.r, "wake"), blocked);
		cr_expect_eq(in_view(&b.r, "serial"), alone);
		cr_expect_eq(in_view(&b.r, "critical-path"), b.r.wall_ns);
		drop(&b);
	}
}

static struct built piece(uint64_t seed, uint64_t since, uint64_t until)
{
	struct model_opts opts = {.since_ns = since, .until_ns = until, .flags = MODEL_SLICES};
	struct tb *tb = anything(seed);
	struct built b = {.m = tb_load(tb, &opts)};
	struct err err = {0};

	cr_assert(b.m);
	tb_free(tb);
	cr_assert_eq(report_build(&b.r, b.m, &err), 0, "%s", err.msg);
	expect_sums(&b);
	return b;
}

/* Its blocked time by cause is added to those of *sum; a task that is in none of the window has
 * none. */
static void add_piece(struct task *sum, const struct built *b, uint32_t id)
{
	const struct task *t = model_task(b->m, id);

	sum->voluntary += t->voluntary;
	sum->involuntary += t->involuntary;
	sum->samples += t->samples;
	sum->wakes_given += t->wakes_given;
	if (t->start_ns >= t->end_ns)
		return;
	sum->run_ns += t->run_ns;
	sum->on_cpu_ns += t->on_cpu_ns;
	sum->blocked_ns += t->blocked_ns;
	for (unsigned i = 0; i < BLOCK_N; i++)
		sum->blocked_by[i] += t->blocked_by[i];
}

static uint64_t at_level(const struct built *b, size_t level)
{
	size_t n;
	const uint64_t *ns = model_running_histogram(b->m, &n);

	return level < n ? ns[level] : 0;
}

/* A run cut in two anywhere: what is counted, and what is time of tasks, is in the one piece or in
 * the other, to the ns; running time, which is in proportion where a turn is cut, to one. */
Test(causes, two_pieces_add_up)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct built whole = piece(seed, 0, 0), two[2];
		uint64_t cut = 1 + below(whole.r.wall_ns - 1);

		two[0] = piece(seed, 0, cut);
		two[1] = piece(seed, cut, 0);
		cr_expect_eq(two[0].r.wall_ns, cut);
		cr_expect_eq(two[1].r.wall_ns, whole.r.wall_ns - cut);
		for (size_t i = 0; i < 16; i++)
			cr_expect_eq(at_level(&two[0], i) + at_level(&two[1], i),
			             at_level(&whole, i), "%zu running", i);
		for (size_t i = 0; i < model_n_tasks(whole.m); i++) {
			const struct task *t = model_task_at(whole.m, i);
			struct task sum = {0};

			add_piece(&sum, &two[0], t->id);
			add_piece(&sum, &two[1], t->id);
			cr_expect_eq(sum.voluntary, t->voluntary);
			cr_expect_eq(sum.involuntary, t->involuntary);
			cr_expect_eq(sum.samples, t->samples);
			cr_expect_eq(sum.wakes_given, t->wakes_given);
			cr_expect_eq(sum.on_cpu_ns, t->on_cpu_ns);
			cr_expect_eq(sum.blocked_ns, t->blocked_ns);
			cr_expect(sum.run_ns <= t->run_ns && t->run_ns - sum.run_ns <= 1);
			for (unsigned k = 0; k < BLOCK_N; k++)
				cr_expect_eq(sum.blocked_by[k], t->blocked_by[k], "cause %u", k);
		}
		cr_expect_eq(two[0].r.samples + two[1].r.samples, whole.r.samples);
		drop(&whole);
		drop(&two[0]);
		drop(&two[1]);
	}
}

/* A file may say that each of many thousand tasks waits for the next one: following that at every
 * change would take hours. What is not worked out is said, and is not 0. */
Test(causes, chains_without_end, .timeout = 100)
{
	const uint32_t n = 16000;
	struct tb *tb = tb_new();
	struct model_opts opts = {.flags = MODEL_SLICES};
	struct err err = {0};
	bool told = false;
	struct built b;

	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id <= n; id++)
		tb_thread(tb, id, 1, "t", 0);
	for (uint32_t id = n; id; id--) {
		uint64_t t = US + 10ull * (n - id);

		tb_on(tb, id, id % 4);
		tb_run(tb, id, t, t + 5);
		tb_owner(tb, id, id + 1);
		tb_futex_wait(tb, id, 0x1000 + 64 * id, TB_NEVER, 0);
	}
	tb_stop(tb, SEC);
	b.m = tb_load(tb, &opts);
	tb_free(tb);
	cr_assert(b.m);
	cr_assert_eq(report_build(&b.r, b.m, &err), 0, "%s", err.msg);
	cr_expect(b.r.chains_too_long && !b.r.causes_known && !b.r.breakdown.n);
	for (size_t i = 0; i < b.r.notes.n; i++)
		told |= strstr(b.r.notes.v[i], "one behind the other") != NULL;
	cr_expect(told);
	drop(&b);
}
