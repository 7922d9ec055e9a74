/* SPDX-License-Identifier: MIT */
/*
 * pyremote.c: the Python frames of a thread that blocked before the recording began, from the
 * process's memory: BPF reads only the current task's. That the thread stays
 * where it is while it is read is for the caller to check.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drain_priv.h"
#include "pyproc.h"

#define SHIMS_MAX 32u /* frames of the interpreter's own in a row */
#define INSTR_MAX (16u << 20)

/* --- code objects ---------------------------------------------------------------------------- */

static bool is_code(struct pyproc *p, uint64_t code)
{
	uint64_t name = pyproc_u64(p, pyproc_u64(p, code + p->l->object_type) + p->l->type_name);
	char text[5] = "";

	return name && pyproc_read(p, name, text, sizeof(text)) &&
	       !memcmp(text, "code", sizeof(text));
}

/* What it is about: its characters are read by pycodes_add(), which has them from there where the
 * ring had no room. */
static void describe(struct pyproc *p, uint64_t str, struct mt_pystr *s)
{
	uint32_t state = pyproc_u32(p, str + p->l->str_state) >> (p->l->kind_shift & 31),
	         kind = state & 7;
	uint64_t length = pyproc_u64(p, str + p->l->str_length);

	memset(s, 0, sizeof(*s));
	if (!str || (kind != 1 && kind != 2 && kind != 4) || length > INT32_MAX || !(state & 8))
		return; /* not compact: the characters are elsewhere */
	s->kind = (uint8_t)kind;
	s->ascii = state >> 4 & 1;
	s->length = (uint32_t)length;
}

static int note_code(struct drain *d, struct pyproc *p, uint64_t code)
{
	const struct mt_py_layout *l = p->l;
	static struct mt_pycode e; /* 2 KiB: one recorder, one thread */
	struct pycode_new new;
	int rc;

	memset(&e, 0, sizeof(e));
	e.code = code;
	e.space = p->space;
	e.first_line = pyproc_u32(p, code + l->code_first_line);
	describe(p,
	         pyproc_u64(p, code + (l->code_qualname != MT_PY_NO ? l->code_qualname
	                                                            : l->code_name)),
	         &e.name);
	describe(p, pyproc_u64(p, code + l->code_file), &e.file);
	e.table_len = pyproc_u32(p, pyproc_u64(p, code + l->code_table) + l->bytes_length);
	if (!e.table_len ||
	    !pyproc_read(p, pyproc_u64(p, code + l->code_table) + l->bytes_data, e.table,
	                 e.table_len < MT_PY_TABLE ? e.table_len : MT_PY_TABLE))
		e.table_len = 0;
	rc = pycodes_add(d->pycodes, &e, p->b, p->pid, &new);
	if (!rc && new.added) {
		const struct rec_pycode r = {.id = new.id,
		                             .name = drain_string(d, new.name),
		                             .file = drain_string(d, new.file),
		                             .first_line = e.first_line};

		drain_put(d, REC_K_PYCODE, 0, &r);
	}
	return rc;
}

/* --- frames ---------------------------------------------------------------------------------- */

static uint32_t instruction(const struct mt_py_layout *l, const struct py_frame *f)
{
	uint64_t v = py_frame_word(f, l->frame_instr);

	if (l->instr_kind == MT_PY_INSTR_PTR) {
		v -= f->code + l->code_start;
		if (l->frame_tlbc != MT_PY_NO && (uint32_t)py_frame_word(f, l->frame_tlbc))
			return MT_PY_INSTR_NONE; /* in this thread's copy of the bytecode */
		if (v == (uint64_t)-2)
			return MT_PY_INSTR_START;
		return v < INSTR_MAX ? (uint32_t)v : MT_PY_INSTR_NONE;
	}
	if ((int32_t)v < 0)
		return MT_PY_INSTR_START;
	return (uint32_t)v << (l->instr_kind == MT_PY_LASTI_UNITS);
}

static bool is_shim(const struct mt_py_layout *l, const struct py_frame *f)
{
	return l->frame_owner != MT_PY_NO && l->frame_entry == MT_PY_NO &&
	       l->frame_owner < PY_FRAME_BYTES && f->bytes[l->frame_owner] >= 3;
}

static bool from_c(const struct mt_py_layout *l, const struct py_frame *f)
{
	if (l->instr_kind != MT_PY_INSTR_PTR)
		return true;
	return l->frame_entry != MT_PY_NO && l->frame_entry < PY_FRAME_BYTES &&
	       (f->bytes[l->frame_entry] & 1);
}

static size_t walk_frames(struct drain *d, struct pyproc *p, uint64_t at, struct mt_pyframe *out,
                          size_t max, bool *whole)
{
	size_t n = 0;
	struct py_frame f;

	*whole = false;
	for (size_t i = 0; at && n < max && i < max + SHIMS_MAX; i++) {
		if (!pyproc_frame(p, at, &f))
			return n;
		at = f.prev;
		if (is_shim(p->l, &f)) {
			if (n)
				out[n - 1].entry = 1;
			continue;
		}
		if (!f.code || (!pycodes_has(d->pycodes, p->space, f.code) &&
		                (!is_code(p, f.code) || note_code(d, p, f.code))))
			return n;
		out[n++] = (struct mt_pyframe){
		        .code = f.code, .instr = instruction(p->l, &f), .entry = from_c(p->l, &f)};
	}
	*whole = !at;
	return n;
}

/* A thread that is looked for. */
struct sought {
	uint32_t tid; /* in the process's own namespace */
	uint64_t state;
};

static int is_sought(void *ctx, const struct py_thread *t)
{
	struct sought *s = ctx;

	if (t->tid != s->tid)
		return 0;
	s->state = t->state;
	return 1;
}

/* Innermost first; how many, 0 = no Python there. */
static size_t python_of(struct drain *d, const struct mt_task *e, struct mt_pyframe *out,
                        size_t max, bool *whole)
{
	struct sought s = {.tid = e->ns_tid};
	struct pyproc p;

	if (!pyproc_open(&p, d->pyspaces, e->tgid, e->space) || !pyproc_threads(&p, is_sought, &s))
		return 0;
	return walk_frames(d, &p, pyproc_innermost(&p, s.state), out, max, whole);
}

/* Of two records of one id the later one holds. */
static void write_again(struct drain *d, struct attached_stack *a)
{
	struct mt_pyframe frames[MT_MAX_PY_FRAMES];
	uint64_t py[MT_MAX_PY_FRAMES];
	bool whole = false;
	size_t n = python_of(d, &a->task, frames, MT_MAX_PY_FRAMES, &whole);

	if (!n || !remote_still_there(&a->task))
		return;
	a->stack.flags |= STACK_F_PY | (whole ? 0 : STACK_F_PY_PART);
	a->stack.frames.v = a->frames;
	a->stack.py.v = py;
	pycodes_stack(d->pycodes, a->task.space, frames, n, py, &a->stack.py.n);
	drain_put(d, REC_K_STACK, a->task.h.ts, &a->stack);
}

int drain_attached_python(struct drain *d)
{
	for (size_t i = 0; i < d->attached.n; i++) {
		if (d->pycodes && d->pyspaces)
			write_again(d, d->attached.v[i]);
		free(d->attached.v[i]);
	}
	vec_release(&d->attached);
	return d->error;
}
