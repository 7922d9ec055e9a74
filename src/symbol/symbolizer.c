/* SPDX-License-Identifier: MIT */
/*
 * Frames are turned into (file, file offset) as they come, which is what makes a recording of
 * thousands of processes small: they share their files. Only what no known mapping explains
 * waits, with its address, until all mappings are known.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object_priv.h"
#include "resolve_priv.h"
#include "symbol.h"
#include "symbolizer_priv.h"

/* Distinct frames kept: what honest recordings have is a tenth. */
#define MAX_FRAMES  (4u << 20)
#define MAX_PENDING (1u << 20)
/* The vdso of a 32-bit process is another one than ours. */
#define FIRST_64BIT (1ull << 32)

struct pending {
	uint64_t addr, first_ts, last_ts;
	uint32_t space;
	uint8_t flags;
};

struct symbolizer {
	struct spaces *spaces;
	struct strtab *strings;     /* paths and build ids */
	VEC(struct sym_file) files; /* id - 1 */
	struct hmap file_ids;       /* (path, build id) as string ids -> file id */
	struct hmap keys;           /* (file id or 0 = kernel, offset) -> FRAME_* */
	struct hmap pending_ids;    /* (space, address) -> index into pending */
	VEC(struct pending) pending;
	struct objects objects;
	uint64_t dropped;
};

struct symbolizer *symbolizer_new(void)
{
	struct symbolizer *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->spaces = spaces_new();
	s->strings = strtab_new();
	if (s->spaces && s->strings)
		return s;
	symbolizer_free(s);
	return NULL;
}

static void release_frames(struct symbolizer *s)
{
	hmap_release(&s->keys);
	hmap_release(&s->pending_ids);
	vec_release(&s->pending);
}

void symbolizer_free(struct symbolizer *s)
{
	if (!s)
		return;
	release_frames(s);
	objects_release(&s->objects);
	spaces_free(s->spaces);
	if (s->strings)
		strtab_free(s->strings);
	hmap_release(&s->file_ids);
	vec_release(&s->files);
	free(s);
}

int symbolizer_space(struct symbolizer *s, uint32_t space, uint32_t parent, uint64_t ts)
{
	return spaces_add(s->spaces, space, parent, ts);
}

int symbolizer_pid(struct symbolizer *s, uint32_t space, uint32_t pid)
{
	return spaces_set_pid(s->spaces, space, pid);
}

/* The file's id, made when new; 0 = no memory. */
static uint32_t file_id(struct symbolizer *s, const char *path, const uint8_t *build_id, size_t n)
{
	struct sym_file f = {.build_id_n = (uint8_t)n};
	uint32_t path_id = strtab_add(s->strings, path, strlen(path), NULL), bid_id = 0;
	uint64_t *slot;

	if (n)
		bid_id = strtab_add(s->strings, (const char *)build_id, n, NULL);
	if (!path_id || (n && !bid_id))
		return 0;
	slot = hmap_put(&s->file_ids, path_id, bid_id, NULL);
	if (!slot)
		return 0;
	if (!*slot) {
		f.path = strtab_get(s->strings, path_id);
		if (n)
			memcpy(f.build_id, build_id, n);
		if (vec_push(&s->files, f))
			return 0;
		*slot = s->files.n;
	}
	return (uint32_t)*slot;
}

/* What the kernel calls an executable mapping without a file: "", "//anon", "[heap]" … */
static bool has_file(const struct sym_map *m)
{
	if (!m->file)
		return false;
	if (!strcmp(m->file, VDSO_NAME))
		return m->start >= FIRST_64BIT;
	return m->file[0] == '/' && m->file[1] != '/';
}

int symbolizer_map(struct symbolizer *s, uint32_t space, const struct sym_map *m)
{
	struct mapping e = {.start = m->start, .end = m->end, .offset = m->offset, .ts = m->ts};
	size_t n = m->build_id && m->build_id_n <= SYM_BUILD_ID_MAX ? m->build_id_n : 0;
	struct sym_file *f;

	if (has_file(m)) {
		e.file = file_id(s, m->file, m->build_id, n);
		if (!e.file)
			return -ENOMEM;
		f = &s->files.v[e.file - 1];
		if (!f->first_space)
			f->first_space = space;
		f->last_space = space;
	}
	return spaces_map(s->spaces, space, &e);
}

static int add_key(struct symbolizer *s, uint32_t file, uint64_t offset, uint8_t flags)
{
	uint64_t *slot;

	if (s->keys.n >= MAX_FRAMES && !hmap_get(&s->keys, file, offset)) {
		s->dropped++;
		return 0;
	}
	slot = hmap_put(&s->keys, file, offset, NULL);
	if (!slot)
		return -ENOMEM;
	*slot |= flags;
	return 0;
}

static int add_mapped(struct symbolizer *s, uint32_t space, const struct mapping *m, uint64_t addr,
                      uint8_t flags)
{
	if (!m->file)
		return 0;
	s->files.v[m->file - 1].user_space = space;
	return add_key(s, m->file, addr - m->start + m->offset, flags);
}

static int add_pending(struct symbolizer *s, uint32_t space, uint64_t ts, uint64_t addr,
                       uint8_t flags)
{
	struct pending p = {addr, ts, ts, space, flags}, *have;
	bool added;
	uint64_t *slot;

	if (s->pending.n >= MAX_PENDING) {
		s->dropped++;
		return 0;
	}
	slot = hmap_put(&s->pending_ids, space, addr, &added);
	if (!slot)
		return -ENOMEM;
	if (added) {
		*slot = s->pending.n;
		if (!vec_push(&s->pending, p))
			return 0;
		hmap_del(&s->pending_ids, space, addr);
		return -ENOMEM;
	}
	have = &s->pending.v[*slot];
	have->flags |= flags;
	if (ts < have->first_ts)
		have->first_ts = ts;
	if (ts > have->last_ts)
		have->last_ts = ts;
	return 0;
}

int symbolizer_stack(struct symbolizer *s, uint32_t space, uint64_t ts, const uint64_t *frames,
                     size_t n)
{
	const struct mapping *m;
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		uint8_t flags = i ? FRAME_RETURN : FRAME_EXACT;

		if (!space) {
			err = add_key(s, 0, frames[i], flags);
			continue;
		}
		m = spaces_find(s->spaces, space, ts, frames[i]);
		err = m ? add_mapped(s, space, m, frames[i], flags)
		        : add_pending(s, space, ts, frames[i], flags);
	}
	return err;
}

static int settle_at(struct symbolizer *s, const struct pending *p, uint64_t ts)
{
	const struct mapping *m = spaces_find_at(s->spaces, p->space, ts, p->addr);

	return m ? add_mapped(s, p->space, m, p->addr, p->flags) : 0;
}

/* Finds the waiting frames' files. They may have seen two, so both ends of their time are asked. */
static int settle(struct symbolizer *s, struct resolve *r)
{
	int err = 0;

	for (size_t i = 0; i < s->pending.n && !err; i++) {
		const struct pending *p = &s->pending.v[i];

		if (resolve_out_of_time(r))
			break;
		err = settle_at(s, p, p->first_ts);
		if (!err && p->last_ts != p->first_ts)
			err = settle_at(s, p, p->last_ts);
	}
	return err;
}

static int collect(struct symbolizer *s, struct resolve *r)
{
	if (vec_reserve(&r->frames, s->keys.n))
		return -ENOMEM;
	for (size_t i = 0; i < s->keys.cap; i++) {
		const struct hmap_slot *slot = &s->keys.slots[i];
		struct sym_frame f = {slot->k1, (uint32_t)slot->k0, (uint8_t)slot->value};

		if (slot->used)
			r->frames.v[r->frames.n++] = f;
	}
	return 0;
}

static void set_pids(struct symbolizer *s)
{
	for (size_t i = 0; i < s->files.n; i++) {
		struct sym_file *f = &s->files.v[i];

		f->pids[0] = spaces_pid(s->spaces, f->user_space);
		f->pids[1] = spaces_pid(s->spaces, f->last_space);
		f->pids[2] = spaces_pid(s->spaces, f->first_space);
	}
}

int symbolizer_object(struct symbolizer *s, uint32_t space, uint64_t addr,
                      struct symbol_object *out)
{
	set_pids(s);
	return objects_find(&s->objects, s->spaces, s->files.v, space, addr, out);
}

int symbolizer_resolve(struct symbolizer *s, const struct kallsyms *k,
                       const struct symbolizer_limits *lim, symbolizer_emit emit_fn, void *ctx,
                       struct symbolizer_stats *st, struct buf *notes)
{
	struct symbolizer_stats unused = {0};
	struct demangler name;
	struct resolve r = {.k = k,
	                    .emit = emit_fn,
	                    .ctx = ctx,
	                    .st = st ? st : &unused,
	                    .notes = notes,
	                    .name = &name};
	int err;

	*r.st = (struct symbolizer_stats){0};
	resolve_start(&r, lim);
	err = settle(s, &r);
	if (!err)
		err = collect(s, &r);
	release_frames(s); /* the parsing to come needs the room */
	set_pids(s);
	r.files = s->files.v;
	r.n_files = s->files.n;
	if (!err)
		err = resolve_run(&r);
	if (!err && s->dropped)
		err = resolve_note(&r, "%llu frames had no room and have no names",
		                   (unsigned long long)s->dropped);
	if (!err && spaces_dropped(s->spaces))
		err = resolve_note(
		        &r, "%llu executable mappings had no room; frames there have no names",
		        (unsigned long long)spaces_dropped(s->spaces));
	vec_release(&r.frames);
	return err;
}
