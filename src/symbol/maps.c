/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symbolizer_priv.h"

/* Ancestors that are searched; a chain this long with nothing mapped on the way is no program. */
#define MAX_DEPTH 4096
/* Mappings of all spaces together, copies in layouts included (40 bytes each). */
#define MAX_TOTAL (2u << 20)

struct layout {
	unsigned refs;
	VEC(struct mapping) v; /* sorted, disjoint */
};

struct space {
	uint32_t parent; /* id, 0 = none */
	uint32_t pid;
	uint32_t users, waiting;
	uint64_t fork_ts;
	bool declared;
	struct layout *now;          /* NULL = empty */
	VEC(struct mapping) history; /* its own, in order of arrival */
};

struct spaces {
	struct hmap by_id; /* -> index into v, + 1 */
	VEC(struct space) v;
	VEC(size_t) unused; /* indices into v */
	uint64_t dropped, total;
};

struct spaces *spaces_new(void)
{
	return calloc(1, sizeof(struct spaces));
}

static void layout_put(struct layout *l)
{
	if (!l || --l->refs)
		return;
	vec_release(&l->v);
	free(l);
}

void spaces_free(struct spaces *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->v.n; i++) {
		layout_put(t->v.v[i].now);
		vec_release(&t->v.v[i].history);
	}
	vec_release(&t->v);
	vec_release(&t->unused);
	hmap_release(&t->by_id);
	free(t);
}

static struct space *space_get(const struct spaces *t, uint32_t id)
{
	const uint64_t *slot = hmap_get(&t->by_id, id, 0);

	return slot && *slot ? &t->v.v[*slot - 1] : NULL;
}

static struct space *space_make(struct spaces *t, uint32_t id)
{
	struct space *s = space_get(t, id);
	uint64_t *slot;
	size_t at;

	if (s)
		return s;
	if (vec_reserve(&t->v, 1))
		return NULL;
	slot = hmap_put(&t->by_id, id, 0, NULL);
	if (!slot)
		return NULL;
	at = t->unused.n ? t->unused.v[--t->unused.n] : t->v.n++;
	s = &t->v.v[at];
	*s = (struct space){0};
	*slot = at + 1;
	return s;
}

/* A private copy of what was mapped up to ts. */
static struct layout *layout_copy(const struct layout *from, uint64_t ts)
{
	struct layout *l = calloc(1, sizeof(*l));
	size_t i, n = from ? from->v.n : 0;

	if (!l)
		return NULL;
	l->refs = 1;
	if (vec_reserve(&l->v, n + 1)) {
		free(l);
		return NULL;
	}
	for (i = 0; i < n; i++) {
		if (from->v.v[i].ts <= ts)
			l->v.v[l->v.n++] = from->v.v[i];
	}
	return l;
}

/* First mapping that ends after addr. */
static size_t layout_after(const struct layout *l, uint64_t addr)
{
	size_t lo = 0, hi = l->v.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->v.v[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct mapping cut(const struct mapping *m, uint64_t start, uint64_t end)
{
	struct mapping c = *m;

	c.offset += start - m->start;
	c.start = start;
	c.end = end;
	return c;
}

/* What remains of the mappings [from, to) of l when m joins them, appended to out: where two
 * overlap the later one stays. */
static int merge(const struct layout *l, size_t from, size_t to, const struct mapping *m,
                 struct layout *out)
{
	uint64_t pos = m->start; /* m is placed up to here */

	if (vec_reserve(&out->v, 2 * (to - from) + 3))
		return -ENOMEM;
	for (size_t i = from; i < to; i++) {
		const struct mapping *o = &l->v.v[i];

		if (o->ts > m->ts) {
			if (o->start > pos)
				out->v.v[out->v.n++] = cut(m, pos, o->start);
			out->v.v[out->v.n++] = *o;
			pos = o->end;
			continue;
		}
		if (o->start < m->start)
			out->v.v[out->v.n++] = cut(o, o->start, m->start);
		if (o->end > m->end) {
			if (pos < m->end)
				out->v.v[out->v.n++] = cut(m, pos, m->end);
			out->v.v[out->v.n++] = cut(o, m->end, o->end);
			pos = m->end;
		}
	}
	if (pos < m->end)
		out->v.v[out->v.n++] = cut(m, pos, m->end);
	return 0;
}

static int layout_insert(struct layout *l, const struct mapping *m)
{
	struct layout piece = {0};
	size_t from = layout_after(l, m->start), to = from, rest;
	int err;

	while (to < l->v.n && l->v.v[to].start < m->end)
		to++;
	err = merge(l, from, to, m, &piece);
	if (!err)
		err = vec_reserve(&l->v, piece.v.n);
	if (!err) {
		rest = l->v.n - to;
		memmove(l->v.v + from + piece.v.n, l->v.v + to, rest * sizeof(*m));
		memcpy(l->v.v + from, piece.v.v, piece.v.n * sizeof(*m));
		l->v.n = from + piece.v.n + rest;
	}
	vec_release(&piece.v);
	return err;
}

/* The layout that a child forked at ts starts with. */
static struct layout *layout_inherit(struct layout *from, uint64_t ts)
{
	if (!from)
		return NULL;
	for (size_t i = 0; i < from->v.n; i++) {
		if (from->v.v[i].ts > ts)
			return layout_copy(from, ts);
	}
	from->refs++;
	return from;
}

/* A layout of the space's own, to be changed. */
static struct layout *layout_own(struct space *s)
{
	struct layout *l;

	if (s->now && s->now->refs == 1)
		return s->now;
	l = layout_copy(s->now, UINT64_MAX);
	if (!l)
		return NULL;
	layout_put(s->now);
	s->now = l;
	return l;
}

int spaces_add(struct spaces *t, uint32_t id, uint32_t parent, uint64_t ts)
{
	struct space *s, *p;
	struct layout *l;

	/* Both first: making one moves the other. */
	if (!space_make(t, id) || (parent && !space_make(t, parent)))
		return -ENOMEM;
	s = space_get(t, id);
	p = parent && parent != id ? space_get(t, parent) : NULL;
	if (s->declared)
		return 0;
	s->declared = true;
	if (!p)
		return 0;
	s->parent = parent;
	s->fork_ts = ts;
	l = layout_inherit(p->now, ts);
	if (p->now && !l)
		return -ENOMEM;
	layout_put(s->now);
	s->now = l;
	for (size_t i = 0; i < s->history.n; i++) {
		l = layout_own(s);
		if (!l || layout_insert(l, &s->history.v[i]))
			return -ENOMEM;
	}
	return 0;
}

int spaces_set_pid(struct spaces *t, uint32_t id, uint32_t pid)
{
	struct space *s = space_make(t, id);

	if (!s)
		return -ENOMEM;
	s->pid = pid;
	return 0;
}

uint32_t spaces_pid(const struct spaces *t, uint32_t id)
{
	const struct space *s = space_get(t, id);

	return s ? s->pid : 0;
}

/* Does m change nothing that is known? */
static bool redundant(const struct space *s, const struct mapping *m)
{
	const struct mapping *o = NULL;
	size_t i;

	if (s->now) {
		i = layout_after(s->now, m->start);
		o = i < s->now->v.n && s->now->v.v[i].start < m->end ? &s->now->v.v[i] : NULL;
	}
	if (!o)
		return !m->file;
	return o->ts <= m->ts && o->file == m->file && o->start <= m->start && o->end >= m->end &&
	       o->offset + (m->start - o->start) == m->offset;
}

int spaces_map(struct spaces *t, uint32_t id, const struct mapping *m)
{
	struct space *s = space_make(t, id);
	struct layout *l;
	size_t before;

	if (!s)
		return -ENOMEM;
	if (m->end <= m->start)
		return 0;
	if (redundant(s, m))
		return m->file != 0;
	if (s->history.n >= SPACE_MAX_MAPS || t->total >= MAX_TOTAL) {
		t->dropped++;
		return 0;
	}
	before = s->now && s->now->refs == 1 ? s->now->v.n : 0;
	l = layout_own(s);
	if (!l || layout_insert(l, m))
		return -ENOMEM;
	t->total += l->v.n - (before < l->v.n ? before : l->v.n) + 1;
	return vec_push(&s->history, *m);
}

const struct mapping *spaces_find(const struct spaces *t, uint32_t id, uint64_t ts, uint64_t addr)
{
	const struct space *s = space_get(t, id);
	const struct mapping *m;
	size_t i;

	if (!s || !s->now)
		return NULL;
	i = layout_after(s->now, addr);
	if (i >= s->now->v.n)
		return NULL;
	m = &s->now->v.v[i];
	return m->start <= addr && m->ts <= ts ? m : NULL;
}

/* The latest mapping of addr up to ts, or (after) the earliest one past it. */
static const struct mapping *search(const struct space *s, uint64_t ts, uint64_t addr, bool after)
{
	const struct mapping *best = NULL, *m;

	for (size_t i = 0; i < s->history.n; i++) {
		m = &s->history.v[i];
		if (addr < m->start || addr >= m->end || (m->ts > ts) != after)
			continue;
		if (!best || (after ? m->ts < best->ts : m->ts >= best->ts))
			best = m;
	}
	return best;
}

const struct mapping *spaces_find_at(const struct spaces *t, uint32_t id, uint64_t ts,
                                     uint64_t addr)
{
	const struct space *s = space_get(t, id), *first = s;
	const struct mapping *m;
	uint64_t at = ts;

	for (int depth = 0; s && depth < MAX_DEPTH; depth++) {
		m = search(s, at, addr, false);
		if (m)
			return m;
		if (at > s->fork_ts)
			at = s->fork_ts;
		s = s->parent ? space_get(t, s->parent) : NULL;
	}
	/* An ancestor may be forgotten; what it had mapped is in the layout. */
	m = spaces_find(t, id, ts, addr);
	return m || !first ? m : search(first, ts, addr, true);
}

size_t spaces_below(const struct spaces *t, uint32_t id, uint64_t addr, const struct mapping **out,
                    size_t max)
{
	const struct space *s = space_get(t, id);
	size_t n = 0, i, k;

	if (!s || !s->now)
		return 0;
	for (i = layout_after(s->now, addr); i < s->now->v.n && s->now->v.v[i].start <= addr;)
		i++;
	while (i-- > 0 && n < max) {
		const struct mapping *m = &s->now->v.v[i];

		for (k = 0; k < n && out[k]->file != m->file;)
			k++;
		if (m->file && k == n)
			out[n++] = m;
	}
	return n;
}

bool spaces_use(struct spaces *t, uint32_t id, int more)
{
	struct space *s = space_get(t, id);

	if (!s || (more < 0 && s->users < (uint32_t)-more))
		return false;
	s->users += (uint32_t)more;
	if (s->users)
		return false;
	s->pid = 0; /* soon perhaps another process's */
	return true;
}

bool spaces_ended(const struct spaces *t, uint32_t id)
{
	const struct space *s = space_get(t, id);

	return s && !s->users;
}

uint32_t *spaces_waiting(struct spaces *t, uint32_t id)
{
	struct space *s = space_make(t, id);

	return s ? &s->waiting : NULL;
}

void spaces_forget(struct spaces *t, uint32_t id)
{
	struct space *s = space_get(t, id);
	uint64_t had;

	/* No room to note its place means that the place is lost: 80 bytes. */
	if (!s || vec_push(&t->unused, (size_t)(s - t->v.v)))
		return;
	had = s->history.n + (s->now && s->now->refs == 1 ? s->now->v.n : 0);
	t->total -= had < t->total ? had : t->total;
	layout_put(s->now);
	vec_release(&s->history);
	*s = (struct space){0};
	hmap_del(&t->by_id, id, 0);
}

size_t spaces_count(const struct spaces *t)
{
	return t->v.n - t->unused.n;
}

uint64_t spaces_dropped(const struct spaces *t)
{
	return t->dropped;
}
