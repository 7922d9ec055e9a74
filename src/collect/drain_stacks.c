/* SPDX-License-Identifier: MIT */
/* drain_stacks.c: stacks and the code objects in them; each is written once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drain_priv.h"

#define STACKS_MAX    131072 /* more than the programs remember */
#define EARLY_MAX     1024
#define STACK_WRITTEN (1ull << 32)

/* The place of a stack's id and flags, NULL = not known. What was not mentioned for STACKS_MAX
 * others is forgotten: the programs forget sooner (stacks_sent), and send it again. */
static uint64_t *stack_slot(struct drain *d, uint64_t hash, bool add)
{
	uint64_t *slot = hmap_get(&d->stacks, hash, 0), *old, value;

	if (slot)
		return slot;
	old = hmap_get(&d->stacks_old, hash, 0);
	if (!old && !add)
		return NULL;
	value = old ? *old : 0;
	if (d->stacks.n >= STACKS_MAX) {
		hmap_release(&d->stacks_old);
		d->stacks_old = d->stacks;
		d->stacks = (struct hmap){0};
	}
	slot = hmap_put(&d->stacks, hash, 0, NULL);
	if (slot)
		*slot = value;
	return slot;
}

/* Ids are given at the first mention; the frames may come a moment later (another CPU's ring). */
uint64_t drain_stack_id(struct drain *d, uint64_t hash)
{
	uint64_t *id = hash ? stack_slot(d, hash, true) : NULL;

	if (!id)
		return 0;
	if (!*id)
		*id = ++d->last_stack;
	return *id & UINT32_MAX;
}

/* For drain_attached_python(). */
static void keep_attached(struct drain *d, const struct mt_task *e, const struct rec_stack *r)
{
	size_t bytes = r->frames.n * sizeof(r->frames.v[0]);
	struct attached_stack *a = malloc(sizeof(*a) + bytes);

	if (!a)
		return;
	a->task = *e;
	a->stack = *r;
	memcpy(a->frames, r->frames.v, bytes);
	if (vec_push(&d->attached, a))
		free(a);
}

/* Of a task that blocked before the recording began. Each has a record of its own, as two that look
 * alike may differ in their Python frames, which come later. */
uint64_t drain_attached_stack(struct drain *d, const struct mt_task *e)
{
	uint64_t frames[MT_MAX_USER_FRAMES], hash;
	struct rec_stack r = {.kind = STACK_USER, .space = e->space};
	unsigned end, flags = 0;
	size_t n = remote_stack(d->remote, e, frames, ARRAY_LEN(frames), &end, &flags);

	if (!n)
		return 0;
	hash = hash_bytes(frames, n * sizeof(frames[0]), (uint64_t)e->space << 32 | e->h.task) | 1;
	r.id = drain_stack_id(d, hash);
	r.end = end;
	r.flags = flags;
	r.frames = (struct rec_array){frames, n};
	drain_put(d, REC_K_STACK, e->h.ts, &r);
	keep_attached(d, e, &r);
	if (symbolizer_stack(d->sym, e->space, e->h.ts, frames, n))
		drain_check(d, -ENOMEM);
	return r.id;
}

void drain_on_pycode(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_pycode *e = (const void *)h;
	const struct py_build *b = d->pyspaces ? pyspaces_build(d->pyspaces, e->layout) : NULL;
	const struct live_task *t = drain_task(d, h->task);
	struct pycode_new code;

	if (!b)
		return;
	if (pycodes_add(d->pycodes, e, b, t ? t->tgid : 0, &code)) {
		drain_check(d, -ENOMEM);
	} else if (code.added) {
		struct rec_pycode r = {.id = code.id,
		                       .name = drain_string(d, code.name),
		                       .file = drain_string(d, code.file),
		                       .first_line = e->first_line};

		drain_put(d, REC_K_PYCODE, 0, &r);
	}
}

/* Keeps the stack for the next round: true. Its code objects were sent by another CPU a moment
 * before, by a clock that is a moment behind. */
static bool keep_early(struct drain *d, const struct mt_stack *e)
{
	size_t n = offsetof(struct mt_stack, frames) + e->n * sizeof(e->frames[0]) +
	           e->n_py * sizeof(struct mt_pyframe);
	struct mt_stack *copy = d->early_stacks.n < EARLY_MAX ? malloc(n) : NULL;

	if (!copy)
		return false;
	memcpy(copy, e, n);
	if (!vec_push(&d->early_stacks, copy))
		return true;
	free(copy);
	return false;
}

/* Once more, with the frames that are known now: of two records of one id the later one holds. */
static void write_longer(struct drain *d, const struct late_done *done)
{
	const struct mt_stack *e = done->stack;
	struct rec_stack r = {.id = drain_stack_id(d, e->hash),
	                      .kind = e->kind,
	                      .space = e->space,
	                      .flags = done->flags,
	                      .end = done->end};
	uint64_t py[MT_MAX_PY_FRAMES];
	size_t n_py = 0;

	if (d->pycodes && e->n_py && e->n_py <= MT_MAX_PY_FRAMES)
		pycodes_stack(d->pycodes, e->space, (const void *)(e->frames + e->n), e->n_py, py,
		              &n_py);
	r.frames = (struct rec_array){done->frames, done->n};
	r.py = (struct rec_array){py, n_py};
	drain_put(d, REC_K_STACK, e->h.ts, &r);
	if (symbolizer_stack(d->sym, e->space, e->h.ts, done->frames, done->n))
		drain_check(d, -ENOMEM);
}

void drain_late_stacks(struct drain *d, bool force)
{
	struct late_done done;

	while (late_next(d->late, force, &done)) {
		write_longer(d, &done);
		free(done.stack);
	}
}

void drain_on_copy(struct drain *d, const struct mt_hdr *h)
{
	const struct live_task *t = drain_task(d, h->task);

	if (d->late && t)
		late_copy(d->late, (const void *)h, t->tgid);
}

/* A frame pointer of 0 ends a chain of them. It says nothing where none has been followed: code
 * without tables that keeps no frame pointers has whatever it likes there. */
static uint8_t end_of(const struct mt_stack *e)
{
	bool only_fp = (e->flags & (STACK_F_FP | STACK_F_TABLE)) == STACK_F_FP;

	if (e->wanted && e->end != STACK_END_BOTTOM && e->end != STACK_END_DEPTH)
		return STACK_END_NOT_YET;
	return e->n == 1 && only_fp && e->end == STACK_END_BOTTOM ? STACK_END_NO_TABLE : e->end;
}

static void write_stack(struct drain *d, const struct mt_stack *e, bool again)
{
	struct rec_stack r = {.id = drain_stack_id(d, e->hash),
	                      .kind = e->kind,
	                      .space = e->space,
	                      .flags = e->flags,
	                      .end = end_of(e)};
	uint64_t *slot = stack_slot(d, e->hash, false);
	uint64_t py[MT_MAX_PY_FRAMES];
	size_t n_py = 0;

	if (!slot || (*slot & STACK_WRITTEN) || e->n > MT_MAX_USER_FRAMES ||
	    e->n_py > MT_MAX_PY_FRAMES)
		return;
	if (d->pycodes && e->n_py &&
	    !pycodes_stack(d->pycodes, e->space, (const void *)(e->frames + e->n), e->n_py, py,
	                   &n_py) &&
	    !again && keep_early(d, e))
		return;
	*slot |= STACK_WRITTEN;
	r.frames = (struct rec_array){(const uint64_t *)e->frames, e->n};
	r.py = (struct rec_array){py, n_py};
	drain_put(d, REC_K_STACK, e->h.ts, &r);
	if (symbolizer_stack(d->sym, e->space, e->h.ts, (const uint64_t *)e->frames, e->n))
		drain_check(d, -ENOMEM);
}

void drain_on_stack(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_stack *e = (const void *)h;

	if (d->late && e->wanted >= MT_COPY_FIRST && e->n && e->n <= MT_MAX_USER_FRAMES &&
	    e->n_py <= MT_MAX_PY_FRAMES)
		late_stack(d->late, e);
	write_stack(d, e, false);
}

/* Once a round has brought what there was. */
void drain_early_stacks(struct drain *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		write_stack(d, d->early_stacks.v[i], true);
		free(d->early_stacks.v[i]);
	}
	d->early_stacks.n -= n;
	memmove(d->early_stacks.v, d->early_stacks.v + n,
	        d->early_stacks.n * sizeof(d->early_stacks.v[0]));
}

int drain_python(struct drain *d, struct pyspaces *p)
{
	d->pyspaces = p;
	d->pycodes = pycodes_new();
	return d->pycodes ? 0 : -ENOMEM;
}
