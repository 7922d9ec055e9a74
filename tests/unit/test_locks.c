/* SPDX-License-Identifier: MIT */
/* Lock objects: which futex words are one lock, of what kind, and what it is called. */
#include "locks_test.h"

#define BASE 0x10000
#define LIBC "/lib/libc.so.6"
#define CODE 0x400000

/* Process 1 "main" and threads 2 and 3. Thread 1 wakes; libc is mapped. */
static struct tb *program(void)
{
	struct tb *tb = tb_program(3, "main", "worker");

	tb_map(tb, 1, CODE, CODE + 0x10000, 0, LIBC);
	tb_map(tb, 1, 2 * CODE, 2 * CODE + 0x10000, 0, "/usr/bin/app");
	tb_wakes_by(tb, 1, tb_site(tb, TB_NR_futex, BASE, TB_FUTEX_WAKE, 1, FD_UNKNOWN), 0);
	tb_run(tb, 1, 0, 100 * MS);
	return tb;
}

/* A user stack of libc's `function` called by the program's `caller`. */
static uint32_t stack_in(struct tb *tb, const char *function, const char *caller)
{
	static uint64_t places;
	uint64_t frames[2];

	places = (places + 16) % 0x8000;
	frames[0] = CODE + 0x100 + places;
	frames[1] = 2 * CODE + 0x100 + places;
	tb_symbol(tb, LIBC, frames[0] - CODE, function, 4, 0);
	tb_symbol(tb, "/usr/bin/app", frames[1] - 2 * CODE, caller, 4, 0);
	return tb_stack(tb, STACK_USER, 1, frames, 2);
}

/* Thread `id` waits at addr for 2 ms, in `function` if that is given; woken by 1. */
static void wait_at(struct tb *tb, uint32_t id, uint64_t t, uint64_t addr, uint32_t op,
                    uint32_t val, const char *function)
{
	tb_run(tb, id, t, t + MS);
	tb_stacks(tb, id, function ? stack_in(tb, function, "work") : 0, 0);
	tb_futex(tb, id, addr, op, val, 0, t + 3 * MS, 1);
	tb_run(tb, id, t + 3 * MS, t + 4 * MS);
	tb_preempt(tb, id);
}

static void expect_lock(const struct built *b, uint32_t task, size_t nth, enum lock_kind kind,
                        uint64_t waits)
{
	const struct lock *l = lock_of_wait(b, task, nth);

	cr_expect_eq(l->kind, kind, "wait %zu of %u: %s, not %s", nth, task, lock_kind_key(l->kind),
	             lock_kind_key(kind));
	cr_expect_eq(l->waits, waits);
}

/* Each of glibc's locks by the function waited in: its words are one object, and its neighbours of
 * the same kind others. */
static const struct {
	const char *function;
	enum lock_kind kind;
	uint64_t words[3], size; /* offsets of its words, 0-ended after the first */
	uint32_t op;
} glibc[] = {
        {"__lll_lock_wait", LOCK_MUTEX, {0}, 40, TB_FUTEX_WAIT},
        {"pthread_mutex_timedlock@@GLIBC_2.34", LOCK_MUTEX, {0}, 40, TB_FUTEX_BITSET},
        {"___pthread_cond_wait", LOCK_COND, {40, 44}, 48, TB_FUTEX_BITSET},
        {"__pthread_cond_timedwait64", LOCK_COND, {32, 36}, 48, TB_FUTEX_BITSET},
        {"__new_sem_wait_slow64.constprop.0", LOCK_SEMAPHORE, {0}, 32, TB_FUTEX_BITSET},
        {"___pthread_rwlock_rdlock", LOCK_RWLOCK, {0, 8, 12}, 56, TB_FUTEX_BITSET},
        {"runtime.lock2", LOCK_MUTEX, {0}, 40, TB_FUTEX_WAIT}, /* Go: not the compiler's dot */
        {"__pthread_barrier_wait", LOCK_BARRIER, {4, 16}, 32, TB_FUTEX_WAIT},
};

Test(locks, glibc_objects_by_function)
{
	for (size_t i = 0; i < sizeof(glibc) / sizeof(glibc[0]); i++) {
		struct tb *tb = program();
		uint64_t t = 0;
		struct built b;
		size_t n = 0;

		for (uint32_t object = 0; object < 2; object++) {
			uint64_t at = BASE + object * glibc[i].size;

			for (size_t w = 0; w < 3 && (!w || glibc[i].words[w]); w++, t += 5 * MS) {
				wait_at(tb, 2, t, at + glibc[i].words[w], glibc[i].op, 0,
				        glibc[i].function);
				n++;
			}
		}
		b = build_waits(tb);
		cr_expect_eq(b.w->locks.n, 2, "%s: %zu objects", glibc[i].function, b.w->locks.n);
		expect_lock(&b, 2, 0, glibc[i].kind, n / 2);
		cr_expect(!b.w->locks.v[0].py, "%s", glibc[i].function);
		built_free(&b);
	}
}

/* One stack that says otherwise does not outvote several of another place, which is known by then.
 */
Test(locks, kind_by_most_of_the_stacks)
{
	struct tb *tb = program();
	uint32_t sem = stack_in(tb, "__new_sem_wait_slow64.constprop.0", "work"),
	         mutex = stack_in(tb, "__lll_lock_wait", "other");
	struct built b;

	for (unsigned i = 0; i < 5; i++) {
		uint64_t t = 5 * i * MS;

		tb_run(tb, 2, t, t + MS);
		tb_stacks(tb, 2, i == 1 || i == 3 ? mutex : sem, 0);
		tb_futex(tb, 2, BASE, TB_FUTEX_BITSET, 0, 0, t + 3 * MS, 1);
		tb_run(tb, 2, t + 3 * MS, t + 4 * MS);
		tb_preempt(tb, 2);
	}
	b = build_waits(tb);
	expect_lock(&b, 2, 0, LOCK_SEMAPHORE, 5);
	cr_assert_eq(b.w->locks.v[0].sites.n, 2);
	cr_expect_eq(b.w->locks.v[0].sites.v[0].ustack, sem);
	cr_expect_eq(b.w->locks.v[0].sites.v[0].waits, 3);
	built_free(&b);
}

/* One waiter is enough to tell the kind, whichever task it is. */
Test(locks, kind_by_the_first_task_alone)
{
	struct tb *tb = tb_program(2, "main", "worker");
	struct built b;

	tb_map(tb, 1, CODE, CODE + 0x10000, 0, LIBC);
	tb_map(tb, 1, 2 * CODE, 2 * CODE + 0x10000, 0, "/usr/bin/app");
	tb_wakes_by(tb, 2, tb_site(tb, TB_NR_futex, BASE, TB_FUTEX_WAKE, 1, FD_UNKNOWN), 0);
	tb_run(tb, 2, 0, 10 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_stacks(tb, 1, stack_in(tb, "__new_sem_wait_slow64.constprop.0", "work"), 0);
	tb_futex(tb, 1, BASE, TB_FUTEX_BITSET, 0, 0, 3 * MS, 2);
	tb_run(tb, 1, 3 * MS, 10 * MS);
	b = build_waits(tb);
	expect_lock(&b, 1, 0, LOCK_SEMAPHORE, 1);
	built_free(&b);
}

/* Stacks that end in the innermost function say nothing: values and operations do. */
Test(locks, kinds_without_stacks)
{
	struct tb *tb = program();
	struct built b;

	wait_at(tb, 2, 0, BASE, TB_FUTEX_WAIT, 2, NULL); /* a low-level lock */
	wait_at(tb, 2, 5 * MS, BASE + 64, TB_FUTEX_LOCK_PI, 1, NULL);
	wait_at(tb, 2, 10 * MS, BASE + 128, TB_FUTEX_BITSET, 0,
	        NULL); /* both words of a condition */
	wait_at(tb, 2, 15 * MS, BASE + 132, TB_FUTEX_BITSET, 0, NULL);
	wait_at(tb, 2, 20 * MS, BASE + 200, TB_FUTEX_BITSET, 3, NULL); /* a reader */
	wait_at(tb, 2, 25 * MS, BASE + 256, TB_FUTEX_BITSET, 0, NULL); /* anything */
	wait_at(tb, 2, 30 * MS, BASE + 320, TB_FUTEX_BITSET, 0, NULL); /* a sem_t by its size */
	tb_object(tb, 1, BASE + 320, "slots", 0, 32);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 6);
	expect_lock(&b, 2, 0, LOCK_MUTEX, 1);
	expect_lock(&b, 2, 1, LOCK_MUTEX, 1);
	expect_lock(&b, 2, 2, LOCK_COND, 2);
	expect_lock(&b, 2, 4, LOCK_RWLOCK, 1);
	expect_lock(&b, 2, 5, LOCK_FUTEX, 1);
	expect_lock(&b, 2, 6, LOCK_SEMAPHORE, 1);
	built_free(&b);
}

/* libgomp waits by calls of its own, and is installed without names: then the values tell a mutex
 * from a barrier; a name says more than they do. */
Test(locks, libgomp)
{
	static const struct {
		const char *function;
		uint32_t word;
		enum lock_kind kind;
	} waits[] = {{NULL, 0, LOCK_BARRIER},
	             {NULL, 16, LOCK_BARRIER},
	             {NULL, UINT32_MAX, LOCK_MUTEX},
	             {"gomp_team_barrier_wait_end", 8, LOCK_BARRIER},
	             {"GOMP_critical_start", 8, LOCK_MUTEX},
	             {"gomp_sem_wait_slow", UINT32_MAX, LOCK_SEMAPHORE}};
	const uint64_t gomp = 4 * CODE;
	struct tb *tb = program();
	struct built b;

	tb_map(tb, 1, gomp, gomp + 0x10000, 0, "/usr/lib/libgomp.so.1.0.0");
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		uint64_t t = i * 5 * MS, frames[2] = {gomp + 0x100 + 16 * i, 2 * CODE + 0x100};

		if (waits[i].function)
			tb_symbol(tb, "/usr/lib/libgomp.so.1.0.0", frames[0] - gomp,
			          waits[i].function, 4, 0);
		tb_run(tb, 2, t, t + MS);
		tb_stacks(tb, 2, tb_stack(tb, STACK_USER, 1, frames, 2), 0);
		tb_futex(tb, 2, BASE + 0x100 * i, TB_FUTEX_WAIT, waits[i].word, 0, t + 3 * MS, 1);
		tb_run(tb, 2, t + 3 * MS, t + 4 * MS);
		tb_preempt(tb, 2);
	}
	b = build_waits(tb);
	for (size_t i = 0; i < ARRAY_LEN(waits); i++)
		expect_lock(&b, 2, i, waits[i].kind, 1);
	built_free(&b);
}

/* TBB's binary semaphores have the values of a low-level lock, and it has no names: there threads
 * wait for work. */
Test(locks, libtbb)
{
	const uint64_t tbb = 4 * CODE, libc = 5 * CODE;
	const uint64_t frames[] = {libc + 0x100, tbb + 0x100, 2 * CODE + 0x100};
	struct tb *tb = program();
	struct built b;

	tb_map(tb, 1, tbb, tbb + 0x10000, 0, "/usr/lib/libtbb.so.12.8");
	tb_map(tb, 1, libc, libc + 0x10000, 0, "/usr/lib/libc.so.6");
	tb_symbol(tb, "/usr/lib/libc.so.6", 0x100, "syscall", 4, 0);
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t t = i * 5 * MS;

		tb_run(tb, 2, t, t + MS);
		tb_stacks(tb, 2, tb_stack(tb, STACK_USER, 1, frames + (i ? 2 : 0), i ? 1 : 3), 0);
		tb_futex(tb, 2, BASE + 0x100 * i, TB_FUTEX_WAIT, 2, 0, t + 3 * MS, 1);
		tb_run(tb, 2, t + 3 * MS, t + 4 * MS);
		tb_preempt(tb, 2);
	}
	b = build_waits(tb);
	expect_lock(&b, 2, 0, LOCK_COND, 1);
	expect_lock(&b, 2, 1, LOCK_MUTEX, 1);
	built_free(&b);
}

/* C++20's own: inlined or not, they call the kernel themselves. What they wait at may be a word
 * that the library has for all. */
Test(locks, of_cpp20)
{
	static const struct {
		const char *function;
		enum lock_kind kind;
	} waits[] = {{"std::barrier<std::__empty_completion>::wait(int&&) const", LOCK_BARRIER},
	             {"std::__1::barrier<std::__1::__empty_completion>::wait()", LOCK_BARRIER},
	             {"std::latch::wait() const", LOCK_BARRIER},
	             {"std::counting_semaphore<1l>::acquire()", LOCK_SEMAPHORE},
	             {"std::__atomic_semaphore::_M_acquire()", LOCK_SEMAPHORE},
	             {"std::__atomic_base<int>::wait(int) const", LOCK_FUTEX}};
	struct tb *tb = program();
	struct built b;

	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		tb_object(tb, 1, BASE + 0x100 * i,
		          "std::__detail::__waiter_pool_base::_S_for(void const*)::__w", 0x140,
		          0x400);
		wait_at(tb, 2, i * 5 * MS, BASE + 0x100 * i, TB_FUTEX_WAIT, 0, waits[i].function);
	}
	b = build_waits(tb);
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		expect_lock(&b, 2, i, waits[i].kind, 1);
		cr_expect_str_eq(lock_of_wait(&b, 2, i)->name, "waited for in work (app)");
	}
	built_free(&b);
}

/* Task `id` waits for a file's lock in call `nr` for 2 ms, woken by 1. */
static void wait_for_file(struct tb *tb, uint32_t id, uint64_t t, int32_t nr, uint64_t cmd,
                          uint32_t file)
{
	tb_run(tb, id, t, t + MS);
	tb_on_file(tb, id, file);
	tb_call_with(tb, id, nr, 3, cmd, FD_FILE, t + 3 * MS, 1);
	tb_run(tb, id, t + 3 * MS, t + 4 * MS);
	tb_preempt(tb, id);
}

/* By file; those of flock and fcntl apart; no lock: what asks without waiting, other calls of
 * fcntl, and who waits for a disk meanwhile. A signal hands nothing over. */
Test(locks, files)
{
	enum { GETFL = 3, SETLKW = 7, OFD_SETLKW = 38, EX = 2, DO_NOT_WAIT = 4 };
	struct tb *tb = program();
	uint32_t a = tb_file(tb, FD_FILE, 71, 0, "a.lock"), b2 = tb_file(tb, FD_FILE, 72, 0, NULL);
	struct built b;

	tb_wakes_by(tb, 1, tb_site(tb, 73, 3, 8, 0, FD_FILE), a);
	wait_for_file(tb, 2, 0, 73, EX, a);
	wait_for_file(tb, 2, 5 * MS, 73, EX, a);
	wait_for_file(tb, 2, 10 * MS, 72, SETLKW, a);
	wait_for_file(tb, 2, 15 * MS, 72, OFD_SETLKW, b2);
	wait_for_file(tb, 2, 20 * MS, 73, EX | DO_NOT_WAIT, a);
	wait_for_file(tb, 2, 25 * MS, 72, GETFL, a);
	wait_for_file(tb, 2, 30 * MS, 73, EX, 0);
	tb_iowait(tb, 2, true);
	wait_for_file(tb, 2, 35 * MS, 73, EX, a);
	tb_iowait(tb, 2, false);
	tb_wakes_by(tb, 1, tb_site(tb, 62, 1002, 15, 0, FD_UNKNOWN), 0); /* kill */
	wait_for_file(tb, 3, 40 * MS, 73, EX, a);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 3, "%zu locks", b.w->locks.n);
	expect_lock(&b, 2, 0, LOCK_FILE, 3);
	expect_lock(&b, 2, 2, LOCK_FILE, 1);
	expect_lock(&b, 2, 3, LOCK_FILE, 1);
	expect_blame(&b, 2, 0, 2 * MS, BLAME_HELD, 1);
	cr_expect_str_eq(lock_of_wait(&b, 2, 0)->name, "file lock a.lock");
	cr_expect_str_eq(lock_of_wait(&b, 2, 3)->name, "file lock (inode 72)");
	cr_expect(lock_of_wait(&b, 2, 0)->shared && lock_of_wait(&b, 2, 0)->inode == 71);
	for (size_t i = 4; i < 8; i++)
		cr_expect_eq(wait_no(&b, 2, i)->kind, WAIT_IO, "wait %zu", i);
	expect_blame(&b, 3, 0, 42 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* Task `id` waits for a semaphore of that set for 2 ms, woken by the waker or (0) a timer. */
static void wait_for_set(struct tb *tb, uint32_t id, uint64_t t, int32_t nr, uint32_t set,
                         uint32_t waker)
{
	tb_run(tb, id, t, t + MS);
	tb_on_file(tb, id, set);
	tb_call(tb, id, nr, 7, FD_UNKNOWN, t + 3 * MS, waker);
	tb_run(tb, id, t + 3 * MS, t + 4 * MS);
	tb_preempt(tb, id);
}

/* System V semaphores, by set. Who is told by a signal got nothing; and a timeout at one that
 * nobody ever posts to is a sleep. */
Test(locks, semaphores_of_the_kernel)
{
	enum { SEMOP = 65, SEMTIMEDOP = 220, KILL = 62 };
	struct tb *tb = program();
	uint32_t a = tb_file(tb, FD_SYSV, 7, 0, NULL), b2 = tb_file(tb, FD_SYSV, 8, 0, NULL),
	         c = tb_file(tb, FD_SYSV, 9, 0, NULL);
	struct built b;

	tb_wakes_by(tb, 1, tb_site(tb, SEMOP, 7, 0, 1, FD_UNKNOWN), a);
	wait_for_set(tb, 2, 0, SEMOP, a, 1);
	wait_for_set(tb, 3, 0, SEMTIMEDOP, a, 1);
	wait_for_set(tb, 2, 5 * MS, SEMOP, b2, 1);
	wait_for_set(tb, 2, 10 * MS, SEMTIMEDOP, c, 0);
	tb_wakes_by(tb, 1, tb_site(tb, KILL, 1002, 15, 0, FD_UNKNOWN), 0);
	wait_for_set(tb, 3, 15 * MS, SEMOP, a, 1);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 2, "%zu locks", b.w->locks.n);
	expect_lock(&b, 2, 0, LOCK_SEMAPHORE, 3);
	expect_lock(&b, 3, 0, LOCK_SEMAPHORE, 3);
	expect_lock(&b, 2, 1, LOCK_SEMAPHORE, 1);
	cr_expect_str_eq(lock_of_wait(&b, 2, 0)->name, "System V semaphore 7");
	cr_expect_str_eq(lock_of_wait(&b, 2, 1)->name, "System V semaphore 8");
	cr_expect(lock_of_wait(&b, 3, 0)->shared && lock_of_wait(&b, 3, 0)->inode == 7);
	expect_blame(&b, 2, 0, 2 * MS, BLAME_HELD, 1);
	expect_blame(&b, 3, 0, 2 * MS, BLAME_HELD, 1);
	cr_expect_eq(wait_no(&b, 2, 2)->kind, WAIT_TIMER);
	expect_blame(&b, 3, 1, 17 * MS, BLAME_NOBODY, 0);
	built_free(&b);
}

/* Each took one without waiting, and waits for the other's: what the kernel says of them at the end
 * is all that tells. Its numbers are not those of a futex word at the same place. */
Test(locks, holders_of_files_at_the_end)
{
	struct tb *tb = program();
	uint32_t a = tb_file(tb, FD_FILE, 71, 0, "a.lock"),
	         b2 = tb_file(tb, FD_FILE, 72, 0, "b.lock");
	struct built b;

	wait_at(tb, 2, 0, BASE, TB_FUTEX_WAIT, 2, NULL); /* a lock before them */
	tb_run(tb, 2, 10 * MS, 11 * MS);
	tb_on_file(tb, 2, a);
	tb_call_with(tb, 2, 73, 3, 2, FD_FILE, TB_NEVER, 0);
	tb_run(tb, 3, 10 * MS, 12 * MS);
	tb_on_file(tb, 3, b2);
	tb_call_with(tb, 3, 72, 3, 7, FD_FILE, TB_NEVER, 0);
	tb_stop(tb, 120 * MS);
	tb_holds(tb, 3, 9, 71, HOLD_FLOCK);
	tb_holds(tb, 1, 9, 71, HOLD_RECORD_LOCK);
	tb_holds(tb, 2, 9, 72, HOLD_RECORD_LOCK);
	tb_holds(tb, 2, 9, 99, HOLD_FLOCK); /* nobody waits for it */
	b = build_waits(tb);
	expect_lock(&b, 2, 1, LOCK_FILE, 1);
	expect_blame(&b, 2, 1, 50 * MS, BLAME_HELD, 3);
	expect_blame(&b, 3, 0, 50 * MS, BLAME_HELD, 2);
	cr_expect_eq(wait_blame_at(b.w, wait_no(&b, 2, 1), TB_EPOCH + 50 * MS)->evidence,
	             EVIDENCE_FOUND);
	built_free(&b);
}

/* A PI futex holds its owner's id. */
Test(locks, pi_owner_is_in_the_word)
{
	struct tb *tb = program();
	struct built b;

	wait_at(tb, 2, 0, BASE, TB_FUTEX_LOCK_PI, 0x80000000u | 1, NULL);
	b = build_waits(tb);
	cr_expect_eq(b.w->blames.v[0].evidence, EVIDENCE_OWNER);
	expect_blame(&b, 2, 0, 2 * MS, BLAME_HELD, 1);
	built_free(&b);
}

/* All six words of a GIL, and not the word behind it. */
Test(locks, a_gil_is_one_lock)
{
	static const uint64_t offsets[] = {0x48, 0x4c, 0x50, 0xa0, 0xa4, 0xa8};
	struct tb *tb = program();
	struct built b;

	tb_gil(tb, 7, 1, BASE, true, 0x030b07f0);
	for (size_t i = 0; i < 6; i++)
		wait_at(tb, 2, i * 5 * MS, BASE + offsets[i], TB_FUTEX_BITSET, 0, NULL);
	wait_at(tb, 2, 30 * MS, BASE + GIL_BYTES, TB_FUTEX_BITSET, 0, NULL);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 2);
	expect_lock(&b, 2, 0, LOCK_GIL, 6);
	expect_lock(&b, 2, 6, LOCK_FUTEX, 1);
	cr_expect_eq(lock_of_wait(&b, 2, 0)->gil, 7);
	cr_expect_str_eq(lock_of_wait(&b, 2, 0)->name, "GIL (pid 1001)");
	built_free(&b);
}

/* One shared lock under two addresses in two processes; the next word in the file is another. */
Test(locks, shared_locks_by_what_they_are)
{
	struct tb *tb = program();
	struct built b;

	tb_fork(tb, 4, 1, "child", 0);
	tb_on(tb, 4, 3);
	tb_futex_key(tb, 1, BASE, 99, 0x20, "/dev/shm/queue");
	tb_futex_key(tb, 4, 2 * BASE, 99, 0x20, "/dev/shm/queue");
	tb_futex_key(tb, 4, 2 * BASE + 64, 99, 0x60, "/dev/shm/queue (deleted)");
	wait_at(tb, 2, 0, BASE, TB_FUTEX_SHARED_BITSET, 0, "sem_wait");
	tb_run(tb, 4, 0, MS);
	tb_futex(tb, 4, 2 * BASE, TB_FUTEX_SHARED_BITSET, 0, 0, 5 * MS, 1);
	tb_run(tb, 4, 5 * MS, 6 * MS);
	tb_futex(tb, 4, 2 * BASE + 64, TB_FUTEX_SHARED_BITSET, 0, 0, 10 * MS, 1);
	tb_run(tb, 4, 10 * MS, 11 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 2);
	expect_lock(&b, 4, 0, LOCK_SEMAPHORE, 2);
	cr_expect(lock_of_wait(&b, 4, 0)->shared);
	cr_expect_str_eq(lock_of_wait(&b, 4, 0)->name, "/dev/shm/queue+0x20");
	cr_expect_eq(lock_of_wait(&b, 4, 0)->waiters.n, 2);
	cr_expect_str_eq(lock_of_wait(&b, 4, 1)->name, "/dev/shm/queue+0x60");
	built_free(&b);
}

/* The place says more than a name that nobody gave. */
Test(locks, semaphores_named_by_chance)
{
	static const char *const files[] = {
	        "/dev/shm/sem.P92JpW (deleted)",
	        "sem.EU3apA",
	        "/dev/shm/sem.mp-wf9qhxok",
	        "sem.mp-_2u9_sti",
	        "/dev/shm/sem.queue",
	        "/dev/shm/sem.mp-queue",
	};
	struct tb *tb = program();
	struct built b;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		tb_futex_key(tb, 1, BASE + 4096 * i, 99 - i, 0, files[i]);
		wait_at(tb, 2, 10 * i * MS, BASE + 4096 * i, TB_FUTEX_SHARED_BITSET, 0,
		        "take_turns");
	}
	b = build_waits(tb);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		const char *name = lock_of_wait(&b, 2, i)->name;

		if (i < 4)
			cr_expect(!strncmp(name, "waited for in work", 18), "%s", name);
		else
			cr_expect_str_eq(name, files[i]);
	}
	built_free(&b);
}

/* Memory that processes share without a file: only the place says what it is. */
Test(locks, shared_memory_has_no_name)
{
	struct tb *tb = program();
	struct built b;

	tb_futex_key(tb, 1, BASE, 99, 0x20, "/dev/zero (deleted)");
	wait_at(tb, 2, 0, BASE, TB_FUTEX_SHARED_BITSET, 0, "sem_wait");
	b = build_waits(tb);
	cr_expect_str_eq(lock_of_wait(&b, 2, 0)->name, "waited for in work (app)");
	built_free(&b);
}

/* A forked process's copy of a private lock is a lock of its own. */
Test(locks, private_locks_are_their_space_s)
{
	struct tb *tb = program();
	struct built b;

	tb_fork(tb, 4, 1, "child", 0);
	tb_on(tb, 4, 3);
	wait_at(tb, 2, 0, BASE, TB_FUTEX_WAIT, 2, NULL);
	tb_run(tb, 4, 0, MS);
	tb_futex(tb, 4, BASE, TB_FUTEX_WAIT, 2, 0, 5 * MS, 1);
	tb_run(tb, 4, 5 * MS, 6 * MS);
	b = build_waits(tb);
	cr_expect_eq(b.w->locks.n, 2);
	built_free(&b);
}

/* CPython 3.13: each waiter sleeps on its own stack; the word before names the lock. */
Test(locks, parking_lot)
{
	for (int python = 0; python < 2; python++) {
		struct tb *tb = program();
		struct built b;

		if (python)
			tb_gil(tb, 1, 1, 0x900000, true, 0x030d05f0);
		tb_park(tb, 2, 0x7000);
		tb_park(tb, 3, 0x7000);
		wait_at(tb, 2, 0, BASE, TB_FUTEX_BITSET, 0, NULL);
		wait_at(tb, 3, 0, 2 * BASE, TB_FUTEX_BITSET, 0, NULL);
		b = build_waits(tb);
		expect_lock(&b, 2, 0, python ? LOCK_MUTEX : LOCK_FUTEX, python ? 2 : 2);
		cr_expect_eq(lock_of_wait(&b, 2, 0)->py, python);
		cr_expect_eq(lock_of_wait(&b, 2, 0)->addr, python ? 0x7000 : 2 * BASE);
		built_free(&b);
	}
}

/* … and Thread.join() of 3.13 parks there, too: who ended the wait is who was waited for. */
Test(locks, parking_lot_of_a_join)
{
	struct tb *tb = program();
	struct built b;

	tb_gil(tb, 1, 1, 0x900000, true, 0x030d05f0);
	tb_park(tb, 2, 0x7000);
	tb_run(tb, 2, 0, MS);
	tb_stacks(tb, 2, stack_in(tb, "new_sem_wait_slow64", "ThreadHandle_join"), 0);
	tb_futex(tb, 2, BASE, TB_FUTEX_BITSET, 0, 0, 3 * MS, 3);
	tb_run(tb, 2, 3 * MS, 4 * MS);
	b = build_waits(tb);
	expect_lock(&b, 2, 0, LOCK_JOIN, 1);
	cr_expect_eq(lock_of_wait(&b, 2, 0)->join_task, 3);
	built_free(&b);
}

/* A word that the kernel clears at a thread's end, waited for by other means than a join. */
Test(locks, clear_child_tid_is_a_join)
{
	struct tb *tb = program();
	struct built b;

	tb_rename(tb, 3, 0, "reaper");
	tb_ctid(tb, 3, BASE);
	wait_at(tb, 2, 0, BASE, TB_FUTEX_SHARED_BITSET, 77, NULL);
	b = build_waits(tb);
	expect_lock(&b, 2, 0, LOCK_JOIN, 1);
	cr_expect_str_eq(b.w->locks.v[0].name, "join of reaper");
	built_free(&b);
}

Test(locks, joins_of_one_name_are_told_apart)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id < 4; id++) {
		tb_thread(tb, id, 1, "worker", 0);
		tb_on(tb, id, id);
		tb_run(tb, id, 0, id * 10 * MS);
		tb_exit(tb, id, 0);
	}
	tb_run(tb, 1, 0, MS);
	tb_join(tb, 1, 2, 20 * MS);
	tb_run(tb, 1, 20 * MS, 21 * MS);
	tb_join(tb, 1, 3, 30 * MS);
	tb_run(tb, 1, 30 * MS, 31 * MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->locks.n, 2);
	cr_expect_str_eq(b.w->locks.v[0].name, "join of worker (1002)");
	cr_expect_str_eq(b.w->locks.v[1].name, "join of worker (1003)");
	cr_expect_eq(b.w->locks.v[0].owner_agree, 1);
	built_free(&b);
}

/* --- names ----------------------------------------------------------------------------------- */

Test(locks, names)
{
	struct tb *tb = program();
	struct built b;

	tb_object(tb, 1, BASE, "cache_lock", 0, 40);
	tb_object(tb, 1, BASE + 0x68, "pool", 0x48, 0x80); /* a condition at +0x20 of it */
	tb_object(tb, 1, BASE + 0x108, "table", 8, 48);
	tb_object(tb, 1, BASE + 0x704, "guard", 4, 40); /* musl's, by its size */
	tb_object(tb, 1, BASE + 0x804, "state", 4, 40);
	wait_at(tb, 2, 0, BASE, TB_FUTEX_WAIT, 2, NULL);
	wait_at(tb, 2, 5 * MS, BASE + 0x68, TB_FUTEX_BITSET, 0, "pthread_cond_wait");
	wait_at(tb, 2, 10 * MS, BASE + 0x108, TB_FUTEX_WAIT, 2, NULL);
	wait_at(tb, 2, 15 * MS, BASE + 0x200, TB_FUTEX_WAIT, 2, "__lll_lock_wait");
	wait_at(tb, 2, 20 * MS, BASE + 0x300, TB_FUTEX_WAIT, 2, NULL);
	wait_at(tb, 2, 25 * MS, BASE + 0x400, TB_FUTEX_WAIT, 2,
	        "<std::sys::sync::mutex::futex::Mutex>::lock_contended");
	wait_at(tb, 2, 30 * MS, BASE + 0x500, TB_FUTEX_WAIT, 2, "std::mutex::lock()");
	wait_at(tb, 2, 35 * MS, BASE + 0x600, TB_FUTEX_WAIT, 0, "runtime.notesleep");
	wait_at(tb, 2, 40 * MS, BASE + 0x704, TB_FUTEX_WAIT, UINT32_MAX, "pthread_mutex_timedlock");
	wait_at(tb, 2, 45 * MS, BASE + 0x804, TB_FUTEX_WAIT, 7, NULL);
	b = build_waits(tb);
	cr_expect_str_eq(lock_of_wait(&b, 2, 8)->name, "guard");
	cr_expect_str_eq(lock_of_wait(&b, 2, 8)->name_from, "symbol");
	cr_expect_str_eq(lock_of_wait(&b, 2, 9)->name, "state+0x4");
	for (unsigned i = 5; i < 8; i++)
		cr_expect_str_eq(lock_of_wait(&b, 2, i)->name, "waited for in work (app)");
	cr_expect_eq(lock_of_wait(&b, 2, 5)->kind, LOCK_MUTEX);
	cr_expect_str_eq(lock_of_wait(&b, 2, 0)->name, "cache_lock");
	cr_expect_str_eq(lock_of_wait(&b, 2, 0)->name_from, "symbol");
	cr_expect_str_eq(lock_of_wait(&b, 2, 1)->name, "pool+0x20");
	cr_expect_str_eq(lock_of_wait(&b, 2, 2)->name, "table+0x8");
	cr_expect_str_eq(lock_of_wait(&b, 2, 3)->name, "waited for in work (app)");
	cr_expect_str_eq(lock_of_wait(&b, 2, 3)->name_from, "site");
	cr_expect_str_eq(lock_of_wait(&b, 2, 4)->name, "0x10300");
	built_free(&b);
}

/* C++: parameters do not name a function, nor what follows them. */
Test(locks, names_without_parameters)
{
	static const struct {
		const char *caller, *want;
	} names[] = {
	        {"ns::f(int (*)(long)) const", "waited for in ns::f (app)"},
	        {"ns::f(int) [clone .isra.0]", "waited for in ns::f (app)"},
	        {"ns::f(int) const [clone .part.0] [clone .cold]", "waited for in ns::f (app)"},
	        {"ns::f() const &", "waited for in ns::f (app)"},
	        {"ns::f() && noexcept", "waited for in ns::f (app)"},
	        {"ns::F::operator()(int) const", "waited for in ns::F::operator() (app)"},
	        {"operator()", "waited for in operator() (app)"},
	        {"f()::{lambda()#2}::operator()",
	         "waited for in f()::{lambda()#2}::operator() (app)"},
	        {"is_operator()", "waited for in is_operator (app)"},
	        {"(anonymous namespace)::f(int)", "waited for in (anonymous namespace)::f (app)"},
	        {"plain [clone .isra.0]", "waited for in plain [clone .isra.0] (app)"},
	        {" [clone ]", "waited for in  [clone ] (app)"},
	        {")", "waited for in ) (app)"},
	        {" const", "waited for in  const (app)"},
	        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	         "aaaaaaaaaaaaaéééé(int)",
	         "waited for in "
	         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	         "aaaaaaaaaaaaaé… (app)"},
	};
	struct tb *tb = program();
	struct built b;

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		uint64_t t = i * 5 * MS;

		tb_run(tb, 2, t, t + MS);
		tb_stacks(tb, 2, stack_in(tb, "__lll_lock_wait", names[i].caller), 0);
		tb_futex(tb, 2, BASE + 0x100 * i, TB_FUTEX_WAIT, 2, 0, t + 3 * MS, 1);
		tb_run(tb, 2, t + 3 * MS, t + 4 * MS);
		tb_preempt(tb, 2);
	}
	b = build_waits(tb);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		cr_expect_str_eq(lock_of_wait(&b, 2, i)->name, names[i].want);
	built_free(&b);
}

/* A lock that was waited for outside the window only is not listed. */
Test(locks, those_outside_the_window_are_left_out)
{
	const struct model_opts opts = {.flags = MODEL_SLICES, .since_ns = 10 * MS};
	struct tb *tb = program();
	struct err err = {0};
	struct built b;

	wait_at(tb, 2, 0, BASE, TB_FUTEX_WAIT, 2, NULL);
	wait_at(tb, 2, 20 * MS, BASE + 64, TB_FUTEX_WAIT, 2, NULL);
	b.m = load(tb, &opts);
	b.w = waits_build(b.m, &err);
	cr_assert(b.w);
	expect_sound(b.w);
	cr_expect_eq(b.w->locks.n, 1);
	cr_expect_eq(b.w->locks.v[0].addr, BASE + 64);
	built_free(&b);
}

/* --- sums
 * ----------------------------------------------------------------------------------------- */

/* Time on locks of a task = what it was blocked in futexes. */
Test(locks, sums_are_exact)
{
	struct tb *tb = program();
	uint64_t in_locks = 0;
	struct built b;

	for (uint64_t i = 0; i < 10; i++)
		wait_at(tb, 2, i * 5 * MS, BASE + i % 3 * 64, TB_FUTEX_WAIT, 2, NULL);
	b = build_waits(tb);
	for (size_t i = 0; i < b.w->waits.n; i++)
		if (b.w->waits.v[i].lock)
			in_locks += b.w->waits.v[i].blocked_ns;
	cr_expect_eq(in_locks, model_task(b.m, 2)->blocked_by[BLOCK_FUTEX]);
	cr_expect_eq(in_locks, 20 * MS);
	built_free(&b);
}

/* Waits of 10, 20 … 2,000 us: the longest of the shortest half, and of the shortest 99 of 100. */
Test(locks, percentiles)
{
	struct tb *tb = program();
	uint64_t t = 0;
	struct built b;

	for (unsigned i = 1; i <= 200; i++) {
		tb_run(tb, 2, t, t + 10 * US);
		tb_futex(tb, 2, BASE, TB_FUTEX_BITSET, 0, 0, t + (1 + i) * 10 * US, 1);
		t += (1 + i) * 10 * US;
		tb_run(tb, 2, t, t + 200 * US);
		tb_preempt(tb, 2);
		t += 300 * US;
	}
	tb_run(tb, 1, 100 * MS, t + MS);
	b = build_waits(tb);
	cr_assert_eq(b.w->locks.n, 1);
	cr_assert_eq(b.w->locks.v[0].waits, 200);
	cr_expect_eq(b.w->locks.v[0].p50_ns, 1000 * US);
	cr_expect_eq(b.w->locks.v[0].p99_ns, 1980 * US, "%llu",
	             (unsigned long long)b.w->locks.v[0].p99_ns);
	cr_expect_eq(b.w->locks.v[0].max_ns, 2000 * US);
	built_free(&b);
}
