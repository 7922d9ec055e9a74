/* SPDX-License-Identifier: MIT */
/* What a person calls a lock: its variable, its file, or the place where it was waited for. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

#define DEEPEST      48
#define MAX_FUNCTION 100 /* bytes of a function's name: leaves room for its file's */

/* --- by variable --------------------------------------------------------------------- */

/* A pthread_mutex_t of musl's: its word is not its first. */
static bool is_musl_mutex(const struct lock *l, const struct futex_object *o)
{
	return l->kind == LOCK_MUTEX && o->size == 40 && o->off == 4;
}

/* off: of the lock's start in the variable; a variable of the lock's own size is the lock. */
static void name_object(struct lock *l, const struct futex_object *o, uint64_t word)
{
	uint64_t in_lock = word - l->addr, off = o->off - in_lock;
	bool whole = in_lock > o->off || !off || is_musl_mutex(l, o);

	l->name_from = whole ? "symbol" : "object";
	if (whole)
		snprintf(l->name, sizeof(l->name), "%s", o->name);
	else
		snprintf(l->name, sizeof(l->name), "%s+0x%" PRIx64, o->name, off);
}

static bool by_object(struct build *b, struct lock *l, const struct futex *f)
{
	const struct futex_object *o = f ? model_futex_object(b->m, f->space, f->word) : NULL;

	if (!o && f && f->park)
		o = model_futex_object(b->m, f->space, f->addr);
	/* libstdc++ waits for what is no int by words of its own, each for many. */
	if (!o || !o->name[0] || !strncmp(o->name, "std::__detail::", 15))
		return false;
	name_object(l, o, f->park ? l->addr : f->word);
	return true;
}

/* --- by file ------------------------------------------------------------------------- */

static const struct futex_key *key_of(const struct build *b, const struct lock *l,
                                      const struct futex *f)
{
	return l->shared && f ? model_futex_key(b->m, f->space, f->word) : NULL;
}

/* glibc makes each semaphore under a name of chance, and renames it: the mapping keeps that.
 * multiprocessing names its own by chance, and one that is gone is known without its directory. */
static bool is_named_by_chance(const struct futex_key *key)
{
	static const char *const begins[] = {"sem.mp-", "sem."};
	static const size_t letters[] = {8, 6};
	const char *s = key ? key->file : "";

	s += strncmp(s, "/dev/shm/", 9) ? 0 : 9;
	for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
		size_t n = strlen(begins[i]), k = n;

		if (strncmp(s, begins[i], n) != 0)
			continue;
		while (isalnum((unsigned char)s[k]) || s[k] == '_')
			k++;
		return k - n == letters[i] && (!s[k] || !strcmp(s + k, " (deleted)"));
	}
	return false;
}

static bool by_file(struct build *b, struct lock *l, const struct futex *f)
{
	const struct futex_key *key = key_of(b, l, f);
	const char *end;
	int n;

	if (!key || !key->file[0] ||
	    !strncmp(key->file, "/dev/zero", 9)) /* shared memory without a name */
		return false;
	/* What it was called; multiprocessing removes the name of each of its semaphores at once.
	 */
	end = strstr(key->file, " (deleted)");
	n = end && !end[strlen(" (deleted)")] ? (int)(end - key->file) : (int)strlen(key->file);
	if (l->offset)
		snprintf(l->name, sizeof(l->name), "%.*s+0x%" PRIx64, n, key->file, l->offset);
	else
		snprintf(l->name, sizeof(l->name), "%.*s", n, key->file);
	l->name_from = "file";
	return true;
}

/* --- by place ------------------------------------------------------------------------ */

/* Code that everybody's locks are waited for in. */
static bool is_lock_code(const struct frame *f)
{
	static const char *const functions[] = {
	        /* Java, PostgreSQL, Node */
	        "os::Platform",
	        "PosixSemaphore::",
	        "PGSemaphore",
	        "uv_mutex_",
	        "uv_cond_",
	        "uv_sem_",
	        "Monitor::",
	        "Mutex::",
	        "uv_rwlock_",
	        "Parker::",
	        /* Go */
	        "runtime.futex",
	        "runtime.note",
	        "runtime.mPark",
	        "runtime.semasleep",
	        "runtime.lock",
	        /* Rust */
	        "std::sys::",
	        "parking_lot",
	        "lock_api::",
	};

	const char *name = f->name ? f->name + strspn(f->name, "<&") : "";

	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		if (!strncmp(name, functions[i], strlen(functions[i])))
			return true;
	return false;
}

/* dir: "/asyncio/", a directory of CPython's library. */
static bool in_library(const char *path, const char *dir)
{
	const char *at = strstr(path, dir),
	           *up = at ? memrchr(path, '/', (size_t)(at - path)) : NULL;

	return up && !strncmp(up, "/python3", strlen("/python3"));
}

/* Files that only wait for others: which of them it was says nothing of the lock. */
static bool is_python_wait(const struct frame *f)
{
	return strstr(f->module, "/threading.py") || strstr(f->module, "/queue.py") ||
	       strstr(f->module, "/multiprocessing/synchronize.py") ||
	       in_library(f->module, "/concurrent/") || in_library(f->module, "/asyncio/");
}

static bool is_machinery(const struct frame *f)
{
	if (is_lock_code(f))
		return true;
	if (f->kind == FRAME_PYTHON)
		return is_python_wait(f) || strstr(f->module, "/multiprocessing/");
	/* CPython's own extension modules are parts of the interpreter. */
	return model_is_plumbing(f->module) || strstr(f->module, "/lib-dynload/") ||
	       model_is_std(f);
}

/* "from multiprocessing.spawn import spawn_main; …": what its processes are begun with. */
static bool is_command(const struct frame *frames, size_t i)
{
	if (frames[i].kind != FRAME_PYTHON || strcmp(frames[i].module, "<string>") != 0)
		return false;
	while (i-- > 0)
		if (frames[i].kind == FRAME_PYTHON)
			return strstr(frames[i].module, "/multiprocessing/");
	return false;
}

/* waits: also one whose file only waits for others. */
static const struct frame *pick_python(const struct frame *frames, size_t n, bool waits)
{
	for (size_t i = 0; i < n; i++)
		if (frames[i].name && frames[i].kind == FRAME_PYTHON &&
		    (waits || !is_python_wait(&frames[i])))
			return &frames[i];
	return NULL;
}

static const struct frame *pick(const struct frame *frames, size_t n)
{
	const struct frame *python;

	for (size_t i = 0; i < n; i++)
		if (frames[i].name && !is_machinery(&frames[i]) && !is_command(frames, i))
			return &frames[i];
	python = pick_python(frames, n, false);
	if (!python)
		python = pick_python(frames, n, true);
	if (python)
		return python;
	for (size_t i = 0; i < n; i++)
		if (!frames[i].name && frames[i].kind == FRAME_NATIVE &&
		    *path_base(frames[i].module) && !is_machinery(&frames[i]))
			return &frames[i];
	/* Nothing of the program's own: then of the library that it uses, even how that waits. */
	for (unsigned any = 0; any < 2; any++)
		for (size_t i = 0; i < n; i++)
			if (frames[i].name && frames[i].kind != FRAME_KERNEL &&
			    !model_is_plumbing(frames[i].module) &&
			    (any || !is_lock_code(&frames[i])))
				return &frames[i];
	return NULL;
}

/* The first `len` bytes of s; what of them has no room is an ellipsis. */
static const char *cut(char *out, size_t n, const char *s, int len)
{
	static const char more[] = "…";
	int k = (int)(n - sizeof(more));

	if ((size_t)len < n) {
		snprintf(out, n, "%.*s", len, s);
		return out;
	}
	while (k && ((unsigned char)s[k] & 0xc0) == 0x80)
		k--;
	snprintf(out, n, "%.*s%s", k, s, more);
	return out;
}

static void name_place(struct lock *l, const struct frame *f)
{
	char function[MAX_FUNCTION], text[600];

	if (f->name)
		cut(function, sizeof(function), f->name, (int)name_without_parameters(f->name));
	if (!f->name)
		snprintf(text, sizeof(text), "waited for in %s+0x%" PRIx64, path_base(f->module),
		         f->offset);
	else if (f->src && f->line)
		snprintf(text, sizeof(text), "waited for in %s (%s:%u)", function,
		         path_label(f->src), f->line);
	else
		snprintf(text, sizeof(text), "waited for in %s (%s)", function,
		         path_label(f->module));
	cut(l->name, sizeof(l->name), text, (int)strlen(text));
	l->name_from = "site";
}

static bool by_place(struct build *b, struct lock *l)
{
	struct frame frames[DEEPEST];
	uint32_t ustack = l->sites.n ? l->sites.v[0].ustack : 0;
	const struct frame *f;

	for (size_t i = 0; !ustack && i < l->sites.n; i++)
		ustack = l->sites.v[i].ustack;
	f = pick(frames, model_frames(b->m, ustack, frames, DEEPEST));
	if (f)
		name_place(l, f);
	return f;
}

/* --- all ----------------------------------------------------------------------------- */

static const struct proc *proc_of_space(const struct build *b, const struct lock *l)
{
	const struct task *t = l->waiters.n ? model_task(b->m, l->waiters.v[0].task) : NULL;

	return t ? model_proc(b->m, t->proc) : NULL;
}

static void name_gil(struct build *b, struct lock *l)
{
	const struct proc *p = proc_of_space(b, l);
	uint32_t number = model_gil_number(b->m, l->gil);
	const struct gil *gils;
	bool main;

	model_gils(b->m, &gils);
	/* The only one of a process needs no telling apart. */
	main = !number || gils[number - 1].main || model_gils_in(b->m, l->space) < 2;
	snprintf(l->name, sizeof(l->name), "%s (pid %u)", main ? "GIL" : "GIL of a sub-interpreter",
	         p ? p->pid : 0);
	l->name_from = "object";
}

static void name_join(struct build *b, struct lock *l)
{
	const struct task *t = model_task(b->m, l->join_task);

	if (t)
		snprintf(l->name, sizeof(l->name), "join of %s", t->comm);
	else
		snprintf(l->name, sizeof(l->name), "join of a thread");
	l->name_from = "thread";
}

/* Several threads of one name: their ids tell them apart. */
static int tell_joins_apart(struct build *b)
{
	struct waits *w = b->w;
	struct hmap seen = {0};
	int err = 0;

	for (int pass = 0; !err && pass < 2; pass++) {
		for (size_t i = 0; !err && i < w->locks.n; i++) {
			struct lock *l = &w->locks.v[i];
			const struct task *t =
			        l->kind == LOCK_JOIN ? model_task(b->m, l->join_task) : NULL;
			uint64_t key = t ? hash_bytes(t->comm, strlen(t->comm), 0) : 0, *at;

			if (!t)
				continue;
			at = hmap_put(&seen, key, 0, NULL);
			if (!at)
				err = -ENOMEM;
			else if (!pass)
				++*at;
			else if (*at > 1)
				snprintf(l->name, sizeof(l->name), "join of %s (%u)", t->comm,
				         t->tid);
		}
	}
	hmap_release(&seen);
	return err;
}

static void name_lock(struct build *b, size_t i)
{
	struct lock *l = &b->w->locks.v[i];
	uint32_t word = b->lock_futex.v[i];
	const struct futex *f = word ? model_futex_at(b->m, word - 1) : NULL;

	if (l->kind == LOCK_GIL)
		name_gil(b, l);
	else if (l->kind == LOCK_JOIN)
		name_join(b, l);
	else if (lock_names_itself(l))
		return; /* files.c */
	else if (!by_object(b, l, f) &&
	         !((l->family || is_named_by_chance(key_of(b, l, f))) && by_place(b, l)) &&
	         !by_file(b, l, f) && !by_place(b, l)) {
		snprintf(l->name, sizeof(l->name), "0x%" PRIx64, l->addr);
		l->name_from = "address";
	}
}

int locks_name(struct build *b)
{
	for (size_t i = 0; i < b->w->locks.n; i++)
		name_lock(b, i);
	return tell_joins_apart(b);
}
