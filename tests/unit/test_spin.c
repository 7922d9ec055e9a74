/* SPDX-License-Identifier: MIT */
/* CPU time that waits by spinning, told from samples. */
#include "causes_test.h"

#define GOMP "/usr/lib/libgomp.so.1.0.0"
#define MPI  "/usr/lib/libopen-pal.so.40"
#define APP  "/home/me/app"

enum { APP_AT = 0x400000, LIBRARY_AT = 0x800000 };

/* One task with `spinning` samples in a function of the file (NULL: of no name) called by work(),
 * and `others` in compute(). */
static struct built sampled(const char *file, const char *function, unsigned spinning,
                            unsigned others)
{
	struct tb *tb = tb_new();
	bool library = strcmp(file, APP) != 0;
	uint64_t base = library ? LIBRARY_AT : APP_AT;
	uint32_t spin, busy;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, APP_AT, APP_AT + 0x10000, 0, APP);
	tb_map(tb, 1, LIBRARY_AT, LIBRARY_AT + 0x10000, 0, library ? file : GOMP);
	tb_symbol(tb, APP, 0x100, "compute", 4, 0);
	tb_symbol(tb, APP, 0x200, "work", 4, 0);
	if (function)
		tb_symbol(tb, file, 0x300, function, 4, 0);
	spin = tb_stack(tb, STACK_USER, 1, (uint64_t[]){base + 0x300, APP_AT + 0x200}, 2);
	busy = tb_stack(tb, STACK_USER, 1, (uint64_t[]){APP_AT + 0x100, APP_AT + 0x200}, 2);
	tb_run(tb, 1, 0, 200 * MS);
	for (unsigned i = 0; i < spinning + others; i++)
		tb_sample(tb, 1, (i + 1) * MS, i < spinning ? spin : busy, 0);
	tb_exit(tb, 1, 0);
	return build(tb);
}

Test(spin, shares_by_function)
{
	static const struct {
		const char *file, *function;
		unsigned spinning, others;
		const char *note; /* its beginning */
	} cases[] = {
	        {GOMP, "gomp_team_barrier_wait_end", 30, 30,
	         "50 % of the CPU time is spinning at a barrier, most in work: "},
	        {GOMP, "do_spin", 30, 30, "50 % of the CPU time is spinning at a barrier"},
	        {GOMP, NULL, 30, 60,
	         "33 % of the CPU time is inside OpenMP's library, most likely spinning at a "
	         "barrier or for a critical section, most in work: "},
	        {APP, "pthread_spin_lock", 90, 10, "90 % of the CPU time is spinning for a lock"},
	        {APP, "bool __kmp_wait_template<kmp_flag_64<false>>(kmp_info*)", 50, 50,
	         "50 % of the CPU time is spinning at a barrier"},
	        {MPI, "opal_progress", 40, 60,
	         "40 % of the CPU time is polling for messages of other MPI processes, most in "
	         "work: "},
	        {MPI, "ompi_datatype_pack", 50, 50, ""},
	        {APP, "__sched_yield", 30, 70,
	         "30 % of the CPU time is inside sched_yield, most likely spinning for what "
	         "others have, most in work: "},
	        {GOMP, "GOMP_loop_dynamic_next", 50, 50, ""}, /* hands out work */
	        {APP, "do_spin", 50, 50, ""},                 /* the program's own */
	        {APP, NULL, 50, 50, ""},
	        {GOMP, "do_spin", 5, 95, ""}, /* a little is normal … */
	        {GOMP, "do_spin", 9, 9, ""},  /* … and a few samples say nothing */
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *want = cases[i].note;
		struct built b = sampled(cases[i].file, cases[i].function, cases[i].spinning,
		                         cases[i].others);

		cr_expect(!strncmp(b.r.spin_note, want, strlen(want)) && !*want == !*b.r.spin_note,
		          "case %zu: \"%s\"", i, b.r.spin_note);
		cr_expect_eq(b.r.samples, cases[i].spinning + cases[i].others);
		drop(&b);
	}
}

/* A runtime that gives up the CPU between two looks: it is the runtime that says for what. */
Test(spin, by_yielding)
{
	struct tb *tb = tb_new();
	uint32_t spin;
	struct built b;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, APP_AT, APP_AT + 0x10000, 0, APP);
	tb_symbol(tb, APP, 0x100, "work", 4, 0);
	tb_symbol(tb, APP, 0x200, "__kmp_wait_template", 4, 0);
	tb_symbol(tb, APP, 0x300, "sched_yield", 4, 0);
	spin = tb_stack(tb, STACK_USER, 1,
	                (uint64_t[]){APP_AT + 0x300, APP_AT + 0x200, APP_AT + 0x100}, 3);
	tb_run(tb, 1, 0, 200 * MS);
	for (unsigned i = 0; i < 100; i++)
		tb_sample(tb, 1, (i + 1) * MS, spin, 0);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect(!strncmp(b.r.spin_note, "100 % of the CPU time is spinning at a barrier, ", 48),
	          "%s", b.r.spin_note);
	drop(&b);
}

/* What C++ and TBB have around sched_yield is nobody's program, and hides neither the lock nor who
 * wants it. */
Test(spin, behind_wrappers)
{
	static const char *const names[] = {"work",
	                                    "tbb::detail::d1::spin_mutex::lock()",
	                                    "tbb::detail::d0::atomic_backoff::pause()",
	                                    "tbb::detail::d0::yield()",
	                                    "std::this_thread::yield()",
	                                    "__gthread_yield()",
	                                    "sched_yield"};

	for (unsigned lock = 0; lock < 2; lock++) {
		struct tb *tb = tb_new();
		uint64_t frames[ARRAY_LEN(names)];
		struct built b;
		uint32_t spin;
		size_t n = 0;

		tb_task(tb, 1, "app");
		tb_map(tb, 1, APP_AT, APP_AT + 0x10000, 0, APP);
		for (size_t i = ARRAY_LEN(names); i-- > 0;) {
			if (i == 1 && !lock)
				continue;
			tb_symbol(tb, APP, 0x100 * (i + 1), names[i], 4, 0);
			frames[n++] = APP_AT + 0x100 * (i + 1);
		}
		spin = tb_stack(tb, STACK_USER, 1, frames, n);
		tb_run(tb, 1, 0, 200 * MS);
		for (unsigned i = 0; i < 100; i++)
			tb_sample(tb, 1, (i + 1) * MS, spin, 0);
		tb_exit(tb, 1, 0);
		b = build(tb);
		cr_expect_eq(b.r.spin_kind, lock ? SPIN_LOCK : SPIN_YIELD, "%s", b.r.spin_note);
		cr_expect_str_eq(b.r.spin_place, "work");
		drop(&b);
	}
}

/* 40 of 100 samples in write() with that kernel stack, innermost first. */
static struct built in_kernel(const char *const *names, size_t n)
{
	struct tb *tb = tb_new();
	uint64_t frames[4];
	uint32_t user, kernel;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, APP_AT, APP_AT + 0x10000, 0, APP);
	tb_symbol(tb, APP, 0x200, "work", 4, 0);
	for (size_t i = 0; i < n; i++) {
		frames[i] = 0xffffffff81000000 + 0x100 * i;
		tb_symbol(tb, "[kernel]", frames[i], names[i], 4, 0);
	}
	user = tb_stack(tb, STACK_USER, 1, (uint64_t[]){APP_AT + 0x200}, 1);
	kernel = tb_stack(tb, STACK_KERNEL, 0, frames, n);
	tb_run(tb, 1, 0, 200 * MS);
	for (unsigned i = 0; i < 100; i++)
		tb_sample(tb, 1, (i + 1) * MS, user, i < 40 ? kernel : 0);
	tb_exit(tb, 1, 0);
	return build(tb);
}

Test(spin, for_locks_of_the_kernel)
{
	static const struct {
		const char *names[4];
		const char *note;
	} cases[] = {
	        {{"rwsem_spin_on_owner", "rwsem_down_write_slowpath", "down_write", "vfs_unlink"},
	         "40 % of the CPU time is spinning for a lock inside the kernel, most in "
	         "vfs_unlink ← work: "},
	        {{"native_queued_spin_lock_slowpath", "_raw_spin_lock", "free_pages", "munmap"},
	         "40 % of the CPU time is spinning for a lock inside the kernel, most in "
	         "free_pages ← work: "},
	        {{"_raw_spin_unlock", "copy_page", "vfs_write", "ksys_write"}, ""},
	        {{"down_write", "vfs_unlink", "do_unlinkat", "do_syscall_64"}, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *want = cases[i].note;
		struct built b = in_kernel(cases[i].names, 4);

		cr_expect(!strncmp(b.r.spin_note, want, strlen(want)) && !*want == !*b.r.spin_note,
		          "case %zu: \"%s\"", i, b.r.spin_note);
		cr_expect_eq(b.r.spinning, *want ? 40 : 0);
		drop(&b);
	}
}

/* Two tasks keep both CPUs busy, one of them spins: that is no parallel program. */
static struct built pair(const char *file, const char *function, unsigned spinning)
{
	struct tb *tb = tb_new();
	uint64_t base = strcmp(file, APP) ? LIBRARY_AT : APP_AT;
	uint32_t spin, busy;

	tb_task(tb, 1, "app");
	tb_thread(tb, 2, 1, "app", 0);
	tb_on(tb, 2, 1);
	tb_map(tb, 1, APP_AT, APP_AT + 0x10000, 0, APP);
	tb_map(tb, 1, LIBRARY_AT, LIBRARY_AT + 0x10000, 0, strcmp(file, APP) ? file : GOMP);
	tb_symbol(tb, APP, 0x100, "compute", 4, 0);
	tb_symbol(tb, APP, 0x200, "work", 4, 0);
	if (function)
		tb_symbol(tb, file, 0x300, function, 4, 0);
	spin = tb_stack(tb, STACK_USER, 1, (uint64_t[]){base + 0x300, APP_AT + 0x200}, 2);
	busy = tb_stack(tb, STACK_USER, 1, (uint64_t[]){APP_AT + 0x100, APP_AT + 0x200}, 2);
	for (uint32_t id = 1; id <= 2; id++) {
		tb_run(tb, id, 0, 200 * MS);
		for (unsigned i = 0; i < 100; i++)
			tb_sample(tb, id, (2 * i + id) * MS, id == 2 && i < spinning ? spin : busy,
			          0);
	}
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	return build(tb);
}

Test(spin, decides_the_verdict)
{
	static const struct {
		const char *file, *function;
		unsigned spinning; /* of 200 */
		enum verdict verdict;
		const char *headline, *next;
	} cases[] = {
	        {APP, "pthread_spin_lock", 90, VERDICT_SERIALIZED,
	         "SERIALIZED by spinning: 1.10 of 2 CPUs did the work, 0.90 spun for a lock, most "
	         "in work.",
	         "how long work has what others spin for"},
	        {GOMP, "gomp_team_barrier_wait_end", 60, VERDICT_IMBALANCED,
	         "IMBALANCED: 1.40 of 2 CPUs did the work, 0.60 spun at a barrier, most in work.",
	         "how the work of work is divided"},
	        {GOMP, NULL, 60, VERDICT_SERIALIZED,
	         "SERIALIZED by spinning: 1.40 of 2 CPUs did the work, 0.60 spun inside OpenMP's "
	         "library, most likely at a barrier or for a critical section, most in work.",
	         "how the work of work is divided"},
	        {MPI, "opal_progress", 60, VERDICT_IMBALANCED,
	         "IMBALANCED: 1.40 of 2 CPUs did the work, 0.60 polled for messages of other MPI "
	         "processes, most in work.",
	         "how the work of work is divided"},
	        {APP, "pthread_spin_lock", 22, VERDICT_PARALLEL, "PARALLEL: 2.00 of 2 CPUs", ""},
	        {APP, "pthread_spin_lock", 0, VERDICT_PARALLEL, "PARALLEL: 2.00 of 2 CPUs", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct built b = pair(cases[i].file, cases[i].function, cases[i].spinning);

		cr_expect_eq(b.r.verdict, cases[i].verdict, "case %zu: %s", i,
		             verdict_key(b.r.verdict));
		cr_expect(!strncmp(b.r.headline, cases[i].headline, strlen(cases[i].headline)),
		          "case %zu: %s", i, b.r.headline);
		cr_expect_str_eq(b.r.next_step, cases[i].next, "case %zu", i);
		drop(&b);
	}
}
