/* SPDX-License-Identifier: MIT */
/*
 * capacity_priv.h: one sweep over the recording in time order, which splits every
 * moment's CPUs among what the workload did and what kept it from doing more.
 *
 * At each moment, of the CPUs that the workload may use
 *   1. those that run its tasks are `work`;
 *   2. of the idle ones, as many as there are ready tasks are `cpu-shortage`: somebody else
 *      has them, or affinity, quota or the hypervisor keeps the task from them;
 *   3. then as many as there are tasks below roots (chains_priv.h), class by class: locks
 *      whose holder runs or is about to; work that one running task does while others
 *      wait for it; channels; I/O and page faults; sleep and the outside world; what the
 *      last of several tasks does until it ends; unknown.
 *      A class's CPUs are shared among its roots by the weight below them;
 *   4. when nothing of the workload runs, one for each idle task: what it waits for; for
 *      bystanders only if 3 and 4 have found nothing else;
 *   5. the rest is `no-task`: no task there that could have used them.
 * With a CPU quota, CPUs in use beyond it are paid back by idle ones later (quota grants
 * time per period, not CPUs). Time that the hypervisor took from running tasks moves from
 * work to shortage. All of it adds up to capacity by construction, and to the ns after
 * rounding (apportion()).
 */
#ifndef MT_CAPACITY_PRIV_H
#define MT_CAPACITY_PRIV_H

#include "chains_priv.h"

/* How often a stack was sampled in a task while something was charged to it. */
struct spot {
	uint8_t cause;
	uint32_t id, task, ustack, kstack;
	uint64_t count;
};
/* `cause` of spots in serial sections; id = task. */
#define SPOT_SERIAL CAUSE_N

struct alone { /* per node: stretches in which it alone ran and others waited below it */
	uint64_t ns, count;
	double free_ns; /* CPUs without a task meanwhile */
};

struct sweep {
	struct chains chains;
	double cpus, debt;
	uint64_t now_ns, start_ns, end_ns;
	double work, shortage, no_task, idle[CAUSE_N];
	uint64_t busy_ns;        /* wall with at least one task running */
	double undisturbed;      /* as report.undisturbed_ns */
	double height, critical; /* ∫ dt / running, ∫ dt / (running + ready) */
	struct alone *alone;
	uint32_t serial_now; /* node in a serial section, UINT32_MAX none */
	VEC(struct spot) spots;
	struct hmap spot_ids;
	uint32_t *heap; /* nodes by the end of their span */
	size_t heap_n;
};

int sweep_run(struct sweep *s, const struct waits *w, double cpus);
void sweep_release(struct sweep *s);

/* Rounds parts (≥ 0) to whole numbers that add up to total, each by less than one when the
 * parts do add up to it. out: n numbers. 0 or -ENOMEM. */
int apportion(const double *parts, size_t n, uint64_t total, uint64_t *out);

/* Spots by cause, id, then the most frequent first: *n of that cause and id. */
void spots_sort(struct sweep *s);
const struct spot *spots_of(const struct sweep *s, uint8_t cause, uint32_t id, size_t *n);
/* Of a row's spots (of one task, unless it is 0), one at the place seen most; NULL: there is none.
 */
const struct spot *spots_most(const struct model *m, const struct sweep *s,
                              const struct cause_row *row, uint32_t task);
/* As spots_most(), of the blocked time of that cause: of the row's task, or of all if it has none.
 */
const struct stack_row *waits_most(const struct model *m, const struct cause_row *row);

int breakdown_fill(struct report *r, const struct sweep *s); /* r->breakdown */
int idle_fill(struct report *r, const struct sweep *s);    /* r->lock_idle_ns, r->channel_idle_ns */
int shares_fill(struct report *r, const struct sweep *s);  /* r->shares, r->proc_shares */
int serial_fill(struct report *r, const struct sweep *s);  /* r->serial */
int verdict_fill(struct report *r, const struct sweep *s); /* r->verdict and its sentences */
/* While a program sleeps or waits for the outside, some of its tasks may only wait for their turn
 * to do so: adds to r->next_step where. */
void pools_say(struct report *r);

/* How far a row's figure may be off, see uncertain.c. */
struct doubt {
	double lost;           /* events lost, of all */
	double steal;          /* of the tasks' time on CPUs */
	double *locks, *tasks; /* by lock, by node: blame by weak evidence, of all */
};
int doubt_init(struct doubt *d, const struct chains *c);
void doubt_release(struct doubt *d);
double doubt_of(const struct doubt *d, const struct chains *c, const struct cause_row *row);

/* "worker-2", with its id when another task has that name. Returns out. */
const char *who(const struct model *m, uint32_t task, char *out, size_t n);
/* "scale (resize.py:31)": the innermost function that is the program's own. "" = unknown. */
const char *place(const struct model *m, uint32_t ustack, char *out, size_t n);
/* The function of a module in C that the innermost Python function has called; "" = it has not. */
const char *called_module(const struct model *m, uint32_t ustack, char *out, size_t n);

#endif
