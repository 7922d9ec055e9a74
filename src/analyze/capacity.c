/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

#define NOBODY UINT32_MAX

/* --- a heap of nodes by the end of their span --- */

static uint64_t key(const struct sweep *s, uint32_t i)
{
	return s->chains.nodes.v[i].cur.end_ns;
}

static void sift_down(struct sweep *s, size_t at)
{
	uint32_t moved = s->heap[at];
	uint64_t k = key(s, moved);

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= s->heap_n)
			break;
		if (child + 1 < s->heap_n && key(s, s->heap[child + 1]) < key(s, s->heap[child]))
			child++;
		if (key(s, s->heap[child]) >= k)
			break;
		s->heap[at] = s->heap[child];
		at = child;
	}
	s->heap[at] = moved;
}

static int heap_init(struct sweep *s)
{
	struct chains *c = &s->chains;

	s->heap = malloc((c->nodes.n + 1) * sizeof(*s->heap));
	if (!s->heap)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->nodes.n; i++) {
		/* Before its life it is absent, until its life begins. */
		c->nodes.v[i].cur.end_ns = c->nodes.v[i].t->start_ns;
		s->heap[s->heap_n++] = i;
	}
	for (size_t at = s->heap_n / 2; at-- > 0;)
		sift_down(s, at);
	return 0;
}

/* --- a stretch in which nothing changes --- */

static double pay_back(struct sweep *s, double idle, double dt)
{
	double pay = s->debt < idle * dt ? s->debt : idle * dt;

	s->debt -= pay;
	return idle - pay / dt;
}

/* To what tasks wait for that weigh nothing. Returns what is left. */
static double charge_waiting(struct sweep *s, const uint64_t *n_idle, double left, double dt)
{
	static const uint8_t order[] = {CAUSE_IO,          CAUSE_CHANNEL,  CAUSE_CHILD,
	                                CAUSE_SLEEP,       CAUSE_EXTERNAL, CAUSE_FAULT,
	                                CAUSE_UNATTRIBUTED};

	for (size_t k = 0; k < ARRAY_LEN(order); k++) {
		double take = fmin(left, (double)n_idle[order[k]]);

		s->idle[order[k]] += take * dt;
		left -= take;
	}
	return left;
}

/* Idle CPUs that no class of roots took, of `idle` in all. */
static void charge_rest(struct sweep *s, double idle, double left, double dt)
{
	const struct chains *c = &s->chains;
	uint32_t runner = (uint32_t)c->running_sum;

	if (!c->running && !c->ready) {
		left = charge_waiting(s, c->n_idle[0], left, dt);
		if (left >= idle)
			left = charge_waiting(s, c->n_idle[1], left, dt);
	}
	s->no_task += left * dt;
	if (c->running == 1)
		s->alone[runner].free_ns += left * dt;
}

static void charge_idle(struct sweep *s, double idle, double dt)
{
	struct chains *c = &s->chains;
	double take = fmin(idle, (double)c->ready), left = idle - take;

	s->shortage += take * dt;
	for (unsigned k = 0; k < CH_N && left > 0; k++) {
		if (!c->n_class[k])
			continue;
		take = fmin(left, (double)c->n_class[k]);
		c->integral[k] += take * dt / (double)c->n_class[k];
		left -= take;
	}
	if (left > 0)
		charge_rest(s, idle, left, dt);
}

static void note_serial(struct sweep *s, uint64_t dt)
{
	const struct chains *c = &s->chains;
	uint32_t only = c->running == 1 ? (uint32_t)c->running_sum : NOBODY;

	if (only != NOBODY && !c->nodes.v[only].size && !c->nodes.v[only].joiners)
		only = NOBODY;
	if (only != NOBODY) {
		s->alone[only].ns += dt;
		s->alone[only].count += only != s->serial_now;
	}
	s->serial_now = only;
}

/* How much of a stretch there had been if the CPUs had been free: as much less as of the tasks that
 * could have run did not. */
static double undisturbed(const struct sweep *s, double dt)
{
	double running = (double)s->chains.running, ready = (double)s->chains.ready;
	double could = fmin(running + ready, s->cpus);

	return could > running ? dt * running / could : dt;
}

static void advance(struct sweep *s, uint64_t to_ns)
{
	const struct chains *c = &s->chains;
	double dt, running = (double)c->running, idle;

	if (to_ns > s->end_ns)
		to_ns = s->end_ns;
	if (to_ns <= s->now_ns)
		return;
	dt = (double)(to_ns - s->now_ns);
	note_serial(s, to_ns - s->now_ns);
	s->now_ns = to_ns;
	s->work += running * dt;
	s->undisturbed += undisturbed(s, dt);
	if (running > 0) {
		s->busy_ns += (uint64_t)dt;
		s->height += dt / running;
		s->critical += dt / (running + (double)c->ready);
	}
	idle = s->cpus - running;
	if (idle < 0)
		s->debt -= idle * dt;
	else if (s->debt > 0)
		idle = pay_back(s, idle, dt);
	if (idle > 0)
		charge_idle(s, idle, dt);
}

/* --- samples --- */

static int spot_add(struct sweep *s, uint8_t cause, uint32_t id, const struct cpu_sample *x)
{
	struct spot fresh = {cause, id, x->task, x->ustack, x->kstack, 0};
	uint64_t *at;
	bool added;

	/* A stack id stands for its frames only: the task is part of the key. */
	at = hmap_put(&s->spot_ids, (uint64_t)cause << 56 ^ (uint64_t)id << 28 ^ x->task,
	              (uint64_t)x->ustack << 32 | x->kstack, &added);
	if (!at)
		return -ENOMEM;
	if (added) {
		*at = s->spots.n;
		if (vec_push(&s->spots, fresh))
			return -ENOMEM;
	}
	s->spots.v[*at].count++;
	return 0;
}

static int on_sample(struct sweep *s, const struct cpu_sample *x)
{
	struct chains *c = &s->chains;
	uint32_t i = chains_node(c, x->task);
	struct node *n = i == NOBODY ? NULL : &c->nodes.v[i];
	bool below = false;
	int err = 0;

	if (!n || n->state != NODE_RUN)
		return 0;
	for (size_t k = 0; !err && k < n->slots.n; k++) {
		const struct slot *sl = &n->slots.v[k];

		if (!sl->weight)
			continue;
		below = true;
		err = spot_add(s, sl->what.cause, sl->what.id, x);
	}
	if (!err && c->running == 1)
		err = spot_add(s, below ? SPOT_SERIAL : CAUSE_NO_TASK, below ? x->task : 0, x);
	return err;
}

/* --- the sweep --- */

/* Its running spans earn shares of the wall. */
static void share(struct sweep *s, struct node *n, bool begins)
{
	if (n->state == NODE_RUN) {
		n->height += s->height - n->height_mark;
		n->critical += s->critical - n->critical_mark;
	}
	if (begins) {
		n->height_mark = s->height;
		n->critical_mark = s->critical;
	}
}

static int step(struct sweep *s)
{
	uint32_t i = s->heap[0];
	struct node *n = &s->chains.nodes.v[i];
	struct span next;
	bool lives = spans_next(&n->spans, &next);

	advance(s, n->cur.end_ns);
	share(s, n, lives && next.state == SPAN_RUN);
	if (lives) {
		n->cur = next;
	} else {
		s->heap[0] = s->heap[--s->heap_n];
	}
	if (s->heap_n)
		sift_down(s, 0);
	return chains_change(&s->chains, i, lives ? &next : NULL);
}

int sweep_run(struct sweep *s, const struct waits *w, double cpus)
{
	const struct recording *rec = model_recording(w->m);
	const struct cpu_sample *samples;
	size_t n = model_samples(w->m, &samples), k = 0;
	int err;

	*s = (struct sweep){.cpus = cpus, .serial_now = NOBODY};
	s->now_ns = s->start_ns = rec->wall_start_ns;
	s->end_ns = rec->wall_end_ns;
	err = chains_init(&s->chains, w);
	s->alone = calloc(s->chains.nodes.n + 1, sizeof(*s->alone));
	if (!err && !s->alone)
		err = -ENOMEM;
	if (!err)
		err = heap_init(s);
	while (!err && s->heap_n) {
		uint64_t until = key(s, s->heap[0]);

		while (!err && k < n && samples[k].ts < until)
			err = on_sample(s, &samples[k++]);
		if (!err)
			err = step(s);
	}
	advance(s, s->end_ns);
	return err ? err : chains_settle(&s->chains);
}

void sweep_release(struct sweep *s)
{
	chains_release(&s->chains);
	free(s->alone);
	free(s->heap);
	vec_release(&s->spots);
	hmap_release(&s->spot_ids);
	*s = (struct sweep){0};
}

/* --- rounding --- */

struct rest {
	double rest;
	size_t i;
};

static int by_rest(const void *a, const void *b)
{
	const struct rest *x = a, *y = b;

	if (x->rest != y->rest)
		return x->rest > y->rest ? -1 : 1;
	return x->i < y->i ? -1 : 1;
}

int apportion(const double *parts, size_t n, uint64_t total, uint64_t *out)
{
	struct rest *rests = malloc((n + 1) * sizeof(*rests));
	uint64_t sum = 0;

	if (!rests)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		/* Sums of many small parts end a hair below a whole number. */
		double whole = floor(parts[i] + 1e-3);

		out[i] = whole > 0 ? whole < 1.8e19 ? (uint64_t)whole : UINT64_MAX : 0;
		rests[i] = (struct rest){parts[i] - whole, i};
		sum += out[i];
	}
	qsort(rests, n, sizeof(*rests), by_rest);
	for (size_t i = 0; i < n && sum < total; i++) {
		uint64_t more = i + 1 == n ? total - sum : 1; /* the last takes what is left */

		out[rests[i].i] += more;
		sum += more;
	}
	for (size_t i = n; sum > total && i-- > 0;) {
		uint64_t less = out[rests[i].i] < sum - total ? out[rests[i].i] : sum - total;

		if (less > 1 && i)
			less = 1;
		out[rests[i].i] -= less;
		sum -= less;
	}
	free(rests);
	return 0;
}
