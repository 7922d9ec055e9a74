/* SPDX-License-Identifier: MIT */
/*
 * The wait-for graph in words:
 *
 *   deadlock of 2 tasks
 *     worker-1 (4712)  holds a_lock, waits for b_lock since 12 s        at take_b (prog.c:40)
 *     worker-2 (4713)  holds b_lock, waits for a_lock since 12 s        at take_a (prog.c:52)
 *   waits
 *     worker-3 (4714)  running                                            at work (prog.c:10)
 *       worker-4 (4715)  for results_lock, 20 ms                          at put (prog.c:77)
 *
 * Below a task are those that wait for it. Like ones side by side, with nobody below them,
 * are one line.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"

#define DEEPEST 32

struct graph_out {
	const struct report *r;
	FILE *out;
	uint64_t now_ns;
	struct hmap places;     /* task id -> place in r->graph + 1 */
	uint32_t *first, *next; /* children: first of a place, next of the same parent; + 1 */
	bool *shown;
};

/* --- words --- */

static const char *lock_name(const struct report *r, uint32_t lock)
{
	return lock && lock <= r->w->locks.n ? r->w->locks.v[lock - 1].name : "";
}

static void what_text(const struct report *r, const struct graph_row *g, char *out, size_t n)
{
	static const char *const kinds[WAIT_KIND_N] = {
	        [WAIT_LOCK] = "a lock",        [WAIT_CHANNEL] = "a pipe or socket",
	        [WAIT_CHILD] = "a child",      [WAIT_IO] = "I/O",
	        [WAIT_TIMER] = "a timer",      [WAIT_EXTERNAL] = "something outside",
	        [WAIT_FAULT] = "a page fault", [WAIT_STOPPED] = "being continued (stopped)",
	        [WAIT_POLL] = "events (poll)", [WAIT_OTHER] = "something unknown",
	};
	const char *name = lock_name(r, g->lock);
	char kind[48];

	if (*name)
		fmt_safe(out, n, name);
	else if (g->channel && g->channel <= r->w->channels.n)
		fmt_safe(out, n, r->w->channels.v[g->channel - 1].name);
	else
		snprintf(out, n, "%s",
		         g->kind < WAIT_KIND_N ? kinds[g->kind] : "something unknown");
	/* A name that tells the place of waiting reads on from its kind. */
	if (*name && !strncmp(out, "waited for", 10))
		snprintf(out, n, "a %s",
		         lock_kind_text(&r->w->locks.v[g->lock - 1], kind, sizeof(kind)));
}

static void age_text(const struct graph_out *g, const struct graph_row *row, char *out, size_t n)
{
	char ns[32];

	fmt_ns(ns, sizeof(ns), g->now_ns > row->since_ns ? g->now_ns - row->since_ns : 0);
	snprintf(out, n, row->before ? "more than %s" : "%s", ns);
}

/* What it waits for in the kernel was said already. */
static void put_place(const struct graph_out *g, uint32_t ustack)
{
	char where[200];

	if (where_text(where, sizeof(where), g->r->m, ustack, 0))
		fprintf(g->out, ", at %s", where);
	fputc('\n', g->out);
}

static void put_task(const struct graph_out *g, uint32_t task)
{
	const struct task *t = model_task(g->r->m, task);
	char name[128];

	fprintf(g->out, "%s (%" PRIu32 ")", task_label(name, sizeof(name), g->r->m, task),
	        t ? t->tid : 0);
}

/* --- deadlocks --- */

static void put_edge(const struct graph_out *g, const struct deadlock_edge *e)
{
	const uint64_t *at = hmap_get(&g->places, e->task, 0);
	struct graph_row row = at ? g->r->graph.v[*at - 1]
	                          : (struct graph_row){.kind = WAIT_LOCK,
	                                               .lock = e->waits_for,
	                                               .since_ns = e->since_ns};
	struct graph_row held = {.kind = WAIT_LOCK, .lock = e->holds};
	char what[200], age[64], holds[200];

	what_text(g->r, &row, what, sizeof(what));
	what_text(g->r, &held, holds, sizeof(holds));
	age_text(g, &row, age, sizeof(age));
	fputs("  ", g->out);
	put_task(g, e->task);
	fprintf(g->out, "  holds %s, waits for %s, %s", e->holds ? holds : "what is waited for",
	        what, age);
	put_place(g, e->ustack ? e->ustack : row.ustack);
}

static void put_deadlocks(const struct graph_out *g)
{
	for (size_t i = 0; i < g->r->deadlocks.n; i++) {
		const struct deadlock *d = &g->r->deadlocks.v[i];

		fprintf(g->out, "DEADLOCK of %zu task%s\n", d->edges.n, d->edges.n == 1 ? "" : "s");
		for (size_t k = 0; k < d->edges.n; k++)
			put_edge(g, &d->edges.v[k]);
	}
}

/* --- processes that nobody wakes --- */

struct crew { /* of a process: those that live */
	uint64_t n, for_good;
	bool told; /* or there is nothing to tell */
};

static struct crew crew_of(const struct graph_out *g, uint32_t proc)
{
	struct crew c = {0};

	for (size_t i = 0; i < g->r->graph.n; i++) {
		const struct graph_row *row = &g->r->graph.v[i];
		const struct task *t = model_task(g->r->m, row->task);

		if (!t || t->proc != proc)
			continue;
		c.n++;
		c.for_good += row->for_good;
		c.told |= row->deadlock != 0;
	}
	return c;
}

/* All threads of a process wait for each other's locks, though nobody is known to have them: who
 * should have woken them has gone. After a fork only the thread that called it is there, while the
 * locks are as all threads had left them. Bounded: it looks through all tasks for each process. */
static void put_hung(const struct graph_out *g)
{
	enum { MOST = 256 };
	size_t told = 0;

	for (size_t i = 0; i < g->r->graph.n && told < MOST; i++) {
		uint32_t task = g->r->graph.v[i].task;
		const struct task *t = model_task(g->r->m, task);
		struct crew c;

		if (!t || t->proc != task || !g->r->graph.v[i].for_good)
			continue;
		told++;
		c = crew_of(g, task);
		if (c.told || c.for_good < c.n)
			continue;
		fputs("only a signal can wake ", g->out);
		put_task(g, task);
		if (c.n == 1)
			fputs(": its one thread waits for a lock of its own process, with no "
			      "timeout\n",
			      g->out);
		else
			fprintf(g->out,
			        ": its %" PRIu64 " threads wait for locks of their own process, "
			        "with no timeout\n",
			        c.n);
	}
}

/* --- trees --- */

static bool alike(const struct graph_out *g, uint32_t a, uint32_t b)
{
	const struct graph_row *x = &g->r->graph.v[a], *y = &g->r->graph.v[b];
	const struct task *s = model_task(g->r->m, x->task), *t = model_task(g->r->m, y->task);

	return !g->first[a] && !g->first[b] && x->state == y->state && x->kind == y->kind &&
	       x->lock == y->lock && x->channel == y->channel && x->waits_for == y->waits_for &&
	       x->ustack == y->ustack && x->kstack == y->kstack && s && t && s->proc == t->proc &&
	       !strcmp(s->comm, t->comm);
}

static void put_node(const struct graph_out *g, uint32_t i, unsigned depth, uint32_t more)
{
	const struct graph_row *row = &g->r->graph.v[i];
	char what[200], age[64];

	fprintf(g->out, "%*s", (int)(2 + 2 * depth), "");
	put_task(g, row->task);
	if (more)
		fprintf(g->out, " and %" PRIu32 " like it", more);
	if (row->deadlock) {
		fprintf(g->out, "  deadlocked, see above\n");
		return;
	}
	if (row->state == 'B') {
		what_text(g->r, row, what, sizeof(what));
		age_text(g, row, age, sizeof(age));
		fprintf(g->out, "  waits for %s, %s", what, age);
	} else {
		fprintf(g->out, row->state == 'R' ? "  running" : "  ready, no CPU yet");
	}
	put_place(g, row->ustack);
}

/* Begins at `i`, one of several side by side. Depth is bounded by the tasks: each is shown once. */
static void put_tree(struct graph_out *g, uint32_t i, unsigned depth)
{
	while (i != UINT32_MAX) {
		uint32_t more = 0, next = g->next[i];

		while (next && alike(g, i, next - 1)) {
			g->shown[next - 1] = true;
			more++;
			next = g->next[next - 1];
		}
		if (!g->shown[i]) {
			g->shown[i] = true;
			put_node(g, i, depth, more);
			if (g->first[i] && depth < DEEPEST)
				put_tree(g, g->first[i] - 1, depth + 1);
		}
		i = next ? next - 1 : UINT32_MAX;
	}
}

static bool is_top(const struct graph_out *g, uint32_t i)
{
	const struct graph_row *row = &g->r->graph.v[i];

	return row->deadlock || !hmap_get(&g->places, row->waits_for, 0);
}

/* Roots hang beside each other below nobody: those that others wait for first. */
static uint32_t chain_roots(struct graph_out *g)
{
	size_t n = g->r->graph.n;
	uint32_t first = 0, last = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (uint32_t i = 0; i < n; i++) {
			if (!is_top(g, i) || (pass == 0) != (g->first[i] != 0) ||
			    (g->r->graph.v[i].deadlock && !g->first[i]))
				continue;
			if (last)
				g->next[last - 1] = i + 1;
			else
				first = i + 1;
			last = i + 1;
		}
	return first;
}

static int index_tasks(struct graph_out *g)
{
	size_t n = g->r->graph.n;

	g->first = calloc(n + 1, sizeof(*g->first));
	g->next = calloc(n + 1, sizeof(*g->next));
	g->shown = calloc(n + 1, sizeof(*g->shown));
	if (!g->first || !g->next || !g->shown)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t *at = hmap_put(&g->places, g->r->graph.v[i].task, 0, NULL);

		if (!at)
			return -ENOMEM;
		*at = i + 1;
	}
	for (uint32_t i = (uint32_t)n; i-- > 0;) {
		const struct graph_row *row = &g->r->graph.v[i];
		const uint64_t *at =
		        row->waits_for ? hmap_get(&g->places, row->waits_for, 0) : NULL;

		if (!at || row->deadlock)
			continue;
		g->next[i] = g->first[*at - 1];
		g->first[*at - 1] = i + 1;
	}
	return 0;
}

/* Blame that leads round in a circle without proof of a deadlock: has no root. */
static void put_rest(struct graph_out *g)
{
	for (uint32_t i = 0; i < g->r->graph.n; i++)
		if (!g->shown[i] && !(g->r->graph.v[i].deadlock && !g->first[i]))
			put_node(g, i, 0, 0);
}

static int put_graph(struct graph_out *g)
{
	int rc = index_tasks(g);
	uint32_t root;

	if (!rc) {
		put_deadlocks(g);
		put_hung(g);
		if (g->r->deadlocks.n)
			fputs("others\n", g->out);
		root = chain_roots(g);
		if (root)
			put_tree(g, root - 1, 0);
		put_rest(g);
	}
	hmap_release(&g->places);
	free(g->first);
	free(g->next);
	free(g->shown);
	return rc;
}

/* As a whole, for its pieces end in the middle of lines. */
static int put_graph_ascii(struct graph_out *g)
{
	FILE *out = g->out;
	char *text = NULL;
	size_t n = 0;
	int rc;

	g->out = open_memstream(&text, &n);
	if (!g->out)
		return -ENOMEM;
	rc = put_graph(g);
	if (fclose(g->out))
		rc = -ENOMEM;
	if (!rc)
		report_ascii(out, text, n);
	free(text);
	return rc;
}

int report_graph_text(const struct report *r, const struct report_opts *o, FILE *out,
                      struct err *err)
{
	struct graph_out g = {.r = r, .out = out, .now_ns = model_recording(r->m)->wall_end_ns};
	int rc;

	if (!r->graph.n) {
		fputs("no task was alive when the snapshot was taken\n", out);
		return 0;
	}
	rc = o && o->ascii ? put_graph_ascii(&g) : put_graph(&g);
	if (rc)
		return err_set(err, rc, MT_EXIT_FAIL, "%s", strerror(-rc));
	return stream_end(out, "the graph", err);
}
