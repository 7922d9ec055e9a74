/* SPDX-License-Identifier: MIT */
/* What the tasks waited for: the futexes with the most waiting. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/spots_priv.h"
#include "report/table_priv.h"

#define SMALL         200 /* of all waiting: futexes with less than 1/200 need no row of their own */
#define MAX_COMPARED  1000
#define NAMED_WAITERS 2 /* a third one would cost the columns that the lock's name needs */

/* Who waited, by time. */
static int put_waiters(struct buf *b, const struct model *m, const struct futex *f)
{
	size_t n = f->waiters.n;
	struct group_item *items = calloc(n ? n : 1, sizeof(*items));
	struct groups g = {0};
	int err = items ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !err; i++) {
		const struct task *t = model_task(m, f->waiters.v[i].task);

		items[i] = (struct group_item){
		        .name = t && t->comm ? t->comm : "",
		        .weight = f->waiters.v[i].wait_ns,
		        .index = i,
		        .tid = t ? t->tid : 0,
		};
	}
	err = err ? err : groups_make(&g, items, n, NAMED_WAITERS, true);
	err = err ? err : groups_put(b, items, &g, NAMED_WAITERS, f->wait_ns);
	groups_release(&g);
	free(items);
	return err;
}

/* The name without what heading and waiters say already: "futex in COMM, waited for at FRAME" is
 * "at FRAME". A name that others have too tells nothing: then the address. Returns whether the
 * frame was told. */
static bool add_name(struct table *tab, const struct report *r, const struct report_lock *l)
{
	static const char where[] = ", waited for at ";
	const char *frame = strstr(l->name, where);
	char full[sizeof(l->name) + 32];
	bool unique;

	if (frame && frame_is_wait_code(frame + strlen(where)))
		frame = NULL;
	unique = strncmp(l->name, "futex in ", 9) || frame;
	for (size_t i = 0; i < r->locks.n && i < MAX_COMPARED && unique; i++)
		unique = &r->locks.v[i] == l || strcmp(r->locks.v[i].name, l->name);
	if (!unique)
		snprintf(full, sizeof(full), "0x%" PRIx64, l->futex->addr);
	else if (frame)
		snprintf(full, sizeof(full), "at %s", frame + strlen(where));
	else
		snprintf(full, sizeof(full), "%s", l->name);
	table_name(tab, full);
	return unique && frame;
}

/* The innermost frame outside the waiting code that all programs share; "" = unknown. */
static void waited_at(char *out, size_t n, const struct stack_names *names, uint32_t text)
{
	const char *p = stack_text(names, text);

	out[0] = '\0';
	while (*p) {
		size_t len = strcspn(p, "\n");
		char frame[FRAME_MAX_BYTES];

		snprintf(frame, sizeof(frame), "%.*s", (int)len, p);
		if (!frame_is_wait_code(frame))
			snprintf(out, n, "%s", frame);
		p += len + (p[len] != '\0');
	}
}

/* The site with most waiting. Names that fill memory are no error here: they stay unknown. */
static void add_site(struct table *tab, struct stack_names *names, const struct futex *f)
{
	const struct futex_site *best = NULL;
	char at[FRAME_MAX_BYTES];

	for (size_t i = 0; i < f->sites.n; i++) {
		const struct futex_site *s = &f->sites.v[i];

		if (s->ustack && (!best || s->wait_ns > best->wait_ns))
			best = s;
	}
	waited_at(at, sizeof(at), names, best ? stack_name(names, best->ustack) : 0);
	if (names->err == -ENOMEM)
		tab->err = -ENOMEM;
	if (at[0])
		table_cell(tab, "%s", at);
	else
		table_nothing(tab, "");
}

static void add_row(struct table *tab, const struct tx *t, struct stack_names *names,
                    const struct report_lock *l)
{
	bool told = add_name(tab, t->r, l);
	struct buf waiters = {0};

	table_count(tab, l->futex->waits);
	table_ns(tab, l->futex->wait_ns);
	table_ns(tab, l->p50_ns);
	table_ns(tab, l->p99_ns);
	table_ns(tab, l->futex->max_ns);
	tab->err = put_waiters(&waiters, t->r->m, l->futex) ? -ENOMEM : tab->err;
	table_cell(tab, "%s", waiters.p ? (const char *)waiters.p : "");
	buf_release(&waiters);
	if (told)
		table_nothing(tab, "");
	else
		add_site(tab, names, l->futex);
}

static bool wanted(const struct tx *t, const struct report_lock *l)
{
	if (!l->futex || !l->futex->waits)
		return false;
	for (size_t i = 0; t->o->task && i < l->futex->waiters.n; i++) {
		const struct task *w = model_task(t->r->m, l->futex->waiters.v[i].task);

		if (w && task_wanted(w, t->o->task))
			return true;
	}
	return !t->o->task;
}

static const struct column columns[] = {
        {.head = "futexes", .left = true, .min = 20},
        {.head = "waits"},
        {.head = "total wait", .brief = "total"},
        {.head = "p50", .drop = 4},
        {.head = "p99", .drop = 2},
        {.head = "longest", .drop = 1},
        {.head = "waiters", .left = true, .list = true, .min = 16, .drop = 3},
        {.head = "waited at", .left = true, .min = 16, .drop = 5},
};

static void print_more(struct tx *t, size_t more, uint64_t wait_ns)
{
	char count[48], ns[32];

	if (more)
		tx_line(t, TX_PLAIN, "… and %s more with %s of waiting",
		        fmt_n(count, sizeof(count), more, "futex", "futexes"),
		        fmt_ns(ns, sizeof(ns), wait_ns));
}

void text_futexes(struct tx *t)
{
	struct stack_names names;
	struct table tab = {0};
	size_t shown = 0, more = 0;
	uint64_t rest_ns = 0, small = 0;

	for (size_t i = 0; i < t->r->locks.n && !t->o->top; i++)
		small = sat_add(small,
		                wanted(t, &t->r->locks.v[i]) ? t->r->locks.v[i].futex->wait_ns : 0);
	small /= SMALL;
	tab.err = stack_names_init(&names, t->r->m);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		table_column(&tab, &columns[i]);
	for (size_t i = 0; i < t->r->locks.n && !tab.err; i++) {
		const struct report_lock *l = &t->r->locks.v[i];

		if (!wanted(t, l))
			continue;
		if (shown < t->top && l->futex->wait_ns >= small) {
			add_row(&tab, t, &names, l);
			shown++;
		} else {
			more++;
			rest_ns = sat_add(rest_ns, l->futex->wait_ns);
		}
	}
	if (shown)
		tx_section(t);
	table_print(&tab, t);
	print_more(t, more, rest_ns);
	table_release(&tab);
	stack_names_release(&names);
}
