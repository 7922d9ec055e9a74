/* SPDX-License-Identifier: MIT */
/* python.bpf.c: from a thread's state to its Python frames. */
#include "pyread.bpf.h"
#include "regs.bpf.h"

#define PY_INSTR_MAX (16u << 20)

volatile __u32 py_spaces_n = 0;

__noinline u64 py_word(u64 addr)
{
	u64 v = 0;

	bpf_probe_read_user(&v, sizeof(v), (void *)addr);
	return v;
}
/*
 * A read of the target's memory costs 50 ns, however little is read; and from 3.11 on the frames
 * of a thread lie one after the other, callers below. So a window of up to 2 KiB that ends with
 * the frame is read at once, not beyond the start of its page (there need not be one before),
 * and most frames are in it already. See py_load_heap() for 3.10 and before.
 */
#define WINDOW_BYTES 2048
#define SITE_BYTES   512  /* where a few frames are all that is asked for */
#define HEAP_BYTES   3072 /* to 3.10 */
#define HEAP_BACK    24   /* there: where a frame has f_back and f_code */
#define HEAP_CODE    32
#define NO_WINDOW    (~0u)

/* Frames that are looked at in one call, and calls: for MT_MAX_PY_FRAMES of them, each of which may
 * from 3.12 on have one of the interpreter's beside it, where it was entered from C. */
#define HEAP_STEPS  8
#define STACK_STEPS 16
#define ROUNDS      13

/* Where in the window the frame is. */
static __always_inline u32 locate(struct py_scratch *sc, const struct mt_py_layout *l, u64 frame)
{
	u64 size = l->frame_size, start, at = frame - sc->window_at;

	if (at < PY_WINDOW && at + size <= sc->window_n)
		return (u32)at;
	start = frame & ~(u64)4095;
	if (frame - start > sc->reach)
		start = frame - sc->reach;
	at = frame - start;
	size += at;
	if (size > WINDOW_BYTES + 128)
		return NO_WINDOW;
	sc->window_n = 0;
	if (bpf_probe_read_user(sc->window, size, (void *)start))
		return NO_WINDOW;
	sc->window_at = start;
	sc->window_n = size;
	return (u32)at;
}

static __always_inline u64 word_of(const struct py_scratch *sc, u32 at, u32 field)
{
	return *(const u64 *)(sc->window + (at & (PY_WINDOW - 1)) + (field & 127));
}

static __always_inline u32 half_of(const struct py_scratch *sc, u32 at, u32 field)
{
	return *(const u32 *)(sc->window + (at & (PY_WINDOW - 1)) + (field & 127));
}

static __always_inline u8 byte_of(const struct py_scratch *sc, u32 at, u32 field)
{
	return sc->window[(at & (PY_WINDOW - 1)) + (field & 127)];
}

/* A free-threaded 3.14: each thread runs a copy of the bytecode that is its own. Where that is. */
__noinline u64 py_bytecode(const struct mt_py_layout *l, u64 code, u32 copy)
{
	return l ? word_at(word_at(code + l->code_tlbc) + 8 + (u64)copy * 8) : 0;
}

static __always_inline u32 instr_of(u64 v, u64 start)
{
	v -= start;
	if (v == (u64)-2)
		return MT_PY_INSTR_START;
	return v < PY_INSTR_MAX ? (u32)v : MT_PY_INSTR_NONE;
}

/* One frame, added to sc and to its hash. The next one outwards; 0 = that was all. */
__noinline u64 py_step(struct py_scratch *sc, const struct mt_py_layout *l, u64 frame)
{
	struct mt_pyframe *f;
	u64 code, next, start;
	bool shims;
	u32 n, at, copy;

	if (!sc || !l)
		return 0;
	shims = l->frame_owner != MT_PY_NO && l->frame_entry == MT_PY_NO;
	n = sc->n;
	at = locate(sc, l, frame);
	if (at == NO_WINDOW) {
		sc->flags |= STACK_F_PY_PART;
		return 0;
	}
	next = word_of(sc, at, l->frame_prev);
	if (shims && byte_of(sc, at, l->frame_owner) >= 3) {
		/* The interpreter's own frame below the first one of a C call. */
		sc->frames[(n - 1) & 127].entry = 1;
		sc->hash += n;
		return next;
	}
	code = word_of(sc, at, l->frame_code) & ~(u64)l->code_mask;
	if (!code) {
		sc->flags |= STACK_F_PY_PART;
		return 0;
	}
	f = &sc->frames[n & 127];
	f->code = code;
	start = code + l->code_start;
	if (l->frame_tlbc != MT_PY_NO) {
		copy = half_of(sc, at, l->frame_tlbc);
		if (copy)
			start = py_bytecode(l, code, copy);
	}
	f->instr = instr_of(word_of(sc, at, l->frame_instr), start);
	if (!shims)
		f->entry = byte_of(sc, at, l->frame_entry) & 1;
	else
		f->entry = 0;
	sc->hash = mix(sc->hash, code) + f->instr * 2 + f->entry;
	sc->n = n + 1;
	return next;
}

/*
 * To 3.10 each frame is an object of its own; but those of a size lie in a page that is theirs
 * alone, and calls that were made one after the other next to each other. So when a frame is in the
 * page of the one before, what is on that side of it in the page is read with it.
 */
__noinline u32 py_load_heap(struct py_scratch *sc, u64 frame, u64 size)
{
	u64 start = frame, end = frame + size, last;

	if (!sc)
		return 0;
	last = sc->last;
	if ((frame ^ last) < 4096) {
		if (frame < last)
			start = end - HEAP_BYTES > (frame & ~4095ULL) ? end - HEAP_BYTES
			                                              : frame & ~4095ULL;
		else
			end = start + HEAP_BYTES < (frame | 4095) ? start + HEAP_BYTES
			                                          : (frame | 4095) + 1;
		if (end < frame + size)
			end = frame + size;
	}
	sc->window_n = 0;
	size = end - start;
	if (size > PY_WINDOW || bpf_probe_read_user(sc->window, size, (void *)start))
		return 0;
	sc->window_at = start;
	sc->window_n = size;
	return 1;
}

/* As py_stack_steps(), for frames that are objects. */
__noinline u64 py_heap_steps(struct py_scratch *sc, const struct mt_py_layout *l, u64 frame,
                             u32 max)
{
	u64 hash, at, code, size;
	struct mt_pyframe *f;
	u32 n, lasti, units;
	const u8 *p;

	if (!sc || !l)
		return 0;
	hash = sc->hash;
	n = sc->n;
	size = l->frame_size;
	lasti = l->frame_instr & 127;
	units = l->instr_kind == MT_PY_LASTI_UNITS;
	for (u32 i = 0; i < HEAP_STEPS && frame && n < max; i++) {
		at = frame - sc->window_at;
		if (at >= PY_WINDOW || at + size > sc->window_n) {
			if (!py_load_heap(sc, frame, size)) {
				sc->flags |= STACK_F_PY_PART;
				frame = 0;
				break;
			}
			at = frame - sc->window_at;
		}
		sc->last = frame;
		p = sc->window + (at & (PY_WINDOW - 1));
		frame = *(const u64 *)(p + HEAP_BACK);
		code = *(const u64 *)(p + HEAP_CODE);
		if (!code) {
			sc->flags |= STACK_F_PY_PART;
			frame = 0;
			break;
		}
		f = &sc->frames[n++ & 127];
		f->code = code;
		f->instr = *(const u32 *)(p + lasti);
		f->instr = (s32)f->instr < 0 ? MT_PY_INSTR_START : f->instr << units;
		f->entry = 1;
		hash = mix(hash, code) + f->instr * 2 + 1;
	}
	sc->hash = hash;
	sc->n = n;
	return frame;
}

/* Up to STACK_STEPS frames from this one on, while there are less than `max`. The next one
 * outwards. */
__noinline u64 py_stack_steps(struct py_scratch *sc, const struct mt_py_layout *l, u64 frame,
                              u32 max)
{
	for (u32 i = 0; i < STACK_STEPS; i++) {
		if (!sc || !frame || sc->n >= max)
			break;
		frame = py_step(sc, l, frame);
	}
	return frame;
}

/* Frames from `frame` on, up to `max` in all, into sc. The next one outwards. */
static __always_inline u64 collect(struct py_scratch *sc, const struct mt_py_layout *l, u64 frame,
                                   u32 max)
{
	bool heap = l->instr_kind != MT_PY_INSTR_PTR;

	for (u32 i = 0; i < ROUNDS; i++) {
		if (!frame) {
			frame = sc->outer;
			sc->outer = 0;
		}
		if (!frame || sc->n >= max)
			break;
		frame = heap ? py_heap_steps(sc, l, frame, max) : py_stack_steps(sc, l, frame, max);
	}
	return frame;
}

/* To 3.11: has another interpreter come up beside the first one? */
static __always_inline bool several_interpreters(struct mt_py_space *sp,
                                                 const struct mt_py_layout *l)
{
	u64 head;

	if (l->tstate_current == MT_PY_NO)
		return false;
	head = word_at(sp->runtime + l->interp_head);
	if (head != sp->head) {
		sp->several = head && word_at(head + l->interp_next);
		sp->head = sp->several ? 0 : head;
	}
	return sp->several;
}

/* The thread's state into the window, at one go: reading costs by the read. Is it this thread's? */
static __always_inline bool load_state(struct py_scratch *sc, const struct mt_py_layout *l, u64 t,
                                       u64 fs)
{
	u32 n = l->tstate_size;

	sc->window_n = 0;
	if (n > 256 || bpf_probe_read_user(sc->window, n, (void *)t))
		return false;
	return state_word(sc, l->tstate_thread_id) == fs;
}

/* The thread's state, which is in the window then; 0 = it has none. */
static __always_inline u64 thread_state(struct mt_py_space *sp, const struct mt_py_layout *l,
                                        struct py_scratch *sc, u32 space, u64 fs)
{
	u64 t;

	if (several_interpreters(sp, l)) {
		t = word_at(sp->runtime + l->tstate_current);
		if (t && load_state(sc, l, t, fs))
			return t;
	} else if (sp->tss_key) {
		t = word_at(fs + TSS_VALUES + ((sp->tss_key - 1) & (TSS_KEYS - 1)) * TSS_STRIDE);
		if (!t)
			return 0;
		if (load_state(sc, l, t, fs))
			return t;
	}
	t = py_search_and_learn(sp, l, sc, space, fs);
	return t && load_state(sc, l, t, fs) ? t : 0;
}

/* Where the walk begins. 0: no Python here. */
static __always_inline u64 begin(struct py_scratch *sc, struct mt_py_space *sp,
                                 const struct mt_py_layout *l, u32 space, u64 fs)
{
	u64 t = thread_state(sp, l, sc, space, fs), frame, interp;

	if (!t)
		return 0;
	frame = state_word(sc, l->tstate_frame);
	interp = state_word(sc, l->tstate_interp);
	if (l->cframe_frame != MT_PY_NO && frame)
		frame = word_at(frame + l->cframe_frame);
	sc->outer = frame && interp != sp->main ? py_outer(space, fs, interp) : 0;
	sc->n = 0;
	sc->window_n = 0;
	sc->last = 0;
	sc->cut = 0;
	sc->flags = STACK_F_PY;
	sc->epoch = sp->epoch;
	sc->hash = 0xcbf29ce484222325ULL;
	return frame;
}

u64 py_walk_some(u32 space, u32 max, u64 ts)
{
	struct mt_py_space *sp = bpf_map_lookup_elem(&py_spaces, &space);
	struct task_struct *task = bpf_get_current_task_btf();
	struct py_scratch *sc;
	const struct mt_py_layout *l;
	u64 fs = thread_pointer(task), frame;

	if (!sp)
		return 0;
	l = layout_of(sp);
	sc = py_frames();
	if (!l || !sc || !fs)
		return 0;
	sc->reach = max <= PY_SITE_FRAMES ? SITE_BYTES : WINDOW_BYTES;
	if (sc->ts == ts && sc->fs == fs && sc->space == space) {
		frame = sc->next;
	} else {
		sc->ts = 0;
		frame = begin(sc, sp, l, space, fs);
		if (!frame)
			return 0;
	}
	frame = collect(sc, l, frame, max);
	sc->next = frame;
	sc->ts = ts;
	sc->fs = fs;
	sc->space = space;
	if (frame && max > PY_SITE_FRAMES)
		sc->flags |= STACK_F_PY_PART;
	return sc->hash ? sc->hash : 1;
}
