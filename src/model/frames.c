/* SPDX-License-Identifier: MIT */
/*
 * frames.c: a stack as its reader wants it: native and Python functions in one row.
 *
 * The interpreter runs Python functions in its evaluation loop, a C function: one turn of
 * the loop runs as many Python functions as call each other without C in between. So the
 * Python frames fall into runs, each ending (outwards) with a frame that was entered from C,
 * and each run stands for one native frame of the loop.
 *
 * Which native frames are the loop is known by their names. Where that gives another number
 * of loops than there are runs:
 *  - fewer loops, and some functions of the interpreter have no name (a stripped build: its
 *    cold parts have no symbol): the innermost of these are taken for the loop;
 *  - still fewer (the native stack ended early): the outer runs come behind everything;
 *  - more loops, Python frames complete: the innermost loop had not begun its function yet
 *    (or had left it), the outer ones are matched;
 *  - more loops, Python frames cut: the inner ones are matched.
 *
 * A greenlet (gevent, eventlet) is begun on the C stack of another one, whose Python functions are
 * not its own: loops beyond its begin count as none.
 */
#include <errno.h>
#include <string.h>

#include "model_priv.h"

int on_pycode(struct model *m, uint64_t ts, const struct rec_pycode *r)
{
	struct lpycode c = {
	        .name = id32(r->name),
	        .file = id32(r->file),
	        .first_line = (uint32_t)r->first_line,
	};

	(void)ts;
	if (!id32(r->id))
		return 0;
	if (idmap_put(&m->pycode_ids, r->id, (uint32_t)m->pycodes.n))
		return -ENOMEM;
	return vec_push(&m->pycodes, c);
}

void pycodes_finish(struct model *m)
{
	for (size_t i = 0; i < m->pycodes.n; i++) {
		m->pycodes.v[i].name = model_string(m, m->pycodes.v[i].name);
		m->pycodes.v[i].file = model_string(m, m->pycodes.v[i].file);
	}
}

void pycodes_release(struct model *m)
{
	vec_release(&m->pycodes);
	idmap_release(&m->pycode_ids);
}

static struct frame python_frame(const struct model *m, uint64_t v)
{
	uint32_t id = PY_FRAME_CODE(v);
	uint32_t i = id ? idmap_get(&m->pycode_ids, id) : NO_INDEX;
	struct frame f = {.kind = FRAME_PYTHON, .line = PY_FRAME_LINE(v), .module = ""};

	if (i == NO_INDEX) {
		f.module = "[python]";
		return f;
	}
	f.name = m->pycodes.v[i].name ? strtab_get(m->strings, m->pycodes.v[i].name) : NULL;
	if (m->pycodes.v[i].file)
		f.module = f.src = strtab_get(m->strings, m->pycodes.v[i].file);
	return f;
}

/* --- which native frames are the loop ----------------------------------------------------- */

/* Is it the evaluation loop, or a part that the compiler split off (".cold", ".part.0")? */
static bool is_loop_name(const char *name)
{
	static const char *const names[] = {"_PyEval_EvalFrameDefault", "PyEval_EvalFrameEx"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t n = strlen(names[i]);

		if (!strncmp(name, names[i], n) && (!name[n] || name[n] == '.'))
			return true;
	}
	return !strncmp(name, "_TAIL_CALL_", 11); /* 3.14: the loop's instructions are functions */
}

/* A file that holds an interpreter: its functions without a name may be the loop. */
static bool is_python_module(const char *module)
{
	const char *base = path_base(module);

	return !strncmp(base, "libpython", 9) || !strncmp(base, "python", 6);
}

static bool begins_as(const char *module, const char *const *begins, size_t n)
{
	const char *base = path_base(module);

	for (size_t i = 0; i < n; i++)
		if (!strncmp(base, begins[i], strlen(begins[i])))
			return true;
	return false;
}

bool model_is_libc(const char *module)
{
	static const char *const begins[] = {"libc.so", "libc-",  "libpthread", "libm.so",
	                                     "ld-",     "[vdso]", "[kernel]"};

	return begins_as(module, begins, ARRAY_LEN(begins));
}

bool model_is_plumbing(const char *module)
{
	static const char *const begins[] = {"libpython", "python3", "libstdc++"};

	return model_is_libc(module) || begins_as(module, begins, ARRAY_LEN(begins));
}

static bool has(const char *s, const char *part)
{
	return s && strstr(s, part);
}

bool model_is_std(const struct frame *f)
{
	static const char *const begins[] = {
	        "std::", "core::", "alloc::", "__gnu_cxx::", "__gthread_"};
	const char *name = f->name ? f->name : "";

	if (f->kind != FRAME_NATIVE && f->kind != FRAME_INLINED)
		return false;
	if (has(f->src, "/rustc/") || has(f->src, "/rustlib/src/") || has(f->src, "/include/c++/"))
		return true;
	/* A trait's function that the program wrote for a type of the library's. */
	if (has(f->src, ".rs") && *f->src == '/')
		return false;
	name += strspn(name, "<&"); /* Rust's "<std::…::Mutex>::lock" */
	for (size_t i = 0; i < ARRAY_LEN(begins); i++)
		if (!strncmp(name, begins[i], strlen(begins[i])))
			return true;
	return false;
}

enum part { PART_OTHER, PART_LOOP, PART_MAYBE };

static enum part part_of(const struct frame *f)
{
	if (f->kind != FRAME_NATIVE)
		return PART_OTHER;
	if (f->name)
		return is_loop_name(f->name) ? PART_LOOP : PART_OTHER;
	return is_python_module(f->module) ? PART_MAYBE : PART_OTHER;
}

/* --- merging ------------------------------------------------------------------------------ */

struct merge {
	const struct model *m;
	const struct mstack *s;
	struct frame *out;
	size_t n, max;
	uint32_t next_py; /* first Python frame that has not been put out */
	uint32_t end;     /* first native frame beyond the stack's own greenlet */
};

static void emit(struct merge *g, const struct frame *f)
{
	if (g->n < g->max)
		g->out[g->n++] = *f;
}

/* One run: up to the frame that was entered from C. */
static void emit_run(struct merge *g)
{
	while (g->next_py < g->s->n_py) {
		uint64_t v = g->s->py[g->next_py++];
		struct frame f = python_frame(g->m, v);

		emit(g, &f);
		if (PY_FRAME_ENTRY(v))
			return;
	}
}

static size_t count_runs(const struct mstack *s)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->n_py; i++)
		n += PY_FRAME_ENTRY(s->py[i]) || i + 1 == s->n_py;
	return n;
}

/* A run of C for each native address; inlined functions come with it. */
#define PLACE_MAX 64

static bool is_greenlet(const struct frame *f)
{
	static const char name[] = "_greenlet.";

	return !strncmp(path_base(f->module), name, sizeof(name) - 1);
}

/* Also finds g->end: greenlet's own functions are innermost while it switches, else they began it.
 */
static void count_loops(struct merge *g, size_t *loops, size_t *maybe)
{
	struct frame f[PLACE_MAX];

	*loops = *maybe = 0;
	for (g->end = 0; g->end < g->s->n; g->end++) {
		size_t n = model_resolve(g->m, g->s, g->end, f, PLACE_MAX);

		if (*loops && n && is_greenlet(&f[0]))
			return;
		for (size_t j = 0; j < n; j++) {
			enum part part = part_of(&f[j]);

			*loops += part == PART_LOOP;
			*maybe += part == PART_MAYBE;
		}
	}
}

static void emit_runs(struct merge *g)
{
	while (g->next_py < g->s->n_py)
		emit_run(g);
}

static void merge_python(struct merge *g)
{
	size_t runs = count_runs(g->s), loops, maybe, guess = 0, skip = 0;
	struct frame f[PLACE_MAX];

	count_loops(g, &loops, &maybe);
	if (loops < runs)
		guess = runs - loops < maybe ? runs - loops : maybe;
	else if (!(g->s->flags & STACK_F_PY_PART))
		skip = loops - runs;
	for (uint32_t i = 0; i < g->s->n; i++) {
		size_t n = model_resolve(g->m, g->s, i, f, PLACE_MAX);

		if (i == g->end)
			emit_runs(g);
		for (size_t j = 0; j < n; j++) {
			enum part part = i < g->end ? part_of(&f[j]) : PART_OTHER;

			if (part == PART_LOOP && skip) {
				skip--;
				part = PART_OTHER;
			} else if (part == PART_MAYBE) {
				part = guess ? PART_LOOP : PART_OTHER;
				guess -= part == PART_LOOP;
			}
			if (part == PART_LOOP && g->next_py < g->s->n_py)
				emit_run(g);
			else
				emit(g, &f[j]);
		}
	}
	emit_runs(g);
}

size_t model_frames(const struct model *m, uint32_t stack_id, struct frame *out, size_t max)
{
	struct merge g = {.m = m, .s = model_stack(m, stack_id), .out = out, .max = max};

	if (!g.s)
		return 0;
	if (g.s->n_py) {
		merge_python(&g);
		return g.n;
	}
	for (uint32_t i = 0; i < g.s->n && g.n < max; i++)
		g.n += model_resolve(m, g.s, i, out + g.n, max - g.n);
	return g.n;
}
