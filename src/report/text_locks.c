/* SPDX-License-Identifier: MIT */
/* Locks and channels, those first that kept CPUs idle, then by waiting: who waited, for whom, and
 * where. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/connections_priv.h"
#include "report/names_priv.h"
#include "report/table_priv.h"

#define SMALL        200 /* of all waiting: what has less than 1/200 needs no row of its own */
#define MAX_APART    8
#define MAX_COMPARED 1000
#define NAMED_TASKS  2 /* a third one would cost the columns that names need */

/* Does one of them have half as much again as each would have of equal shares? */
static bool stands_out(const struct lock_task *v, size_t n)
{
	double most = 0, all = 0;

	for (size_t i = 0; i < n; i++) {
		double ns = (double)v[i].wait_ns;

		all += ns;
		most = ns > most ? ns : most;
	}
	return most * (double)n > 1.5 * all;
}

/* Tasks by time, like ones together; shares of whole. */
static int put_tasks(struct buf *b, const struct model *m, const struct lock_task *v, size_t n,
                     uint64_t whole, bool apart)
{
	struct group_item *items = calloc(n ? n : 1, sizeof(*items));
	struct groups g = {0};
	int err = items ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !err; i++) {
		const struct task *t = v[i].task ? model_task(m, v[i].task) : NULL;

		items[i] = (struct group_item){
		        .name = t && t->comm ? t->comm : "unknown",
		        .weight = v[i].wait_ns,
		        .index = i,
		        .tid = t ? t->tid : 0,
		};
	}
	/* A few are told apart where one has more than the others. */
	apart = apart && n <= MAX_APART && stands_out(v, n);
	err = err ? err : groups_make(&g, items, n, apart ? n : NAMED_TASKS, true);
	err = err ? err : groups_put(b, items, &g, NAMED_TASKS, whole);
	groups_release(&g);
	free(items);
	return err;
}

static void add_tasks(struct table *tab, const struct tx *t, const struct lock_task *v, size_t n,
                      uint64_t whole, bool apart)
{
	struct buf b = {0};

	if (put_tasks(&b, t->r->m, v, n, whole, apart))
		tab->err = -ENOMEM;
	if (b.n)
		table_cell(tab, "%s", (const char *)b.p);
	else
		table_nothing(tab, "");
	buf_release(&b);
}

/* Is one of them among those that --task wants? */
static bool any_wanted(const struct tx *t, const struct lock_task *v, size_t n)
{
	for (size_t i = 0; i < n && t->o->task; i++) {
		const struct task *task = model_task(t->r->m, v[i].task);

		if (task && task_wanted(task, t->o->task))
			return true;
	}
	return !t->o->task;
}

/* --- locks ----------------------------------------------------------------------------------- */

static const struct column lock_columns[] = {
        {.head = "locks", .left = true, .min = 26},
        {.head = "kind", .left = true, .drop = 8},
        {.head = "waits"},
        {.head = "total wait", .brief = "total"},
        {.head = "CPUs idle", .brief = "idle", .drop = 1},
        {.head = "p99", .drop = 4},
        {.head = "longest", .drop = 5},
        {.head = "waiters", .left = true, .list = true, .min = 18, .drop = 7},
        {.head = "held meanwhile by",
         .brief = "held by",
         .left = true,
         .list = true,
         .min = 18,
         .drop = 3},
        {.head = "waited for at", .left = true, .list = true, .min = 20, .drop = 2},
};

/* Locks that are named only by the place where they were waited for, and have it in common, are
 * one row: a thousand futures, the mutex of each of many objects. So are the ends of threads whose
 * names differ in numbers only, and words that are one lock in truth (waits.h, family). */
struct bundle {
	struct lock sum; /* lists are its own */
	size_t n;
	uint64_t idle_ns, most_ns; /* most: that one of them was waited for */
	char label[sizeof(((struct lock *)0)->name)];
};
struct bundles {
	VEC(struct bundle) list;
	struct hmap by_name;
	struct strtab *names;
	int err;
};

static bool named_by_site(const struct lock *l)
{
	return l->name_from && !strcmp(l->name_from, "site");
}

/* What the locks of a bundle have in common: "join of worker-…" for "join of worker-12 (4711)". */
static void bundle_label(char *out, size_t n, const struct lock *l)
{
	const char *p = lock_short_name(l);
	size_t len = strlen(p), used = 0, tail;

	if (l->kind != LOCK_JOIN) {
		snprintf(out, n, "%s", p);
		return;
	}
	tail = len && p[len - 1] == ')' ? strspn(p + len - 1, ")") : 0;
	while (tail && tail < len && isdigit((unsigned char)p[len - tail - 1]))
		tail++;
	if (tail > 1 && tail + 2 <= len && !strncmp(p + len - tail - 2, " (", 2))
		len -= tail + 2;
	for (size_t i = 0; i < len && used + 4 < n; i++) {
		bool digit = isdigit((unsigned char)p[i]);

		if (digit && i && isdigit((unsigned char)p[i - 1]))
			continue;
		used += (size_t)snprintf(out + used, n - used, digit ? "…" : "%c", p[i]);
	}
	out[used] = '\0';
}

static void merge_tasks(struct bundles *b, struct lock *into, const struct lock *l, bool blockers)
{
	size_t n = blockers ? l->blockers.n : l->waiters.n;
	const struct lock_task *v = blockers ? l->blockers.v : l->waiters.v;

	for (size_t i = 0; i < n && !b->err; i++) {
		size_t have = blockers ? into->blockers.n : into->waiters.n, k = 0;
		struct lock_task *old = blockers ? into->blockers.v : into->waiters.v;

		while (k < have && k < MAX_COMPARED && old[k].task != v[i].task)
			k++;
		if (k < have && old[k].task == v[i].task)
			old[k].wait_ns = sat_add(old[k].wait_ns, v[i].wait_ns);
		else if (blockers ? vec_push(&into->blockers, v[i])
		                  : vec_push(&into->waiters, v[i]))
			b->err = -ENOMEM;
	}
}

static void merge_lock(struct bundles *b, struct bundle *into, const struct lock *l,
                       uint64_t idle_ns)
{
	struct lock *sum = &into->sum;

	into->n++;
	into->idle_ns = sat_add(into->idle_ns, idle_ns);
	/* One line of a program may start threads and wait for their results: the row is of the
	 * kind that it is there for. */
	if (l->wait_ns > into->most_ns) {
		into->most_ns = l->wait_ns;
		sum->py = l->py;
		sum->py_kind = l->py_kind;
	}
	sum->waits = sat_add(sum->waits, l->waits);
	sum->wait_ns = sat_add(sum->wait_ns, l->wait_ns);
	sum->max_ns = l->max_ns > sum->max_ns ? l->max_ns : sum->max_ns;
	sum->p99_ns = l->p99_ns > sum->p99_ns ? l->p99_ns : sum->p99_ns;
	merge_tasks(b, sum, l, false);
	merge_tasks(b, sum, l, true);
	if (l->sites.n && !sum->sites.n && vec_push(&sum->sites, l->sites.v[0]))
		b->err = -ENOMEM;
}

static void add_bundle(struct bundles *b, const struct lock *all, const struct lock *l,
                       uint64_t idle_ns)
{
	struct bundle fresh = {
	        .sum = {.kind = l->kind, .shared = l->shared, .py = l->py, .py_kind = l->py_kind}};
	bool alone = !named_by_site(l) && l->kind != LOCK_JOIN, added = true;
	uint64_t *slot;
	uint32_t name;

	bundle_label(fresh.label, sizeof(fresh.label), l->family ? &all[l->family - 1] : l);
	name = strtab_add(b->names, fresh.label, strlen(fresh.label), NULL);
	slot = !name       ? NULL
	       : l->family ? hmap_put(&b->by_name, l->family, UINT64_MAX - 1, &added)
	                   : hmap_put(&b->by_name, alone ? l->id : name,
	                              alone ? UINT64_MAX : (uint64_t)l->kind, &added);
	if (!slot) {
		b->err = -ENOMEM;
		return;
	}
	if (added) {
		*slot = b->list.n;
		memcpy(fresh.sum.name, l->name, sizeof(fresh.sum.name));
		fresh.sum.name_from = l->name_from;
		if (vec_push(&b->list, fresh)) {
			b->err = -ENOMEM;
			return;
		}
	}
	merge_lock(b, &b->list.v[*slot], l, idle_ns);
}

static void bundles_release(struct bundles *b)
{
	for (size_t i = 0; i < b->list.n; i++) {
		vec_release(&b->list.v[i].sum.waiters);
		vec_release(&b->list.v[i].sum.blockers);
		vec_release(&b->list.v[i].sum.sites);
	}
	vec_release(&b->list);
	hmap_release(&b->by_name);
	strtab_free(b->names);
}

/* Idle CPU time as a share of capacity, as the account has it. */
static void add_idle(struct table *tab, const struct tx *t, uint64_t idle_ns)
{
	char share[16];

	if (idle_ns && t->r->capacity_ns)
		table_cell(tab, "%s", fmt_share(share, sizeof(share), idle_ns, t->r->capacity_ns));
	else
		table_nothing(tab, t->r->causes_known ? "0 %" : "");
}

static void add_name(struct table *tab, const struct bundle *b)
{
	const char *name = b->n > 1 ? b->label : lock_short_name(&b->sum);
	char full[sizeof(b->sum.name) + 32];

	if (b->n > 1)
		snprintf(full, sizeof(full), "%s (%zu)", name, b->n);
	else
		snprintf(full, sizeof(full), "%s", name);
	table_name(tab, full);
}

static void add_kind(struct table *tab, const struct lock *l)
{
	char kind[48];

	if (lock_names_itself(l))
		table_nothing(tab, "");
	else
		table_cell(tab, "%s%s", l->shared ? "shared " : "",
		           lock_kind_text(l, kind, sizeof(kind)));
}

static void add_site(struct table *tab, const struct tx *t, const struct lock *l)
{
	const struct lock_site *s = l->sites.n ? &l->sites.v[0] : NULL;
	char where[400];

	/* A lock that is named after the place need not name it twice; who joins whom, the name
	 * says. */
	if (s && !named_by_site(l) && l->kind != LOCK_JOIN &&
	    where_text(where, sizeof(where), t->r->m, s->ustack, s->kstack))
		table_cell(tab, "%s", where);
	else
		table_nothing(tab, "");
}

static void add_lock(struct table *tab, const struct tx *t, const struct bundle *b)
{
	const struct lock *l = &b->sum;

	add_name(tab, b);
	add_kind(tab, l);
	table_count(tab, l->waits);
	table_ns(tab, l->wait_ns);
	add_idle(tab, t, b->idle_ns);
	table_ns(tab, l->p99_ns);
	table_ns(tab, l->max_ns);
	add_tasks(tab, t, l->waiters.v, l->waiters.n, l->wait_ns, false);
	add_tasks(tab, t, l->blockers.v, l->blockers.n, l->wait_ns, true);
	add_site(tab, t, l);
}

static bool lock_wanted(const struct tx *t, const struct lock *l)
{
	return l->waits && (any_wanted(t, l->waiters.v, l->waiters.n) ||
	                    any_wanted(t, l->blockers.v, l->blockers.n));
}

struct order {
	uint64_t idle_ns, ns;
	size_t index;
	bool aside;
};

/* What kept CPUs idle comes first: an idle pool waits longest, and holds nobody up. */
static int by_cost(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (x->aside != y->aside)
		return x->aside ? 1 : -1;
	if (x->idle_ns != y->idle_ns)
		return x->idle_ns > y->idle_ns ? -1 : 1;
	if (x->ns != y->ns)
		return x->ns > y->ns ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

static void print_more(struct tx *t, size_t more, uint64_t wait_ns, const char *one,
                       const char *many)
{
	char count[48], ns[32];

	if (more)
		tx_line(t, TX_PLAIN, "… and %s more with %s of waiting",
		        fmt_n(count, sizeof(count), more, one, many),
		        fmt_ns(ns, sizeof(ns), wait_ns));
}

/* There are no others: a table would be of what the program's author does not know. */
static void print_aside(struct tx *t, size_t n, uint64_t wait_ns, const char *many)
{
	char ns[32], text[96];

	snprintf(text, sizeof(text), "%zu, of its launcher only\n%s of waiting", n,
	         fmt_ns(ns, sizeof(ns), wait_ns));
	tx_section(t);
	tx_items(t, TX_PLAIN, many, text);
}

/* A list of things with waiting time, and how one of them becomes a row. */
struct listing {
	const struct column *columns;
	size_t n_columns, n;
	const void *things;
	/* Its waiting time, 0 = not shown; and the idle CPU time that it caused. */
	uint64_t (*wanted)(const struct tx *t, const void *things, size_t i, uint64_t *idle_ns);
	void (*add)(struct table *tab, const struct tx *t, const void *things, size_t i);
	/* Is it not shown unless all are? NULL: none is. */
	bool (*aside)(const struct tx *t, const void *things, size_t i);
	const char *one, *many;
};

/* The things that are shown if they are large enough, the most important first. */
struct ordered {
	VEC(struct order) v;
	uint64_t all_ns;
};

static int put_in_order(struct ordered *o, const struct tx *t, const struct listing *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct order x = {.index = i};

		x.ns = l->wanted(t, l->things, i, &x.idle_ns);
		/* So little is rather an estimate's error than a cost. */
		if (x.idle_ns < t->r->capacity_ns / SMALL)
			x.idle_ns = 0;
		x.aside = l->aside && l->aside(t, l->things, i);
		if (!x.aside)
			o->all_ns = sat_add(o->all_ns, x.ns);
		if (x.ns && vec_push(&o->v, x))
			return -ENOMEM;
	}
	if (o->v.n)
		qsort(o->v.v, o->v.n, sizeof(*o->v.v), by_cost);
	return 0;
}

static void print_listing(struct tx *t, const struct listing *l)
{
	struct ordered o = {0};
	struct table tab = {.err = put_in_order(&o, t, l)};
	uint64_t rest = 0;
	size_t shown = 0;

	for (size_t i = 0; i < l->n_columns; i++)
		table_column(&tab, &l->columns[i]);
	for (size_t i = 0; i < o.v.n && !tab.err; i++) {
		const struct order *x = &o.v.v[i];
		bool large = !x->aside && (x->idle_ns || x->ns >= o.all_ns / SMALL);

		if (shown == i && shown < t->top && (t->o->top || large)) {
			l->add(&tab, t, l->things, x->index);
			shown++;
		} else {
			rest = sat_add(rest, x->ns);
		}
	}
	if (shown)
		tx_section(t);
	table_print(&tab, t);
	if (!shown && o.v.n && o.v.v[0].aside)
		print_aside(t, o.v.n, rest, l->many);
	else
		print_more(t, o.v.n - shown, rest, l->one, l->many);
	table_release(&tab);
	vec_release(&o.v);
}

static uint64_t lock_time(const struct tx *t, const void *things, size_t i, uint64_t *idle_ns)
{
	const struct bundle *b = (const struct bundle *)things + i;

	*idle_ns = b->idle_ns;
	return lock_wanted(t, &b->sum) ? b->sum.wait_ns : 0;
}

static void lock_row(struct table *tab, const struct tx *t, const void *things, size_t i)
{
	add_lock(tab, t, (const struct bundle *)things + i);
}

void text_locks(struct tx *t)
{
	struct listing l = {
	        .columns = lock_columns,
	        .n_columns = ARRAY_LEN(lock_columns),
	        .wanted = lock_time,
	        .add = lock_row,
	        .one = "lock",
	        .many = "locks",
	};
	struct bundles b = {.names = strtab_new()};

	if (!t->r->w) {
		text_futexes(t);
		strtab_free(b.names);
		return;
	}
	b.err = b.names ? 0 : -ENOMEM;
	for (size_t i = 0; i < t->r->w->locks.n && !b.err; i++) {
		uint64_t idle_ns = i < t->r->lock_idle_ns.n ? t->r->lock_idle_ns.v[i] : 0;

		if (t->r->w->locks.v[i].waits)
			add_bundle(&b, t->r->w->locks.v, &t->r->w->locks.v[i], idle_ns);
	}
	l.things = b.list.v;
	l.n = b.list.n;
	if (!b.err)
		print_listing(t, &l);
	t->err = b.err ? b.err : t->err;
	bundles_release(&b);
}

/* --- channels --------------------------------------------------------------------------------- */

static const struct column channel_columns[] = {
        {.head = "channels", .left = true, .min = 16},
        {.head = "waits"},
        {.head = "total wait", .brief = "total"},
        {.head = "CPUs idle", .brief = "idle", .drop = 2},
        {.head = "to read", .drop = 4},
        {.head = "to write", .drop = 4},
        {.head = "longest", .drop = 1},
        {.head = "bytes", .drop = 3}, /* CHANNEL_BYTES */
        {.head = "waiters", .left = true, .list = true, .min = 12, .drop = 3},
        {.head = "other end", .left = true, .list = true, .min = 12, .drop = 2},
};

#define CHANNEL_BYTES 7 /* only when it is known of one */

static uint64_t channel_time(const struct tx *t, const void *things, size_t i, uint64_t *idle_ns)
{
	const struct connection *c = (const struct connection *)things + i;
	bool wanted = any_wanted(t, c->waiters.v, c->waiters.n) ||
	              any_wanted(t, c->blockers.v, c->blockers.n);

	*idle_ns = c->idle_ns;
	return c->waits && wanted ? c->wait_ns : 0;
}

/* Are some of them processes that started the program and had ended when it began, and the others
 * the program's own, which was one of these before its last exec? */
static bool are_launcher(const struct report *r, const struct lock_task *v, size_t n, bool *any)
{
	uint64_t begun = model_recording(r->m)->wall_start_ns + r->launcher_ns;

	for (size_t i = 0; i < n; i++) {
		const struct task *t = model_task(r->m, v[i].task);

		if (!t || t->flags & TASK_F_ROOT)
			continue;
		if (t->alive || t->end_ns > begun)
			return false;
		*any = true;
	}
	return true;
}

static bool channel_of_launcher(const struct tx *t, const void *things, size_t i)
{
	const struct connection *c = (const struct connection *)things + i;
	bool any = false;

	return t->r->launcher_procs && are_launcher(t->r, c->waiters.v, c->waiters.n, &any) &&
	       are_launcher(t->r, c->blockers.v, c->blockers.n, &any) && any;
}

static void channel_row(struct table *tab, const struct tx *t, const void *things, size_t i)
{
	const struct connection *c = (const struct connection *)things + i;

	table_name(tab, c->name);
	table_count(tab, c->waits);
	table_ns(tab, c->wait_ns);
	add_idle(tab, t, c->idle_ns);
	table_ns(tab, c->read_wait_ns);
	table_ns(tab, c->write_wait_ns);
	table_ns(tab, c->max_ns);
	if (c->bytes_known)
		table_bytes(tab, c->bytes);
	else if (c->any_bytes)
		table_nothing(tab, "");
	add_tasks(tab, t, c->waiters.v, c->waiters.n, c->wait_ns, false);
	add_tasks(tab, t, c->blockers.v, c->blockers.n, c->wait_ns, true);
}

void text_channels(struct tx *t)
{
	struct listing l = {
	        .columns = channel_columns,
	        .n_columns = ARRAY_LEN(channel_columns),
	        .wanted = channel_time,
	        .add = channel_row,
	        .aside = channel_of_launcher,
	        .one = "channel",
	        .many = "channels",
	};

	struct column columns[ARRAY_LEN(channel_columns)];
	struct connections all = {0};
	int err;

	if (!t->r->w)
		return;
	err = connections_make(&all, t->r->w->channels.v, t->r->w->channels.n,
	                       t->r->channel_idle_ns.v);
	l.things = all.v;
	l.n = all.n;
	memcpy(columns, channel_columns, sizeof(columns));
	if (!all.n || !all.v[0].any_bytes) {
		memmove(&columns[CHANNEL_BYTES], &columns[CHANNEL_BYTES + 1],
		        sizeof(columns) - (CHANNEL_BYTES + 1) * sizeof(columns[0]));
		l.columns = columns;
		l.n_columns--;
	}
	if (!err)
		print_listing(t, &l);
	t->err = err ? err : t->err;
	connections_release(&all);
}
