/* SPDX-License-Identifier: MIT */
/*
 * pyread.bpf.h: what the three parts of python.bpf.h share: reading a CPython's memory by its
 * layout.
 *
 *     pythread.bpf.c  which PyThreadState is this thread's
 *     python.bpf.c    from there to its frames
 *     pycode.bpf.c    code objects: names, files, tables of lines
 */
#ifndef MT_PYREAD_BPF_H
#define MT_PYREAD_BPF_H

#include "python.bpf.h"

/* The word there; 0 when it cannot be read. Not static, as all that loops go through: the verifier
 * looks at it once, and a failed read is no second way to go on from each of them. */
__noinline u64 py_word(u64 addr);
#define word_at(addr) py_word(addr)

/* Where glibc has the values of a thread's keys, see pythread.bpf.c. */
#define TSS_VALUES   0x318 /* from pthread_self: value of key 0 */
#define TSS_STRIDE   16
#define TSS_KEYS     32

/* The slow way to the current thread's state, and what is learned by it: 0 = it has none. fs: its
 * pthread_self. Global functions, as the verifier looks at them once. */
__noinline u64 py_search_and_learn(struct mt_py_space *sp, const struct mt_py_layout *l,
				   struct py_scratch *sc, u32 space, u64 fs);
/* A thread's state belongs to the interpreter `interp`. When that is not the main one: the first
 * frame of the thread's state there, which called it. */
__noinline u64 py_outer(u32 space, u64 fs, u64 interp);

static __always_inline const struct mt_py_layout *layout_of(const struct mt_py_space *sp)
{
	u32 i = sp->layout;

	return bpf_map_lookup_elem(&py_layouts, &i);
}

/* A field of the state that is in the window. */
static __always_inline u64 state_word(const struct py_scratch *sc, u32 field)
{
	return *(const u64 *)(sc->window + (field & 255));
}

static __always_inline u64 mix(u64 h, u64 v)
{
	h = (h ^ v) * 0x100000001b3ULL;
	return h ^ h >> 29;
}

#endif
