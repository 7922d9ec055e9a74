/* SPDX-License-Identifier: MIT */
/*
 * python.bpf.c: from a thread to its Python frames.
 *
 * Which PyThreadState is this thread's? CPython keeps it under a pthread key of its own
 * (autoTSSkey), where it stays while the thread has released the GIL, other than the
 * thread-local variable that newer versions use. The key is learned: the first time, all
 * interpreters' threads are walked for the one whose thread_id is this thread's pthread_self
 * (the FS base, with glibc and musl on x86-64), and then the thread's key slots are searched
 * for that pointer. glibc has the first 32 keys' values in struct pthread, at 0x310 from
 * pthread_self, 16 bytes each (sequence number, value), the same since 2.3; where that fails
 * (another libc) the walk's result is kept per thread. Either way, it is believed only when
 * its thread_id is this thread's.
 *
 * A thread that runs a sub-interpreter's code has a state in each. From 3.12 on the key's value is
 * the one that ran last, also when it has released the GIL. (The thread-local variable is empty
 * then.) So the state that is in a slot is the right one, and no other one of the thread's, to
 * learn the key by. To 3.11 it is the thread's first state, whatever runs; so with more than one
 * interpreter it is the state that has the GIL, if that is this thread's, else the one whose
 * evaluation loop is the deepest on the C stack (3.10, 3.11), else the newest interpreter's that
 * has frames (what is called last was created last, normally). The frames of the main interpreter's
 * state of the thread, which called the other one, follow those of the sub-interpreter.
 */
#include "python.bpf.h"
#include "regs.bpf.h"

#define TSS_VALUES   0x318 /* from pthread_self: value of key 0 */
#define TSS_STRIDE   16
#define TSS_KEYS     32
#define WALK_STEPS   256
#define SEARCH_STEPS 4
#define INTERPRETERS 16
#define WALK_AGAIN   20000000 /* ns: a thread without a state is not looked for all the time */
#define PY_INSTR_MAX (16u << 20)

volatile __u32 py_spaces_n = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_PY_LAYOUTS);
	__type(key, u32);
	__type(value, struct mt_py_layout);
} py_layouts SEC(".maps");

/* Threads whose state is not found by key. */
struct py_thread_key {
	u64 fs;
	u64 space;
};
struct py_thread {
	u64 tstate;
	u64 walk_ns; /* last search */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct py_thread_key);
	__type(value, struct py_thread);
} py_threads SEC(".maps");

/* Code objects that were sent, with their check. */
struct py_code_key {
	u64 code;
	u64 space;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct py_code_key);
	__type(value, u64);
} py_codes SEC(".maps");

/* Not static, as all that loops go through: the verifier looks at it once, and a failed read is no
 * second way to go on from each of them. */
__noinline u64 py_word(u64 addr)
{
	u64 v = 0;

	bpf_probe_read_user(&v, sizeof(v), (void *)addr);
	return v;
}
#define word_at(addr) py_word(addr)

static __always_inline const struct mt_py_layout *layout_of(const struct mt_py_space *sp)
{
	u32 i = sp->layout;

	return bpf_map_lookup_elem(&py_layouts, &i);
}

static __always_inline u64 first_frame(const struct mt_py_layout *l, u64 tstate)
{
	u64 f = word_at(tstate + l->tstate_frame);

	if (l->cframe_frame != MT_PY_NO && f)
		f = word_at(f + l->cframe_frame);
	return f;
}

/* The number + 1 of the thread's key that has this value; 0 = none. */
__noinline u32 py_find_key(u64 fs, u64 tstate)
{
	u64 v = 0;

	/* Not by word_at(): calls are eight deep at most. */
	for (u32 i = 0; i < TSS_KEYS; i++) {
		bpf_probe_read_user(&v, sizeof(v), (void *)(fs + TSS_VALUES + i * TSS_STRIDE));
		if (v == tstate)
			return i + 1;
	}
	return 0;
}

/* How good a state is that may be the thread's; less is better. */
#define RANK_FRAMES                                                                  \
	(1ULL << 48) /* above all addresses of the C stack, and these above all keys \
	              */
#define RANK_IDLE (1ULL << 49)
#define RANK_NONE (1ULL << 50)

static __always_inline u64 rank_of(struct py_scratch *sc, const struct mt_py_layout *l, u64 fs,
                                   u64 t)
{
	u32 key;

	if (sc->find_key) {
		key = py_find_key(fs, t);
		if (key && (!sc->key || key < sc->key))
			sc->key = key;
		if (key && l->tstate_current == MT_PY_NO)
			return key;
	}
	if (!first_frame(l, t))
		return RANK_IDLE;
	return l->tstate_cframe != MT_PY_NO ? word_at(t + l->tstate_cframe) : RANK_FRAMES;
}

/* The walk below, one thread of one interpreter. Is there more? */
static __always_inline u32 search_step(struct py_scratch *sc, const struct mt_py_layout *l, u64 fs)
{
	u64 t, rank;

	if (!sc->interp)
		return 0;
	t = sc->thread;
	if (!t) {
		sc->interp = word_at(sc->interp + l->interp_next);
		sc->thread = sc->interp ? word_at(sc->interp + l->interp_threads) : 0;
		return 1;
	}
	if (word_at(t + l->tstate_thread_id) == fs) {
		rank = rank_of(sc, l, fs, t);
		if (rank < sc->rank) {
			sc->rank = rank;
			sc->best = t;
		}
	}
	sc->thread = word_at(t + l->tstate_next);
	return 1;
}

__noinline u32 py_search_some(struct py_scratch *sc, const struct mt_py_layout *l, u64 fs)
{
	if (!sc || !l)
		return 0;
	for (u32 i = 0; i < SEARCH_STEPS; i++)
		if (!search_step(sc, l, fs))
			return 0;
	return 1;
}

/* All threads of all interpreters from the one at `interp` on (0: the newest), for the state that
 * is this thread's now. Its key, when it was not known yet, is in sc->key then. */
__noinline u64 py_search(struct mt_py_space *sp, const struct mt_py_layout *l, u64 fs, u64 interp)
{
	struct py_scratch *sc = py_frames();

	if (!sp || !l || !sc)
		return 0;
	sc->interp = interp ? interp : word_at(sp->runtime + l->interp_head);
	sc->thread = sc->interp ? word_at(sc->interp + l->interp_threads) : 0;
	sc->best = 0;
	sc->rank = RANK_NONE;
	sc->key = 0;
	sc->find_key = !interp && !sp->tss_key;
	for (u32 i = 0; i < WALK_STEPS; i += SEARCH_STEPS)
		if (!py_search_some(sc, l, fs))
			break;
	return sc->best;
}

/* The slow way, and what is learned by it. */
static __always_inline u64 search_and_learn(struct mt_py_space *sp, const struct mt_py_layout *l,
                                            struct py_scratch *sc, u32 space, u64 fs)
{
	struct py_thread_key key = {.fs = fs, .space = space};
	struct py_thread *known = bpf_map_lookup_elem(&py_threads, &key), new = {};
	u64 now = bpf_ktime_get_ns();

	if (known) {
		if (known->tstate && !sp->several &&
		    word_at(known->tstate + l->tstate_thread_id) == fs)
			return known->tstate;
		if (!known->tstate && now - known->walk_ns < WALK_AGAIN)
			return 0;
	}
	new.tstate = py_search(sp, l, fs, 0);
	new.walk_ns = now;
	if (new.tstate && sc->key) {
		sp->tss_key = sc->key;
		if (!sp->several)
			return new.tstate;
	}
	bpf_map_update_elem(&py_threads, &key, &new, BPF_ANY);
	return new.tstate;
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

static __always_inline u64 state_word(const struct py_scratch *sc, u32 field)
{
	return *(const u64 *)(sc->window + (field & 255));
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
static __always_inline u64 tstate_of(struct mt_py_space *sp, const struct mt_py_layout *l,
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
	t = search_and_learn(sp, l, sc, space, fs);
	return t && load_state(sc, l, t, fs) ? t : 0;
}

/* The main interpreter: the last one of the list, as new ones come first. */
__noinline u64 py_main(const struct mt_py_layout *l, u64 interp)
{
	u64 next;

	if (!l)
		return 0;
	for (u32 i = 0; i < INTERPRETERS && interp; i++) {
		next = word_at(interp + l->interp_next);
		if (!next)
			return interp;
		interp = next;
	}
	return 0;
}

/* A thread's state belongs to the interpreter `interp`. When that is not the main one: the first
 * frame of the thread's state there, which called it. */
__noinline u64 py_outer(u32 space, u64 fs, u64 interp)
{
	struct py_thread_key key = {.fs = fs, .space = (u64)space | 1ULL << 32};
	struct mt_py_space *sp = bpf_map_lookup_elem(&py_spaces, &space);
	struct py_thread *known, new = {};
	const struct mt_py_layout *l;

	if (!sp)
		return 0;
	l = layout_of(sp);
	if (!l)
		return 0;
	if (!sp->main)
		sp->main = py_main(l, interp);
	if (!sp->main || sp->main == interp)
		return 0;
	known = bpf_map_lookup_elem(&py_threads, &key);
	new.walk_ns = bpf_ktime_get_ns();
	if (known && known->tstate && word_at(known->tstate + l->tstate_thread_id) == fs)
		return first_frame(l, known->tstate);
	if (known && !known->tstate && new.walk_ns - known->walk_ns < WALK_AGAIN)
		return 0;
	new.tstate = py_search(sp, l, fs, sp->main);
	bpf_map_update_elem(&py_threads, &key, &new, BPF_ANY);
	return new.tstate ? first_frame(l, new.tstate) : 0;
}

static __always_inline u64 mix(u64 h, u64 v)
{
	h = (h ^ v) * 0x100000001b3ULL;
	return h ^ h >> 29;
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

/* Where the walk begins. 0: no Python here. */
static __always_inline u64 begin(struct py_scratch *sc, struct mt_py_space *sp,
                                 const struct mt_py_layout *l, u32 space, u64 fs)
{
	u64 t = tstate_of(sp, l, sc, space, fs), frame, interp;

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

/* --- code objects ------------------------------------------------------------------------------
 */

static __always_inline void read_str(struct mt_pystr *s, u8 *data, u32 room, u64 str,
                                     const struct mt_py_layout *l)
{
	u64 length, bytes, at;
	u32 state = 0, kind;

	s->length = 0;
	s->stored = 0;
	s->kind = s->ascii = 0;
	if (!str)
		return;
	length = word_at(str + l->str_length);
	if (bpf_probe_read_user(&state, sizeof(state), (void *)(str + l->str_state)))
		return;
	state >>= l->kind_shift & 31;
	kind = state & 7;
	if ((kind != 1 && kind != 2 && kind != 4) || length > 0x7fffffff)
		return;
	s->ascii = state >> 4 & 1;
	at = str + (s->ascii ? l->str_ascii : l->str_wide);
	if (!(state & 8)) /* not compact: the characters are elsewhere */
		at = word_at(str + l->str_wide);
	bytes = length * kind;
	if (bytes > room)
		bytes = room;
	if (bpf_probe_read_user(data, bytes, (void *)at))
		return;
	s->kind = kind;
	s->length = (u32)length;
	s->stored = (u16)bytes;
}

/* Is it a code object? The first time by its type's name, then by its type. */
static __always_inline bool is_code(struct mt_py_space *sp, const struct mt_py_layout *l, u64 code)
{
	u64 type = word_at(code + l->object_type);
	char name[8] = {};

	if (!type)
		return false;
	if (type == sp->code_type)
		return true;
	if (sp->code_type)
		return false;
	if (bpf_probe_read_user(name, 5, (void *)word_at(type + l->type_name)))
		return false;
	if (name[0] != 'c' || name[1] != 'o' || name[2] != 'd' || name[3] != 'e' || name[4])
		return false;
	sp->code_type = type;
	return true;
}

enum { NOTE_KNOWN, NOTE_NEW, NOTE_CHANGED, NOTE_BAD };

/* One code object: NOTE_*. */
__noinline u32 py_note_code(u32 space, u64 code, u64 ts, u32 task)
{
	struct py_code_key key = {.code = code, .space = space};
	struct mt_py_space *sp = bpf_map_lookup_elem(&py_spaces, &space);
	struct py_scratch *sc = py_frames();
	u32 cpu = bpf_get_smp_processor_id(), stored, first_line = 0;
	const struct mt_py_layout *l;
	u64 name, file, table, check, *old;
	struct mt_pycode *e;
	void *ring;

	if (!sp || !sc)
		return NOTE_BAD;
	l = layout_of(sp);
	if (!l || !is_code(sp, l, code))
		return NOTE_BAD;
	name = word_at(code + (l->code_qualname != MT_PY_NO ? l->code_qualname : l->code_name));
	file = word_at(code + l->code_file);
	table = word_at(code + l->code_table);
	bpf_probe_read_user(&first_line, sizeof(first_line), (void *)(code + l->code_first_line));
	check = mix(mix(mix(mix(1, name), file), table), first_line);
	old = bpf_map_lookup_elem(&py_codes, &key);
	if (old && *old == check)
		return NOTE_KNOWN;
	e = &sc->code;
	e->h.ts = ts;
	e->h.kind = MT_EV_PYCODE;
	e->h.cpu = cpu;
	e->h.task = task;
	e->code = code;
	e->check = check;
	e->space = space;
	e->first_line = first_line;
	e->layout = sp->layout;
	read_str(&e->name, e->name_data, MT_PY_NAME, name, l);
	read_str(&e->file, e->file_data, MT_PY_FILE, file, l);
	e->table_len = (u32)word_at(table + l->bytes_length);
	stored = e->table_len;
	if (stored > MT_PY_TABLE)
		stored = MT_PY_TABLE;
	if (bpf_probe_read_user(e->table, stored, (void *)(table + l->bytes_data)))
		e->table_len = stored = 0;
	count_one(my_stats()->seen);
	ring = my_ring(cpu);
	if (!ring ||
	    bpf_ringbuf_output(ring, e, __builtin_offsetof(struct mt_pycode, table) + stored,
	                       ring_flags())) {
		count_one(my_stats()->lost_ring);
		return NOTE_NEW;
	}
	bpf_map_update_elem(&py_codes, &key, &check, BPF_ANY);
	return old ? NOTE_CHANGED : NOTE_NEW;
}

/* The frames from sc->noted on. Is there more to do? */
__noinline u32 py_note_some(struct py_scratch *sc, u32 space, u64 ts, u32 task)
{
	if (!sc)
		return 0;
	for (u32 step = 0; step < LOOP_STEPS; step++) {
		u32 i = sc->noted;
		u64 code = sc->frames[i & 127].code;

		if (i >= sc->n)
			return 0;
		sc->noted = i + 1;
		if (i && sc->frames[(i - 1) & 127].code == code) /* recursion */
			continue;
		sc->note = py_note_code(space, code, ts, task);
		sc->changed |= sc->note == NOTE_CHANGED;
		if (sc->note == NOTE_BAD) {
			/* Not a frame of Python's: neither it nor what is behind it. */
			sc->n = i;
			sc->cut = i + 1;
			sc->flags |= STACK_F_PY_PART;
			return 0;
		}
	}
	return 1;
}

u32 py_note_codes(u32 space, u64 ts, u32 task)
{
	struct mt_py_space *sp = bpf_map_lookup_elem(&py_spaces, &space);
	struct py_scratch *sc = py_frames();

	if (!sp || !sc)
		return 0;
	sc->noted = sc->changed = 0;
	for (u32 i = 0; i < MT_MAX_PY_FRAMES; i += LOOP_STEPS)
		if (!py_note_some(sc, space, ts, task))
			break;
	if (sc->changed)
		__sync_fetch_and_add(&sp->epoch, 1);
	sc->epoch = sp->epoch;
	return sc->changed;
}
