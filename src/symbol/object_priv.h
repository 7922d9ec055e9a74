/* SPDX-License-Identifier: MIT */
/* object_priv.h: variables by their addresses, from the data symbols of the files mapped there. */
#ifndef MT_OBJECT_PRIV_H
#define MT_OBJECT_PRIV_H

#include "demangle_priv.h"
#include "resolve_priv.h"
#include "symbol.h"
#include "symbolizer_priv.h"

#define OBJECT_FILES 32 /* files kept open, the oldest goes */

struct objects {
	struct {
		uint32_t file;      /* 0 = free */
		struct elf_syms *e; /* NULL: could not be opened */
	} cache[OBJECT_FILES];
	unsigned next;
	struct demangler name;
};

/* See symbolizer_object(). files: id - 1, their pids up to date. */
int objects_find(struct objects *o, const struct spaces *spaces, const struct sym_file *files,
                 uint32_t space, uint64_t addr, struct symbol_object *out);
void objects_release(struct objects *o);

#endif
