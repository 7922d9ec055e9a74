/* SPDX-License-Identifier: MIT */
#include "lock_facts.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "waits.h"

struct lock_facts {
	struct model *m;
	struct waits *w;
	char why[200];
};

struct lock_facts *lock_facts_load(const char *path, const char **why)
{
	const struct model_opts opts = {.flags = MODEL_SLICES};
	struct lock_facts *f = calloc(1, sizeof(*f));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	static struct err err;
	struct trace_reader *r;

	err.msg[0] = '\0';
	*why = err.msg;
	r = trace_reader_new(trace_source_fd(&fd), &err);
	if (f && r)
		f->m = model_load(r, &opts, &err);
	if (f && f->m)
		f->w = waits_build(f->m, &err);
	trace_reader_free(r);
	close(fd);
	if (f && f->w)
		return f;
	lock_facts_free(f);
	return NULL;
}

void lock_facts_free(struct lock_facts *f)
{
	if (!f)
		return;
	waits_free(f->w);
	model_free(f->m);
	free(f);
}

static uint32_t tid_of(const struct lock_facts *f, uint32_t task)
{
	const struct task *t = model_task(f->m, task);

	return t ? t->tid : 0;
}

size_t lock_facts_count(const struct lock_facts *f)
{
	return f->w->locks.n;
}

size_t lock_facts_find(const struct lock_facts *f, const char *name, const char *kind,
                       struct lock_fact *out)
{
	size_t n = 0;

	for (size_t i = 0; i < f->w->locks.n; i++) {
		const struct lock *l = &f->w->locks.v[i];

		if (!strstr(l->name, name) ||
		    strcmp(lock_kind_key((enum lock_kind)l->kind), kind) != 0)
			continue;
		n++;
		*out = (struct lock_fact){
		        .id = l->id,
		        .name = l->name,
		        .kind = kind,
		        .shared = l->shared,
		        .waits = l->waits,
		};
	}
	return n;
}

size_t channel_facts_count(const struct lock_facts *f)
{
	return f->w->channels.n;
}

struct lock_fact channel_facts_at(const struct lock_facts *f, size_t i)
{
	const struct channel *c = &f->w->channels.v[i];

	return (struct lock_fact){.id = c->id, .name = c->name, .what = c->what, .waits = c->waits};
}

static bool for_another(const struct lock_facts *f, const struct wait *x, uint32_t blocker)
{
	for (uint32_t i = x->blame; i < x->blame + x->n_blame; i++)
		if (tid_of(f, f->w->blames.v[i].task) != blocker)
			return true;
	return !x->n_blame;
}

static uint64_t count_waits(const struct lock_facts *f, uint32_t lock, uint32_t channel,
                            const uint32_t tids[2], uint64_t *wrong)
{
	uint64_t n = 0;

	*wrong = 0;
	for (size_t i = 0; i < f->w->waits.n; i++) {
		const struct wait *x = &f->w->waits.v[i];

		if (x->lock != lock || x->channel != channel || tid_of(f, x->task) != tids[0])
			continue;
		n++;
		*wrong += for_another(f, x, tids[1]);
	}
	return n;
}

uint64_t lock_facts_waits(const struct lock_facts *f, uint32_t lock, uint32_t waiter,
                          uint32_t blocker, uint64_t *wrong)
{
	return count_waits(f, lock, 0, (const uint32_t[2]){waiter, blocker}, wrong);
}

uint64_t channel_facts_waits(const struct lock_facts *f, uint32_t channel, uint32_t waiter,
                             uint32_t blocker, uint64_t *wrong)
{
	return count_waits(f, 0, channel, (const uint32_t[2]){waiter, blocker}, wrong);
}

size_t lock_facts_open(const struct lock_facts *f, uint32_t lock, uint32_t *waiter,
                       uint32_t *blocker)
{
	size_t n = 0;

	for (size_t i = 0; i < f->w->waits.n; i++) {
		const struct wait *x = &f->w->waits.v[i];

		if (!x->open || x->lock != lock || !x->n_blame)
			continue;
		n++;
		*waiter = tid_of(f, x->task);
		*blocker = tid_of(f, f->w->blames.v[x->blame + x->n_blame - 1].task);
	}
	return n;
}

const char *lock_facts_broken(const struct lock_facts *f)
{
	static char why[200];

	for (size_t i = 0; i < model_n_tasks(f->m); i++) {
		const struct task *t = model_task_at(f->m, i);
		uint64_t ns = 0, all = t->blocked_by[BLOCK_FUTEX] + t->blocked_by[BLOCK_JOIN];
		size_t n;
		const struct wait *x = waits_of(f->w, t->id, &n);

		for (size_t j = 0; j < n; j++)
			if (t->slices.v[x[j].slice].cause == BLOCK_FILE ||
			    t->slices.v[x[j].slice].cause == BLOCK_OTHER)
				continue; /* the kernel's own locks are no futexes */
			else if (x[j].lock || t->slices.v[x[j].slice].futex)
				ns += x[j].blocked_ns;
		if (ns == all)
			continue;
		snprintf(why, sizeof(why), "thread %u waited %llu ns on locks, was %llu in futexes",
		         t->tid, (unsigned long long)ns, (unsigned long long)all);
		return why;
	}
	return NULL;
}

/* Of the piece, what lies in the holds of its task, in those of others. */
static void add_piece(const struct lock_facts *f, const struct blame *x,
                      const struct lock_hold *holds, size_t n, struct lock_accuracy *a)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t from = holds[i].from_ns > x->start_ns ? holds[i].from_ns : x->start_ns;
		uint64_t to = holds[i].to_ns < x->end_ns ? holds[i].to_ns : x->end_ns;

		if (from >= to)
			continue;
		if (x->state != BLAME_HELD)
			a->nobody_ns += to - from;
		else if (tid_of(f, x->task) == holds[i].tid)
			a->right_ns += to - from;
		else
			a->wrong_ns += to - from;
	}
}

struct lock_accuracy lock_facts_compare(const struct lock_facts *f, uint32_t lock,
                                        const struct lock_hold *holds, size_t n)
{
	struct lock_accuracy a = {0};

	for (size_t i = 0; i < f->w->waits.n; i++) {
		const struct wait *x = &f->w->waits.v[i];

		for (uint32_t j = x->blame; x->lock == lock && j < x->blame + x->n_blame; j++)
			add_piece(f, &f->w->blames.v[j], holds, n, &a);
	}
	return a;
}
