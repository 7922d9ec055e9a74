/* SPDX-License-Identifier: MIT */
/*
 * pyproc.h: a Python process from outside: from _PyRuntime to its interpreters, its threads and
 * their frames, by reading its memory. It runs meanwhile, or is hostile: nothing that was read need
 * be true, and each walk is bounded. The walk of python.bpf.c, for threads that are not running.
 */
#ifndef MT_PYPROC_H
#define MT_PYPROC_H

#include "collect_priv.h"
#include "python.h"

struct pyproc {
	uint32_t pid, space;
	uint64_t runtime;
	const struct py_build *b;
	const struct mt_py_layout *l;
	unsigned reads; /* so far */
};

/* false: no Python there. Nothing to be released. */
bool pyproc_open(struct pyproc *p, const struct pyspaces *py, uint32_t pid, uint32_t space);

/* n bytes: all of them, or false; also after too many reads (0.2 s of them). */
bool pyproc_read(struct pyproc *p, uint64_t addr, void *out, size_t n);
/* 0 = not readable. */
uint64_t pyproc_u64(struct pyproc *p, uint64_t addr);
uint32_t pyproc_u32(struct pyproc *p, uint64_t addr);

struct py_thread {
	uint64_t state; /* address of its PyThreadState */
	uint64_t ident; /* what Python calls it */
	uint32_t tid;   /* in the process's own namespace; 0 = not known */
};
/* Calls fn for each until it returns other than 0: that is the result, else 0. */
int pyproc_threads(struct pyproc *p, int (*fn)(void *ctx, const struct py_thread *t), void *ctx);

#define PY_FRAME_BYTES 112u /* see mt_py_layout */
struct py_frame {
	uint64_t addr, code;
	uint64_t prev; /* the caller's, 0 = none */
	uint8_t bytes[PY_FRAME_BYTES];
};
/* Address of the thread's innermost frame; 0 = none. */
uint64_t pyproc_innermost(struct pyproc *p, uint64_t tstate);
/* The frame there. code may be 0. */
bool pyproc_frame(struct pyproc *p, uint64_t addr, struct py_frame *f);
/* The word of it at that offset; 0 beyond its end. */
uint64_t py_frame_word(const struct py_frame *f, unsigned at);

#endif
