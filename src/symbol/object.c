/* SPDX-License-Identifier: MIT */
/*
 * Only executable mappings are known, which is enough: a file's segments keep their distances, so
 * where its code is tells where its variables are, those without bytes in the file included.
 */
#include <errno.h>

#include "elf_priv.h"
#include "object_priv.h"

/* Code lies below the variables of its file, and files do not interleave. What else may be mapped
 * in between is little. */
#define CANDIDATES 4

static struct elf_syms *file_get(struct objects *o, uint32_t id, const struct sym_file *f)
{
	size_t i;

	for (i = 0; i < OBJECT_FILES; i++) {
		if (o->cache[i].file == id)
			return o->cache[i].e;
	}
	i = o->next++ % OBJECT_FILES;
	elf_syms_free(o->cache[i].e);
	o->cache[i].file = id;
	o->cache[i].e = sym_file_open(f, SYM_FILE_BYTES, true, NULL);
	return o->cache[i].e;
}

int objects_find(struct objects *o, const struct spaces *spaces, const struct sym_file *files,
                 uint32_t space, uint64_t addr, struct symbol_object *out)
{
	const struct mapping *m[CANDIDATES];
	size_t n = spaces_below(spaces, space, addr, m, CANDIDATES);
	struct sym sym;
	uint64_t vaddr;

	*out = (struct symbol_object){0};
	for (size_t i = 0; i < n; i++) {
		const struct sym_file *f = &files[m[i]->file - 1];
		struct elf_syms *e = file_get(o, m[i]->file, f);
		int err;

		if (!e || elf_syms_vaddr(e, m[i]->start, m[i]->offset, addr, &vaddr))
			continue;
		err = elf_syms_data(e, vaddr, &sym);
		if (err)
			return err;
		*out = (struct symbol_object){.name = demangle(&o->name, sym.name),
		                              .off = sym.name_off,
		                              .size = sym.size,
		                              .module = f->path};
		return 0;
	}
	return -ENOENT;
}

void objects_release(struct objects *o)
{
	for (size_t i = 0; i < OBJECT_FILES; i++)
		elf_syms_free(o->cache[i].e);
	*o = (struct objects){0};
}
