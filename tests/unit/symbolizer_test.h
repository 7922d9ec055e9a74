/* SPDX-License-Identifier: MIT */
/* symbolizer_test.h: a world of files, mappings and stacks, and what they resolve to. */
#ifndef MT_SYMBOLIZER_TEST_H
#define MT_SYMBOLIZER_TEST_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol.h"
#include "symbol/symbolizer_priv.h"

struct seen {
	char module[256];
	uint64_t offset;
	char name[64]; /* "" = not found */
	uint64_t name_off;
};

struct world {
	struct symbolizer *s;
	VEC(struct seen) seen;
	struct symbolizer_stats st;
	struct buf notes;
	char dir[64], lib[128];
	int stop_after;
};

static inline int on_symbol(void *ctx, const struct symbol_out *o)
{
	struct world *w = ctx;
	struct seen s = {.offset = o->offset, .name_off = o->sym.name_off};

	snprintf(s.module, sizeof(s.module), "%s", o->module);
	snprintf(s.name, sizeof(s.name), "%s", o->sym.name ? o->sym.name : "");
	cr_assert(!vec_push(&w->seen, s));
	return w->stop_after && (int)w->seen.n >= w->stop_after ? -77 : 0;
}

static const struct img_sym lib_syms[] = {
        FUNC("caller", 0x10, 0x10),
        FUNC("next", 0x20, 0x10),
        FUNC("alone", 0x100, 0x10),
};
static const struct img lib_img = {
        .syms = lib_syms, .n_syms = 3, .build_id = "0123456789abcdefghij"};

static inline void put_file(const char *path, const struct img *o)
{
	struct buf b = {0};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	img_make(o, &b);
	cr_assert(fd >= 0 && !write_full(fd, b.p, b.n));
	close(fd);
	buf_release(&b);
}

static inline void world_open(struct world *w)
{
	*w = (struct world){.s = symbolizer_new(), .dir = "/tmp/mt-symbolizer-XXXXXX"};
	cr_assert(w->s && mkdtemp(w->dir));
	snprintf(w->lib, sizeof(w->lib), "%s/lib.so", w->dir);
	put_file(w->lib, &lib_img);
}

static inline void world_close(struct world *w)
{
	symbolizer_free(w->s);
	vec_release(&w->seen);
	buf_release(&w->notes);
	unlink(w->lib);
	rmdir(w->dir);
}

/* Maps all of a file's code at base in the space. */
static inline void map_at(struct world *w, uint32_t space, const char *file, uint64_t base,
                          uint64_t ts)
{
	struct sym_map m = {base, base + 0x2000, IMG_TEXT_OFF, file, NULL, 0, ts};

	if (!strcmp(file, w->lib)) {
		m.build_id = (const uint8_t *)"0123456789abcdefghij";
		m.build_id_n = 20;
	}
	cr_assert(!symbolizer_map(w->s, space, &m));
}

static inline void stack(struct world *w, uint32_t space, uint64_t ts, uint64_t f0, uint64_t f1)
{
	uint64_t frames[] = {f0, f1};

	cr_assert(!symbolizer_stack(w->s, space, ts, frames, 2));
}

static inline int resolve(struct world *w, const struct kallsyms *k,
                          const struct symbolizer_limits *lim)
{
	w->seen.n = 0;
	w->notes.n = 0;
	return symbolizer_resolve(w->s, k, lim, on_symbol, w, &w->st, &w->notes);
}

static inline const struct seen *find(const struct world *w, const char *module, uint64_t offset)
{
	const struct seen *found = NULL;

	for (size_t i = 0; i < w->seen.n; i++) {
		if (!strcmp(w->seen.v[i].module, module) && w->seen.v[i].offset == offset) {
			cr_expect_null(found, "%s+%#lx twice", module, (long)offset);
			found = &w->seen.v[i];
		}
	}
	return found;
}

static inline void expect(const struct world *w, const char *module, uint64_t offset,
                          const char *name, uint64_t name_off)
{
	const struct seen *s = find(w, module, offset);

	cr_assert(s, "%s+%#lx was not emitted", module, (long)offset);
	cr_expect_str_eq(s->name, name, "%s+%#lx: %s", module, (long)offset, s->name);
	cr_expect_eq(s->name_off, name_off, "%s+%#lx: +%lu", module, (long)offset,
	             (long)s->name_off);
}

static inline bool noted(const struct world *w, const char *what)
{
	return w->notes.n && strstr((char *)w->notes.p, what);
}

#endif
