/* SPDX-License-Identifier: MIT */
/*
 * From an address to a name: which mapping of the space (or of the space it was forked
 * from) held it, which place in that file it is, which symbols were found there.
 */
#include <errno.h>
#include <stdlib.h>

#include "model_priv.h"

/* Forks of forks, and mappings that overlap at an address: more than any real process has,
 * and a bound for files that are made up. */
#define MAX_ANCESTORS 256
#define MAX_OVERLAPS  64

int on_space(struct model *m, uint64_t ts, const struct rec_space *r)
{
	struct lspace s = {.id = id32(r->id), .parent = id32(r->parent), .ts = ts};

	if (!s.id || idmap_get(&m->space_ids, s.id) != NO_INDEX)
		return 0;
	if (m->spaces.n >= MAX_SPACES) {
		m->odd.refused++;
		return 0;
	}
	if (idmap_put(&m->space_ids, s.id, (uint32_t)m->spaces.n))
		return -ENOMEM;
	return vec_push(&m->spaces, s);
}

int on_map(struct model *m, uint64_t ts, const struct rec_map *r)
{
	struct lmap map = {
	        .start = r->start,
	        .end = r->end,
	        .offset = r->offset,
	        .ts = ts,
	        .space = id32(r->space),
	        .file = id32(r->file), /* a string of ours once loaded */
	};

	if (!map.space || map.start >= map.end)
		return 0;
	return vec_push(&m->maps, map);
}

int on_symbol(struct model *m, uint64_t ts, const struct rec_symbol *r)
{
	struct lsymbol s = {
	        .offset = r->offset,
	        .name_off = r->name_off,
	        .module = id32(r->module),
	        .name = id32(r->name),
	        .src = id32(r->src),
	        .line = (uint32_t)r->line,
	        .depth = (uint32_t)r->inline_depth,
	        .order = (uint32_t)m->symbols.n,
	};

	(void)ts;
	return vec_push(&m->symbols, s);
}

static int map_order(const void *a, const void *b)
{
	const struct lmap *x = a, *y = b;

	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

/* Innermost inlined function first; the record that came last first among equals. */
static int symbol_order(const void *a, const void *b)
{
	const struct lsymbol *x = a, *y = b;

	if (x->module != y->module)
		return x->module < y->module ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->depth != y->depth)
		return x->depth > y->depth ? -1 : 1;
	return x->order > y->order ? -1 : 1;
}

/* A map of a space that has no definition still tells its addresses. */
static struct lspace *space_need(struct model *m, uint32_t id)
{
	const struct rec_space r = {.id = id};
	uint32_t i = idmap_get(&m->space_ids, id);

	if (i == NO_INDEX && on_space(m, 0, &r))
		return NULL;
	i = idmap_get(&m->space_ids, id);
	return i == NO_INDEX ? NULL : &m->spaces.v[i];
}

int maps_finish(struct model *m)
{
	struct lspace *s = NULL;

	if (m->maps.n)
		qsort(m->maps.v, m->maps.n, sizeof(*m->maps.v), map_order);
	for (size_t i = 0; i < m->maps.n; i++) {
		struct lmap *map = &m->maps.v[i];
		bool same = i && map->space == map[-1].space;

		map->file = model_string(m, map->file);
		map->max_end = same && map[-1].max_end > map->end ? map[-1].max_end : map->end;
		if (!same) {
			s = space_need(m, map->space);
			if (s)
				s->maps = i;
		}
		if (s)
			s->n_maps++;
	}
	for (size_t i = 0; i < m->symbols.n; i++) {
		m->symbols.v[i].module = model_string(m, m->symbols.v[i].module);
		m->symbols.v[i].name = model_string(m, m->symbols.v[i].name);
		m->symbols.v[i].src = model_string(m, m->symbols.v[i].src);
	}
	if (m->symbols.n)
		qsort(m->symbols.v, m->symbols.n, sizeof(*m->symbols.v), symbol_order);
	m->kernel_module = strtab_add(m->strings, "[kernel]", 8, NULL);
	return m->kernel_module ? 0 : -ENOMEM;
}

void maps_release(struct model *m)
{
	vec_release(&m->spaces);
	vec_release(&m->maps);
	vec_release(&m->symbols);
	idmap_release(&m->space_ids);
}

/* --- lookup ---------------------------------------------------------------------------------- */

/* Was b in force rather than a at ts? The last one before, else the first one after. */
static bool better(const struct lmap *a, const struct lmap *b, uint64_t ts)
{
	if (!a)
		return true;
	if ((a->ts <= ts) != (b->ts <= ts))
		return b->ts <= ts;
	return a->ts <= ts ? b->ts > a->ts : b->ts < a->ts;
}

static const struct lmap *map_in_space(const struct model *m, const struct lspace *s, uint64_t addr,
                                       uint64_t ts)
{
	const struct lmap *found = NULL;
	size_t lo = s->maps, hi = s->maps + s->n_maps;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->maps.v[mid].start <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (unsigned i = 0; lo-- > s->maps && i < MAX_OVERLAPS; i++) {
		const struct lmap *map = &m->maps.v[lo];

		if (map->max_end <= addr)
			break;
		if (addr < map->end && better(found, map, ts))
			found = map;
	}
	return found;
}

static const struct lmap *map_find(const struct model *m, uint32_t space, uint64_t addr,
                                   uint64_t ts)
{
	for (unsigned depth = 0; depth < MAX_ANCESTORS; depth++) {
		uint32_t i = idmap_get(&m->space_ids, space);
		const struct lspace *s = i == NO_INDEX ? NULL : &m->spaces.v[i];
		const struct lmap *map = s ? map_in_space(m, s, addr, ts) : NULL;

		if (map || !s || !s->parent)
			return map;
		/* What the parent mapped after the fork is not ours. */
		if (s->ts < ts)
			ts = s->ts;
		space = s->parent;
	}
	return NULL;
}

static size_t symbol_first(const struct model *m, uint32_t module, uint64_t offset)
{
	size_t lo = 0, hi = m->symbols.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct lsymbol *s = &m->symbols.v[mid];

		if (s->module < module || (s->module == module && s->offset < offset))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const char *name_or_null(const struct model *m, uint32_t string)
{
	return string ? strtab_get(m->strings, string) : NULL;
}

/* Fills out with what is known of the place; one frame at least. */
static size_t name_place(const struct model *m, uint32_t module, uint64_t offset, struct frame *out,
                         size_t max)
{
	size_t n = 0;
	struct frame place = {
	        .module = strtab_get(m->strings, module),
	        .offset = offset,
	        .kind = module == m->kernel_module ? FRAME_KERNEL : FRAME_NATIVE,
	};

	for (size_t i = symbol_first(m, module, offset); module && i < m->symbols.n && n < max;
	     i++) {
		const struct lsymbol *s = &m->symbols.v[i];

		if (s->module != module || s->offset != offset)
			break;
		if (n && s->depth == s[-1].depth) /* said twice */
			continue;
		place.name = name_or_null(m, s->name);
		place.name_off = s->name_off;
		place.src = name_or_null(m, s->src);
		place.line = s->line;
		place.inlined = s->depth > 0;
		out[n] = place;
		if (place.inlined)
			out[n].kind = FRAME_INLINED;
		n++;
	}
	if (!n)
		out[n++] = place;
	return n;
}

size_t model_resolve(const struct model *m, const struct mstack *s, uint32_t i, struct frame *out,
                     size_t max)
{
	const struct lmap *map;
	uint64_t addr;

	if (!max || i >= s->n)
		return 0;
	addr = s->frames[i];
	if (s->kind == STACK_KERNEL)
		return name_place(m, m->kernel_module, addr, out, max);
	map = map_find(m, s->space, addr, s->ts);
	if (!map)
		return name_place(m, 0, addr, out, max);
	return name_place(m, map->file, addr - map->start + map->offset, out, max);
}

uint32_t model_space_parent(const struct model *m, uint32_t space)
{
	uint32_t i = idmap_get(&m->space_ids, space);

	return i == NO_INDEX ? 0 : m->spaces.v[i].parent;
}
