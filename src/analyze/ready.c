/* SPDX-License-Identifier: MIT */
/*
 * When a new Python process began with work of its own. Every stack that was taken of it (looks
 * while it started, waits, samples) shows either the interpreter and multiprocessing getting
 * ready, or that it has begun. Between the last of the first kind and the first of the second
 * lies the moment: known as well as these are close to each other.
 *
 * Looks come with page faults, of which a starting interpreter has one all the time, and work of
 * its own perhaps none. So when a look was due and did not come for longer (in time on a CPU) than
 * any before, the process was no longer starting: that, too, bounds the moment.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

#define CLOSE_NS    50000 /* so well, or to a twentieth of its distance, a moment has to be known */
#define CLOSE_SHARE 20

enum stage { STAGE_NONE, STAGE_STARTING, STAGE_OWN };

struct sighting {
	uint64_t ts;
	uint32_t task, ustack;
	bool look;
};

struct ready {
	const struct model *m;
	VEC(struct sighting) all; /* by task, then time */
	struct frame *frames;
	struct hmap stages; /* user stack -> enum stage */
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

static enum stage stage_of(struct ready *r, uint32_t ustack, int *err)
{
	bool added = false;
	uint64_t *at = hmap_put(&r->stages, ustack, 0, &added);
	size_t n;

	if (!at) {
		*err = -ENOMEM;
		return STAGE_NONE;
	}
	if (added) {
		n = python_frames(r, ustack);
		*at = n ? stage_of_frames(r->frames, n) : STAGE_NONE;
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

static int add(struct ready *r, uint64_t ts, uint32_t task, uint32_t ustack, bool look)
{
	struct sighting s = {.ts = ts, .task = task, .ustack = ustack, .look = look};

	return ustack && vec_push(&r->all, s) ? -ENOMEM : 0;
}

/* Waits, samples and looks; samples of a recording are few. */
static int gather(struct ready *r)
{
	const struct cpu_sample *v;
	size_t n = model_samples(r->m, &v);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = add(r, v[i].ts, v[i].task, v[i].ustack, false);
	n = model_looks(r->m, &v);
	for (size_t i = 0; i < n && !err; i++)
		err = add(r, v[i].ts, v[i].task, v[i].ustack, true);
	return err;
}

static int gather_waits(struct ready *r, const struct task *t)
{
	enum { FIRST_WAITS = 256 };
	int err = 0;

	for (size_t i = 0; i < t->slices.n && i < FIRST_WAITS && !err; i++)
		err = add(r, t->slices.v[i].out_ns, t->id, t->slices.v[i].ustack, false);
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

/* The moment when the task, from `from` on, has been on a CPU for cpu_ns. */
static uint64_t after_cpu(const struct task *t, uint64_t from, uint64_t cpu_ns)
{
	for (size_t i = 0; i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];

		if (s->in_ns <= from)
			continue;
		if (s->out_ns > from) {
			if (s->out_ns - from >= cpu_ns)
				break;
			cpu_ns -= s->out_ns - from;
		}
		from = s->in_ns;
	}
	return add_capped(from, cpu_ns);
}

static uint64_t cpu_between(const struct task *t, uint64_t from, uint64_t to)
{
	uint64_t sum = to - from;

	for (size_t i = 0; i < t->slices.n && t->slices.v[i].out_ns < to; i++) {
		const struct slice *s = &t->slices.v[i];
		uint64_t a = s->out_ns > from ? s->out_ns : from, b = s->in_ns < to ? s->in_ns : to;

		sum -= b > a ? b - a : 0;
	}
	return sum;
}

/* When the next look after one at ts is due. */
static uint64_t due_after(const struct task *t, uint64_t ts)
{
	uint64_t born = t->exec_ns ? t->exec_ns : t->start_ns, age = ts > born ? ts - born : 0;

	return ts + (age >> MT_LOOK_SHIFT > MT_LOOK_NS ? age >> MT_LOOK_SHIFT : MT_LOOK_NS);
}

struct bounds {
	const struct sighting *look; /* the last one that saw it starting */
	uint64_t before, late_ns;    /* the longest that one was overdue */
};

static void saw_starting(struct bounds *b, const struct task *t, const struct sighting *x)
{
	if (x->look && b->look) {
		uint64_t due = due_after(t, b->look->ts);
		uint64_t late = x->ts > due ? cpu_between(t, due, x->ts) : 0;

		b->late_ns = late > b->late_ns ? late : b->late_ns;
	}
	if (x->look)
		b->look = x;
	b->before = x->ts;
}

/* It was at work at `after`: perhaps it can be said from when on. */
static uint64_t latest_start(const struct bounds *b, const struct task *t, uint64_t after)
{
	uint64_t overdue;

	if (!b->look || b->look->ts != b->before)
		return after;
	overdue = after_cpu(t, due_after(t, b->look->ts), b->late_ns + MT_LOOK_NS);
	return overdue < after ? overdue : after;
}

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

static int find(struct ready *r, struct spawn_row *s, const struct task *t)
{
	const struct sighting *x = first_of(r, t->id), *end = r->all.v + r->all.n;
	struct bounds b = {.before = t->exec_ns ? t->exec_ns : t->first_in_ns};
	int err = 0;

	for (; x < end && x->task == t->id && !err; x++) {
		enum stage stage = x->ts < b.before ? STAGE_NONE : stage_of(r, x->ustack, &err);

		s->python |= stage != STAGE_NONE;
		if (stage == STAGE_STARTING)
			saw_starting(&b, t, x);
		if (stage == STAGE_OWN) {
			set_moment(s, b.before, latest_start(&b, t, x->ts));
			break;
		}
	}
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
	for (size_t i = 0; i < report->spawns.n && !err && r.all.n; i++) {
		struct spawn_row *s = &report->spawns.v[i];
		const struct task *t = model_task(r.m, s->task);

		if (t->proc == t->id)
			err = find(&r, s, t);
	}
	vec_release(&r.all);
	hmap_release(&r.stages);
	free(r.frames);
	return err;
}
