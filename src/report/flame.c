/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures_priv.h"
#include "report/flame_priv.h"

#define MAX_NODES (16u << 20)

static const char *const block_keys[] = {
#define X(NAME, key, heading) key,
        BLOCK_CAUSES(X)
#undef X
};

const char *flame_text(const struct flame *f, uint32_t node)
{
	return strtab_get(f->texts, f->frames.v[f->nodes.v[node].frame].text);
}

const char *flame_module(const struct flame *f, uint32_t node)
{
	return strtab_get(f->texts, f->frames.v[f->nodes.v[node].frame].module);
}

uint32_t flame_next(const struct flame *f, uint32_t node)
{
	const struct flame_node *v = f->nodes.v;

	if (v[node].first)
		return v[node].first;
	while (node && !v[node].next)
		node = v[node].parent;
	return node ? v[node].next : 0;
}

/* --- rows to tree ---------------------------------------------------------------------------- */

/* The child of `parent` with that frame; 0 = no memory, or too many (*err). */
static uint32_t child(struct flame *f, uint32_t parent, uint32_t frame, int *err)
{
	struct flame_node fresh = {.frame = frame, .parent = parent};
	bool added;
	uint64_t *slot = hmap_put(&f->edges, parent, frame, &added);

	*err = slot ? f->nodes.n >= MAX_NODES ? -E2BIG : 0 : -ENOMEM;
	if (*err)
		return 0;
	if (!added)
		return (uint32_t)*slot;
	*slot = f->nodes.n;
	fresh.depth = (uint16_t)(f->nodes.v[parent].depth + 1);
	fresh.next = f->nodes.v[parent].first;
	f->nodes.v[parent].first = (uint32_t)*slot;
	*err = vec_push(&f->nodes, fresh) ? -ENOMEM : 0;
	return *err ? 0 : (uint32_t)*slot;
}

/* Frames that only say that the task was switched out: innermost, they would make all stacks
 * begin alike when these are read from the inside. */
static bool is_switching(const struct flame *f, uint32_t frame)
{
	const char *text = strtab_get(f->texts, f->frames.v[frame].text);

	return f->frames.v[frame].kind == FLAME_KERNEL &&
	       (!strncmp(text, "__schedule", 10) || !strncmp(text, "schedule", 8));
}

static int put_missing(struct flame *f, const struct view_row *row)
{
	const char *dash = f->folded ? "_" : " ";

	if (!strcmp(f->view, "off-cpu") && row->cause < BLOCK_N)
		return flame_put_mark(f, "[no%sstack:%s%s]", dash, dash, block_keys[row->cause]);
	return flame_put_mark(f, "[no%sstack]", dash);
}

/* The lock or channel, or why there is none. */
static int put_lock(struct flame *f, const struct view_row *row)
{
	const struct waits *w = f->r->w;

	if (row->lock && w && row->lock <= w->locks.n)
		return flame_put_mark(f, "%s", w->locks.v[row->lock - 1].name);
	if (row->channel && w && row->channel <= w->channels.n)
		return flame_put_mark(f, "%s", w->channels.v[row->channel - 1].name);
	return flame_put_mark(f, "[no lock]");
}

/* Who ended the wait, from the waking call outward. */
static int put_waker(struct flame *f, const struct view_row *row)
{
	const struct task *t = row->waker ? model_task(f->r->m, row->waker) : NULL;
	int err = flame_put_mark(f, "--");

	err = err ? err : flame_put_stack(f, row->waker_kstack, true);
	err = err ? err : flame_put_stack(f, row->waker_ustack, true);
	if (err)
		return err;
	if (t)
		return flame_put_who(f, t, true);
	return flame_put_mark(f, row->state == 'T'   ? "[timeout]"
	                         : row->state == 'I' ? "[interrupt or kernel]"
	                                             : "[nobody of the workload]");
}

/* What the piece of the path is: running needs no word. */
static int put_state(struct flame *f, const struct view_row *row)
{
	if (row->state == 'Q')
		return flame_put_mark(f, "[no CPU free]");
	if (row->state != 'B')
		return 0;
	return row->lock || row->channel ? put_lock(f, row)
	                                 : flame_put_mark(f, "[%s]", cause_text(row->cause));
}

static int put_stack_outward(struct flame *f, const struct view_row *row)
{
	size_t before = f->chain.n;
	int err = flame_put_stack(f, row->kstack, true);

	while (!err && f->chain.n > before && is_switching(f, f->chain.v[before]))
		memmove(f->chain.v + before, f->chain.v + before + 1,
		        (--f->chain.n - before) * sizeof(*f->chain.v));
	return err ? err : flame_put_stack(f, row->ustack, true);
}

static int put_stack_inward(struct flame *f, const struct view_row *row)
{
	int err = flame_put_stack(f, row->ustack, false);

	return err ? err : flame_put_stack(f, row->kstack, false);
}

/* The task's stack, or what stands for it. A path's waits say what they are. */
static int put_stacks(struct flame *f, const struct view_row *row)
{
	size_t before = f->chain.n;
	int err = f->o->reverse ? put_stack_outward(f, row) : put_stack_inward(f, row);

	if (err || f->chain.n > before || row->state == 'Q' || row->state == 'B')
		return err;
	return put_missing(f, row);
}

/* All of a row's frames into f->chain. */
static int put_chain(struct flame *f, const struct view_row *row, const struct task *t)
{
	bool reverse = f->o->reverse, by_lock = f->by == EXPORT_BY_LOCK;
	bool wake = !strcmp(f->view, "wake");
	bool named = !flame_is_worker(f, row->ustack);
	int err = by_lock ? put_lock(f, row) : 0;

	if (reverse) {
		err = err ? err : put_state(f, row);
		err = err ? err : put_stacks(f, row);
		err = err || !named ? err : flame_put_who(f, t, true);
	} else {
		err = err || !named ? err : flame_put_who(f, t, false);
		err = err ? err : put_stacks(f, row);
		err = err ? err : put_state(f, row);
	}
	return !err && wake ? put_waker(f, row) : err;
}

static int add_row(struct flame *f, const struct view_row *row)
{
	const struct task *t = model_task(f->r->m, row->task);
	uint32_t node = 0;
	bool added = false;
	int err;

	if (!row->weight || !t || !task_wanted(t, f->o->task))
		return 0;
	if (!hmap_put(&f->tasks, row->task, 0, &added))
		return -ENOMEM;
	f->n_tasks += added;
	f->chain.n = 0;
	err = put_chain(f, row, t);
	for (size_t i = 0; i < f->chain.n && i < FLAME_MAX_DEPTH && !err; i++)
		node = child(f, node, f->chain.v[i], &err);
	if (!err)
		f->nodes.v[node].self = sat_add(f->nodes.v[node].self, row->weight);
	return err;
}

/* Parents come before their children. */
static void add_up(struct flame *f)
{
	for (size_t i = 0; i < f->nodes.n; i++) {
		f->nodes.v[i].total = f->nodes.v[i].self;
		f->nodes.v[i].base_total = f->nodes.v[i].base_self;
	}
	for (size_t i = f->nodes.n; i-- > 1;) {
		const struct flame_node *n = &f->nodes.v[i];
		struct flame_node *parent = &f->nodes.v[n->parent];

		parent->total = sat_add(parent->total, n->total);
		parent->base_total = sat_add(parent->base_total, n->base_total);
	}
}

static int add_rows(struct flame *f, struct err *err)
{
	struct view_rows rows;
	int code = report_view(f->r, f->view, &rows, err);

	f->unit = rows.unit;
	for (size_t i = 0; i < rows.rows.n && !code; i++)
		code = add_row(f, &rows.rows.v[i]);
	vec_release(&rows.rows);
	return code;
}

static int check_task(const struct flame *f, struct err *err)
{
	char safe[128];

	if (!f->o->task)
		return 0;
	for (size_t i = 0; i < model_n_tasks(f->r->m); i++) {
		if (task_wanted(model_task_at(f->r->m, i), f->o->task))
			return 0;
	}
	return err_set(err, -ENOENT, MT_EXIT_USAGE, "no task has the id or name %s",
	               fmt_safe(safe, sizeof(safe), f->o->task));
}

static int init(struct flame *f)
{
	static const struct flame_frame no_frame;
	static const struct flame_node root;

	f->texts = strtab_new();
	/* So that index 0 is free to mean none. */
	f->buffer = malloc(STACK_MAX_FRAMES * sizeof(*f->buffer));
	return f->buffer && f->texts && !vec_push(&f->frames, no_frame) &&
	                       !vec_push(&f->nodes, root) && !vec_push(&f->lists, 0u)
	               ? 0
	               : -ENOMEM;
}

/* The weights of another tree's frames become base weights of the same frames here. Parents come
 * before their children. */
static int add_base_nodes(struct flame *f, const struct flame *base)
{
	uint32_t *here = calloc(base->nodes.n, sizeof(*here));
	int err = here ? 0 : -ENOMEM;

	for (size_t i = 0; i < base->nodes.n && !err; i++) {
		const struct flame_node *n = &base->nodes.v[i];
		uint32_t frame;

		if (i) {
			frame = flame_frame_as(f, flame_text(base, (uint32_t)i),
			                       flame_module(base, (uint32_t)i),
			                       base->frames.v[n->frame].kind);
			here[i] = frame ? child(f, here[n->parent], frame, &err) : 0;
			err = frame ? err : -ENOMEM;
		}
		if (!err)
			f->nodes.v[here[i]].base_self = n->self;
	}
	free(here);
	return err;
}

static int build(struct flame *f, struct err *err)
{
	int code = init(f);

	return code ? code : add_rows(f, err);
}

static int add_base(struct flame *f, struct err *err)
{
	struct flame base = {
	        .r = f->o->base, .o = f->o, .folded = f->folded, .view = f->view, .by = f->by};
	int code = build(&base, err);

	code = code ? code : add_base_nodes(f, &base);
	flame_release(&base);
	return code;
}

int flame_build(struct flame *f, const struct report *r, const struct export_opts *o, bool folded,
                struct err *err)
{
	int code;

	*f = (struct flame){.r = r, .o = o, .folded = folded};
	f->view = o->view ? o->view : "off-cpu";
	f->by = o->by;
	if (f->by == EXPORT_BY_NAME && !strcmp(f->view, "futex"))
		f->by = EXPORT_BY_LOCK;
	if (f->by == EXPORT_BY_LOCK && strcmp(f->view, "futex") && strcmp(f->view, "critical-path"))
		return err_set(err, -EINVAL, MT_EXIT_USAGE,
		               "view %s is not by locks: --view futex is", f->view);
	code = check_task(f, err);
	if (code)
		return code;
	code = build(f, err);
	if (!code && o->base)
		code = add_base(f, err);
	if (code == -E2BIG)
		return err_set(
		        err, code, MT_EXIT_FAIL,
		        "cannot export: the names of this trace's stacks would fill the memory");
	if (code == -ENOMEM)
		return err_set(err, code, MT_EXIT_FAIL, "cannot export: %s", strerror(-code));
	if (code)
		return code;
	add_up(f);
	if (o->empty)
		*o->empty = !f->nodes.v[0].total && !f->nodes.v[0].base_total;
	return 0;
}

void flame_release(struct flame *f)
{
	strtab_free(f->texts);
	free(f->buffer);
	vec_release(&f->frames);
	vec_release(&f->lists);
	vec_release(&f->nodes);
	vec_release(&f->chain);
	hmap_release(&f->frame_ids);
	hmap_release(&f->stacks);
	hmap_release(&f->edges);
	hmap_release(&f->tasks);
}

/* --- small ones ------------------------------------------------------------------------------ */

/* Nodes of the subtree: what a REST stands for. */
static uint32_t count_nodes(const struct flame *f, uint32_t top)
{
	uint32_t n = 0, at = top;

	do {
		n++;
		if (f->nodes.v[at].first) {
			at = f->nodes.v[at].first;
			continue;
		}
		while (at != top && !f->nodes.v[at].next)
			at = f->nodes.v[at].parent;
		at = at == top ? 0 : f->nodes.v[at].next;
	} while (at);
	return n;
}

static int prune_children(struct flame *f, uint32_t parent, uint64_t min)
{
	struct flame_node rest = {.parent = parent, .depth = f->nodes.v[parent].depth};
	uint32_t *link = &f->nodes.v[parent].first;
	char text[64];

	rest.depth++;
	while (*link) {
		struct flame_node *n = &f->nodes.v[*link];

		if (n->total >= min || (f->folded && n->base_total >= min && min)) {
			link = &n->next;
			continue;
		}
		rest.total = sat_add(rest.total, n->total);
		rest.base_total = sat_add(rest.base_total, n->base_total);
		rest.hidden += count_nodes(f, *link);
		*link = n->next;
	}
	/* What only the base has takes no room in a picture. */
	if (!rest.hidden || (!f->folded && !rest.total))
		return 0;
	snprintf(text, sizeof(text), f->folded ? "[smaller]" : "%u smaller", rest.hidden);
	rest.frame = flame_frame(f, text, NULL, FLAME_REST);
	rest.self = rest.total;
	rest.base_self = rest.base_total;
	rest.next = f->nodes.v[parent].first;
	if (!rest.frame || vec_push(&f->nodes, rest))
		return -ENOMEM;
	f->nodes.v[parent].first = (uint32_t)(f->nodes.n - 1);
	return 0;
}

int flame_prune(struct flame *f, uint64_t min)
{
	uint32_t at = 0;
	int err = 0;

	do {
		/* Children first: what is left is then walked. */
		if (f->nodes.v[at].first && f->frames.v[f->nodes.v[at].frame].kind != FLAME_REST)
			err = prune_children(f, at, min);
		at = flame_next(f, at);
	} while (at && !err);
	return err;
}

/* --- order --------------------------------------------------------------------------------- */

struct sorting {
	const struct flame *f;
	enum flame_order order;
};

static int by_order(const void *a, const void *b, void *ctx)
{
	const struct sorting *s = ctx;
	uint32_t ix = *(const uint32_t *)a, iy = *(const uint32_t *)b;
	const struct flame_node *x = &s->f->nodes.v[ix], *y = &s->f->nodes.v[iy];
	int c;

	if (s->order == FLAME_BY_WEIGHT && !x->hidden != !y->hidden)
		return x->hidden ? 1 : -1;
	if (s->order == FLAME_BY_WEIGHT && x->total != y->total)
		return x->total > y->total ? -1 : 1;
	c = strcmp(flame_text(s->f, ix), flame_text(s->f, iy));
	return c ? c : (ix > iy) - (ix < iy);
}

int flame_sort(struct flame *f, enum flame_order order)
{
	struct sorting s = {.f = f, .order = order};
	VEC(uint32_t) siblings = {0};
	uint32_t at = 0;
	int err = 0;

	do {
		siblings.n = 0;
		for (uint32_t c = f->nodes.v[at].first; c && !err; c = f->nodes.v[c].next)
			err = vec_push(&siblings, c) ? -ENOMEM : 0;
		if (siblings.n > 1 && !err) {
			qsort_r(siblings.v, siblings.n, sizeof(*siblings.v), by_order, &s);
			f->nodes.v[at].first = siblings.v[0];
			for (size_t i = 0; i < siblings.n; i++)
				f->nodes.v[siblings.v[i]].next =
				        i + 1 < siblings.n ? siblings.v[i + 1] : 0;
		}
		at = flame_next(f, at);
	} while (at && !err);
	vec_release(&siblings);
	return err;
}
