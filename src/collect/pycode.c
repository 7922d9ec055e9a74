/* SPDX-License-Identifier: MIT */
/*
 * pycode.c: code objects as BPF saw them first, with their line tables: what makes a line of
 * a (code address, instruction) while recording, so that nothing of the process is needed later.
 * What was too long for the ring is read from the process, when it still lives.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collect_priv.h"

#define LINES_MAX  262144       /* lines remembered; beyond that they are worked out again */
#define TABLE_MAX  (1u << 20)   /* of a line table that is read from the process */
#define TEXT_MAX   4096         /* bytes of a name or path, as UTF-8 */
#define TABLES_MAX (256u << 20) /* all line tables together: what comes after has no lines */

struct code {
	uint32_t id; /* PYCODE */
	uint32_t version, first_line;
	uint32_t table; /* string of tables */
	uint32_t table_n;
	bool shim; /* the interpreter's own: not to be shown */
};

struct pycodes {
	VEC(struct code) codes;
	struct hmap by_addr; /* (space, address) -> index in codes */
	struct hmap by_content;
	struct hmap ids;   /* (name, file and first line) -> PYCODE id */
	struct hmap lines; /* (index in codes, instruction) -> line */
	struct strtab *tables;
	size_t table_bytes;
	uint32_t last_id;
};

struct pycodes *pycodes_new(void)
{
	struct pycodes *p = calloc(1, sizeof(*p));

	if (p)
		p->tables = strtab_new();
	if (p && !p->tables) {
		free(p);
		p = NULL;
	}
	return p;
}

void pycodes_free(struct pycodes *p)
{
	if (!p)
		return;
	vec_release(&p->codes);
	hmap_release(&p->by_addr);
	hmap_release(&p->by_content);
	hmap_release(&p->ids);
	hmap_release(&p->lines);
	strtab_free(p->tables);
	free(p);
}

/* --- what did not fit ------------------------------------------------------------------------ */

static bool read_word(uint32_t pid, uint64_t addr, uint64_t *out)
{
	return process_read(pid, addr, out, sizeof(*out));
}

/* The whole of an object's bytes, when those that BPF saw are its beginning. NULL: not to be had.
 */
static uint8_t *read_rest(uint32_t pid, uint64_t data, size_t n, const uint8_t *seen, size_t seen_n)
{
	uint8_t *p = n <= TABLE_MAX && seen_n <= n ? malloc(n) : NULL;

	if (p && (!process_read(pid, data, p, n) || memcmp(p, seen, seen_n))) {
		free(p);
		p = NULL;
	}
	return p;
}

static uint8_t *whole_table(const struct mt_pycode *e, uint32_t pid, const struct mt_py_layout *l,
                            size_t seen)
{
	uint64_t bytes, length;

	if (!read_word(pid, e->code + l->code_table, &bytes) ||
	    !read_word(pid, bytes + l->bytes_length, &length) || length != e->table_len)
		return NULL;
	return read_rest(pid, bytes + l->bytes_data, length, e->table, seen);
}

/* --- names
 * ------------------------------------------------------------------------------------------ */

/* In out: UTF-8, at most TEXT_MAX; a cut one ends in "…". */
static size_t text(const struct mt_pystr *s, const uint8_t *data, uint32_t pid, uint64_t field,
                   const struct mt_py_layout *l, char *out)
{
	size_t want = (size_t)s->length * s->kind, n;
	uint8_t *all = NULL;
	uint64_t str;

	if (want > s->stored && want <= TEXT_MAX && read_word(pid, field, &str))
		all = read_rest(pid, str + (s->ascii ? l->str_ascii : l->str_wide), want, data,
		                s->stored);
	n = py_utf8(s->kind, s->ascii, all ? all : data, all ? want : s->stored, out, TEXT_MAX);
	if (!all && want > s->stored && n + 3 <= TEXT_MAX) {
		memcpy(out + n, "\xe2\x80\xa6", 3);
		n += 3;
	}
	free(all);
	return n;
}

struct pycode_text {
	char name[TEXT_MAX + 1], file[TEXT_MAX + 1];
};

static uint32_t intern(struct pycodes *p, const struct pycode_text *t, uint32_t first_line,
                       bool *added)
{
	uint64_t h[3] = {hash_bytes(t->name, strlen(t->name), 1),
	                 hash_bytes(t->file, strlen(t->file), 2), first_line};
	uint64_t *id =
	        hmap_put(&p->ids, hash_bytes(h, sizeof(h), 3), hash_bytes(h, sizeof(h), 4), added);

	if (!id)
		return 0;
	if (*added)
		*id = ++p->last_id;
	return (uint32_t)*id;
}

static void fill_table(struct pycodes *p, struct code *c, const struct mt_pycode *e, size_t seen,
                       uint32_t pid, const struct mt_py_layout *l)
{
	uint8_t *all = seen < e->table_len ? whole_table(e, pid, l, seen) : NULL;
	const uint8_t *t = all ? all : e->table;
	size_t n = all ? e->table_len : seen;
	bool added = false;

	if (p->table_bytes + n <= TABLES_MAX) {
		c->table = strtab_add(p->tables, (const char *)t, n, &added);
		c->table_n = c->table ? (uint32_t)n : 0;
		p->table_bytes += added ? n : 0;
	}
	free(all);
}

bool pycodes_has(const struct pycodes *p, uint32_t space, uint64_t code)
{
	return hmap_get(&p->by_addr, space, code);
}

int pycodes_add(struct pycodes *p, const struct mt_pycode *e, const struct py_build *b,
                uint32_t pid, struct pycode_new *out)
{
	size_t seen = e->table_len < MT_PY_TABLE ? e->table_len : MT_PY_TABLE, n;
	const struct mt_py_layout *l = &b->off.frames;
	struct code c = {.version = b->version, .first_line = e->first_line};
	static struct pycode_text t; /* 8 KiB: one recorder, one thread */
	uint64_t *slot;

	memset(out, 0, sizeof(*out));
	if (e->name.stored > MT_PY_NAME || e->file.stored > MT_PY_FILE)
		return 0;
	n = text(&e->name, e->name_data, pid,
	         e->code + (l->code_qualname != MT_PY_NO ? l->code_qualname : l->code_name), l,
	         t.name);
	t.name[n] = 0;
	n = text(&e->file, e->file_data, pid, e->code + l->code_file, l, t.file);
	t.file[n] = 0;
	c.shim = !strcmp(t.name, "__init__") && !strcmp(t.file, "__init__");
	c.id = intern(p, &t, e->first_line, &out->added);
	fill_table(p, &c, e, seen, pid, l);
	slot = hmap_put(&p->by_addr, e->space, e->code, NULL);
	if (!c.id || !slot || vec_push(&p->codes, c))
		return -ENOMEM;
	*slot = p->codes.n - 1;
	out->id = c.id;
	out->name = t.name;
	out->file = t.file;
	return 0;
}

static uint32_t line_of(struct pycodes *p, size_t i, uint32_t instr)
{
	const struct code *c = &p->codes.v[i];
	uint64_t *line;
	bool added;

	if (p->lines.n >= LINES_MAX)
		hmap_release(&p->lines);
	line = hmap_put(&p->lines, i, instr, &added);
	if (!line)
		return 0;
	if (added)
		*line = py_line(c->version, c->first_line,
		                c->table ? (const uint8_t *)strtab_get(p->tables, c->table) : NULL,
		                c->table_n, instr);
	return (uint32_t)*line;
}

bool pycodes_stack(struct pycodes *p, uint32_t space, const struct mt_pyframe *f, size_t n,
                   uint64_t *out, size_t *n_out)
{
	bool whole = true;

	*n_out = 0;
	for (size_t i = 0; i < n; i++) {
		const uint64_t *at = hmap_get(&p->by_addr, space, f[i].code);
		const struct code *c = at ? &p->codes.v[*at] : NULL;

		whole = whole && c;
		if (c && c->shim) {
			/* Its caller is Python's: what it called was not entered from C. */
			if (f[i].entry && *n_out)
				out[*n_out - 1] |= 1;
			continue;
		}
		out[(*n_out)++] =
		        PY_FRAME(c ? c->id : 0, c ? line_of(p, *at, f[i].instr) : 0, f[i].entry);
	}
	return whole;
}
