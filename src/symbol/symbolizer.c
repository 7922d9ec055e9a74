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
#include "registry_priv.h"
#include "resolve_priv.h"
#include "symbol.h"
#include "symbolizer_priv.h"

/* Distinct frames kept: what honest recordings have is a tenth. */
#define MAX_FRAMES  (4u << 20)
#define MAX_PENDING (1u << 20)
/* Spaces kept after their last process: events about them may come late, and their children ask. */
#define ENDED_KEPT 1024

struct pending {
	uint64_t addr, first_ts, last_ts;
	uint32_t space;
	uint8_t flags;
};

struct symbolizer {
	struct spaces *spaces;
	struct registry files;
	struct hmap keys;        /* (file id or 0 = kernel, offset) -> FRAME_* */
	struct hmap pending_ids; /* (space, address) -> index into pending */
	VEC(struct pending) pending;
	uint32_t ended[ENDED_KEPT]; /* spaces without processes, a ring */
	uint64_t n_ended;
	struct objects objects;
	uint64_t dropped;
};

struct symbolizer *symbolizer_new(void)
{
	struct symbolizer *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->spaces = spaces_new();
	if (s->spaces && !registry_init(&s->files))
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
	registry_release(&s->files);
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

/* The id of what is mapped, 0 = nothing to name. 0 or -ENOMEM. */
static int module_of(struct symbolizer *s, uint32_t space, const struct sym_map *m, uint32_t *id)
{
	enum map_kind kind = registry_kind(m);

	*id = kind == KIND_JIT    ? registry_jit(&s->files, space, spaces_pid(s->spaces, space))
	      : kind == KIND_FILE ? registry_file(&s->files, m)
	                          : 0;
	return *id || kind == KIND_NOTHING ? 0 : -ENOMEM;
}

const char *symbolizer_module(struct symbolizer *s, uint32_t space, const struct sym_map *m,
                              bool *jit)
{
	uint32_t id;

	*jit = false;
	if (module_of(s, space, m, &id))
		return NULL;
	if (!id)
		return m->file;
	*jit = s->files.v.v[id - 1].jit;
	return s->files.v.v[id - 1].path;
}

int symbolizer_map(struct symbolizer *s, uint32_t space, const struct sym_map *m)
{
	struct mapping e = {.start = m->start, .end = m->end, .offset = m->offset, .ts = m->ts};
	struct sym_file *f;
	int err = module_of(s, space, m, &e.file);

	if (err)
		return err;
	if (e.file) {
		f = &s->files.v.v[e.file - 1];
		if (f->jit)
			e.offset = m->start;
		if (!f->first_space)
			f->first_space = space;
		f->last_space = space;
	}
	return spaces_map(s->spaces, space, &e);
}

bool symbolizer_wants_file(struct symbolizer *s, const struct sym_map *m)
{
	uint32_t id = registry_kind(m) == KIND_FILE && strcmp(m->file, VDSO_NAME)
	                      ? registry_file(&s->files, m)
	                      : 0;

	return id && s->files.v.v[id - 1].fd < 0;
}

int symbolizer_file(struct symbolizer *s, const struct sym_map *m, int fd)
{
	uint32_t id = registry_kind(m) == KIND_FILE ? registry_file(&s->files, m) : 0;

	registry_keep(&s->files, id, fd);
	return id ? 0 : -ENOMEM;
}

bool symbolizer_wants_jit(const struct symbolizer *s, uint32_t space)
{
	uint32_t id = registry_jit_of(&s->files, space);

	return id && s->files.v.v[id - 1].fd < 0;
}

int symbolizer_jit(struct symbolizer *s, uint32_t space, int fd, bool dump)
{
	uint32_t id = registry_jit(&s->files, space, spaces_pid(s->spaces, space));

	registry_keep_jit(&s->files, id, fd, dump);
	return id ? 0 : -ENOMEM;
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
	s->files.v.v[m->file - 1].user_space = space;
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
		uint32_t *waiting = spaces_waiting(s->spaces, space);

		*slot = s->pending.n;
		if (waiting && !vec_push(&s->pending, p)) {
			++*waiting;
			return 0;
		}
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

/* They may have seen two files, so both ends of their time are asked. */
static int settle_one(struct symbolizer *s, const struct pending *p)
{
	int err = settle_at(s, p, p->first_ts);

	return err || p->last_ts == p->first_ts ? err : settle_at(s, p, p->last_ts);
}

/* Finds the waiting frames' files. */
static int settle(struct symbolizer *s, struct resolve *r)
{
	int err = 0;

	for (size_t i = 0; i < s->pending.n && !err && !resolve_out_of_time(r); i++)
		err = settle_one(s, &s->pending.v[i]);
	return err;
}

/* The same for one space, about which nothing more will be known. */
static int settle_space(struct symbolizer *s, uint32_t space)
{
	uint32_t *waiting = spaces_waiting(s->spaces, space);
	struct pending *p;
	uint64_t *slot;
	int err = 0;

	for (size_t i = 0; waiting && *waiting && i < s->pending.n && !err;) {
		p = &s->pending.v[i];
		if (p->space != space) {
			i++;
			continue;
		}
		err = settle_one(s, p);
		hmap_del(&s->pending_ids, space, p->addr);
		*p = s->pending.v[--s->pending.n];
		slot = i < s->pending.n ? hmap_get(&s->pending_ids, p->space, p->addr) : NULL;
		if (slot)
			*slot = i;
		--*waiting;
	}
	return err;
}

int symbolizer_use(struct symbolizer *s, uint32_t space, int more)
{
	uint32_t *oldest = &s->ended[s->n_ended % ENDED_KEPT];
	int err = 0;

	if (!spaces_use(s->spaces, space, more))
		return 0;
	if (*oldest && spaces_ended(s->spaces, *oldest)) {
		err = settle_space(s, *oldest);
		registry_forget_space(&s->files, *oldest);
		spaces_forget(s->spaces, *oldest);
	}
	*oldest = space;
	s->n_ended++;
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
	for (size_t i = 0; i < s->files.v.n; i++) {
		struct sym_file *f = &s->files.v.v[i];

		f->pids[0] = spaces_pid(s->spaces, f->user_space);
		f->pids[1] = spaces_pid(s->spaces, f->last_space);
		f->pids[2] = spaces_pid(s->spaces, f->first_space);
	}
}

int symbolizer_object(struct symbolizer *s, uint32_t space, uint64_t addr,
                      struct symbol_object *out)
{
	set_pids(s);
	return objects_find(&s->objects, s->spaces, s->files.v.v, space, addr, out);
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
	r.files = s->files.v.v;
	r.n_files = s->files.v.n;
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
