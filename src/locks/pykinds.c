/* SPDX-License-Identifier: MIT */
/*
 * CPython builds all of its locks from one: a semaphore or, from 3.13 on, a parked mutex. Who
 * wrote the program knows them as what threading and queue made of them: that is in the frames
 * of the library between the program's own and the wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

#define DEEPEST 48

enum py_kind {
	PY_NONE,
	PY_LOCK,
	PY_RLOCK,
	PY_COND,
	PY_SEM,
	PY_EVENT,
	PY_BARRIER,
	PY_QUEUE,
	PY_FUTURE,
	PY_START,
	PY_IMPORT,
	PY_N
};

static const char *const texts[PY_N] = {
        [PY_LOCK] = "lock",          [PY_RLOCK] = "RLock",   [PY_COND] = "condition",
        [PY_SEM] = "semaphore",      [PY_EVENT] = "event",   [PY_BARRIER] = "barrier",
        [PY_QUEUE] = "queue",        [PY_FUTURE] = "future", [PY_START] = "thread start",
        [PY_IMPORT] = "import lock",
};

/* Up to 3.10 a function's name comes without its class. A row further up wins: what is further out
 * is made of what is further in, and all of them of conditions. */
static const struct {
	const char *file, *function;
	uint8_t kind;
} library[] = {
        {"queue.py", "get", PY_QUEUE},
        {"queue.py", "put", PY_QUEUE},
        {"queue.py", "join", PY_QUEUE},
        {"multiprocessing/queues.py", "get", PY_QUEUE},
        {"multiprocessing/queues.py", "put", PY_QUEUE},
        {"multiprocessing/queues.py", "_feed", PY_QUEUE},
        {"futures/_base.py", "result", PY_FUTURE},
        {"futures/_base.py", "exception", PY_FUTURE},
        {"futures/_base.py", "wait", PY_FUTURE},
        {"futures/_base.py", "as_completed", PY_FUTURE},
        {"futures/thread.py", "_worker", PY_QUEUE},
        {"threading.py", "start", PY_START},
        {"threading.py", "Barrier.wait", PY_BARRIER},
        {"threading.py", "_wait", PY_BARRIER},
        {"threading.py", "_enter", PY_BARRIER},
        {"threading.py", "acquire", PY_SEM},
        {"threading.py", "wait_for", PY_COND},
        {"threading.py", "wait", PY_COND},
        {"threading.py", "__enter__", PY_COND},
        {"importlib._bootstrap>", "acquire", PY_IMPORT},
};

/* … of the interpreter, innermost first. */
static const struct {
	const char *function;
	uint8_t kind;
} natives[] = {
        {"_queue_SimpleQueue_", PY_QUEUE},   {"rlock_acquire", PY_RLOCK},
        {"rlock___enter__", PY_RLOCK},       {"thread_PyRLock_acquire", PY_RLOCK},
        {"_thread_RLock_", PY_RLOCK},        {"lock_PyThread_acquire_lock", PY_LOCK},
        {"_thread_lock_", PY_LOCK},          {"_PyImport_AcquireLock", PY_IMPORT},
        {"import_find_and_load", PY_IMPORT},
};

static const char *file_of(const struct frame *f)
{
	return f->src ? f->src : f->module;
}

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && !strcmp(s + n - k, end) && (n == k || strchr("/ ", s[n - k - 1]));
}

/* "Condition.wait" or, up to 3.10, "wait". */
static bool is_function(const char *name, const char *function)
{
	const char *dot = strrchr(name, '.');

	return !strcmp(name, function) || (dot && !strcmp(dot + 1, function));
}

/* What the function of the library waits for; PY_NONE: it says nothing. inner: what those that it
 * called said. */
static uint8_t of_library(const struct frame *f, uint8_t inner)
{
	const char *file = file_of(f);
	uint8_t kind = PY_NONE;

	for (size_t i = 0; i < ARRAY_LEN(library) && !kind; i++)
		if (is_function(f->name, library[i].function) && ends_in(file, library[i].file))
			kind = library[i].kind;
	if (kind != PY_COND || inner == PY_NONE)
		return kind;
	/* Only an event's wait() calls another, and a barrier's one that says so already. */
	if (inner == PY_COND && is_function(f->name, "wait"))
		return PY_EVENT;
	return inner;
}

static bool is_library(const struct frame *f)
{
	for (size_t i = 0; i < ARRAY_LEN(library); i++)
		if (ends_in(file_of(f), library[i].file))
			return true;
	return ends_in(file_of(f), "multiprocessing/synchronize.py");
}

static uint8_t of_native(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(natives); i++)
		if (!strncmp(name, natives[i].function, strlen(natives[i].function)))
			return natives[i].kind;
	return PY_NONE;
}

static uint8_t of_stack(const struct model *m, uint32_t ustack)
{
	struct frame frames[DEEPEST];
	size_t n = ustack ? model_frames(m, ustack, frames, DEEPEST) : 0;
	uint8_t native = PY_NONE, kind = PY_NONE;

	for (size_t i = 0; i < n; i++) {
		const struct frame *f = &frames[i];
		uint8_t more;

		if (!f->name || f->kind == FRAME_KERNEL)
			continue;
		if (f->kind != FRAME_PYTHON) {
			if (!native && !kind)
				native = of_native(f->name);
			continue;
		}
		if (!is_library(f))
			break;
		more = of_library(f, kind);
		kind = more ? more : kind;
	}
	return kind ? kind : native;
}

/* By the most of its waiting time. */
static uint8_t of_lock(const struct model *m, const struct lock *l)
{
	uint64_t ns[PY_N] = {0};
	uint8_t best = PY_NONE;

	for (size_t i = 0; i < l->sites.n; i++) {
		uint8_t kind = of_stack(m, l->sites.v[i].ustack);

		ns[kind] = sat_add(ns[kind], l->sites.v[i].wait_ns + 1);
	}
	for (uint8_t kind = PY_NONE + 1; kind < PY_N; kind++)
		if (ns[kind] > ns[best] || (best == PY_NONE && ns[kind]))
			best = kind;
	/* What no stack names further: one of the interpreter's own semaphores is a lock. */
	return best == PY_NONE && l->kind == LOCK_SEMAPHORE && !l->shared ? PY_LOCK : best;
}

int locks_find_py_kinds(struct build *b)
{
	for (size_t i = 0; i < b->w->locks.n; i++) {
		struct lock *l = &b->w->locks.v[i];

		if (l->py && l->kind != LOCK_JOIN)
			l->py_kind = texts[of_lock(b->m, l)];
	}
	return 0;
}

bool lock_is_for_work(const struct lock *l)
{
	static const uint8_t kinds[] = {PY_COND,  PY_EVENT,  PY_BARRIER,
	                                PY_QUEUE, PY_FUTURE, PY_START};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (l->py_kind == texts[kinds[i]])
			return true;
	return false;
}

bool lock_is_py_semaphore(const struct lock *l)
{
	return l->py_kind == texts[PY_SEM];
}

bool lock_is_py_queue(const struct lock *l)
{
	return l->py_kind == texts[PY_QUEUE];
}

bool lock_is_barrier(const struct lock *l)
{
	return l->kind == LOCK_BARRIER || l->py_kind == texts[PY_BARRIER];
}

const char *lock_kind_text(const struct lock *l, char *out, size_t n)
{
	const char *kind = l->py_kind ? l->py_kind : lock_kind_key((enum lock_kind)l->kind);

	snprintf(out, n, "%s%s", l->py ? "Python " : "", kind);
	return out;
}
