/* SPDX-License-Identifier: MIT */
/*
 * Entries of the procedure linkage table have no symbols. Each jumps through a slot of the
 * global offset table, and a relocation says whose address the slot gets; so an entry is
 * named by decoding its jump, whatever order the linker used.
 */
#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "elf_priv.h"

#define PLT_MAX_BYTES (1u << 20)
#define RELA_MAX      (1u << 20)
#define BATCH         512
#define PLT_NAME_MAX  1024

struct plt {
	const struct elf_file *f;
	const struct elf_section *dynsym, *dynstr;
	struct ranges *t;
	struct hmap slots; /* address of the slot -> index in .dynsym */
};

static int read_slots(struct plt *p, const char *section)
{
	const struct elf_section *s = elf_section_named(p->f, section);
	Elf64_Rela rela[BATCH];
	size_t n, i, step;

	if (!s || s->type != SHT_RELA || s->entsize != sizeof(rela[0]))
		return 0;
	n = s->size / sizeof(rela[0]);
	if (n > RELA_MAX)
		return 0;
	for (i = 0; i < n; i += step) {
		step = n - i < BATCH ? n - i : BATCH;
		if (elf_read(p->f, rela, step * sizeof(rela[0]), s->off + i * sizeof(rela[0])))
			return 0;
		for (size_t k = 0; k < step; k++) {
			uint32_t type = ELF64_R_TYPE(rela[k].r_info);
			uint64_t *slot;

			if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT)
				continue;
			slot = hmap_put(&p->slots, rela[k].r_offset, 0, NULL);
			if (!slot)
				return -ENOMEM;
			*slot = ELF64_R_SYM(rela[k].r_info);
		}
	}
	return 0;
}

/* Adds the dynamic symbol's name and "@plt" for code [start, start + n). */
static int add_entry(struct plt *p, uint64_t start, uint64_t n, uint64_t index)
{
	char name[PLT_NAME_MAX];
	Elf64_Sym sym;
	uint64_t left;
	size_t len;
	uint32_t at = (uint32_t)p->t->names.n;

	if (index >= p->dynsym->size / sizeof(sym) || start > UINT64_MAX - n ||
	    elf_read(p->f, &sym, sizeof(sym), p->dynsym->off + index * sizeof(sym)) ||
	    !sym.st_name || sym.st_name >= p->dynstr->size)
		return 0;
	left = p->dynstr->size - sym.st_name;
	len = left < sizeof(name) ? left : sizeof(name);
	if (elf_read(p->f, name, len, p->dynstr->off + sym.st_name) || !memchr(name, 0, len) ||
	    !*name)
		return 0;
	/* buf_printf keeps the NUL after n; here it has to count. */
	if (buf_printf(&p->t->names, "%s@plt", name) || buf_put(&p->t->names, "", 1))
		return -ENOMEM;
	return ranges_add(p->t, start, start + n, at, 0);
}

/* Length of the prefix before the jump of an entry at c (8 bytes or more), -1 = no entry. */
static int jump_at(const uint8_t *c, size_t left)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	size_t i = 0;

	if (left > sizeof(endbr64) && !memcmp(c, endbr64, sizeof(endbr64)))
		i += sizeof(endbr64);
	if (i < left && c[i] == 0xf2) /* bnd */
		i++;
	return left - i >= 6 && c[i] == 0xff && c[i + 1] == 0x25 ? (int)i : -1;
}

static int read_entries(struct plt *p, const char *section)
{
	const struct elf_section *s = elf_section_named(p->f, section);
	uint8_t *code;
	int err = 0;

	if (!s || !(s->flags & SHF_EXECINSTR) || s->size > PLT_MAX_BYTES)
		return 0;
	code = malloc(s->size);
	if (!code)
		return -ENOMEM;
	if (elf_read(p->f, code, s->size, s->off))
		goto out;
	for (size_t pos = 0; pos + 8 <= s->size && !err; pos += 8) {
		int jump = jump_at(code + pos, s->size - pos);
		bool whole = pos % 16 == 0 && (jump > 1 || strcmp(section, ".plt.got"));
		uint64_t slot, *index, n = whole ? 16 : 8;
		int32_t rel;

		if (jump < 0)
			continue;
		memcpy(&rel, code + pos + jump + 2, sizeof(rel));
		slot = s->addr + pos + (uint64_t)jump + 6 + (uint64_t)(int64_t)rel;
		index = hmap_get(&p->slots, slot, 0);
		if (index && s->addr <= UINT64_MAX - pos)
			err = add_entry(p, s->addr + pos, n < s->size - pos ? n : s->size - pos,
			                *index);
	}
out:
	free(code);
	return err;
}

int elf_plt_read(const struct elf_file *f, struct ranges *t)
{
	struct plt p = {.f = f, .t = t};
	int err;

	if (f->machine != EM_X86_64 || !f->is64 || t->names.n > ELF_MAX_STRINGS)
		return 0;
	p.dynsym = elf_section_typed(f, SHT_DYNSYM);
	if (!p.dynsym || p.dynsym->link >= f->sections.n)
		return 0;
	p.dynstr = &f->sections.v[p.dynsym->link];
	if (p.dynstr->off > f->size || p.dynstr->size > f->size - p.dynstr->off)
		return 0;
	err = read_slots(&p, ".rela.plt");
	if (!err)
		err = read_slots(&p, ".rela.dyn");
	if (!err)
		err = read_entries(&p, ".plt");
	if (!err)
		err = read_entries(&p, ".plt.sec");
	if (!err)
		err = read_entries(&p, ".plt.got");
	hmap_release(&p.slots);
	return err;
}
