/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <gelf.h>
#include <string.h>

#include "elf_priv.h"

/* Assembly without .size: how far past its start such a symbol still names code. Exported ones
 * alone do not tell what follows: functions that are not exported (musl's) are not among them. */
#define UNSIZED_MAX     4096
#define UNSIZED_MAX_DYN 64
#define BATCH           1024

/* Of one start the lowest class wins, then see ranges_priv.h. Exported names, weak ones too,
 * are the ones that people know: glibc's read() is weak, its local alias is __GI_read. A label
 * without a type may be anything in the section, so it comes late. Last what Go's linker calls
 * all that it has from C's compiler, "package(.text)". */
enum { CLASS_EXPORTED, CLASS_LOCAL, CLASS_LABEL, CLASS_SECTION = ELF_SYM_RANK_GO + 1 };

struct reader {
	const struct elf_file *f;
	struct ranges *t;
	enum elf_sym_class cls;
	uint32_t names, names_n; /* the string table inside t->names */
	uint64_t unsized_max;
};

static int read_strings(struct reader *r, const struct elf_section *tab)
{
	const struct elf_section *s;
	struct buf *b = &r->t->names;

	if (tab->link >= r->f->sections.n)
		return -ENOEXEC;
	s = &r->f->sections.v[tab->link];
	if (s->type != SHT_STRTAB || !s->size || s->off > r->f->size ||
	    s->size > r->f->size - s->off)
		return -ENOEXEC;
	if (s->size > ELF_MAX_STRINGS)
		return -E2BIG;
	if (vec_grow_((void **)&b->p, &b->cap, b->n, s->size + 1, 1))
		return -ENOMEM;
	if (elf_read(r->f, b->p + b->n, s->size, s->off))
		return -EIO;
	b->p[b->n + s->size] = '\0';
	r->names = (uint32_t)b->n;
	r->names_n = (uint32_t)s->size;
	b->n += s->size + 1;
	return 0;
}

/* Rank of a symbol, or -1 when it is none of the wanted class. */
static int rank_of(const struct reader *r, const GElf_Sym *sym, const struct elf_section *sec)
{
	const char *name = (const char *)r->t->names.p + r->names + sym->st_name;
	bool code = r->cls == ELF_SYM_CODE;
	const char *end = strchr(name, '(');
	int bind = GELF_ST_BIND(sym->st_info);

	if (!(sec->flags & SHF_ALLOC) || !(sec->flags & SHF_EXECINSTR) == code)
		return -1;
	switch (GELF_ST_TYPE(sym->st_info)) {
	case STT_FUNC:
	case STT_GNU_IFUNC:
		if (!code)
			return -1;
		if (end && !strcmp(end, "(.text)"))
			return RANGE_RANK(CLASS_SECTION, 0);
		break;
	case STT_OBJECT:
		if (code || !sym->st_size)
			return -1;
		break;
	case STT_NOTYPE:
		/* "$x" and ".L…" mark places for tools, they name nothing. */
		if (!code || *name == '$' || *name == '.')
			return -1;
		return RANGE_RANK(CLASS_LABEL, bind == STB_LOCAL);
	default:
		return -1;
	}
	return RANGE_RANK(bind == STB_LOCAL ? CLASS_LOCAL : CLASS_EXPORTED, bind == STB_WEAK);
}

static int add_symbol(struct reader *r, const GElf_Sym *sym)
{
	const struct elf_section *sec;
	uint64_t start = sym->st_value, size = sym->st_size, room;
	int rank;

	/* Numbers beyond the table are "undefined", "absolute" and the like. */
	if (!sym->st_shndx || sym->st_shndx >= SHN_LORESERVE || sym->st_shndx >= r->f->sections.n ||
	    !sym->st_name || sym->st_name >= r->names_n)
		return 0;
	sec = &r->f->sections.v[sym->st_shndx];
	rank = rank_of(r, sym, sec);
	if (rank < 0)
		return 0;
	if (r->f->machine == EM_ARM)
		start &= ~1ull;             /* says "Thumb code", not where */
	if (start - sec->addr >= sec->size) /* also when it is before */
		return 0;
	room = sec->size - (start - sec->addr);
	if (!size) {
		rank |= RANGE_UNSIZED;
		size = r->unsized_max;
	}
	if (size > room)
		size = room;
	if (size > UINT64_MAX - start)
		size = UINT64_MAX - start;
	return ranges_add(r->t, start, start + size, r->names + sym->st_name, (uint8_t)rank);
}

static void sym_at(const struct elf_file *f, const void *p, size_t i, GElf_Sym *out)
{
	if (f->is64) {
		*out = ((const Elf64_Sym *)p)[i];
	} else {
		const Elf32_Sym *s = (const Elf32_Sym *)p + i;

		*out = (GElf_Sym){.st_name = s->st_name,
		                  .st_info = s->st_info,
		                  .st_other = s->st_other,
		                  .st_shndx = s->st_shndx,
		                  .st_value = s->st_value,
		                  .st_size = s->st_size};
	}
}

/* Reads symbols [first, first + n) and adds what is wanted. */
static int read_batch(struct reader *r, const struct elf_section *tab, size_t first, size_t n)
{
	Elf64_Sym raw[BATCH], host[BATCH];
	size_t size = r->f->is64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
	Elf_Data src = {.d_buf = raw, .d_type = ELF_T_SYM, .d_size = n * size, .d_version = 1};
	Elf_Data dst = {.d_buf = host, .d_type = ELF_T_SYM, .d_size = n * size, .d_version = 1};
	const char *ident = elf_getident(r->f->elf, NULL);
	GElf_Sym sym;

	if (elf_read(r->f, raw, n * size, tab->off + first * size))
		return -EIO;
	if (!ident || !gelf_xlatetom(r->f->elf, &dst, &src, (unsigned char)ident[EI_DATA]))
		return -ENOEXEC;
	for (size_t i = 0; i < n; i++) {
		sym_at(r->f, host, i, &sym);
		if (add_symbol(r, &sym))
			return -ENOMEM;
	}
	return 0;
}

int elf_symtab_read(const struct elf_file *f, const struct elf_section *tab, enum elf_sym_class cls,
                    struct ranges *t)
{
	struct reader r = {.f = f, .t = t, .cls = cls};
	size_t size = f->is64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym), n, i, step;
	int err;

	if (tab->entsize != size)
		return -ENOEXEC;
	r.unsized_max = tab->type == SHT_DYNSYM ? UNSIZED_MAX_DYN : UNSIZED_MAX;
	n = tab->size / size;
	if (n > ELF_MAX_SYMBOLS)
		return -E2BIG;
	err = read_strings(&r, tab);
	for (i = 1; i < n && !err; i += step) { /* symbol 0 is never one */
		step = n - i < BATCH ? n - i : BATCH;
		err = read_batch(&r, tab, i, step);
	}
	return err;
}
