/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dwarf_priv.h"
#include "elf_priv.h"
#include "golang.h"
#include "symbol.h"

#define GO_CHAIN_MAX 32

struct elf_syms {
	struct elf_file main, dbg; /* dbg: zeroed = none */
	struct ranges code, data;
	bool data_read, dwarf_tried, dbg_tried, go_tried;
	struct elf_dwarf *dwarf;
	struct go_funcs *go; /* NULL: not such a program */
	char *path;
};

/* Adds one table to t. True when that named anything; else t is as before. */
static bool read_table(const struct elf_file *f, uint32_t type, enum elf_sym_class cls,
                       struct ranges *t, int *err)
{
	const struct elf_section *tab = f->elf ? elf_section_typed(f, type) : NULL;
	size_t names = t->names.n, n = t->added.n;
	int ret = tab ? elf_symtab_read(f, tab, cls, t) : 0;

	if (ret)
		*err = ret;
	if (!ret && t->added.n > n)
		return true;
	t->names.n = names;
	t->added.n = n;
	return false;
}

/* What .dynsym leaves out. True when that named anything. */
static bool read_mini(const struct elf_file *main, enum elf_sym_class cls, struct ranges *t)
{
	struct elf_file mini;
	int unused;
	bool any = !elf_mini_open(main, &mini) && read_table(&mini, SHT_SYMTAB, cls, t, &unused);

	elf_file_close(&mini);
	return any;
}

static void open_go(struct elf_syms *e)
{
	static const char *const sections[] = {".gopclntab", ".data.rel.ro.gopclntab",
	                                       ".go.buildinfo", ".note.go.buildid"};
	int unused;

	for (size_t i = 0; i < ARRAY_LEN(sections) && !e->go_tried; i++) {
		if (elf_section_named(&e->main, sections[i])) {
			e->go = go_funcs_open(e->main.fd, &unused);
			e->go_tried = true;
		}
	}
	e->go_tried = true;
}

/* What a Go program knows of itself, stripped or not. True when that named anything. */
static bool read_go(struct elf_syms *e, struct ranges *t)
{
	const char *name;
	size_t n = 0, had = t->added.n, i;

	open_go(e);
	n = e->go ? go_funcs_count(e->go) : 0;
	for (i = 0; i < n && i < ELF_MAX_SYMBOLS && t->names.n < ELF_MAX_STRINGS; i++) {
		uint32_t at = (uint32_t)t->names.n;
		uint64_t start, end;

		if (go_funcs_get(e->go, i, &start, &end, &name) &&
		    (buf_put(&t->names, name, strlen(name) + 1) ||
		     ranges_add(t, start, end, at, RANGE_RANK(ELF_SYM_RANK_GO, 0))))
			break;
	}
	return t->added.n > had;
}

/* The best table there is. 0 also when there is none; -errno when only broken ones are. */
static int read_symbols(struct elf_syms *e, enum elf_sym_class cls, struct ranges *t)
{
	int err = 0;
	bool any = read_table(&e->main, SHT_SYMTAB, cls, t, &err) ||
	           read_table(&e->dbg, SHT_SYMTAB, cls, t, &err);

	if (!any) {
		any = read_table(&e->main, SHT_DYNSYM, cls, t, &err);
		any |= cls == ELF_SYM_CODE && read_mini(&e->main, cls, t);
	}
	/* Where there are symbols, too: of C's functions they may name the section only. */
	any |= cls == ELF_SYM_CODE && read_go(e, t);
	if (any)
		err = 0;
	if (!err && cls == ELF_SYM_CODE)
		err = elf_plt_read(&e->main, t);
	if (!err)
		err = ranges_finish(t);
	return err;
}

static int check_build_id(const struct elf_file *f, const char *path, const uint8_t *id, size_t n,
                          struct err *err)
{
	char safe[256];

	if (!n || (f->build_id_n == n && !memcmp(f->build_id, id, n)))
		return 0;
	return err_set(err, -ESTALE, MT_EXIT_FAIL,
	               "%s: no symbols: it is not the file that was running (its build id differs)",
	               fmt_safe(safe, sizeof(safe), path));
}

static void find_debug(struct elf_syms *e)
{
	if (!e->dbg_tried)
		elf_debug_find(&e->main, e->path, &e->dbg);
	e->dbg_tried = true;
}

/* The file itself, without its tables. */
static struct elf_syms *open_main(int fd, const char *path, const uint8_t *expect_build_id,
                                  size_t n, struct err *err)
{
	struct elf_syms *e = calloc(1, sizeof(*e));
	char safe[256];
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (e && own >= 0)
		e->path = strdup(path);
	if (!e || !e->path) {
		err_set(err, own < 0 ? -errno : -ENOMEM, MT_EXIT_FAIL, "%s: %s",
		        fmt_safe(safe, sizeof(safe), path), strerror(own < 0 ? errno : ENOMEM));
		if (own >= 0)
			close(own);
		free(e);
		return NULL;
	}
	if (elf_file_open(&e->main, own, path, err) ||
	    check_build_id(&e->main, path, expect_build_id, n, err)) {
		elf_syms_free(e);
		return NULL;
	}
	if (!elf_section_typed(&e->main, SHT_SYMTAB))
		find_debug(e);
	return e;
}

struct elf_syms *elf_syms_open_data(int fd, const char *path, const uint8_t *expect_build_id,
                                    size_t n, struct err *err)
{
	return open_main(fd, path, expect_build_id, n, err);
}

struct elf_syms *elf_syms_open(int fd, const char *path, const uint8_t *expect_build_id, size_t n,
                               struct err *err)
{
	struct elf_syms *e = open_main(fd, path, expect_build_id, n, err);
	char safe[256];
	int ret;

	if (!e)
		return NULL;
	ret = read_symbols(e, ELF_SYM_CODE, &e->code);
	if (!ret)
		return e;
	err_set(err, ret, MT_EXIT_FAIL, "%s: no symbols: its symbol table is %s",
	        fmt_safe(safe, sizeof(safe), path),
	        ret == -ENOMEM  ? "more than memory holds"
	        : ret == -E2BIG ? "too large"
	                        : "damaged");
	elf_syms_free(e);
	return NULL;
}

void elf_syms_free(struct elf_syms *e)
{
	if (!e)
		return;
	ranges_release(&e->code);
	ranges_release(&e->data);
	elf_dwarf_free(e->dwarf);
	go_funcs_free(e->go);
	elf_file_close(&e->main);
	elf_file_close(&e->dbg);
	free(e->path);
	free(e);
}

size_t elf_syms_count(const struct elf_syms *e)
{
	return e->code.v.n;
}

/* Where the bytes at a file offset are loaded. Code is preferred: with small pages one file
 * page can be the end of one segment and the start of the next. */
static bool offset_to_vaddr(const struct elf_file *f, uint64_t off, uint64_t *vaddr)
{
	bool found = false;

	for (size_t i = 0; i < f->segments.n; i++) {
		const struct elf_segment *s = &f->segments.v[i];

		if (off < s->off || off - s->off >= s->filesz || (found && !s->exec))
			continue;
		*vaddr = s->vaddr + (off - s->off);
		found = true;
		if (s->exec)
			break;
	}
	return found;
}

/* Linkers put "name@@VERSION" into .symtab; the version is not part of the function's name. */
static const char *without_version(struct ranges *t, const char *name)
{
	char *at = strchr(name, '@');

	if (at && at != name && strcmp(at, "@plt"))
		t->names.p[at - (char *)t->names.p] = '\0';
	return name;
}

static int lookup(struct ranges *t, uint64_t vaddr, struct sym *out)
{
	const struct range *r = ranges_find(t, vaddr);
	const char *name = r ? ranges_name(t, r->name) : NULL;

	*out = (struct sym){0};
	if (!name)
		return -ENOENT;
	out->name = without_version(t, name);
	out->name_off = vaddr - r->sym_start;
	out->size = r->size;
	return 0;
}

int elf_syms_lookup(struct elf_syms *e, uint64_t file_offset, struct sym *out)
{
	uint64_t vaddr = 0;

	*out = (struct sym){0};
	if (!offset_to_vaddr(&e->main, file_offset, &vaddr))
		return -ENOENT;
	return lookup(&e->code, vaddr, out);
}

static void open_dwarf(struct elf_syms *e)
{
	if (e->dwarf_tried)
		return;
	e->dwarf_tried = true;
	e->dwarf = elf_dwarf_open(&e->main);
	if (e->dwarf)
		return;
	find_debug(e);
	e->dwarf = elf_dwarf_open(&e->dbg);
	if (!e->dwarf)
		open_go(e);
}

static size_t go_chain(const struct go_funcs *g, uint64_t vaddr, struct sym *out, size_t max)
{
	struct go_place p[GO_CHAIN_MAX];
	size_t n = go_funcs_at(g, vaddr, p, max < GO_CHAIN_MAX ? max : GO_CHAIN_MAX);

	for (size_t i = 0; i < n; i++)
		out[i] = (struct sym){.name = p[i].name,
		                      .name_off = p[i].start ? vaddr - p[i].start : 0,
		                      .src = p[i].file,
		                      .line = p[i].line};
	return n;
}

size_t elf_syms_chain(struct elf_syms *e, uint64_t file_offset, struct sym *out, size_t max)
{
	struct sym sym;
	uint64_t vaddr;
	size_t n = 0;

	if (!max || !offset_to_vaddr(&e->main, file_offset, &vaddr))
		return 0;
	open_dwarf(e);
	if (e->dwarf)
		n = elf_dwarf_chain(e->dwarf, vaddr, out, max);
	else if (e->go)
		n = go_chain(e->go, vaddr, out, max);
	if (!lookup(&e->code, vaddr, &sym)) {
		/* Both know the function; the table's is the name that tools show. */
		if (!n)
			out[0] = (struct sym){0};
		out[0].name = sym.name;
		out[0].name_off = sym.name_off;
		out[0].size = sym.size;
		n = n ? n : 1;
	}
	return n && out[0].name ? n : 0;
}

int elf_syms_data(struct elf_syms *e, uint64_t vaddr, struct sym *out)
{
	int err;

	*out = (struct sym){0};
	if (!e->data_read) {
		e->data_read = true;
		err = read_symbols(e, ELF_SYM_DATA, &e->data);
		if (err) {
			ranges_release(&e->data);
			return err;
		}
	}
	return lookup(&e->data, vaddr, out);
}

int elf_syms_vaddr(const struct elf_syms *e, uint64_t code_start, uint64_t code_offset,
                   uint64_t addr, uint64_t *vaddr)
{
	const struct elf_segment *code = NULL, *s;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE) - 1, v;
	size_t i;

	for (i = 0; i < e->main.segments.n && !code; i++) {
		s = &e->main.segments.v[i];
		/* A mapping begins with the page that the segment begins in. */
		if (s->exec && code_offset >= (s->off & ~page) &&
		    (code_offset < s->off || code_offset - s->off < s->filesz))
			code = s;
	}
	if (!code)
		return -ENOENT;
	v = addr - code_start + code_offset - code->off + code->vaddr;
	for (i = 0; i < e->main.segments.n; i++) {
		s = &e->main.segments.v[i];
		if (v - s->vaddr < s->memsz) {
			*vaddr = v;
			return 0;
		}
	}
	return -ENOENT;
}
