/* SPDX-License-Identifier: MIT */
/* Footprint: one line for one process, else a table of processes or groups of like ones. */
#include <errno.h>
#include <stdlib.h>

#include "report/names_priv.h"
#include "report/table_priv.h"

/* One quantity summed over processes where it is known. */
struct known_sum {
	uint64_t sum, n;
};

enum quantity { RSS_PEAK, PSS, USS, SHARED, SWAP, TOUCHED, COW, QUANTITIES };

static const struct {
	const char *head, *brief;
	unsigned drop;
	bool bytes;
} quantities[] = {
        [RSS_PEAK] = {"peak RSS", NULL, 0, true}, [PSS] = {"PSS", NULL, 0, true},
        [USS] = {"private", NULL, 1, true},       [SHARED] = {"shared", NULL, 2, true},
        [SWAP] = {"swapped", NULL, 1, true},      [TOUCHED] = {"first touch", "touch", 3, true},
        [COW] = {"CoW copies", "CoW", 4, true},
};

struct memory {
	struct tx *t;
	uint64_t page_size;
	struct hmap touched; /* process id -> bytes that its tasks were the first to touch */
	struct group_item *items;
	struct groups groups;
};

static int sum_touched(struct memory *m)
{
	const struct model *model = m->t->r->m;
	uint64_t page_size = model_recording(model)->page_size, bytes;

	for (size_t i = 0; i < model_n_tasks(model); i++) {
		const struct task *t = model_task_at(model, i);
		uint64_t *slot;

		if (!first_touch_bytes(t, page_size, &bytes))
			continue;
		slot = hmap_put(&m->touched, t->proc, 0, NULL);
		if (!slot)
			return -ENOMEM;
		*slot = sat_add(*slot, bytes);
	}
	return 0;
}

static void add_known(struct known_sum *s, uint64_t value)
{
	s->sum = sat_add(s->sum, value);
	s->n++;
}

static void add_proc(const struct memory *m, size_t i, struct known_sum s[QUANTITIES])
{
	const struct proc *p = model_proc_at(m->t->r->m, i);
	const struct footprint_sample *f = &m->t->r->proc_peaks[i];
	const uint64_t *touched = hmap_get(&m->touched, p->id, 0);

	if (p->rss_peak_bytes)
		add_known(&s[RSS_PEAK], p->rss_peak_bytes);
	if (f->t_ns || f->uss_bytes)
		add_known(&s[USS], f->uss_bytes);
	if (f->t_ns) {
		add_known(&s[PSS], f->pss_bytes);
		add_known(&s[SHARED], f->shared_bytes);
		add_known(&s[SWAP], f->swap_bytes);
	}
	if (touched)
		add_known(&s[TOUCHED], *touched);
	if (p->cow_known)
		add_known(&s[COW], sat_mul(p->cow_pages, m->page_size));
}

static void print_one(const struct memory *m, size_t index)
{
	struct known_sum s[QUANTITIES] = {0};
	struct buf b = {0};
	char v[32];

	add_proc(m, index, s);
	for (unsigned q = 0; q < QUANTITIES; q++) {
		if (!s[q].n || !s[q].sum)
			continue;
		if (quantities[q].bytes)
			buf_printf(&b, "\n%s %s", quantities[q].head,
			           fmt_bytes(v, sizeof(v), s[q].sum));
		else
			buf_printf(&b, "\n%s %s", fmt_count(v, sizeof(v), s[q].sum),
			           quantities[q].head);
	}
	if (b.p) {
		tx_section(m->t);
		tx_items(m->t, TX_PLAIN, "memory", (const char *)b.p);
	}
	buf_release(&b);
}

static void add_row(struct table *tab, const struct memory *m, const struct group *g)
{
	struct known_sum s[QUANTITIES] = {0};
	char label[300];

	for (size_t i = g->first; i < g->first + g->n; i++)
		add_proc(m, m->items[i].index, s);
	group_label(label, sizeof(label), m->items, g);
	if (g->n == 1)
		table_cell(tab, "%s %u", label,
		           model_proc_at(m->t->r->m, m->items[g->first].index)->pid);
	else
		table_cell(tab, "%s", label);
	if (g->n > 1)
		table_count(tab, g->n);
	else
		table_nothing(tab, "");
	for (unsigned q = 0; q < QUANTITIES; q++) {
		/* Few that are known are no picture of all. */
		if (!s[q].n || s[q].n < g->n - s[q].n)
			table_nothing(tab, "?");
		else if (quantities[q].bytes)
			table_bytes(tab, s[q].sum / s[q].n);
		else
			table_count(tab, s[q].sum / s[q].n);
	}
}

static void print_table(const struct memory *m)
{
	size_t n = m->groups.list.n, shown = n < m->t->top ? n : m->t->top, more = 0;
	struct table tab = {0};
	char count[48];

	table_column(&tab, &(struct column){.head = "memory", .left = true, .min = 12});
	table_column(&tab, &(struct column){.head = "mean of"});
	for (unsigned q = 0; q < QUANTITIES; q++)
		table_column(&tab, &(struct column){.head = quantities[q].head,
		                                    .brief = quantities[q].brief,
		                                    .drop = quantities[q].drop});
	for (size_t i = 0; i < shown; i++)
		add_row(&tab, m, &m->groups.list.v[i]);
	tx_section(m->t);
	table_print(&tab, m->t);
	table_release(&tab);
	for (size_t i = shown; i < n; i++)
		more += m->groups.list.v[i].n;
	if (more)
		tx_line(m->t, TX_PLAIN, "… and %s more",
		        fmt_n(count, sizeof(count), more, "process", "processes"));
}

/* The processes of the tasks that --task wants. */
static int gather(struct memory *m)
{
	const struct model *model = m->t->r->m;
	size_t n = model_n_procs(model), k = 0;
	struct hmap wanted = {0};
	int err = 0;

	for (size_t i = 0; i < model_n_tasks(model) && !err; i++) {
		const struct task *t = model_task_at(model, i);

		if (task_wanted(t, m->t->o->task) && !hmap_put(&wanted, t->proc, 0, NULL))
			err = -ENOMEM;
	}
	m->items = calloc(n ? n : 1, sizeof(*m->items));
	err = m->items ? err : -ENOMEM;
	for (size_t i = 0; i < n && !err; i++) {
		const struct proc *p = model_proc_at(model, i);

		if (hmap_get(&wanted, p->id, 0))
			m->items[k++] = (struct group_item){
			        .name = p->comm ? p->comm : "",
			        .weight = p->rss_peak_bytes,
			        .index = i,
			};
	}
	hmap_release(&wanted);
	return err ? err : groups_make(&m->groups, m->items, k, m->t->top, true);
}

/* All processes at the moment when they needed most. */
static void print_tree(struct tx *t)
{
	const struct tree_sample *p = &t->r->peak;
	char pss[32], rss[32], text[256], count[48], unread[64] = "";

	if (!p->t_ns || p->procs < 2 || t->o->task)
		return;
	if (p->unread)
		snprintf(unread, sizeof(unread), "\n%u of them not read yet", p->unread);
	snprintf(text, sizeof(text),
	         "%s%s at the peak of %s together%s\nRSS, which counts shared pages several times, "
	         "adds up to %s",
	         p->unread ? "at least " : "", fmt_bytes(pss, sizeof(pss), p->pss_bytes),
	         fmt_n(count, sizeof(count), p->procs, "process", "processes"), unread,
	         fmt_bytes(rss, sizeof(rss), p->rss_bytes));
	tx_items(t, TX_PLAIN, "memory in all", text);
}

void text_memory(struct tx *t)
{
	struct memory m = {.t = t, .page_size = model_recording(t->r->m)->page_size};

	t->err = sum_touched(&m);
	t->err = t->err ? t->err : gather(&m);
	if (!t->err && m.groups.list.n == 1 && m.groups.list.v[0].n == 1)
		print_one(&m, m.items[0].index);
	else if (!t->err && m.groups.list.n)
		print_table(&m);
	if (!t->err)
		print_tree(t);
	groups_release(&m.groups);
	hmap_release(&m.touched);
	free(m.items);
}
