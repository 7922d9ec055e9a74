/* SPDX-License-Identifier: MIT */
/*
 * python.bpf.h: the Python frames of the current task. Its space must be known as a CPython's
 * (map py_spaces, filled by user space, copied at fork).
 *
 *     u64 py = py_walk(space, ts);          the frames, in this CPU's py_scratch; their hash
 *     if (py && stack_is_new)
 *             py_note_codes(space, ts, task);   code objects not seen before are sent
 *
 * Everything is read from the target's memory with its own consistency and none of ours: each
 * pointer may be stale, each read may fail; what cannot be read ends the walk (STACK_F_PY_PART).
 */
#ifndef MT_PYTHON_BPF_H
#define MT_PYTHON_BPF_H

#include "core.bpf.h"

#define PY_WINDOW 4096 /* a power of two */

struct py_scratch {
	u32 n; /* frames */
	u32 flags; /* STACK_F_PY, STACK_F_PY_PART */
	u32 cut; /* frames kept + 1, when some turned out to be none */
	u32 epoch; /* of the space: grows when a code object's address was found reused */
	u32 noted, note; /* frames whose code objects were looked at, see py_note_some() */
	u32 changed;
	u32 reach; /* from 3.11 on: bytes below a frame that are read with it */
	u64 hash; /* of the frames so far */
	u64 interp, thread, best, rank; /* of a search for the thread's state */
	u32 key, find_key;
	u64 outer; /* frame to go on with: who called a sub-interpreter */
	u64 next, last; /* frame to go on with; the one before */
	u64 ts, fs; /* what was walked last */
	u32 space, pad;
	u64 window_at; /* address and length of the target's memory in `window` */
	u64 window_n;
	u8 window[PY_WINDOW + 256];
	struct mt_pyframe frames[128]; /* MT_MAX_PY_FRAMES used; a power of two for the verifier */
	struct mt_pycode code;
};
struct py_scratch_map {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct py_scratch);
};
extern struct py_scratch_map py_scratch SEC(".maps");

/* Spaces of CPythons, and where these have what. */
struct py_spaces_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct mt_py_space);
};
extern struct py_spaces_map py_spaces SEC(".maps");
struct py_layouts_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_PY_LAYOUTS);
	__type(key, u32);
	__type(value, struct mt_py_layout);
};
extern struct py_layouts_map py_layouts SEC(".maps");

/* How many spaces were ever put into py_spaces: while 0, nothing is looked up. */
extern volatile __u32 py_spaces_n;

/* The walk, at most `max` frames (MT_MAX_PY_FRAMES is the most). 0: no Python here (py_scratch is
 * not valid then). ts: the event's; a walk of the same event goes on where the one before ended.
 * Global functions, so that the verifier looks at them once. */
#define PY_SITE_FRAMES 4
u64 py_walk_some(u32 space, u32 max, u64 ts);
/* Sends PYCODE for each frame's code object that was not seen yet, or is no longer what it was.
 * Returns whether there was one of these: then the stack's contents mean something new. */
u32 py_note_codes(u32 space, u64 ts, u32 task);

/* Where the Python frames' part of a stack is; NULL: there is none. */
static __always_inline struct py_scratch *py_frames(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&py_scratch, &zero);
}

static __always_inline u64 py_walk(u32 space, u64 ts)
{
	return py_walk_some(space, MT_MAX_PY_FRAMES, ts);
}

/* Of the space that was walked last: stacks differ from those before an address was reused. */
static __always_inline u32 py_epoch(u32 space)
{
	struct py_scratch *sc = py_frames();

	return sc ? sc->epoch : 0;
}

/* Were addresses of code objects reused there? Then it may happen again at any time. */
static __always_inline bool py_reuses(u32 space)
{
	return py_epoch(space) != 0;
}

static __always_inline u64 py_mix(u64 native, u64 py, u64 epoch)
{
	u64 h = (native ^ py * 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL + epoch;

	h ^= h >> 32;
	return h ? h : 1;
}

static __always_inline void send_touch(struct task_state *s, u32 what, u64 bytes, u64 ustack)
{
	struct mt_touch *e = ring_reserve(mt_touch, bpf_ktime_get_ns(), MT_EV_TOUCH, s->id);

	if (!e)
		return;
	e->bytes = bytes;
	e->ustack = ustack;
	e->what = what;
	e->pad = 0;
	ring_submit(e);
}

/* A new thread has few looks in all, whoever takes them: this is one, after the last it is no longer
 * new. */
static __always_inline void look_spent(struct task_state *s)
{
	if (s->looks && s->looks <= LOOKS_THREAD && !--s->looks)
		s->born_ts = 0;
}

enum { LOOK_OTHER /* no Python here */, LOOK_NOTHING /* not yet */, LOOK_SEEN };

/* Looks at what a new task's interpreter is about: LOOK_*. In place, for who has no room on the
 * stack for one call more (6.1 rounds each up to 32 bytes). */
static __always_inline u32 look_here(struct task_state *s, u64 ts)
{
	u32 space = s->space;
	u64 stack;

	if (!bpf_map_lookup_elem(&py_spaces, &space))
		return LOOK_OTHER;
	stack = stack_take_python(s, ts);
	if (!stack)
		return LOOK_NOTHING;
	send_touch(s, TOUCH_LOOK, 0, stack);
	return LOOK_SEEN;
}
/* The same. Not static: see hash_frames(). */
u32 look_now(struct task_state *s, u64 ts);

/* A forked child's interpreter is where its parent's was. */
static __always_inline void py_fork(u32 parent, u32 child)
{
	struct mt_py_space *p, copy;

	if (!py_spaces_n)
		return;
	p = bpf_map_lookup_elem(&py_spaces, &parent);
	if (!p)
		return;
	copy = *p;
	bpf_map_update_elem(&py_spaces, &child, &copy, BPF_ANY);
}

#endif
