/* SPDX-License-Identifier: MIT */
/*
 * pythread.bpf.c: a thread's PyThreadState.
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
#include "pyread.bpf.h"

#define WALK_STEPS   256
#define SEARCH_STEPS 4
#define INTERPRETERS 16

/*
 * A thread without a state is searched for again, but not all the time: after so many times what
 * the search took. Of a program that begins, which has next to no threads, that is some 100 us: its
 * first looks come before it has an interpreter, its first waits may come soon after.
 */
#define AGAIN_SHIFT 8
#define AGAIN_MOST  20000000 /* ns */

/* Threads whose state is not found by key. */
struct py_thread_key {
	u64 fs;
	u64 space;
};
struct py_thread {
	u64 tstate;
	u64 again_ns; /* without one: when to search again */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct py_thread_key);
	__type(value, struct py_thread);
} py_threads SEC(".maps");

static __always_inline u64 again_after(u64 begin)
{
	u64 now = bpf_ktime_get_ns(), pause = (now - begin) << AGAIN_SHIFT;

	return now + (pause < AGAIN_MOST ? pause : AGAIN_MOST);
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

__noinline u64 py_search_and_learn(struct mt_py_space *sp, const struct mt_py_layout *l,
                                   struct py_scratch *sc, u32 space, u64 fs)
{
	struct py_thread_key key = {.fs = fs, .space = space};
	struct py_thread *known = bpf_map_lookup_elem(&py_threads, &key), new = {};
	u64 now = bpf_ktime_get_ns();

	if (!sp || !l || !sc)
		return 0;
	if (known) {
		if (known->tstate && !sp->several &&
		    word_at(known->tstate + l->tstate_thread_id) == fs)
			return known->tstate;
		if (!known->tstate && now < known->again_ns)
			return 0;
	}
	new.tstate = py_search(sp, l, fs, 0);
	new.again_ns = again_after(now);
	if (new.tstate && sc->key) {
		sp->tss_key = sc->key;
		if (!sp->several)
			return new.tstate;
	}
	bpf_map_update_elem(&py_threads, &key, &new, BPF_ANY);
	return new.tstate;
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

__noinline u64 py_outer(u32 space, u64 fs, u64 interp)
{
	struct py_thread_key key = {.fs = fs, .space = (u64)space | 1ULL << 32};
	struct mt_py_space *sp = bpf_map_lookup_elem(&py_spaces, &space);
	struct py_thread *known, new = {};
	const struct mt_py_layout *l;
	u64 now;

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
	now = bpf_ktime_get_ns();
	if (known && known->tstate && word_at(known->tstate + l->tstate_thread_id) == fs)
		return first_frame(l, known->tstate);
	if (known && !known->tstate && now < known->again_ns)
		return 0;
	new.tstate = py_search(sp, l, fs, sp->main);
	new.again_ns = again_after(now);
	bpf_map_update_elem(&py_threads, &key, &new, BPF_ANY);
	return new.tstate ? first_frame(l, new.tstate) : 0;
}
