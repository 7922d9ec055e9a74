/* SPDX-License-Identifier: MIT */
/* The critical path, and the stretches in which one task ran alone while others waited. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/text_priv.h"

#define MAX_STEPS 8 /* a path of so many steps is told step by step */
#define MAX_NAMED 5
#define SMALL     200

/* --- the critical path --------------------------------------------------------------------------
 */

/* What a piece of the path is, as one item of the summary. */
static const char *piece_text(const struct report *r, const struct path_row *p, char *out, size_t n)
{
	char name[200];

	if (p->state == 'R')
		return task_label(out, n, r->m, p->task);
	if (p->state == 'Q')
		snprintf(out, n, "%s", "no CPU free");
	else if (p->lock && r->w && p->lock <= r->w->locks.n)
		snprintf(
		        out, n, "%s",
		        fmt_safe(name, sizeof(name), lock_short_name(&r->w->locks.v[p->lock - 1])));
	else if (p->channel && r->w && p->channel <= r->w->channels.n)
		snprintf(out, n, "%s",
		         fmt_safe(name, sizeof(name), r->w->channels.v[p->channel - 1].name));
	else
		snprintf(out, n, "%s", cause_text((enum cause)p->cause));
	return out;
}

static bool same_piece(const struct path_row *a, const struct path_row *b)
{
	if (a->state != b->state)
		return false;
	if (a->state == 'R')
		return a->task == b->task;
	return a->state == 'Q' ||
	       (a->lock == b->lock && a->channel == b->channel && a->cause == b->cause);
}

static uint64_t length(const struct path_row *p)
{
	return p->end_ns > p->start_ns ? p->end_ns - p->start_ns : 0;
}

/* "main 0.05 s → worker-2 0.61 s → …", when the path has few steps; false otherwise. */
static bool print_steps(struct tx *t)
{
	struct path_row steps[MAX_STEPS];
	char name[256], ns[32];
	struct buf b = {0};
	size_t n = 0;

	for (size_t i = 0; i < t->r->path.n; i++) {
		const struct path_row *p = &t->r->path.v[i];

		if (n && same_piece(&steps[n - 1], p)) {
			steps[n - 1].end_ns = p->end_ns;
			continue;
		}
		if (n == MAX_STEPS)
			return false;
		steps[n++] = *p;
	}
	for (size_t i = 0; i < n && !t->err; i++)
		t->err = buf_printf(&b, "%s%s %s", i ? " → " : "",
		                    piece_text(t->r, &steps[i], name, sizeof(name)),
		                    fmt_ns(ns, sizeof(ns), length(&steps[i])));
	if (!t->err && b.p)
		tx_items(t, TX_PLAIN, "critical path", (const char *)b.p);
	buf_release(&b);
	return true;
}

/* Pieces with one text together. */
struct tally {
	struct strtab *texts;
	struct hmap by_text;
	VEC(struct group_item) items;
};

static int tally_add(struct tally *y, const char *text, uint64_t ns)
{
	uint32_t id = strtab_add(y->texts, text, strlen(text), NULL);
	bool added = false;
	uint64_t *slot = id ? hmap_put(&y->by_text, id, 0, &added) : NULL;
	struct group_item fresh = {.index = id};

	if (!slot)
		return -ENOMEM;
	if (added) {
		*slot = y->items.n;
		if (vec_push(&y->items, fresh))
			return -ENOMEM;
	}
	y->items.v[*slot].weight = sat_add(y->items.v[*slot].weight, ns);
	return 0;
}

static int by_weight(const void *a, const void *b)
{
	const struct group_item *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/* "running 1.9 s (88 %) · worker-2 31 % · worker-0 28 % · …" of the pieces that `state` wants. */
static void print_tally(struct tx *t, const char *label, const char *what, bool running)
{
	struct tally y = {.texts = strtab_new()};
	char text[256], ns[32], share[16];
	uint64_t sum = 0, wall = t->r->wall_ns;
	struct buf b = {0};
	int err = y.texts ? 0 : -ENOMEM;

	for (size_t i = 0; i < t->r->path.n && !err; i++) {
		const struct path_row *p = &t->r->path.v[i];

		if ((p->state == 'R') != running)
			continue;
		sum = sat_add(sum, length(p));
		err = tally_add(&y, piece_text(t->r, p, text, sizeof(text)), length(p));
	}
	if (y.items.n)
		qsort(y.items.v, y.items.n, sizeof(*y.items.v), by_weight);
	if (!err && sum)
		err = buf_printf(&b, "%s %s (%s)", what, fmt_ns(ns, sizeof(ns), sum),
		                 fmt_share(share, sizeof(share), sum, wall));
	for (size_t i = 0; i < y.items.n && !err && sum; i++) {
		if (i == MAX_NAMED || y.items.v[i].weight < wall / SMALL) {
			err = buf_printf(&b, "\n+%zu", y.items.n - i);
			break;
		}
		err = buf_printf(&b, "\n%s %s", strtab_get(y.texts, (uint32_t)y.items.v[i].index),
		                 fmt_share(share, sizeof(share), y.items.v[i].weight, wall));
	}
	if (!err && b.p)
		tx_items(t, TX_PLAIN, label, (const char *)b.p);
	t->err = err ? err : t->err;
	strtab_free(y.texts);
	hmap_release(&y.by_text);
	vec_release(&y.items);
	buf_release(&b);
}

/* The stack that most of the path's running time was in. */
static void print_hot_place(struct tx *t)
{
	struct hmap by_stack = {0};
	uint64_t best_ns = 0;
	uint32_t best = 0;
	char where[400], line[600], share[16];

	for (size_t i = 0; i < t->r->path.n; i++) {
		const struct path_row *p = &t->r->path.v[i];
		uint64_t *slot = p->ustack ? hmap_put(&by_stack, p->ustack, 0, NULL) : NULL;

		if (!slot)
			continue;
		*slot = sat_add(*slot, length(p));
		if (*slot > best_ns) {
			best_ns = *slot;
			best = p->ustack;
		}
	}
	hmap_release(&by_stack);
	if (best_ns < t->r->wall_ns / 10 || !where_text(where, sizeof(where), t->r->m, best, 0))
		return;
	snprintf(line, sizeof(line), "most often at %s (%s)", where,
	         fmt_share(share, sizeof(share), best_ns, t->r->wall_ns));
	tx_items(t, TX_PLAIN, "", line);
}

void text_path(struct tx *t)
{
	if (!t->r->path.n || !t->r->wall_ns)
		return;
	tx_section(t);
	if (!print_steps(t)) {
		print_tally(t, "critical path", "running", true);
		print_tally(t, "", "waiting", false);
	}
	print_hot_place(t);
}

/* --- serial sections -----------------------------------------------------------------------------
 */

void text_serial(struct tx *t)
{
	char name[160], where[400], ns[32], count[48], line[800], share[16];
	size_t shown = 0;

	for (size_t i = 0; i < t->r->serial.n && shown < 3; i++) {
		const struct serial_row *s = &t->r->serial.v[i];
		const struct task *task = model_task(t->r->m, s->task);
		int n;

		if (s->ns < t->r->wall_ns / 50 || !task || !task_wanted(task, t->o->task))
			continue;
		if (!shown)
			tx_section(t);
		n = snprintf(line, sizeof(line), "%s %s of the run (%s) in %s",
		             task_label(name, sizeof(name), t->r->m, s->task),
		             fmt_share(share, sizeof(share), s->ns, t->r->wall_ns),
		             fmt_ns(ns, sizeof(ns), s->ns),
		             fmt_n(count, sizeof(count), s->count, "stretch", "stretches"));
		if (n > 0 && (size_t)n < sizeof(line) &&
		    where_text(where, sizeof(where), t->r->m, s->ustack, s->kstack))
			snprintf(line + n, sizeof(line) - (size_t)n, "\nat %s", where);
		tx_items(t, TX_PLAIN, shown ? "" : "alone, awaited", line);
		shown++;
	}
}
