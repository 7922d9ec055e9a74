/* SPDX-License-Identifier: MIT */
/*
 * golang.h: names and lines of Go's functions, from the run-time library's own table
 * (.gopclntab: runtime/symtab.go and internal/abi of Go; forms of Go 1.2, 1.16, 1.18, 1.20), which
 * is there in stripped programs, too. Functions that the compiler inlined are told from each
 * function's tree of inlined calls (FUNCDATA_InlTree; since Go 1.18 by way of moduledata.gofunc,
 * whose place is taken only when moduledata's own bounds of the code agree with the table).
 *
 * x86-64 only. The file is hostile: nothing is mapped, what does not make sense is left out.
 */
#ifndef MT_GOLANG_H
#define MT_GOLANG_H

#include "base.h"

struct go_funcs;
/* Reads the table of fd's ELF file (fd is not needed afterwards). NULL with *rc: -ENOENT there is
 * none, -ENOEXEC not such a file or a table of another form, -ENOMEM, -errno. */
struct go_funcs *go_funcs_open(int fd, int *rc);
void go_funcs_free(struct go_funcs *g);

/* Functions by their order; [start, end) are addresses in the file. */
size_t go_funcs_count(const struct go_funcs *g);
/* False: entry i makes no sense. name is valid as long as g. */
bool go_funcs_get(const struct go_funcs *g, size_t i, uint64_t *start, uint64_t *end, const char **name);

struct go_place {
	const char *name, *file;	/* file NULL, line 0: unknown */
	uint64_t start;			/* address of the function that has the code; 0 = inlined */
	uint32_t line;
};
/* The functions that the instruction at vaddr lies in, the one around all first, then those
 * inlined into it. Each with its line; that of an outer one is where it calls the next. Returns
 * how many; 0: no function there. Strings are valid as long as g. */
size_t go_funcs_at(const struct go_funcs *g, uint64_t vaddr, struct go_place *out, size_t max);

#endif
