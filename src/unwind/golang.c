/* SPDX-License-Identifier: MIT */
/*
 * golang.c: Go's scheduler runs on stacks of its own. The functions that change over to such a
 * stack call on it what they were told to, but nobody called them there: what lies above
 * their frames is left over from something else. Go's call frame information does not say so.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "unwind_priv.h"

#define SYMBOLS_MAX (4u << 20)
#define STRINGS_MAX (256u << 20)

static bool changes_stack(const char *name)
{
	static const char *const names[] = {"runtime.mcall", "runtime.systemstack",
	                                    "runtime.morestack", "runtime.asmcgocall"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t n = strlen(names[i]);

		if (!strncmp(name, names[i], n) && (!name[n] || !strcmp(name + n, ".abi0")))
			return true;
	}
	return false;
}

static int look_at(struct image *im, const struct buf *syms, const struct buf *strings)
{
	for (size_t at = 0; at + sizeof(Elf64_Sym) <= syms->n; at += sizeof(Elf64_Sym)) {
		Elf64_Sym s;

		memcpy(&s, syms->p + at, sizeof(s));
		/* The last string ends where the buffer does, by the byte put behind it. */
		if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || s.st_name >= strings->n ||
		    !changes_stack((const char *)strings->p + s.st_name))
			continue;
		if (im->bottoms.n < 16 && vec_push(&im->bottoms, s.st_value))
			return -ENOMEM;
	}
	return 0;
}

int golang_bottoms(struct image *im)
{
	struct buf syms = {0}, strings = {0};
	int rc;

	if (!im->symtab.n || im->symtab.n > SYMBOLS_MAX * sizeof(Elf64_Sym) || !im->strtab.n ||
	    im->strtab.n > STRINGS_MAX)
		return 0;
	rc = image_read(im, im->symtab.off, im->symtab.n, &syms);
	if (!rc)
		rc = image_read(im, im->strtab.off, im->strtab.n, &strings);
	if (!rc)
		rc = buf_put(&strings, "", 1) ? -ENOMEM : look_at(im, &syms, &strings);
	buf_release(&syms);
	buf_release(&strings);
	return rc == -ENOMEM ? rc : 0;
}
