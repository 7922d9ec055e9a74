/* SPDX-License-Identifier: MIT */
/*
 * The function that a thread waits in says what kind of lock it waits for. The innermost one
 * that is known decides: pthread_cond_wait takes its mutex again by a function of the mutex.
 */
#include <errno.h>
#include <string.h>

#include "locks_priv.h"

#define DEEPEST 24 /* frames that are looked at */

/* A name is compared up to a version or a compiler's suffix ("@", "."), without leading "_". A row
 * that ends in "*" is a beginning. */
static const struct {
	const char *name;
	uint8_t kind;
} functions[] = {
        {"pthread_mutex_*", LOCK_MUTEX},
        {"lll_lock_wait*", LOCK_MUTEX},
        {"lll_timedlock_wait", LOCK_MUTEX},
        {"lll_clocklock_wait", LOCK_MUTEX},
        {"lll_robust_*", LOCK_MUTEX},
        {"lll_mutex_lock_optimized", LOCK_MUTEX},
        {"futex_lock_pi*", LOCK_MUTEX},
        {"mtx_lock", LOCK_MUTEX},
        {"pthread_cond_*", LOCK_COND},
        {"cnd_wait", LOCK_COND},
        {"cnd_timedwait", LOCK_COND},
        {"sem_wait*", LOCK_SEMAPHORE},
        {"new_sem_wait*", LOCK_SEMAPHORE},
        {"sem_timedwait*", LOCK_SEMAPHORE},
        {"sem_clockwait*", LOCK_SEMAPHORE},
        {"pthread_rwlock_*", LOCK_RWLOCK},
        {"pthread_barrier_*", LOCK_BARRIER},
        {"pthread_join*", LOCK_JOIN},
        {"pthread_clockjoin*", LOCK_JOIN},
        {"pthread_timedjoin*", LOCK_JOIN},
        {"std::sys::sync::mutex::*", LOCK_MUTEX},
        {"std::sys::sync::condvar::*", LOCK_COND},
        {"std::sys::sync::rwlock::*", LOCK_RWLOCK},
        {"std::sys::unix::locks::futex_mutex::*", LOCK_MUTEX},
        {"std::sys::unix::locks::futex_condvar::*", LOCK_COND},
        {"std::sys::unix::locks::futex_rwlock::*", LOCK_RWLOCK},
        {"std::barrier<*", LOCK_BARRIER}, /* C++20: libstdc++, libc++ */
        {"std::__tree_barrier*", LOCK_BARRIER},
        {"std::latch::*", LOCK_BARRIER},
        {"std::counting_semaphore<*", LOCK_SEMAPHORE},
        {"std::__atomic_semaphore::*", LOCK_SEMAPHORE},
        {"std::__1::barrier<*", LOCK_BARRIER},
        {"std::__1::latch::*", LOCK_BARRIER},
        {"std::__1::counting_semaphore<*", LOCK_SEMAPHORE},
        {"runtime.lock2", LOCK_MUTEX}, /* Go */
        {"GOMP_barrier*", LOCK_BARRIER},
        {"gomp_team_barrier_wait*", LOCK_BARRIER},
        {"gomp_barrier_wait*", LOCK_BARRIER},
        {"gomp_simple_barrier_*", LOCK_BARRIER},
        {"gomp_mutex_lock*", LOCK_MUTEX},
        {"gomp_set_lock*", LOCK_MUTEX},
        {"gomp_set_nest_lock*", LOCK_MUTEX},
        {"omp_set_lock*", LOCK_MUTEX},
        {"omp_set_nest_lock*", LOCK_MUTEX},
        {"GOMP_critical_*", LOCK_MUTEX},
        {"GOMP_atomic_start", LOCK_MUTEX},
        {"gomp_sem_wait*", LOCK_SEMAPHORE},
};

/* CPython's locks: how its own threads module and threading.Lock wait. */
static const char *const py_functions[] = {"PyThread_acquire_lock*", "PyMutex_Lock*"};
static const char *const park_functions[] = {"PyMutex_Lock*", "PyParkingLot_Park",
                                             "PySemaphore_Wait*"};

static bool matches(const char *pattern, const char *name, size_t n)
{
	size_t len = strlen(pattern);

	if (pattern[len - 1] == '*')
		return n >= len - 1 && !strncmp(name, pattern, len - 1);
	return n == len && !strncmp(name, pattern, n);
}

static bool matches_any(const char *const *patterns, size_t n_patterns, const char *name, size_t n)
{
	for (size_t i = 0; i < n_patterns; i++)
		if (matches(patterns[i], name, n))
			return true;
	return false;
}

static void vote(const char *name, struct kind_vote *v)
{
	/* Go's package names have a dot, which is none of the compiler's. */
	bool go = !strncmp(name, "runtime.", 8);
	size_t n;

	name += strspn(name, "_<");     /* Rust: "<std::…::Mutex>::lock_contended" */
	if (!strncmp(name, "GI___", 5)) /* glibc's own way to its functions */
		name += 5;
	n = go ? strlen(name) : strcspn(name, "@.");
	for (size_t i = 0; v->kind == LOCK_KIND_N && i < ARRAY_LEN(functions); i++)
		if (matches(functions[i].name, name, n))
			v->kind = functions[i].kind;
	v->py |= matches_any(py_functions, ARRAY_LEN(py_functions), name, n);
	v->park |= matches_any(park_functions, ARRAY_LEN(park_functions), name, n);
	v->py_join |= matches("ThreadHandle_join", name, n);
	/* Go's programs sleep by its timers; this is its threads between two looks at their queues.
	 */
	v->look_out |= go && matches("runtime.usleep*", name, n);
}

static bool is_threading(const char *src)
{
	static const char file[] = "threading.py";
	size_t n = src ? strlen(src) : 0, end = sizeof(file) - 1;

	return n >= end && !strcmp(src + n - end, file) && (n == end || src[n - end - 1] == '/');
}

/* A thread's end is a lock of CPython's own that only join() waits for, and the end of the program.
 * Up to 3.12 that has a function in Python; later join() calls the interpreter. */
static void vote_python(const struct frame *f, struct kind_vote *v)
{
	if (!v->python)
		v->py_join |= strstr(f->name, "_wait_for_tstate_lock") ||
		              (is_threading(f->src) &&
		               (!strcmp(f->name, "Thread.join") || !strcmp(f->name, "_shutdown")));
	v->python = true;
}

/* It calls the kernel itself, and is mostly installed without names. */
static bool is_libgomp(const struct frame *f)
{
	return f->kind == FRAME_NATIVE && !strncmp(path_base(f->module), "libgomp.so", 10);
}

/* It has binary semaphores of its own, with the values of a low-level lock: threads without work
 * wait there, and who brings some is no holder. Its locks spin. */
static bool in_libtbb(const struct frame *frames, size_t n)
{
	size_t i = 0;

	while (i < n && frames[i].kind == FRAME_NATIVE && model_is_libc(frames[i].module))
		i++;
	return i < n && frames[i].kind == FRAME_NATIVE &&
	       !strncmp(path_base(frames[i].module), "libtbb.so", 9);
}

bool stack_waits_for_work(const struct model *m, uint32_t ustack)
{
	struct frame frames[DEEPEST];
	size_t n = ustack ? model_frames(m, ustack, frames, DEEPEST) : 0;

	return in_libtbb(frames, n);
}

static struct kind_vote read_stack(const struct model *m, uint32_t ustack)
{
	struct kind_vote v = {.kind = LOCK_KIND_N};
	struct frame frames[DEEPEST];
	size_t n = model_frames(m, ustack, frames, DEEPEST);

	v.gomp = n && is_libgomp(&frames[0]);
	if (in_libtbb(frames, n))
		v.kind = LOCK_COND;
	for (size_t i = 0; i < n; i++) {
		if (frames[i].name && frames[i].kind == FRAME_PYTHON)
			vote_python(&frames[i], &v);
		else if (frames[i].name)
			vote(frames[i].name, &v);
	}
	if (v.py_join)
		v.kind = LOCK_JOIN;
	return v;
}

int kind_of_stack(struct build *b, uint32_t ustack, struct kind_vote *out)
{
	bool added = false;
	uint64_t *at;

	*out = (struct kind_vote){.kind = LOCK_KIND_N};
	if (!ustack)
		return 0;
	at = hmap_put(&b->stack_kinds, ustack, 0, &added);
	if (!at)
		return -ENOMEM;
	if (added) {
		*out = read_stack(b->m, ustack);
		*at = out->kind | (uint64_t)out->py << 8 | (uint64_t)out->park << 9 |
		      (uint64_t)out->python << 10 | (uint64_t)out->look_out << 11 |
		      (uint64_t)out->gomp << 12;
		return 0;
	}
	*out = (struct kind_vote){
	        .kind = *at & 0xff,
	        .py = *at >> 8 & 1,
	        .park = *at >> 9 & 1,
	        .python = *at >> 10 & 1,
	        .look_out = *at >> 11 & 1,
	        .gomp = *at >> 12 & 1,
	};
	return 0;
}
