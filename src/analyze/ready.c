/* SPDX-License-Identifier: MIT */
/*
 * When a new Python process, or thread, began with work of its own. Every stack that was taken of
 * it (looks while it started, waits, samples) shows either the interpreter and its library getting
 * ready, or that it has begun. Between the last of the first kind and the first of the second
 * lies the moment: known as well as these are close to each other. Looks come with page faults, of
 * which a starting interpreter has one all the time, by a timer where none came or a new thread has
 * woken somebody, and where it loses its CPU (bpf/memory.bpf.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"
#include "waits.h"

#define CLOSE_NS    100000 /* so well, or to a part of its distance, a moment has to be known */
#define CLOSE_SHARE 2
#define FIRST_WAITS 256 /* of a task that are looked at */

enum stage { STAGE_NONE, STAGE_STARTING, STAGE_OWN };

struct sighting {
	uint64_t ts;
	uint32_t task, ustack;
};

struct ready {
	const struct model *m;
	VEC(struct sighting) all; /* by task, then time */
	struct frame *frames;
	struct hmap stages; /* user stack, of a thread? -> enum stage */
};

/* --- one stack ------------------------------------------------------------------------------ */

static bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

static bool is_package(const char *file)
{
	return strstr(file, "/site-packages/") || strstr(file, "/dist-packages/");
}

/* Of the interpreter's own library, or made by it. */
static bool is_library(const char *file)
{
	const char *lib = strstr(file, "/lib/python");

	return file[0] == '<' || (lib && strchr("23", lib[11]) && !is_package(file));
}

/* Code of these runs modules for the sake of having them. */
static bool is_import(const struct frame *f)
{
	return !strncmp(f->src, "<frozen importlib", 17) ||
	       (ends_in(f->src, "/multiprocessing/spawn.py") &&
	        (strstr(f->name, "prepare") || strstr(f->name, "fixup")));
}

/* What a worker of a pool runs, waiting for tasks or at them. */
static bool is_worker(const struct frame *f)
{
	return (ends_in(f->src, "/multiprocessing/pool.py") && !strcmp(f->name, "worker")) ||
	       (ends_in(f->src, "/concurrent/futures/process.py") &&
	        !strcmp(f->name, "_process_worker"));
}

static bool is_bootstrap(const struct frame *f)
{
	return ends_in(f->src, "/multiprocessing/process.py") && ends_in(f->name, "_bootstrap");
}

static bool is_multiprocessing(const struct frame *f)
{
	return strstr(f->src, "/multiprocessing/popen_") ||
	       ends_in(f->src, "/multiprocessing/spawn.py") ||
	       ends_in(f->src, "/multiprocessing/forkserver.py") ||
	       ends_in(f->src, "/multiprocessing/resource_tracker.py");
}

/* The Python frames only, innermost first. */
static size_t python_frames(const struct ready *r, uint32_t ustack)
{
	size_t n = model_frames(r->m, ustack, r->frames, MODEL_FRAMES_MAX), k = 0;

	for (size_t i = 0; i < n; i++)
		if (r->frames[i].kind == FRAME_PYTHON && r->frames[i].name && r->frames[i].src)
			r->frames[k++] = r->frames[i];
	return k;
}

/*
 * Frames of a forked child begin with its parent's: what counts is what multiprocessing's own
 * first function called.
 */
static enum stage stage_of_frames(const struct frame *f, size_t n)
{
	size_t first = 0;

	while (first < n && !is_bootstrap(&f[first]))
		first++;
	for (size_t i = 0; first == n && i < n; i++)
		if (is_multiprocessing(&f[i]))
			return STAGE_STARTING;
	for (size_t i = first; i-- > 0;) {
		if (is_import(&f[i]))
			return STAGE_STARTING;
		if (!is_library(f[i].src) || is_worker(&f[i]))
			return STAGE_OWN;
	}
	return STAGE_STARTING;
}

static bool is_threading(const struct frame *f)
{
	return ends_in(f->src, "/threading.py");
}

/* A thread's first functions are threading's: all that run() calls is its own, or run() itself,
 * when it is another one than theirs. A thread made without them is at work at once. */
static enum stage stage_of_thread(const struct frame *f, size_t n)
{
	if (!is_threading(&f[n - 1]) || !ends_in(f[n - 1].name, "_bootstrap"))
		return STAGE_OWN;
	if (n < 3 || !ends_in(f[n - 2].name, "_bootstrap_inner"))
		return STAGE_STARTING;
	if (!is_threading(&f[n - 3]))
		return STAGE_OWN;
	return ends_in(f[n - 3].name, "run") && n > 3 ? STAGE_OWN : STAGE_STARTING;
}

/* What a thread waits for before it has any frames is the GIL. */
static bool has_native(const struct ready *r, uint32_t ustack)
{
	const struct mstack *s = model_stack(r->m, ustack);

	return s && s->n && !s->n_py;
}

static enum stage stage_of(struct ready *r, uint32_t ustack, bool thread, int *err)
{
	bool added = false;
	uint64_t *at = hmap_put(&r->stages, ustack, thread, &added);
	size_t n;

	if (!at) {
		*err = -ENOMEM;
		return STAGE_NONE;
	}
	if (added) {
		n = python_frames(r, ustack);
		if (n)
			*at = thread ? stage_of_thread(r->frames, n)
			             : stage_of_frames(r->frames, n);
		else
			*at = thread && has_native(r, ustack) ? STAGE_STARTING : STAGE_NONE;
	}
	return (enum stage) * at;
}

/* --- all of them ---------------------------------------------------------------------------- */

static int by_task_and_time(const void *a, const void *b)
{
	const struct sighting *x = a, *y = b;

	if (x->task != y->task)
		return x->task < y->task ? -1 : 1;
	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

static int add(struct ready *r, uint64_t ts, uint32_t task, uint32_t ustack)
{
	struct sighting s = {.ts = ts, .task = task, .ustack = ustack};

	return ustack && vec_push(&r->all, s) ? -ENOMEM : 0;
}

/* Waits, samples and looks; samples of a recording are few. */
static int gather(struct ready *r)
{
	const struct cpu_sample *v;
	size_t n = model_samples(r->m, &v);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = add(r, v[i].ts, v[i].task, v[i].ustack);
	n = model_looks(r->m, &v);
	for (size_t i = 0; i < n && !err; i++)
		err = add(r, v[i].ts, v[i].task, v[i].ustack);
	return err;
}

static int gather_waits(struct ready *r, const struct task *t)
{
	int err = 0;

	for (size_t i = 0; i < t->slices.n && i < FIRST_WAITS && !err; i++)
		err = add(r, t->slices.v[i].out_ns, t->id, t->slices.v[i].ustack);
	return err;
}

static const struct sighting *first_of(const struct ready *r, uint32_t task)
{
	size_t lo = 0, hi = r->all.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->all.v[mid].task < task)
			lo = mid + 1;
		else
			hi = mid;
	}
	return r->all.v + lo;
}

/* --- bounds --------------------------------------------------------------------------------- */

static void set_moment(struct spawn_row *s, uint64_t before, uint64_t after)
{
	uint64_t half = (after - before) / 2, at = before + half;

	if (!before || after < before || at < s->start_ns)
		return;
	if (half > CLOSE_NS && half > (at - s->start_ns) / CLOSE_SHARE)
		return;
	s->ready_ns = at - s->start_ns;
	s->ready_off_ns = half;
}

/* How it waited, the GIL and faults apart: STAGE_NONE = it did not, STAGE_OWN = in code that is not
 * Python's, STAGE_STARTING = nobody knows where. */
static enum stage stage_of_waits(const struct ready *r, const struct task *t)
{
	enum stage found = STAGE_NONE;

	for (size_t i = 0; i < t->slices.n && i < FIRST_WAITS; i++) {
		const struct slice *x = &t->slices.v[i];
		const struct futex *f = x->futex ? model_futex_at(r->m, x->futex - 1) : NULL;

		if (x->queued_ns <= x->out_ns || x->cause == BLOCK_FAULT ||
		    (f && gil_of_futex(r->m, f->space, f->addr)))
			continue;
		if (has_native(r, x->ustack))
			return STAGE_OWN;
		found = STAGE_STARTING;
	}
	return found;
}

/* A thread without any Python function. Who waited for nothing but the GIL came and went unseen; a
 * library's own, which numpy has as many of as there are CPUs, begins as other programs do. */
static void find_unseen(const struct ready *r, struct spawn_row *s, const struct task *t,
                        uint64_t before)
{
	enum stage waits = stage_of_waits(r, t);

	if (waits == STAGE_OWN)
		s->python = false;
	else if (waits == STAGE_NONE && t->exit_ns)
		set_moment(s, before, t->exit_ns);
}

static bool has_python(const struct ready *r, uint32_t ustack)
{
	const struct mstack *k = model_stack(r->m, ustack);

	return k && k->n_py;
}

static int find(struct ready *r, struct spawn_row *s, const struct task *t)
{
	const struct sighting *x = r->all.n ? first_of(r, t->id) : NULL;
	const struct sighting *end = r->all.n ? r->all.v + r->all.n : NULL;
	bool thread = t->proc != t->id, seen = false;
	uint64_t before = thread || !t->exec_ns ? t->first_in_ns : t->exec_ns;
	int err = 0;

	for (; x < end && x->task == t->id && !err; x++) {
		enum stage stage = STAGE_NONE;

		if (x->ts >= before)
			stage = stage_of(r, x->ustack, thread, &err);
		s->python |= stage != STAGE_NONE;
		seen |= has_python(r, x->ustack);
		if (stage == STAGE_STARTING)
			before = x->ts;
		if (stage == STAGE_OWN) {
			set_moment(s, before, x->ts);
			return err;
		}
	}
	if (thread && s->python && !seen)
		find_unseen(r, s, t, before);
	return err;
}

int spawn_find_ready(struct report *report)
{
	struct ready r = {.m = report->m, .frames = malloc(MODEL_FRAMES_MAX * sizeof(*r.frames))};
	int err = r.frames ? gather(&r) : -ENOMEM;

	for (size_t i = 0; i < report->spawns.n && !err; i++)
		err = gather_waits(&r, model_task(r.m, report->spawns.v[i].task));
	if (!err && r.all.n)
		qsort(r.all.v, r.all.n, sizeof(*r.all.v), by_task_and_time);
	for (size_t i = 0; i < report->spawns.n && !err; i++) {
		struct spawn_row *s = &report->spawns.v[i];
		const struct task *t = model_task(r.m, s->task);

		s->python |= model_gils_in(r.m, t->space) > 0;
		if (t->proc == t->id || s->python)
			err = find(&r, s, t);
	}
	vec_release(&r.all);
	hmap_release(&r.stages);
	free(r.frames);
	return err;
}
