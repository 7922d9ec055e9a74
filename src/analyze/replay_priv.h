/* SPDX-License-Identifier: MIT */
/*
 * replay_priv.h: the recording as a program that can be run again on other terms.
 *
 * Each task becomes the work that it did between its waits, and each wait what it was for:
 * another task's having come to a point of its own work (who released the lock, wrote to the
 * pipe, created it, ended), or a time (sleep, I/O, the outside world, and whatever else nobody
 * is known to have ended). A replay runs this on so many CPUs; waits on the lock that is left
 * out take no time. The order of work within a task, and of who waited for whom, is that
 * of the recording; how long a task had to wait for a CPU is not: it follows anew.
 *
 * Work is CPU time as the kernel counts it. The short turns within a logical wait (it was
 * awake for a moment, and went on waiting) belong to the wait and are left out.
 *
 * What it does not know: where two tasks would meet that did not meet in the recording (a lock
 * that was free then, an item that was there already).
 */
#ifndef MT_REPLAY_PRIV_H
#define MT_REPLAY_PRIV_H

#include "waits.h"

enum {
	REPLAY_TIMED = 1 << 0,  /* lasts delay_ns; else until its edges have fired */
	REPLAY_OPEN = 1 << 1,   /* never ended: neither does what comes after it begin */
	REPLAY_HANDED = 1 << 2, /* came about by the wait before it, and goes with that */
};

/* Floats: exact to 1e-7, and there are millions of them. */
struct replay_wait {
	float work_ns;  /* of its task, since the wait before */
	float delay_ns; /* TIMED: how long; else from the last edge until it ran, when it did wait
	                 */
	uint32_t lock;  /* index + 1; 0 = none */
	uint16_t needs; /* edges */
	uint16_t flags;
};

/* The source's coming to a point of its work ends, with others perhaps, a wait. */
struct replay_edge {
	union {
		uint64_t t; /* while being built */
		struct {
			uint32_t part;
			float at_ns;
		}; /* work before the wait with this number (in its
		    * task), and how far into it */
	};
	union {
		uint32_t source; /* task, while being built */
		uint32_t waiter; /* task of the wait */
	};
	uint32_t target; /* wait */
};

struct replay_task {
	uint32_t first, n;       /* its waits; the first one is for its birth */
	uint32_t edges, n_edges; /* that it is the source of, in order */
	double rest_ns, work_ns; /* after the last wait; in all */
	bool counts;             /* the run is over when it is */
};

struct replay {
	const struct waits *w;
	VEC(struct replay_task) tasks; /* as model_task_at */
	VEC(struct replay_wait) waits;
	VEC(struct replay_edge) edges; /* by source, then order */
	double work_ns;
};

/* 0, -ENOMEM, or -E2BIG: too long to be replayed. */
int replay_build(struct replay *p, const struct waits *w);
void replay_release(struct replay *p);

/* Who of the ready tasks gets a CPU: all share them equally, as schedulers try; or those first, and
 * to their next wait, that have the most work in all, which leaves no long one alone at the end; or
 * those that have the least: as good and as bad an order as a scheduler may choose. */
enum replay_order { REPLAY_SHARED, REPLAY_LONG_FIRST, REPLAY_SHORT_FIRST };

struct replay_terms {
	double cpus; /* may have a fraction; INFINITY = no limit */
	enum replay_order order;
	const bool *without; /* by lock index: waits for it take no time; NULL = all as they were */
	const float *start_ns; /* by task: work that it does before any of its own; NULL = none */
};
struct replay_result {
	double wall_ns;
	bool crowded; /* a task had to wait for a CPU, or share one; else the order makes no
	               * difference, nor would more CPUs */
};
/* -ENOMEM; -ELOOP: it cannot end (damaged recording). Several may run at once. */
int replay_run(const struct replay *p, const struct replay_terms *terms, struct replay_result *out);

#endif
