/* SPDX-License-Identifier: MIT */
/*
 * pyremote.c: the Python frames of a thread that blocked before the recording began, from the
 * process's memory: BPF reads only the current task's. The walk is that of python.bpf.c. That the
 * thread stays where it is while it is read is for the caller to check.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drain_priv.h"
#include "python.h"

#define INTERPRETERS_MAX 64u
#define THREADS_MAX      4096u
#define SHIMS_MAX        32u   /* frames of the interpreter's own in a row */
#define FRAME_BYTES      112u  /* see mt_py_layout */
#define PTHREAD_TID      0x2d0 /* glibc, x86-64: struct pthread.tid */
#define INSTR_MAX        (16u << 20)

struct walk {
	struct drain *d;
	uint32_t pid, space;
	const struct py_build *b;
	const struct mt_py_layout *l;
};

static uint64_t word(const struct walk *w, uint64_t addr)
{
	uint64_t v = 0;

	return addr && process_read(w->pid, addr, &v, sizeof(v)) ? v : 0;
}

static uint32_t half(const struct walk *w, uint64_t addr)
{
	uint32_t v = 0;

	return addr && process_read(w->pid, addr, &v, sizeof(v)) ? v : 0;
}

/* --- which thread ------------------------------------------------------------------------- */

static uint32_t tid_of(const struct walk *w, uint64_t tstate)
{
	if (w->b->off.tstate_native_id != PY_NONE)
		return (uint32_t)word(w, tstate + w->b->off.tstate_native_id);
	return half(w, word(w, tstate + w->l->tstate_thread_id) + PTHREAD_TID);
}

/* tid: in the process's own namespace. 0 = none of Python's. */
static uint64_t state_of(const struct walk *w, uint64_t runtime, uint32_t tid)
{
	uint64_t interp = word(w, runtime + w->l->interp_head);
	unsigned threads = 0;

	for (unsigned i = 0; interp && i < INTERPRETERS_MAX; i++) {
		uint64_t t = word(w, interp + w->l->interp_threads);

		for (; t && threads < THREADS_MAX; threads++) {
			if (tid_of(w, t) == tid)
				return t;
			t = word(w, t + w->l->tstate_next);
		}
		interp = word(w, interp + w->l->interp_next);
	}
	return 0;
}

/* --- code objects ---------------------------------------------------------------------------- */

static bool is_code(const struct walk *w, uint64_t code)
{
	uint64_t name = word(w, word(w, code + w->l->object_type) + w->l->type_name);
	char text[5] = "";

	return name && process_read(w->pid, name, text, sizeof(text)) &&
	       !memcmp(text, "code", sizeof(text));
}

/* What it is about: its characters are read by pycodes_add(), which has them from there where the
 * ring had no room. */
static void describe(const struct walk *w, uint64_t str, struct mt_pystr *s)
{
	uint32_t state = half(w, str + w->l->str_state) >> (w->l->kind_shift & 31),
	         kind = state & 7;
	uint64_t length = word(w, str + w->l->str_length);

	memset(s, 0, sizeof(*s));
	if (!str || (kind != 1 && kind != 2 && kind != 4) || length > INT32_MAX || !(state & 8))
		return; /* not compact: the characters are elsewhere */
	s->kind = (uint8_t)kind;
	s->ascii = state >> 4 & 1;
	s->length = (uint32_t)length;
}

static int note_code(const struct walk *w, uint64_t code)
{
	const struct mt_py_layout *l = w->l;
	static struct mt_pycode e; /* 2 KiB: one recorder, one thread */
	struct pycode_new new;
	int rc;

	memset(&e, 0, sizeof(e));
	e.code = code;
	e.space = w->space;
	e.first_line = half(w, code + l->code_first_line);
	describe(w,
	         word(w, code + (l->code_qualname != MT_PY_NO ? l->code_qualname : l->code_name)),
	         &e.name);
	describe(w, word(w, code + l->code_file), &e.file);
	e.table_len = half(w, word(w, code + l->code_table) + l->bytes_length);
	if (!e.table_len ||
	    !process_read(w->pid, word(w, code + l->code_table) + l->bytes_data, e.table,
	                  e.table_len < MT_PY_TABLE ? e.table_len : MT_PY_TABLE))
		e.table_len = 0;
	rc = pycodes_add(w->d->pycodes, &e, w->b, w->pid, &new);
	if (!rc && new.added) {
		const struct rec_pycode r = {.id = new.id,
		                             .name = drain_string(w->d, new.name),
		                             .file = drain_string(w->d, new.file),
		                             .first_line = e.first_line};

		drain_put(w->d, REC_K_PYCODE, 0, &r);
	}
	return rc;
}

/* --- frames ------------------------------------------------------------------------------------
 */

static uint64_t field(const uint8_t *frame, unsigned at)
{
	uint64_t v = 0;

	if (at + sizeof(v) <= FRAME_BYTES)
		memcpy(&v, frame + at, sizeof(v));
	return v;
}

static uint32_t instruction(const struct walk *w, const uint8_t *frame, uint64_t code)
{
	uint64_t v = field(frame, w->l->frame_instr);

	if (w->l->instr_kind == MT_PY_INSTR_PTR) {
		v -= code + w->l->code_start;
		if (w->l->frame_tlbc != MT_PY_NO && (uint32_t)field(frame, w->l->frame_tlbc))
			return MT_PY_INSTR_NONE; /* in this thread's copy of the bytecode */
		if (v == (uint64_t)-2)
			return MT_PY_INSTR_START;
		return v < INSTR_MAX ? (uint32_t)v : MT_PY_INSTR_NONE;
	}
	if ((int32_t)v < 0)
		return MT_PY_INSTR_START;
	return (uint32_t)v << (w->l->instr_kind == MT_PY_LASTI_UNITS);
}

static bool is_shim(const struct mt_py_layout *l, const uint8_t *frame)
{
	return l->frame_owner != MT_PY_NO && l->frame_entry == MT_PY_NO &&
	       l->frame_owner < FRAME_BYTES && frame[l->frame_owner] >= 3;
}

static bool from_c(const struct mt_py_layout *l, const uint8_t *frame)
{
	if (l->instr_kind != MT_PY_INSTR_PTR)
		return true;
	return l->frame_entry != MT_PY_NO && l->frame_entry < FRAME_BYTES &&
	       (frame[l->frame_entry] & 1);
}

static size_t walk_frames(const struct walk *w, uint64_t at, struct mt_pyframe *out, size_t max,
                          bool *whole)
{
	size_t n = 0;

	*whole = false;
	for (size_t i = 0; at && n < max && i < max + SHIMS_MAX; i++) {
		uint8_t frame[FRAME_BYTES] = {0};
		uint32_t size = w->l->frame_size < FRAME_BYTES ? w->l->frame_size : FRAME_BYTES;
		uint64_t code;

		if (!process_read(w->pid, at, frame, size))
			return n;
		code = field(frame, w->l->frame_code) & ~(uint64_t)w->l->code_mask;
		at = field(frame, w->l->frame_prev);
		if (is_shim(w->l, frame)) {
			if (n)
				out[n - 1].entry = 1;
			continue;
		}
		if (!code || (!pycodes_has(w->d->pycodes, w->space, code) &&
		              (!is_code(w, code) || note_code(w, code))))
			return n;
		out[n++] = (struct mt_pyframe){.code = code,
		                               .instr = instruction(w, frame, code),
		                               .entry = from_c(w->l, frame)};
	}
	*whole = !at;
	return n;
}

/* Innermost first; how many, 0 = no Python there. */
static size_t python_of(struct drain *d, const struct mt_task *e, struct mt_pyframe *out,
                        size_t max, bool *whole)
{
	struct walk w = {.d = d, .pid = e->tgid, .space = e->space};
	uint64_t runtime, tstate, frame;

	w.b = pyspaces_at(d->pyspaces, e->space, &runtime);
	if (!w.b)
		return 0;
	w.l = &w.b->off.frames;
	tstate = state_of(&w, runtime, e->ns_tid);
	frame = tstate ? word(&w, tstate + w.l->tstate_frame) : 0;
	if (w.l->cframe_frame != MT_PY_NO && frame)
		frame = word(&w, frame + w.l->cframe_frame);
	return walk_frames(&w, frame, out, max, whole);
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
