/* SPDX-License-Identifier: MIT */
/* analyze_priv.h: the analyses, each a row of registry.c. Inside src/analyze only. */
#ifndef MT_ANALYZE_PRIV_H
#define MT_ANALYZE_PRIV_H

#include <string.h>

#include "report.h"

int analyze_sched(struct report *r, struct err *err);  /* mode, wall, average parallelism */
int analyze_checks(struct report *r, struct err *err); /* recorded against the kernel's counters */
int analyze_futex(struct report *r, struct err *err);  /* futexes by waiting time */
int analyze_waits(struct report *r, struct err *err);  /* locks, channels, logical waits */
int analyze_gil(struct report *r, struct err *err);    /* holders and waiters of each GIL */
int analyze_causes(struct report *r, struct err *err); /* capacity, shares, serial, verdict */
int analyze_spin(struct report *r, struct err *err);   /* CPU time that waits by spinning */
int analyze_deadlocks(struct report *r, struct err *err); /* cycles that never ended */
int analyze_graph(struct report *r, struct err *err);     /* who waits for whom at the end */
int analyze_path(struct report *r, struct err *err);      /* the critical path */
int analyze_watch(struct report *r, struct err *err);     /* responsiveness of chosen tasks */
int analyze_spawn(struct report *r, struct err *err);     /* how tasks were made */
/* ready.c: fills in ready_ns of Python processes where it is known, and python. */
int spawn_find_ready(struct report *r);
int analyze_pickling(struct report *r, struct err *err); /* CPU time of (un)pickling */
int analyze_what_if(struct report *r, struct err *err);  /* the run replayed without a cause */
int analyze_tree(struct report *r, struct err *err);     /* memory of all processes together */
int analyze_peak(struct report *r, struct err *err);     /* the largest, between readings too */
int analyze_overhead(struct report *r, struct err *err); /* what recording cost */
int analyze_notes(struct report *r, struct err *err);    /* what could not be known */

/* Did it wait already when recording began, so that since_ns is that moment? */
bool graph_before(const struct report *r, uint32_t task, uint64_t since_ns);

/*
 * forks.c: does what a process was read with still count pages that a forked child of its shares?
 * Told in the order of time; processes are the model's indexes. `changed` is called for each other
 * process that counts with its PSS from now on, no longer with its USS.
 */
struct forks {
	struct fork_node *v;
	size_t n;
};
int forks_init(struct forks *f, const struct model *m); /* 0 or -ENOMEM */
void forks_release(struct forks *f);
void forks_begin(struct forks *f, uint32_t i);
void forks_read(struct forks *f, uint32_t i, uint64_t t_ns, void (*changed)(void *ctx, uint32_t i),
                void *ctx);
void forks_end(struct forks *f, uint32_t i, void (*changed)(void *ctx, uint32_t i), void *ctx);
uint32_t forks_parent(const struct forks *f, uint32_t i); /* index; UINT32_MAX: none */
bool forks_own(const struct forks *f, uint32_t i);        /* count it with its USS */

/* Adds a sentence to r->notes. 0 or -ENOMEM. */
int note_add(struct report *r, const char *fmt, ...) MT_PRINTF(2, 3);
/* cut_stacks.c: says where stacks end that should not, and why. 0 or -ENOMEM. */
int cut_stacks_note(struct report *r);

/* Is this the task that a user means by name: its TID (as it or the host counts), its comm? */
static inline bool task_is_called(const struct task *t, const char *name)
{
	uint64_t tid;

	if (!parse_u64(name, 1, UINT32_MAX, &tid))
		return t->tid == tid || (t->ns_tid && t->ns_tid == tid);
	return t->comm && !strcmp(t->comm, name);
}

/* The first thread of a process that the recording began with. */
static inline bool task_is_first(const struct task *t)
{
	return t->flags & TASK_F_ROOT && t->id == t->proc;
}

#endif
