/* SPDX-License-Identifier: MIT */
/*
 * forks.c: processes are read at different moments. A reading of a parent from before a fork counts
 * the pages that its child shares now as the parent's alone. Until the parent is read again the
 * child counts with what is its own (USS), then with its PSS; and so do the child's children, who
 * share those pages, too. After an exec nothing but files is shared any more.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

#define NONE UINT32_MAX

struct fork_node {
	uint64_t exec_ns;     /* of its leader; 0 = none */
	uint32_t parent;      /* index, NONE */
	uint32_t keeper;      /* whose list it is in: an older process not read since; NONE */
	uint32_t first, next; /* its own list of such younger ones; next in its keeper's list */
	bool lives, own;
};

static int place_of(struct forks *f, const struct model *m)
{
	struct hmap ids = {0};
	int err = 0;

	for (uint32_t i = 0; i < f->n && !err; i++) {
		uint64_t *at = hmap_put(&ids, model_proc_at(m, i)->id, 0, NULL);

		if (at)
			*at = i;
		err = at ? 0 : -ENOMEM;
	}
	for (uint32_t i = 0; i < f->n && !err; i++) {
		const struct proc *p = model_proc_at(m, i);
		const struct task *maker = model_task(m, p->parent), *leader = model_task(m, p->id);
		const uint64_t *at = maker ? hmap_get(&ids, maker->proc, 0) : NULL;

		f->v[i] = (struct fork_node){
		        .exec_ns = leader ? leader->exec_ns : 0,
		        .parent = at && *at != i ? (uint32_t)*at : NONE,
		        .keeper = NONE,
		        .first = NONE,
		        .next = NONE,
		};
	}
	hmap_release(&ids);
	return err;
}

int forks_init(struct forks *f, const struct model *m)
{
	*f = (struct forks){.n = model_n_procs(m)};
	f->v = calloc(f->n + 1, sizeof(*f->v));
	return f->v ? place_of(f, m) : -ENOMEM;
}

void forks_release(struct forks *f)
{
	free(f->v);
	*f = (struct forks){0};
}

static void keep(struct forks *f, uint32_t i, uint32_t keeper)
{
	f->v[i].keeper = keeper;
	f->v[i].next = f->v[keeper].first;
	f->v[keeper].first = i;
}

void forks_begin(struct forks *f, uint32_t i)
{
	struct fork_node *x = &f->v[i];

	if (x->lives)
		return;
	x->lives = true;
	if (x->parent == NONE || !f->v[x->parent].lives)
		return;
	x->own = true;
	keep(f, i, x->parent);
}

/* Those whom i kept are its keeper's now, when it has one itself; else nobody's. */
static void let_go(struct forks *f, uint32_t i, void (*changed)(void *ctx, uint32_t i), void *ctx)
{
	uint32_t keeper = f->v[i].own ? f->v[i].keeper : NONE, next;

	for (uint32_t k = f->v[i].first; k != NONE; k = next) {
		next = f->v[k].next;
		f->v[k].keeper = f->v[k].next = NONE;
		if (!f->v[k].own)
			continue;
		if (keeper != NONE) {
			keep(f, k, keeper);
			continue;
		}
		f->v[k].own = false;
		changed(ctx, k);
	}
	f->v[i].first = NONE;
}

void forks_read(struct forks *f, uint32_t i, uint64_t t_ns, void (*changed)(void *ctx, uint32_t i),
                void *ctx)
{
	if (f->v[i].exec_ns && t_ns >= f->v[i].exec_ns)
		f->v[i].own = false;
	let_go(f, i, changed, ctx);
}

void forks_end(struct forks *f, uint32_t i, void (*changed)(void *ctx, uint32_t i), void *ctx)
{
	f->v[i].lives = false;
	let_go(f, i, changed, ctx);
}

uint32_t forks_parent(const struct forks *f, uint32_t i)
{
	return f->v[i].parent;
}

bool forks_own(const struct forks *f, uint32_t i)
{
	return f->v[i].own;
}
