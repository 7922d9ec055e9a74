/* SPDX-License-Identifier: MIT */
/* gotable.c: Go's table of functions as bytes; see unwind_priv.h. */
#include <errno.h>
#include <string.h>

#include "unwind_priv.h"

#define GO_MAGIC_12  0xfffffffbu
#define GO_MAGIC_116 0xfffffffau
#define GO_MAGIC_118 0xfffffff0u
#define GO_MAGIC_120 0xfffffff1u
#define STRING_MAX   16384 /* bytes, its NUL included; generic functions' names are long */

static uint64_t number(const struct go_table *g, uint64_t at, unsigned bytes)
{
	struct cursor c = {g->p + at, g->p + g->n, false};

	return at <= g->n ? cursor_uint(&c, bytes) : 0;
}

/* A string of the table, NULL: none. */
static const char *string(const struct go_table *g, uint64_t at)
{
	uint64_t max = at < g->n ? g->n - at : 0;

	if (!max)
		return NULL;
	return memchr(g->p + at, 0, max < STRING_MAX ? max : STRING_MAX) ? (const char *)g->p + at
	                                                                 : NULL;
}

bool go_table_is(const uint8_t *p)
{
	uint32_t magic;

	memcpy(&magic, p, 4);
	return (magic == GO_MAGIC_12 || magic == GO_MAGIC_116 || magic == GO_MAGIC_118 ||
	        magic == GO_MAGIC_120) &&
	       !p[4] && !p[5] && p[6] == 1 && p[7] == 8;
}

int go_table_open(struct go_table *g, const struct buf *b)
{
	uint64_t at = 24;
	uint32_t magic;

	*g = (struct go_table){.p = b->p, .n = b->n, .word = 8};
	if (g->n < GO_HEADER || !go_table_is(g->p))
		return -ENOEXEC;
	magic = (uint32_t)number(g, 0, 4);
	g->n_funcs = number(g, 8, 8);
	g->form = magic == GO_MAGIC_12    ? 12
	          : magic == GO_MAGIC_116 ? 116
	          : magic == GO_MAGIC_118 ? 118
	                                  : 120;
	if (g->form == 12) {
		g->list = 16;
	} else {
		if (g->form >= 118) {
			g->word = 4;
			g->text = number(g, at, 8);
			at += 8;
		}
		g->names = number(g, at, 8);
		g->units = number(g, at + 8, 8);
		g->files = number(g, at + 16, 8);
		g->pcs = number(g, at + 24, 8);
		g->list = g->funcs = number(g, at + 32, 8);
	}
	if (g->names > g->n || g->units > g->n || g->files > g->n || g->pcs > g->n ||
	    g->list > g->n || !(g->n - g->list) ||
	    g->n_funcs > (g->n - g->list - 1) / (2 * g->word))
		return -ENOEXEC;
	if (g->form == 12) /* the word behind the list tells where its files are */
		g->files = number(g, g->list + (2 * g->n_funcs + 1) * g->word, 4);
	return 0;
}

bool go_table_func(const struct go_table *g, uint64_t i, struct go_func *f)
{
	uint64_t at = g->list + i * 2 * g->word, func, word = g->word;

	*f = (struct go_func){0};
	if (i >= g->n_funcs)
		return false;
	func = g->funcs + number(g, at + word, g->word);
	f->start = g->text + number(g, at, g->word);
	f->end = g->text + number(g, at + 2 * word, g->word);
	if (func > g->n || g->n - func < word + 16u || f->end <= f->start)
		return false;
	f->name = string(g, g->names + number(g, func + word, 4));
	f->pcsp = number(g, func + word + 12, 4);
	f->pcfile = number(g, func + word + 16, 4);
	f->pcln = number(g, func + word + 20, 4);
	f->n_pcdata = (uint32_t)number(g, func + word + 24, 4);
	func += word + 28;
	if (g->form >= 116) {
		f->unit = number(g, func, 4);
		func += 4;
	}
	func += g->form >= 120 ? 4 : 0;
	f->n_funcdata = (uint32_t)number(g, func + 3, 1);
	f->pcdata = func + 4;
	return f->name != NULL;
}

/* Where the list at `at` (an offset in the lists' part) begins; false: there is none. */
static bool list_at(const struct go_table *g, uint64_t at, struct cursor *c)
{
	if (!at || at >= g->n - g->pcs)
		return false;
	*c = (struct cursor){g->p + g->pcs + at, g->p + g->n, false};
	return true;
}

bool go_list_open(const struct go_table *g, uint64_t at, struct go_list *l)
{
	*l = (struct go_list){.value = -1};
	return list_at(g, at, &l->c);
}

bool go_list_next(struct go_list *l)
{
	uint64_t step = cursor_uleb(&l->c);

	if (!step && l->begun)
		return false; /* the end of the list */
	l->begun = true;
	l->value += (int64_t)(step >> 1) ^ -(int64_t)(step & 1);
	l->bytes = cursor_uleb(&l->c);
	return !l->c.bad && l->bytes;
}

int64_t go_table_value(const struct go_table *g, uint64_t at, uint64_t past)
{
	struct go_list l;

	if (!go_list_open(g, at, &l))
		return -1;
	for (uint64_t from = 0; go_list_next(&l); from += l.bytes)
		if (l.bytes > past - from)
			return l.value;
	return -1;
}

const char *go_table_file(const struct go_table *g, const struct go_func *f, int64_t id)
{
	uint64_t at;

	if (id < 0 || id > INT32_MAX)
		return NULL;
	if (g->form == 12) {
		if (g->files > g->n || !id)
			return NULL;
		return string(g, number(g, g->files + 4 * (uint64_t)id, 4));
	}
	at = number(g, g->units + 4 * (f->unit + (uint64_t)id), 4);
	return at == UINT32_MAX ? NULL : string(g, g->files + at);
}

const char *go_table_name(const struct go_table *g, uint32_t at)
{
	return string(g, g->names + at);
}

uint64_t go_table_pcdata(const struct go_table *g, const struct go_func *f, unsigned i)
{
	return i < f->n_pcdata ? number(g, f->pcdata + 4 * (uint64_t)i, 4) : 0;
}

bool go_table_funcdata(const struct go_table *g, const struct go_func *f, unsigned i, uint64_t *out)
{
	uint64_t at = f->pcdata + 4 * (uint64_t)f->n_pcdata;

	if (i >= f->n_funcdata)
		return false;
	if (g->form >= 118) {
		*out = number(g, at + 4 * (uint64_t)i, 4);
		return *out != UINT32_MAX;
	}
	at += at & 4; /* addresses are aligned */
	*out = number(g, at + 8 * (uint64_t)i, 8);
	return *out != 0;
}
