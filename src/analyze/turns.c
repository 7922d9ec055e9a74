/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "analyze_priv.h"
#include "turns_priv.h"

#define LOOKED_AT 64 /* rows, the largest first, and locks: names are found among these */

static uint64_t plus(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static const struct task *serial_task(const struct report *r, const struct cause_row *row)
{
	return row->cause == CAUSE_SERIAL ? model_task(r->m, row->id) : NULL;
}

static bool has_name(const struct turns *t, const char *name)
{
	for (unsigned i = 0; i < t->n_names && i < TURNS_NAMES; i++)
		if (!strcmp(t->names[i], name))
			return true;
	return false;
}

bool turns_have(const struct report *r, const struct turns *t, const struct cause_row *row)
{
	const struct task *task = t->n ? serial_task(r, row) : NULL;

	return task && (t->n_names > TURNS_NAMES || has_name(t, task->comm));
}

/* Of that name, or of all names when NULL: time, and how many. */
static uint64_t sum_serial(const struct report *r, const char *name, unsigned *n)
{
	uint64_t ns = 0;

	*n = 0;
	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct task *task = serial_task(r, &r->breakdown.v[i]);

		if (!task || (name && strcmp(task->comm, name)))
			continue;
		ns = plus(ns, r->breakdown.v[i].ns);
		++*n;
	}
	return ns;
}

/* The name whose tasks have most, of those not listed yet. */
static const char *next_name(const struct report *r, const struct turns *t)
{
	const char *best = NULL, *last = NULL;
	uint64_t most = 0;
	unsigned n;

	for (size_t i = 0; i < r->breakdown.n && i < LOOKED_AT; i++) {
		const struct task *task = serial_task(r, &r->breakdown.v[i]);
		uint64_t ns;

		/* Rows of one name often follow each other. */
		if (!task || has_name(t, task->comm) || (last && !strcmp(last, task->comm)))
			continue;
		last = task->comm;
		ns = sum_serial(r, last, &n);
		if (ns > most) {
			most = ns;
			best = last;
		}
	}
	return best;
}

/* --- at which lock --- */

/* Of what these tasks are to the lock, how long; *all: of everybody. */
static uint64_t by_them(const struct report *r, const struct turns *t, const struct lock_task *v,
                        size_t n, uint64_t *all)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < n; i++) {
		const struct task *task = model_task(r->m, v[i].task);

		*all = plus(*all, v[i].wait_ns);
		if (task && has_name(t, task->comm))
			ns = plus(ns, v[i].wait_ns);
	}
	return ns;
}

/* Some locks are one word for each waiter: those of a name are one. */
static bool is_queue(const struct report *r, const struct turns *t, const char *name, uint64_t *ns)
{
	uint64_t waited = 0, all = 0, blocked = 0, all_blocked = 0;

	for (size_t i = 0; i < r->w->locks.n; i++) {
		const struct lock *l = &r->w->locks.v[i];

		if (l->kind == LOCK_JOIN || strcmp(l->name, name))
			continue;
		waited = plus(waited, by_them(r, t, l->waiters.v, l->waiters.n, &all));
		blocked = plus(blocked, by_them(r, t, l->blockers.v, l->blockers.n, &all_blocked));
	}
	*ns = waited;
	/* It is theirs, and it keeps one of them waiting for half of the run. */
	return waited >= r->wall_ns / 2 && waited / 4 >= all / 5 && blocked / 4 >= all_blocked / 5;
}

static bool add_tasks(struct hmap *tasks, const struct lock_task *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!hmap_put(tasks, v[i].task, 0, NULL))
			return false;
	return true;
}

static bool find_tasks(const struct report *r, const char *name, struct hmap *tasks)
{
	for (size_t i = 0; i < r->w->locks.n; i++) {
		const struct lock *l = &r->w->locks.v[i];

		if (l->kind != LOCK_JOIN && !strcmp(l->name, name) &&
		    (!add_tasks(tasks, l->waiters.v, l->waiters.n) ||
		     !add_tasks(tasks, l->blockers.v, l->blockers.n)))
			return false;
	}
	return true;
}

/* Did those who meet at the lock do half of it? Of one name are often also others: a program's
 * threads, and what they start. */
static bool is_by_them(const struct report *r, const struct turns *t, const char *name)
{
	struct hmap tasks = {0};
	uint64_t ns = 0, all = 0;
	bool known = find_tasks(r, name, &tasks);

	for (size_t i = 0; known && i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];

		if (!turns_have(r, t, row))
			continue;
		all = plus(all, row->ns);
		if (hmap_get(&tasks, row->id, 0))
			ns = plus(ns, row->ns);
	}
	hmap_release(&tasks);
	return known && ns >= all - all / 2;
}

static void find_queue(const struct report *r, struct turns *t)
{
	uint64_t most = 0, ns;

	for (size_t i = 0; r->w && i < r->w->locks.n && i < LOOKED_AT; i++) {
		const struct lock *l = &r->w->locks.v[i];

		if (l->kind == LOCK_JOIN || (t->at && !strcmp(t->at, l->name)) ||
		    !is_queue(r, t, l->name, &ns) || ns <= most || !is_by_them(r, t, l->name))
			continue;
		most = ns;
		t->at = l->name;
	}
}

/* Is it one of them, rather than all in turn? Who gets a lock more often than others do is still
 * one of those who wait for each other there. */
static bool is_one_alone(const struct turns *t, uint64_t most, uint64_t all)
{
	return most >= (t->at ? all - all / 4 : all / 2);
}

void turns_find(const struct report *r, const struct cause_row *top, struct turns *out)
{
	const struct task *first = serial_task(r, top);
	unsigned n = 0, all = 0;
	uint64_t ns, all_ns;

	*out = (struct turns){0};
	if (!first)
		return;
	ns = sum_serial(r, first->comm, &n);
	all_ns = sum_serial(r, NULL, &all);
	out->n = n;
	out->names[out->n_names++] = first->comm;
	if (ns < all_ns / 2) {
		const char *name;

		ns = all_ns;
		out->n = all;
		out->n_names = 0;
		for (; out->n_names < TURNS_NAMES && (name = next_name(r, out));)
			out->names[out->n_names++] = name;
		out->n_names += next_name(r, out) != NULL;
	}
	find_queue(r, out);
	if (is_one_alone(out, top->ns, ns))
		*out = (struct turns){0};
	else if (out->at && lock_name_is_go_idle(out->at))
		out->at = NULL; /* what they wait for is not seen */
}

void turns_text(const struct turns *t, char *out, size_t n)
{
	static const char before[] = "waited for ";
	char name[64], at[200] = "", safe[160];
	size_t used;

	if (t->at) {
		bool site = !strncmp(t->at, before, strlen(before));

		fmt_safe(safe, sizeof(safe), site ? t->at + strlen(before) : t->at);
		snprintf(at, sizeof(at), ", waiting for each other %s%s", site ? "" : "at ", safe);
	}
	used = (size_t)snprintf(out, n, "what %u tasks %s", t->n, t->n_names > 1 ? "(" : "called ");
	for (unsigned i = 0; i < t->n_names && i < TURNS_NAMES && used < n; i++)
		used += (size_t)snprintf(out + used, n - used, "%s%s", i ? ", " : "",
		                         fmt_safe(name, sizeof(name), t->names[i]));
	if (used < n)
		snprintf(out + used, n - used, "%s%s do one at a time%s",
		         t->n_names > TURNS_NAMES ? ", …" : "", t->n_names > 1 ? ")" : "", at);
}
