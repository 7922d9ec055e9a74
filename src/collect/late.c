/* SPDX-License-Identifier: MIT */
/* late.c: see late_priv.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "late_priv.h"

struct item {
	uint64_t key;
	struct mt_copy *copy;
	struct mt_stack *stack;
	struct proc_maps maps;
	unsigned asked;
};

#define ASKED_MAX 64 /* files that gave way before the walk came there, and maybe do again */

struct late {
	struct tables *tables;
	VEC(struct item) items; /* oldest first */
};

struct late *late_new(struct tables *t)
{
	struct late *l = calloc(1, sizeof(*l));

	if (l)
		l->tables = t;
	return l;
}

static void drop(struct late *l, size_t i)
{
	struct item *it = &l->items.v[i];

	free(it->copy);
	free(it->stack);
	free(it->maps.v);
	l->items.n--;
	memmove(it, it + 1, (l->items.n - i) * sizeof(*it));
}

void late_free(struct late *l)
{
	if (!l)
		return;
	while (l->items.n)
		drop(l, l->items.n - 1);
	vec_release(&l->items);
	free(l);
}

static struct item *item_of(struct late *l, uint32_t cpu, uint32_t id)
{
	struct item new = {.key = (uint64_t)cpu << 32 | id};

	for (size_t i = l->items.n; i-- > 0;)
		if (l->items.v[i].key == new.key)
			return &l->items.v[i];
	if (l->items.n >= LATE_MAX)
		drop(l, 0);
	return vec_push(&l->items, new) ? NULL : &l->items.v[l->items.n - 1];
}

static void *copy_of(const void *p, size_t n)
{
	void *c = malloc(n);

	return c ? memcpy(c, p, n) : NULL;
}

void late_pointed(const struct mt_copy *e, const struct proc_maps *maps, bool *pointed)
{
	uint64_t addr = e->ip;

	for (size_t at = 0;; at += sizeof(addr)) {
		const struct proc_map *m = proc_maps_find(maps, addr);

		if (m)
			pointed[m - maps->v] = true;
		if (at + sizeof(addr) > e->bytes)
			return;
		memcpy(&addr, e->data + at, sizeof(addr));
	}
}

/* While the process is there to tell which files they are. A large program has hundreds of them,
 * of which a stack has a few. */
static void find_files(struct late *l, struct proc_maps *maps, const struct mt_copy *e)
{
	bool *pointed = calloc(maps->n + 1, sizeof(*pointed));

	if (pointed)
		late_pointed(e, maps, pointed);
	for (size_t i = 0; pointed && i < maps->n; i++)
		if (pointed[i])
			tables_ahead(l->tables, maps->pid, &maps->v[i]);
	free(pointed);
}

void late_copy(struct late *l, const struct mt_copy *e, uint32_t pid)
{
	struct proc_maps maps = {0};
	struct item *it;

	if (e->bytes > MT_COPY_BYTES)
		return;
	it = proc_maps_read(&maps, pid) ? NULL : item_of(l, e->h.cpu, e->id);
	if (!it || it->copy) {
		free(maps.v);
		return;
	}
	find_files(l, &maps, e);
	it->maps = maps;
	it->copy = copy_of(e, offsetof(struct mt_copy, data) + e->bytes);
}

void late_stack(struct late *l, const struct mt_stack *e)
{
	struct item *it = item_of(l, e->h.cpu, e->wanted);

	if (it && !it->stack)
		it->stack =
		        copy_of(e, offsetof(struct mt_stack, frames) + e->n * sizeof(e->frames[0]) +
		                           e->n_py * sizeof(struct mt_pyframe));
}

/* --- going on -------------------------------------------------------------- */

struct look {
	struct tables *tables;
	struct item *item;
	struct unwind_view view;
	bool making;  /* a table that is still on its way */
	bool outside; /* of what was copied */
};

static int look_read(void *ctx, uint64_t addr, void *out, size_t n)
{
	struct look *l = ctx;
	const struct mt_copy *c = l->item->copy;
	uint64_t at = addr - c->sp;

	if (at > c->bytes || n > c->bytes - at) {
		l->outside = addr >= c->sp;
		return -EFAULT;
	}
	memcpy(out, c->data + at, n);
	return 0;
}

static int look_place(void *ctx, uint64_t addr, struct unwind_place *out)
{
	struct look *l = ctx;
	struct proc_maps *maps = &l->item->maps;
	const struct proc_map *found = proc_maps_find(maps, addr);
	struct proc_map *m = found ? &maps->v[found - maps->v] : NULL;
	int state = m ? tables_state(l->tables, m) : -ENOENT;

	if (m && m->inode && state == -ENOENT && l->item->asked < ASKED_MAX) {
		l->item->asked++;
		tables_need(l->tables, maps->pid, m);
		state = tables_state(l->tables, m);
	}
	l->making |= state == -EAGAIN;
	if (!m || (m->inode && state))
		return -ENOENT; /* its file could not be found: nothing to go on by */
	out->file_offset = addr - m->start + m->offset;
	out->table = tables_view(l->tables, m, &l->view) ? &l->view : NULL;
	return 0;
}

/* True: the walk is over, and *out tells more than what was: it is longer, or it is the copy that
 * does not reach the next frame. */
static bool go_on(const struct late *l, struct item *it, bool force, struct late_done *out,
                  bool *wait)
{
	const struct mt_copy *c = it->copy;
	struct unwind_regs regs = {.ip = c->ip, .sp = c->sp, .bp = c->bp, .exact = c->exact};
	struct look look = {.tables = l->tables, .item = it};
	const struct unwind_ops ops = {look_read, look_place, &look};
	size_t first = it->stack->n ? it->stack->n - 1u : 0;

	memcpy(out->frames, it->stack->frames, first * sizeof(out->frames[0]));
	out->flags = it->stack->flags | STACK_F_COPY;
	out->n = first + unwind_remote(&ops, &regs, out->frames + first, MT_MAX_USER_FRAMES - first,
	                               &out->end, &out->flags);
	*wait = look.making && !force;
	if (out->end == STACK_END_BAD_READ && look.outside)
		out->end = STACK_END_DEPTH;
	if (out->end == STACK_END_DEPTH)
		out->flags |= STACK_F_TRUNCATED;
	return !*wait &&
	       (out->n > it->stack->n || (out->n == it->stack->n && out->end == STACK_END_DEPTH));
}

bool late_next(struct late *l, bool force, struct late_done *out)
{
	size_t i = 0;

	while (l && i < l->items.n) {
		struct item *it = &l->items.v[i];
		bool wait = !force, longer = false;

		if (it->copy && it->stack && it->stack->n <= MT_MAX_USER_FRAMES)
			longer = go_on(l, it, force, out, &wait);
		if (longer) {
			out->stack = it->stack;
			it->stack = NULL;
		}
		if (longer || !wait)
			drop(l, i);
		else
			i++;
		if (longer)
			return true;
	}
	return false;
}
