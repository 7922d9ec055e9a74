/* SPDX-License-Identifier: MIT */
/*
 * flame_priv.h: call stacks with weights merged to a tree, for folded stacks and flame graphs.
 *
 * A row of a view becomes a chain of frames: the lock (by lock), the process, the thread, the
 * user's frames from the outermost in, the kernel's, and what the view adds (the waker's stack
 * the other way round, the state). Chains that begin alike share nodes. A node's total is its
 * own weight plus that of its children; the root's total is that of all rows.
 *
 * Everything comes from the trace file: names are made safe when they enter, sums saturate,
 * and the size is bounded (-E2BIG).
 */
#ifndef MT_REPORT_FLAME_PRIV_H
#define MT_REPORT_FLAME_PRIV_H

#include "report/names_priv.h"

/* X(NAME, class in the SVG, legend). Order = order of the legend; legend "" = not in it. */
#define FLAME_KINDS(X)                          \
	X(PROC, "w", "process, thread")         \
	X(PYTHON, "p", "Python")                \
	X(NATIVE, "n", "native")                \
	X(INLINED, "i", "inlined")              \
	X(RUNTIME, "r", "runtime, interpreter") \
	X(KERNEL, "k", "kernel")                \
	X(MARK, "m", "lock, wake, state")       \
	X(UNKNOWN, "u", "no symbol")            \
	X(REST, "x", "")
enum flame_kind {
#define X(NAME, cls, legend) FLAME_##NAME,
	FLAME_KINDS(X)
#undef X
	        FLAME_KIND_N
};

#define FLAME_MAX_DEPTH 4000 /* frames of a chain beyond are left out */

struct flame_frame {
	uint32_t text, module; /* ids in texts; module 0 = none */
	uint8_t kind;          /* enum flame_kind */
};
struct flame_node {
	uint32_t frame, parent, first, next; /* nodes by index; 0 = none (the root is no child) */
	uint64_t self, total;
	uint64_t base_self, base_total; /* the same of o->base */
	uint32_t hidden;                /* REST: nodes it stands for */
	uint16_t depth;                 /* root 0 */
};
struct flame {
	const struct report *r;
	const struct export_opts *o;
	bool folded;             /* names for folded stacks: no ';', no blanks, marks */
	int by;                  /* enum export_by */
	const char *view, *unit; /* "us" (weights are ns), "samples", "bytes" */
	struct strtab *texts;
	VEC(struct flame_frame) frames; /* [0] unused */
	struct hmap frame_ids, stacks, edges;
	VEC(uint32_t) lists;          /* of a stack: how many, frames outermost first */
	VEC(struct flame_node) nodes; /* [0] is the root */
	VEC(uint32_t) chain;
	struct frame *buffer; /* STACK_MAX_FRAMES */
	size_t n_tasks;       /* that have weight */
	struct hmap tasks;
	size_t text_bytes;
	uint32_t workers; /* the frame that stands for the roots of all workers; 0 = none yet */
};

/* Differences are drawn from where two recordings meet, unless they are asked for by task. */
static inline bool flame_aligned(const struct flame *f)
{
	return f->o->base && (f->by == EXPORT_BY_NAME || f->by == EXPORT_BY_LOCK);
}
/* flame_align.c: how many of n frames (innermost first) to show: of a worker those from its own
 * first function on, else all. */
size_t flame_align(const struct frame *v, size_t n, bool *worker);
/* Has this (user's) stack a worker's root instead of its process and thread? */
bool flame_is_worker(struct flame *f, uint32_t stack);

/* Builds the tree of o->view (NULL: off-cpu). On error, too, flame_release(). */
int flame_build(struct flame *f, const struct report *r, const struct export_opts *o, bool folded,
                struct err *err);
void flame_release(struct flame *f);
/* Subtrees with less than min are summed up in one REST child of their parent. */
int flame_prune(struct flame *f, uint64_t min);
/* Orders siblings: by name, or the largest first (REST is last). */
enum flame_order { FLAME_BY_NAME, FLAME_BY_WEIGHT };
int flame_sort(struct flame *f, enum flame_order order);
/* The next node of a walk from the root in depth-first order; 0 = the end. */
uint32_t flame_next(const struct flame *f, uint32_t node);
const char *flame_text(const struct flame *f, uint32_t node);
const char *flame_module(const struct flame *f, uint32_t node); /* "" = none */

/* flame_names.c: frames of the parts of a chain are appended to f->chain. 0 or -errno. */
uint32_t flame_frame(struct flame *f, const char *text, const char *module, enum flame_kind kind);
/* The same for texts that are another tree's already: safe, with their marks. */
uint32_t flame_frame_as(struct flame *f, const char *text, const char *module,
                        enum flame_kind kind);
int flame_put_stack(struct flame *f, uint32_t stack, bool innermost_first);
int flame_put_who(struct flame *f, const struct task *t, bool thread_first);
int flame_put_mark(struct flame *f, const char *fmt, ...) MT_PRINTF(2, 3);

#endif
