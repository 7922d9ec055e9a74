/* SPDX-License-Identifier: MIT */
/*
 * dwarf_priv.h: source lines and inlined functions from a file's debug information (DWARF 2 to
 * 5), by libdw.
 *
 * Nothing is read before it is asked for: at the first question where each compilation unit's
 * code is, then per unit asked about its functions and line table, and per address only the
 * tree of the one function that it lies in. Counts are limited. What libdw itself does with
 * hostile input is not: run this where a crash, a hang or lack of memory costs names only (see
 * contain_priv.h).
 */
#ifndef MT_DWARF_PRIV_H
#define MT_DWARF_PRIV_H

#include "elf_priv.h"
#include "symbol.h"

struct elf_dwarf;
/* NULL: none there, too large, or damaged. The file is mapped into memory. */
struct elf_dwarf *elf_dwarf_open(const struct elf_file *f);
void elf_dwarf_free(struct elf_dwarf *d);
/* As elf_syms_chain(); out[0].name is DWARF's own name of the function, out[0] without a name
 * when only the line is known. Linkage names where there are any. */
size_t elf_dwarf_chain(struct elf_dwarf *d, uint64_t vaddr, struct sym *out, size_t max);

#endif
