/* SPDX-License-Identifier: MIT */
/*
 * CPU time that goes into pickling: on-CPU samples whose stack is inside of it. The C pickler shows
 * by its module or its functions' names, and where an interpreter was built with it inside and
 * stripped, by the lines of multiprocessing that call it and do little else.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

enum way { WAY_NONE, WAY_DUMP, WAY_LOAD };

static const char *base_of(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path ? path : "";
}

static bool ends_in(const char *text, const char *end)
{
	size_t n = text ? strlen(text) : 0, m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

/* By the part of a name behind its last dot: "_Pickler.save_list". */
static enum way way_of_name(const char *name)
{
	const char *dot = strrchr(name, '.');

	name = dot ? dot + 1 : name;
	if (strstr(name, "dump") || strstr(name, "save") || strstr(name, "memoize"))
		return WAY_DUMP;
	return strstr(name, "load") ? WAY_LOAD : WAY_NONE;
}

static enum way way_of_python(const struct frame *f, bool innermost)
{
	const char *file = f->src ? f->src : "";

	if (ends_in(file, "/pickle.py"))
		return way_of_name(f->name);
	if (ends_in(file, "multiprocessing/reduction.py") && ends_in(f->name, "dumps"))
		return WAY_DUMP;
	if (innermost && ends_in(file, "multiprocessing/connection.py") && ends_in(f->name, "recv"))
		return WAY_LOAD;
	if (innermost && ends_in(file, "multiprocessing/queues.py") && ends_in(f->name, "get"))
		return WAY_LOAD;
	return WAY_NONE;
}

static enum way way_of_native(const struct frame *f, bool *module)
{
	if (!strncmp(base_of(f->module), "_pickle.", 8))
		*module = true;
	else if (!f->name || strncmp(f->name, "_pickle_", 8) != 0)
		return WAY_NONE;
	return f->name ? way_of_name(f->name) : WAY_NONE;
}

/* in_kernel: then a Python frame that would be unpickling is waiting, or reading. */
static enum way way_of_stack(const struct model *m, uint32_t ustack, bool in_kernel,
                             struct frame *frames)
{
	size_t n = model_frames(m, ustack, frames, MODEL_FRAMES_MAX);
	bool module = false, python = false;
	enum way way = WAY_NONE;

	for (size_t i = 0; i < n && !way; i++) {
		const struct frame *f = &frames[i];

		if (f->kind == FRAME_PYTHON && f->name) {
			way = way_of_python(f, !python && !in_kernel);
			python = true;
		} else if (f->kind == FRAME_NATIVE || f->kind == FRAME_INLINED) {
			way = way_of_native(f, &module);
		}
	}
	/* Of the module, but nobody says which way: most of the work is in writing. */
	return way ? way : module ? WAY_DUMP : WAY_NONE;
}

/* --- sums --------------------------------------------------------------------------------- */

struct scan {
	struct report *r;
	struct frame *frames;
	struct hmap ways; /* (user stack, in the kernel) -> way + 1 */
	struct hmap rows; /* process -> its row */
};

static int way_cached(struct scan *s, const struct stack_row *row, enum way *way)
{
	bool added = false;
	uint64_t *at = hmap_put(&s->ways, row->ustack, row->kstack != 0, &added);

	if (!at)
		return -ENOMEM;
	if (added)
		*at = way_of_stack(s->r->m, row->ustack, row->kstack != 0, s->frames);
	*way = (enum way) * at;
	return 0;
}

static struct pickle_row *row_of(struct scan *s, uint32_t proc)
{
	struct pickle_row fresh = {.proc = proc};
	bool added = false;
	uint64_t *at = hmap_put(&s->rows, proc, 0, &added);

	if (!at)
		return NULL;
	if (added) {
		*at = s->r->pickling.n;
		if (vec_push(&s->r->pickling, fresh))
			return NULL;
	}
	return &s->r->pickling.v[*at];
}

static int add(struct scan *s, const struct stack_row *row)
{
	const struct mstack *stack = model_stack(s->r->m, row->ustack);
	const struct task *t = model_task(s->r->m, row->task);
	enum way way = WAY_NONE;
	struct pickle_row *p;
	int err;

	if (!t || !stack || !(stack->flags & STACK_F_PY))
		return 0;
	err = way_cached(s, row, &way);
	p = err ? NULL : row_of(s, t->proc);
	if (!p)
		return -ENOMEM;
	p->samples = sat_add(p->samples, row->count);
	if (way == WAY_DUMP)
		p->dumps = sat_add(p->dumps, row->count);
	else if (way == WAY_LOAD)
		p->loads = sat_add(p->loads, row->count);
	return 0;
}

int analyze_pickling(struct report *r, struct err *err)
{
	const char *freq = model_meta(r->m, META_FREQ);
	struct scan s = {.r = r};
	const struct stack_row *rows;
	uint64_t hz = 0;
	int rc = 0;
	size_t n;

	(void)err;
	if (!freq || parse_u64(freq, 1, 1000000, &hz))
		return 0;
	n = model_on_cpu(r->m, &rows);
	s.frames = n ? malloc(MODEL_FRAMES_MAX * sizeof(*s.frames)) : NULL;
	if (n && !s.frames)
		return -ENOMEM;
	for (size_t i = 0; i < n && !rc; i++)
		rc = add(&s, &rows[i]);
	if (!rc && r->pickling.n)
		r->sample_ns = 1000000000 / hz;
	free(s.frames);
	hmap_release(&s.ways);
	hmap_release(&s.rows);
	return rc;
}
