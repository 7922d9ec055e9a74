/* SPDX-License-Identifier: MIT */
/*
 * chains_priv.h: who waits for whom, at each moment of the recording.
 *
 * Every task is a node. A blocked task of which it is known for whom it waits hangs below
 * that task; a node that hangs below nobody is a root: it runs, is ready, waits for
 * something that is no task, is gone, or its blame leads back to itself (a cycle).
 *
 * Idle CPUs are charged to roots, by how many tasks wait below them. So that a change costs
 * the length of one chain and not the number of waiters, each node keeps the weight of the
 * subtrees below it, apart for each label (the lock by which they hang there); what a root's
 * weight earns is integrated lazily, against one running integral per class of cause.
 *
 * Weight. A task counts when it could use a CPU if what it waits for were done: always in
 * a wait for a lock that somebody holds; in a wait for work, an event or the other end of
 * a channel only if it does work at all (WEAK_DUTY of its life), so that idle pools weigh
 * nothing. A task that waits for another's end (join, wait4) would hardly use a CPU itself,
 * but shows that the other one is the last of several: such waiters are counted apart, come
 * after every other cause, and only if what they wait for has siblings that did comparable
 * work beside it (else the two are one thread of execution).
 *
 * Who did less than one part in TOOK_PART of what the busiest task did is a bystander: pool
 * threads without work, a library's housekeeper. What it waits for says why CPUs are idle only
 * at moments that nothing else explains: no weight, and no task that took part and waits.
 */
#ifndef MT_CHAINS_PRIV_H
#define MT_CHAINS_PRIV_H

#include "report.h"
#include "spans_priv.h"

/* It does work: on a CPU for one part in this many of its life, leaving out the time that it was
 * ready and got none. */
#define WEAK_DUTY  200
#define SLEEP_DUTY 50  /* the same, for those that sleep or wait for the outside */
#define TOOK_PART  100 /* of the busiest one's work: it took part */
/* From wake-up to running, an idle CPU needs some microseconds: up to this it is part of the wait.
 */
#define WAKE_LATENCY_NS 100000
/* A change may walk so many links on the average: a ring of a thousand threads is nothing, but a
 * file may say that of a hundred thousand tasks each waits for the next one. */
#define CHAIN_LINKS 1024
#define CHAIN_SLACK (1u << 26)

/* Who gets idle CPUs first, when there are several. JOIN: see Weight above. */
enum charge_class {
	CH_LOCK,
	CH_SERIAL,
	CH_CHANNEL,
	CH_IO,
	CH_REST,
	CH_JOIN,
	CH_UNKNOWN,
	CH_N,
	CH_NONE = CH_N
};

enum node_state {
	NODE_ABSENT, /* not yet or no longer there */
	NODE_RUN,
	NODE_READY,
	NODE_ALONE, /* blocked, for nobody of ours: self says on what */
	NODE_CYCLE, /* blocked on itself: a deadlock while it lasts */
	NODE_LINKED,
};

/* Labels of edges: these, or LABEL_LOCK + a lock's id. With LABEL_VIA it is LABEL_WORK to the
 * account, but what is below waits for that lock, whose holder waits for the end of a task: what
 * it does by others. (Whoever answers on a channel may be there for all, and not for the holder.)
 */
enum { LABEL_SELF, LABEL_WORK, LABEL_BARRIER, LABEL_JOIN, LABEL_LOCK };
#define LABEL_VIA (1u << 31)

/* The lock behind which it waits; 0 = none. */
static inline uint32_t label_lock(uint32_t label)
{
	label &= ~LABEL_VIA;
	return label > LABEL_LOCK ? label - LABEL_LOCK : 0;
}

struct what { /* what a wait is charged to */
	uint8_t cls, cause;
	uint32_t id;
};

struct slot {
	uint32_t label, weight;
	uint32_t charge; /* index + 1 into charges, valid for what; 0 = not looked up */
	struct what what;
	double mark; /* the class's integral when this weight began to count */
};

struct node {
	const struct task *t;
	struct spans spans;
	struct span cur;
	uint32_t parent, label; /* LINKED */
	bool for_end;           /* … by a wait for the parent's end */
	uint32_t size;          /* weight of the subtree, with itself */
	uint32_t joiners;       /* in the subtree, with itself */
	uint8_t state;
	uint8_t own, own_join; /* its own part of these */
	bool worker, drowsy;   /* does work by WEAK_DUTY; less than SLEEP_DUTY */
	bool has_peers;        /* siblings ran beside it */
	bool bystander;        /* took no part, see above */
	struct what self;
	uint32_t culprit; /* node to name for self; itself if none other */
	double height_mark, critical_mark, height, critical;
	VEC(struct slot) slots;
};

/* What one root was charged through one label. */
struct charge {
	uint32_t node, label;
	struct what what;
	double ns;
};

struct chains {
	const struct waits *w;
	VEC(struct node) nodes;      /* in the order of model_task_at */
	struct hmap ids;             /* task id -> index + 1 */
	bool *strong;                /* by lock: its waits are for a holder */
	uint64_t n_class[CH_N];      /* weight of the roots now */
	double integral[CH_N];       /* ∫ CPUs given / weight dt */
	uint64_t n_idle[2][CAUSE_N]; /* tasks that wait without weight, by cause; [1]: bystanders */
	VEC(struct charge) charges;
	struct hmap charge_ids;
	uint64_t running, ready, running_sum; /* sum of indexes: the index when one runs */
	uint32_t cycles;
	uint64_t changes, steps; /* spans entered; links of chains walked for them */
};

int chains_init(struct chains *c, const struct waits *w);
void chains_release(struct chains *c);
/* Node i goes into its next span (NULL: it is gone). 0, -ENOMEM, or -E2BIG: the chains are so long
 * that to follow them would take hours. */
int chains_change(struct chains *c, uint32_t i, const struct span *next);
/* Charges what is still open. */
int chains_settle(struct chains *c);
/* Charges of the label of a root, as of now. */
struct what chains_what(const struct chains *c, const struct node *root, uint32_t label);
/* Is it by its nature waited for until its holder lets go? */
bool lock_is_strong(const struct lock *l);
/* Index of the task's node; UINT32_MAX unknown. */
uint32_t chains_node(const struct chains *c, uint32_t task);

#endif
