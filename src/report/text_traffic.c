/* SPDX-License-Identifier: MIT */
/* Messages and bytes of channels, when they were counted (--messages). */
#include <errno.h>
#include <stdlib.h>

#include "report/names_priv.h"
#include "report/table_priv.h"

static const struct column columns[] = {
        {.head = "traffic", .left = true, .min = 16},
        {.head = "messages"},
        {.head = "bytes"},
        {.head = "each", .drop = 4},
        {.head = "read in", .drop = 3},
        {.head = "written by", .left = true, .list = true, .min = 12, .drop = 1},
        {.head = "read by", .left = true, .list = true, .min = 12, .drop = 2},
};

static bool is_wanted(const struct tx *t, const struct channel *c)
{
	for (size_t i = 0; i < c->traffic.n; i++) {
		const struct task *task = model_task(t->r->m, c->traffic.v[i].task);

		if (!t->o->task || (task && task_wanted(task, t->o->task)))
			return true;
	}
	return false;
}

/* What one end did not put in here, somebody outside did: then what was taken out counts. */
static uint64_t weight(const struct channel *c)
{
	return c->total.sent_bytes > c->total.received_bytes ? c->total.sent_bytes
	                                                     : c->total.received_bytes;
}

static uint64_t messages(const struct channel *c)
{
	return c->total.sent ? c->total.sent : c->total.received;
}

static int by_weight(const void *a, const void *b)
{
	const struct channel *x = *(const struct channel *const *)a;
	const struct channel *y = *(const struct channel *const *)b;

	if (weight(x) != weight(y))
		return weight(x) > weight(y) ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Those who put in, or took out. */
static void add_tasks(struct table *tab, const struct tx *t, const struct channel *c, bool sent)
{
	struct group_item *items = calloc(c->traffic.n, sizeof(*items));
	struct groups groups = {0};
	struct buf b = {0};
	size_t n = 0;
	int err = items ? 0 : -ENOMEM;

	for (size_t i = 0; i < c->traffic.n && !err; i++) {
		const struct channel_task *x = &c->traffic.v[i];
		const struct task *task = model_task(t->r->m, x->task);

		if (sent ? x->sent : x->received)
			items[n++] = (struct group_item){
			        .name = task && task->comm ? task->comm : "unknown",
			        .weight = sent ? x->sent_bytes : x->received_bytes,
			        .index = i,
			        .tid = task ? task->tid : 0,
			};
	}
	err = err ? err : groups_make(&groups, items, n, 2, true);
	err = err ? err : groups_put(&b, items, &groups, 2, 0);
	if (err)
		tab->err = err;
	if (b.n)
		table_cell(tab, "%s", (const char *)b.p);
	else
		table_nothing(tab, "");
	groups_release(&groups);
	buf_release(&b);
	free(items);
}

static void add_row(struct table *tab, const struct tx *t, const struct channel *c)
{
	uint64_t n = messages(c);

	table_name(tab, c->name);
	table_count(tab, n);
	table_bytes(tab, weight(c));
	table_bytes(tab, n > c->total.unsized ? weight(c) / (n - c->total.unsized) : 0);
	table_count(tab, c->total.received);
	add_tasks(tab, t, c, true);
	add_tasks(tab, t, c, false);
}

static void print_rows(struct tx *t, const struct channel **list, size_t n)
{
	size_t shown = n < t->top ? n : t->top;
	uint64_t rest = 0, calls = 0;
	char count[48], bytes[32], number[32];
	struct table tab = {0};

	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		table_column(&tab, &columns[i]);
	for (size_t i = 0; i < n; i++) {
		if (i < shown) {
			add_row(&tab, t, list[i]);
			continue;
		}
		rest = sat_add(rest, weight(list[i]));
		calls = sat_add(calls, messages(list[i]));
	}
	tx_section(t);
	table_print(&tab, t);
	table_release(&tab);
	if (n > shown)
		tx_line(t, TX_PLAIN, "… and %s more with %s, %s",
		        fmt_n(count, sizeof(count), n - shown, "channel", "channels"),
		        fmt_n(number, sizeof(number), calls, "message", "messages"),
		        fmt_bytes(bytes, sizeof(bytes), rest));
}

void text_traffic(struct tx *t)
{
	const struct recording *rec = model_recording(t->r->m);
	size_t n = t->r->w ? t->r->w->channels.n : 0, k = 0;
	const struct channel **list;
	char count[48];

	if (!rec->traffic_known || !n)
		return;
	list = calloc(n, sizeof(const struct channel *));
	if (!list) {
		t->err = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (is_wanted(t, &t->r->w->channels.v[i]))
			list[k++] = &t->r->w->channels.v[i];
	if (k) {
		qsort(list, k, sizeof(const struct channel *), by_weight);
		print_rows(t, list, k);
		if (rec->traffic_lost)
			tx_line(t, TX_BAD, "%s found no room: these counts are too low",
			        fmt_n(count, sizeof(count), rec->traffic_lost, "message",
			              "messages"));
	}
	free(list);
}
