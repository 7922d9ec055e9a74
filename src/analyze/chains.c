/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chains_priv.h"

#define NOBODY UINT32_MAX

uint32_t chains_node(const struct chains *c, uint32_t task)
{
	const uint64_t *at = task ? hmap_get(&c->ids, task, 0) : NULL;

	return at ? (uint32_t)*at - 1 : NOBODY;
}

/* --- what is charged --- */

static uint8_t lock_cause(const struct chains *c, uint32_t lock)
{
	if (lock && lock <= c->w->locks.n && c->w->locks.v[lock - 1].kind == LOCK_GIL)
		return CAUSE_GIL;
	return CAUSE_LOCK;
}

static struct what of_lock(const struct chains *c, uint32_t lock)
{
	uint32_t family = lock && lock <= c->w->locks.n ? c->w->locks.v[lock - 1].family : 0;

	return (struct what){CH_LOCK, lock_cause(c, lock), family ? family : lock};
}

struct what chains_what(const struct chains *c, const struct node *root, uint32_t label)
{
	static const struct what unknown = {CH_UNKNOWN, CAUSE_UNATTRIBUTED, 0};

	if (label & LABEL_VIA)
		label = LABEL_WORK;
	if (label == LABEL_SELF)
		return root->self;
	if (label == LABEL_JOIN && root->state != NODE_RUN && root->state != NODE_READY)
		return (struct what){CH_NONE, CAUSE_UNATTRIBUTED, 0};
	switch (root->state) {
	case NODE_RUN:
	case NODE_READY:
		if (label == LABEL_JOIN)
			return (struct what){CH_JOIN, CAUSE_SERIAL, root->t->id};
		if (label >= LABEL_LOCK)
			return of_lock(c, label - LABEL_LOCK);
		return (struct what){CH_SERIAL, CAUSE_SERIAL, root->t->id};
	case NODE_ALONE:
	case NODE_CYCLE:
		if (root->self.cls != CH_NONE && root->self.cls != CH_UNKNOWN)
			return root->self;
		break;
	default:
		break;
	}
	return label >= LABEL_LOCK ? of_lock(c, label - LABEL_LOCK) : unknown;
}

static int charge_need(struct chains *c, uint32_t node, struct slot *s)
{
	const struct what *what = &s->what;
	struct charge fresh = {.node = node, .label = s->label, .what = *what};
	bool added;
	uint64_t *at;

	if (s->charge)
		return 0;
	at = hmap_put(&c->charge_ids, (uint64_t)node << 32 | s->label,
	              (uint64_t)what->cause << 32 | what->id, &added);
	if (!at)
		return -ENOMEM;
	if (added) {
		*at = c->charges.n;
		if (vec_push(&c->charges, fresh))
			return -ENOMEM;
	}
	s->charge = (uint32_t)*at + 1;
	return 0;
}

static uint32_t named(const struct node *n, uint32_t i, const struct slot *s)
{
	return s->label == LABEL_SELF ? n->culprit : i;
}

static int slot_settle(struct chains *c, uint32_t i, struct slot *s)
{
	double earned;

	if (s->what.cls >= CH_N || !s->weight)
		return 0;
	earned = s->weight * (c->integral[s->what.cls] - s->mark);
	s->mark = c->integral[s->what.cls];
	if (!(earned > 0))
		return 0;
	if (charge_need(c, named(&c->nodes.v[i], i, s), s))
		return -ENOMEM;
	c->charges.v[s->charge - 1].ns += earned;
	return 0;
}

/* --- weights --- */

static bool is_root(const struct node *n)
{
	return n->state != NODE_LINKED;
}

/* A root's slots earn; the others only count. */
static void slot_wake(struct chains *c, const struct node *n, struct slot *s)
{
	struct what what = chains_what(c, n, s->label);

	if (what.cls != s->what.cls || what.cause != s->what.cause || what.id != s->what.id ||
	    s->label == LABEL_SELF)
		s->charge = 0;
	s->what = what;
	if (what.cls < CH_N) {
		s->mark = c->integral[what.cls];
		c->n_class[what.cls] += s->weight;
	}
}

static int slot_rest(struct chains *c, uint32_t i, struct slot *s)
{
	int err = slot_settle(c, i, s);

	if (s->what.cls < CH_N)
		c->n_class[s->what.cls] -= s->weight;
	return err;
}

static struct slot *slot_of(struct node *n, uint32_t label)
{
	for (size_t k = 0; k < n->slots.n; k++)
		if (n->slots.v[k].label == label)
			return &n->slots.v[k];
	return NULL;
}

/* Empty slots are kept for the next time, but not many. */
static int slot_need(struct node *n, uint32_t label, struct slot **out)
{
	enum { KEEP = 16 };

	*out = slot_of(n, label);
	if (*out)
		return 0;
	if (n->slots.n >= KEEP)
		for (size_t k = 0; k < n->slots.n; k++)
			if (!n->slots.v[k].weight) {
				*out = &n->slots.v[k];
				**out = (struct slot){.label = label};
				return 0;
			}
	if (vec_push(&n->slots, (struct slot){.label = label}))
		return -ENOMEM;
	*out = &n->slots.v[n->slots.n - 1];
	return 0;
}

/* Changes the weight below node i by the label; it earns or not as the node does. */
static int slot_add(struct chains *c, uint32_t i, uint32_t label, int64_t change, bool earning)
{
	struct node *n = &c->nodes.v[i];
	struct slot *s;
	int err = slot_need(n, label, &s);

	if (err)
		return err;
	if (earning && s->weight)
		err = slot_rest(c, i, s);
	s->weight = (uint32_t)(s->weight + change);
	if (earning && s->weight)
		slot_wake(c, n, s);
	return err;
}

/* Of what comes by that label to a node that hangs below another one: by which it goes on. */
static uint32_t label_above(const struct node *n, uint32_t label)
{
	return n->for_end && label_lock(label) ? label | LABEL_VIA : n->label;
}

/* A subtree with that weight and so many joiners comes to, or leaves, the chain that begins at
 * node i. */
static int chain_add(struct chains *c, uint32_t i, uint32_t label, int64_t weight, int64_t joiners)
{
	int err = 0;

	while (!err && (weight || joiners)) {
		struct node *n = &c->nodes.v[i];

		c->steps++;
		if (weight)
			err = slot_add(c, i, label, weight, is_root(n));
		if (!err && joiners)
			err = slot_add(c, i, LABEL_JOIN, joiners, is_root(n));
		n->size = (uint32_t)(n->size + weight);
		n->joiners = (uint32_t)(n->joiners + joiners);
		if (is_root(n))
			break;
		label = label_above(n, label);
		i = n->parent;
	}
	return err;
}

/* Node i comes with all that is below it to what it hangs below (sign 1), or leaves that. */
static int subtree_add(struct chains *c, uint32_t i, int64_t sign)
{
	struct node *n = &c->nodes.v[i];
	int64_t rest = n->size, joiners = n->joiners;
	int err = 0;

	for (size_t k = 0; n->for_end && !err && k < n->slots.n; k++) {
		int64_t weight = n->slots.v[k].weight;
		uint32_t label = label_above(n, n->slots.v[k].label);

		if (!weight || label == n->label)
			continue;
		err = chain_add(c, n->parent, label, sign * weight, 0);
		rest -= weight;
	}
	return err ? err : chain_add(c, n->parent, n->label, sign * rest, sign * joiners);
}

static uint32_t root_of(struct chains *c, uint32_t i)
{
	while (c->nodes.v[i].state == NODE_LINKED) {
		i = c->nodes.v[i].parent;
		c->steps++;
	}
	return i;
}

/* --- what a span means --- */

static const struct lock *lock_at(const struct chains *c, uint32_t lock)
{
	return lock && lock <= c->w->locks.n ? &c->w->locks.v[lock - 1] : NULL;
}

/* The waiter wants what somebody has; else it waits for something to be done. */
static bool is_strong(const struct chains *c, const struct span *s)
{
	const struct lock *l = lock_at(c, s->lock);

	if (s->kind == WAIT_LOCK && l && l->family)
		return true;
	if (s->kind != WAIT_LOCK || !l || l->kind == LOCK_JOIN || lock_is_barrier(l) ||
	    l->kind == LOCK_COND)
		return false;
	if (lock_is_for_work(l))
		return c->strong[s->lock - 1];
	return c->strong[s->lock - 1] || s->evidence == EVIDENCE_OWNER ||
	       s->evidence == EVIDENCE_HOLDER || s->evidence == EVIDENCE_FOUND;
}

static bool is_end_of_task(const struct chains *c, const struct span *s)
{
	const struct lock *l = lock_at(c, s->lock);

	return s->kind == WAIT_CHILD || (s->kind == WAIT_LOCK && l && l->kind == LOCK_JOIN);
}

static uint32_t label_of(const struct chains *c, const struct span *s)
{
	const struct lock *l = lock_at(c, s->lock);

	if (is_strong(c, s))
		return LABEL_LOCK + s->lock;
	return s->kind == WAIT_LOCK && l && lock_is_barrier(l) ? LABEL_BARRIER : LABEL_WORK;
}

/* It gave up when its time was over, and nobody came to do what it waited for: a clock. */
static bool is_clock(const struct span *s)
{
	return s->kind == WAIT_LOCK && s->blame == BLAME_NOBODY && s->wait && s->wait->timed_out;
}

static uint8_t weight_of(const struct chains *c, const struct node *n, const struct span *s,
                         uint32_t blamed)
{
	if (is_strong(c, s))
		return 1;
	if (s->wait && s->wait->look_out)
		return 0;
	switch (s->kind) {
	case WAIT_IO:
	case WAIT_FAULT:
	case WAIT_OTHER:
		return 1;
	case WAIT_TIMER:
	case WAIT_EXTERNAL:
	case WAIT_POLL:
	case WAIT_STOPPED:
		return blamed == NOBODY ? !n->drowsy : n->worker;
	default:
		break;
	}
	if (is_end_of_task(c, s))
		return 0;
	if (is_clock(s) && blamed == NOBODY)
		return !n->drowsy;
	/* Work that nobody of ours ever brings: it holds nothing up. */
	if (s->kind == WAIT_LOCK && blamed == NOBODY && s->blame == BLAME_NOBODY)
		return 0;
	return n->worker;
}

/* What a wait for no task of ours is charged to. */
static struct what what_alone(const struct chains *c, const struct span *s)
{
	switch (s->kind) {
	case WAIT_LOCK:
		if (is_strong(c, s) || s->blame == BLAME_HANDOFF)
			return of_lock(c, s->lock);
		if (is_clock(s))
			return (struct what){CH_REST, CAUSE_SLEEP, 0};
		return (struct what){CH_NONE, CAUSE_UNATTRIBUTED, 0};
	case WAIT_CHANNEL:
		return (struct what){CH_CHANNEL, CAUSE_CHANNEL, s->channel};
	case WAIT_CHILD:
		return (struct what){CH_CHANNEL, CAUSE_CHILD, 0};
	case WAIT_IO:
		return (struct what){CH_IO, CAUSE_IO, 0};
	case WAIT_FAULT:
		return (struct what){CH_IO, CAUSE_FAULT, 0};
	case WAIT_TIMER:
		if (s->wait && s->wait->look_out)
			return (struct what){CH_NONE, CAUSE_UNATTRIBUTED, 0};
		return (struct what){CH_REST, CAUSE_SLEEP, 0};
	case WAIT_EXTERNAL:
	case WAIT_POLL:
	case WAIT_STOPPED:
		return (struct what){CH_REST, CAUSE_EXTERNAL, 0};
	default:
		return (struct what){CH_UNKNOWN, CAUSE_UNATTRIBUTED, 0};
	}
}

/* --- changes --- */

static int leave(struct chains *c, uint32_t i)
{
	struct node *n = &c->nodes.v[i];
	struct slot *self;
	int err = 0;

	if (n->state == NODE_LINKED) {
		err = subtree_add(c, i, -1);
	} else {
		for (size_t k = 0; !err && k < n->slots.n; k++)
			if (n->slots.v[k].weight)
				err = slot_rest(c, i, &n->slots.v[k]);
		self = slot_of(n, LABEL_SELF);
		if (self)
			self->weight = 0;
	}
	if (n->state == NODE_RUN) {
		c->running--;
		c->running_sum -= i;
	}
	c->ready -= n->state == NODE_READY;
	c->cycles -= n->state == NODE_CYCLE;
	if (n->state == NODE_ALONE && !n->own)
		c->n_idle[n->bystander][n->self.cause]--;
	n->size -= n->own;
	n->joiners -= n->own_join;
	n->own = n->own_join = 0;
	n->state = NODE_ABSENT;
	return err;
}

/* It is its state's own root: begins to earn. */
static int enter_root(struct chains *c, uint32_t i)
{
	struct node *n = &c->nodes.v[i];
	struct slot *self;
	int err = 0;

	if (n->state == NODE_RUN) {
		c->running++;
		c->running_sum += i;
	}
	c->ready += n->state == NODE_READY;
	c->cycles += n->state == NODE_CYCLE;
	if (n->state == NODE_ALONE && !n->own)
		c->n_idle[n->bystander][n->self.cause]++;
	if (n->own) {
		err = slot_need(n, LABEL_SELF, &self);
		if (err)
			return err;
		self->weight = n->own;
	}
	for (size_t k = 0; k < n->slots.n; k++)
		if (n->slots.v[k].weight)
			slot_wake(c, n, &n->slots.v[k]);
	return 0;
}

static int enter_blocked(struct chains *c, uint32_t i, const struct span *s)
{
	struct node *n = &c->nodes.v[i];
	uint32_t blamed = chains_node(c, s->task);

	n->own = weight_of(c, n, s, blamed);
	n->size += n->own;
	n->culprit = i;
	n->self = what_alone(c, s);
	if (blamed == NOBODY) {
		n->state = NODE_ALONE;
		return enter_root(c, i);
	}
	if (blamed == i || root_of(c, blamed) == i) {
		n->state = NODE_CYCLE;
		n->self = s->lock ? of_lock(c, s->lock) : n->self;
		return enter_root(c, i);
	}
	n->own_join = is_end_of_task(c, s) && c->nodes.v[blamed].has_peers;
	n->joiners += n->own_join;
	n->state = NODE_LINKED;
	n->parent = blamed;
	n->label = label_of(c, s);
	n->for_end = is_end_of_task(c, s);
	return subtree_add(c, i, 1);
}

/* Woken and soon to run: still the cost of the wait. */
static int enter_latency(struct chains *c, uint32_t i, const struct span *s)
{
	struct node *n = &c->nodes.v[i];
	uint32_t blamed = chains_node(c, s->task);

	n->own = weight_of(c, n, s, blamed);
	n->size += n->own;
	n->self = what_alone(c, s);
	n->culprit = i;
	if (blamed != NOBODY && !is_strong(c, s)) {
		n->self = (struct what){CH_SERIAL, CAUSE_SERIAL, c->nodes.v[blamed].t->id};
		n->culprit = blamed;
	}
	n->state = NODE_ALONE;
	return enter_root(c, i);
}

static int take_piece(void *at, const struct gil_span *piece)
{
	*(struct gil_span *)at = *piece;
	return 1;
}

/* May somebody else have what that wait is for, then? *holder: who, NOBODY = not known. */
static bool held_by_other(const struct chains *c, const struct node *n, const struct wait *x,
                          uint64_t t_ns, uint32_t *holder)
{
	const struct lock *l = lock_at(c, x->lock);
	uint32_t gil = l->kind == LOCK_GIL ? model_gil_number(c->w->m, l->gil) : 0;
	struct gil_span at = {.state = BLAME_NOBODY};

	if (gil && c->w->gil) {
		gil_segments(c->w->gil, gil - 1, t_ns, t_ns + 1, take_piece, &at);
	} else {
		const struct blame *b =
		        wait_blame_at(c->w, x, t_ns > x->start_ns ? t_ns : x->start_ns);

		if (b)
			at = (struct gil_span){.task = b->task, .state = b->state};
	}
	*holder = at.state == BLAME_HELD ? chains_node(c, at.task) : NOBODY;
	return at.state == BLAME_NOBODY || (at.state == BLAME_HELD && at.task != n->t->id);
}

/*
 * A ready task that with a CPU would only wait for a lock: on a turn within such a wait (a timeout
 * woke it), or on its way into one. The latter is seen by what it does when it gets the CPU: it
 * waits at once, for the GIL that another one has, or again for the lock that it was woken for and
 * that somebody had taken meanwhile. Then it is the lock that keeps it and no want of CPUs. Returns
 * the wait, NULL = it would run.
 */
static const struct wait *waits_anyway(const struct chains *c, const struct node *n,
                                       const struct span *s)
{
	const struct spans *all = &n->spans;
	const struct wait *x = all->waits + all->wait, *end = all->waits + all->n_waits;
	uint32_t holder;

	if (x < end && x->lock && c->strong[x->lock - 1] && x->start_ns <= s->start_ns &&
	    s->start_ns < x->end_ns)
		return x;
	while (x < end && x->start_ns < s->end_ns)
		x++;
	if (x == end || !x->lock || !c->strong[x->lock - 1] ||
	    x->start_ns - s->end_ns > WAKE_LATENCY_NS)
		return NULL;
	if (lock_at(c, x->lock)->kind == LOCK_GIL)
		return held_by_other(c, n, x, s->end_ns, &holder) ? x : NULL;
	return s->woken && s->lock == x->lock ? x : NULL;
}

/* Its wait for the lock goes on. */
static int enter_again(struct chains *c, uint32_t i, const struct span *s, const struct wait *x)
{
	struct node *n = &c->nodes.v[i];
	uint32_t holder;

	if (!held_by_other(c, n, x, s->start_ns, &holder) || holder == NOBODY)
		holder = i;
	n->own = 1;
	n->size += n->own;
	n->self = of_lock(c, x->lock);
	n->culprit = holder;
	n->state = NODE_ALONE;
	return enter_root(c, i);
}

static int enter(struct chains *c, uint32_t i, const struct span *s)
{
	struct node *n = &c->nodes.v[i];
	const struct wait *x = NULL;

	if (s && s->state == SPAN_BLOCKED)
		return enter_blocked(c, i, s);
	if (s && s->state == SPAN_READY && s->woken && s->end_ns - s->start_ns <= WAKE_LATENCY_NS)
		return enter_latency(c, i, s);
	if (s && s->state == SPAN_READY)
		x = waits_anyway(c, n, s);
	if (x)
		return enter_again(c, i, s, x);
	n->state = !s ? NODE_ABSENT : s->state == SPAN_RUN ? NODE_RUN : NODE_READY;
	return enter_root(c, i);
}

int chains_change(struct chains *c, uint32_t i, const struct span *next)
{
	uint32_t cycle = NOBODY;
	int err;

	if (c->steps > CHAIN_SLACK + CHAIN_LINKS * ++c->changes)
		return -E2BIG;
	if (c->cycles) {
		cycle = root_of(c, i);
		if (cycle == i || c->nodes.v[cycle].state != NODE_CYCLE)
			cycle = NOBODY;
	}
	err = leave(c, i);
	if (!err)
		err = enter(c, i, next);
	/* What was a cycle through this node may be a chain now. */
	if (!err && cycle != NOBODY) {
		struct span again = c->nodes.v[cycle].cur;

		err = leave(c, cycle);
		if (!err)
			err = enter_blocked(c, cycle, &again);
	}
	return err;
}

int chains_settle(struct chains *c)
{
	for (uint32_t i = 0; i < c->nodes.n; i++)
		for (size_t k = 0; is_root(&c->nodes.v[i]) && k < c->nodes.v[i].slots.n; k++)
			if (slot_settle(c, i, &c->nodes.v[i].slots.v[k]))
				return -ENOMEM;
	return 0;
}
