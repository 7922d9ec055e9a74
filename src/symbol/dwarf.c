/* SPDX-License-Identifier: MIT */
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dwarf_priv.h"

/* Chrome's debug file has 60,000 units; its largest unit has 2 million entries. */
#define MAX_UNITS  (1u << 20)
#define MAX_RANGES (8u << 20)
/* Entries visited per file: some seconds' worth. */
#define MAX_VISITS (50u << 20)
#define MAX_DEPTH  64
/* Debug sections when unpacked. */
#define MAX_UNPACKED (1ull << 30)

struct unit {
	Dwarf_Die die;  /* of the unit; with split DWARF its skeleton: that one has the lines */
	Dwarf_Die code; /* what holds the functions */
	enum { UNREAD, TOP, NESTED } read;
	struct ranges funcs; /* name: index into offs */
	VEC(Dwarf_Die) dies;
};

struct elf_dwarf {
	int fd;
	Elf *elf;
	Dwarf *dw;
	VEC(struct unit) units;
	struct ranges code; /* name: index into units */
	uint64_t visits, n_ranges;
};

/* Compressed sections are unpacked into memory when libdw first looks. */
static bool too_large(const struct elf_file *f, Elf *elf)
{
	uint64_t sum = 0;
	GElf_Chdr ch;

	for (size_t i = 0; i < f->sections.n; i++) {
		Elf_Scn *scn;

		if (!(f->sections.v[i].flags & SHF_COMPRESSED))
			continue;
		scn = elf_getscn(elf, i);
		if (!scn || !gelf_getchdr(scn, &ch) || ch.ch_size > MAX_UNPACKED)
			return true;
		sum += ch.ch_size;
	}
	return sum > MAX_UNPACKED;
}

/* Ranges of an entry, those that are no more than a discarded function's remains left out. */
static int add_ranges(struct elf_dwarf *d, Dwarf_Die *die, uint32_t index, struct ranges *t)
{
	Dwarf_Addr base, start, end;
	ptrdiff_t at = 0;

	while ((at = dwarf_ranges(die, at, &base, &start, &end)) > 0) {
		if (++d->n_ranges > MAX_RANGES)
			return -E2BIG;
		/* The linker leaves 0 or 1 where it dropped a section. */
		if (start > 1 && ranges_add(t, start, end, index, 0))
			return -ENOMEM;
	}
	return 0;
}

static int read_units(struct elf_dwarf *d)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die, sub;
	uint8_t type;
	int err = 0;

	/* Those after a damaged one are lost. */
	while (!err && dwarf_get_units(d->dw, cu, &cu, NULL, &type, &die, &sub) == 0) {
		struct unit u = {.die = die, .code = die};

		if (type != DW_UT_compile && type != DW_UT_skeleton)
			continue;
		if (type == DW_UT_skeleton && sub.addr)
			u.code = sub;
		if (d->units.n >= MAX_UNITS)
			break;
		err = add_ranges(d, &u.die, (uint32_t)d->units.n, &d->code);
		if (!err)
			err = vec_push(&d->units, u);
	}
	if (err == -ENOMEM)
		return err;
	return ranges_finish(&d->code);
}

struct elf_dwarf *elf_dwarf_open(const struct elf_file *f)
{
	struct elf_dwarf *d;

	if (!f->elf ||
	    (!elf_section_named(f, ".debug_info") && !elf_section_named(f, ".zdebug_info")))
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	/* Debug information is large, and little of it is looked at. */
	d->elf = d->fd >= 0 ? elf_begin(d->fd, ELF_C_READ_MMAP, NULL) : NULL;
	if (d->elf && !too_large(f, d->elf))
		d->dw = dwarf_begin_elf(d->elf, DWARF_C_READ, NULL);
	if (d->dw && !read_units(d))
		return d;
	elf_dwarf_free(d);
	return NULL;
}

void elf_dwarf_free(struct elf_dwarf *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->units.n; i++) {
		ranges_release(&d->units.v[i].funcs);
		vec_release(&d->units.v[i].dies);
	}
	vec_release(&d->units);
	ranges_release(&d->code);
	if (d->dw)
		dwarf_end(d->dw);
	if (d->elf)
		elf_end(d->elf);
	if (d->fd >= 0)
		close(d->fd);
	free(d);
}

/* --- functions of a unit --------------------------------------------------------------------- */

static bool holds_functions(int tag, bool nested)
{
	switch (tag) {
	case DW_TAG_namespace:
	case DW_TAG_module:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
		return true;
	case DW_TAG_subprogram:
	case DW_TAG_lexical_block:
		return nested;
	default:
		return false;
	}
}

static int collect_functions(struct elf_dwarf *d, struct unit *u, Dwarf_Die *parent, unsigned depth)
{
	bool nested = u->read == NESTED;
	Dwarf_Die die;
	int err = 0, more = depth < MAX_DEPTH ? dwarf_child(parent, &die) : 1;

	while (!more && !err) {
		int tag = dwarf_tag(&die);

		if (++d->visits > MAX_VISITS)
			return -E2BIG;
		if (tag == DW_TAG_subprogram) {
			size_t before = u->funcs.added.n;

			err = add_ranges(d, &die, (uint32_t)u->dies.n, &u->funcs);
			if (!err && u->funcs.added.n > before)
				err = vec_push(&u->dies, die);
		}
		if (!err && holds_functions(tag, nested))
			err = collect_functions(d, u, &die, depth + 1);
		more = dwarf_siblingof(&die, &die);
	}
	return err;
}

static const struct range *function_at(struct elf_dwarf *d, struct unit *u, uint64_t vaddr)
{
	const struct range *r;

	/* Functions inside of functions are rare and costly to look for: only when needed. */
	while (!(r = ranges_find(&u->funcs, vaddr)) && u->read != NESTED) {
		u->read = u->read == UNREAD ? TOP : NESTED;
		ranges_release(&u->funcs);
		u->funcs = (struct ranges){0};
		u->dies.n = 0;
		collect_functions(d, u, &u->code, 0);
		if (ranges_finish(&u->funcs))
			return NULL;
	}
	return r;
}

/* --- one address ----------------------------------------------------------------------------- */

static const char *name_of(Dwarf_Die *die)
{
	static const unsigned which[] = {DW_AT_linkage_name, DW_AT_MIPS_linkage_name, DW_AT_name};
	Dwarf_Attribute attr;

	for (size_t i = 0; i < ARRAY_LEN(which); i++) {
		const char *s =
		        dwarf_attr_integrate(die, which[i], &attr) ? dwarf_formstring(&attr) : NULL;

		if (s && *s)
			return s;
	}
	return NULL;
}

static void line_at(struct unit *u, uint64_t vaddr, struct sym *out)
{
	Dwarf_Line *line = dwarf_getsrc_die(&u->die, vaddr);
	int n = 0;

	if (!line || dwarf_lineno(line, &n) || n <= 0)
		return;
	out->src = dwarf_linesrc(line, NULL, NULL);
	out->line = out->src ? (uint32_t)n : 0;
}

/* Where an inlined function was called from: a line of the one around it. */
static void call_line(struct unit *u, Dwarf_Die *die, struct sym *out)
{
	Dwarf_Attribute attr;
	Dwarf_Word file = 0, line = 0;
	Dwarf_Files *files;
	size_t n;

	if (!dwarf_attr(die, DW_AT_call_line, &attr) || dwarf_formudata(&attr, &line) ||
	    !dwarf_attr(die, DW_AT_call_file, &attr) || dwarf_formudata(&attr, &file) || !line ||
	    line > INT32_MAX || dwarf_getsrcfiles(&u->die, &files, &n) || file >= n)
		return;
	out->src = dwarf_filesrc(files, file, NULL, NULL);
	out->line = out->src ? (uint32_t)line : 0;
}

/* The child of *die, itself or inside of a block, that is inlined code at vaddr. */
static bool inlined_at(struct elf_dwarf *d, Dwarf_Die *die, uint64_t vaddr, Dwarf_Die *found,
                       unsigned depth)
{
	Dwarf_Die child;
	int more = depth < MAX_DEPTH ? dwarf_child(die, &child) : 1;

	for (; !more; more = dwarf_siblingof(&child, &child)) {
		int tag = dwarf_tag(&child);

		if (++d->visits > MAX_VISITS)
			return false;
		if (tag == DW_TAG_inlined_subroutine && dwarf_haspc(&child, vaddr) == 1) {
			*found = child;
			return true;
		}
		/* A block without addresses of its own has those around it. */
		if (tag == DW_TAG_lexical_block &&
		    (dwarf_haspc(&child, vaddr) == 1 || (!dwarf_hasattr(&child, DW_AT_low_pc) &&
		                                         !dwarf_hasattr(&child, DW_AT_ranges))) &&
		    inlined_at(d, &child, vaddr, found, depth + 1))
			return true;
	}
	return false;
}

static uint64_t offset_in(Dwarf_Die *die, uint64_t vaddr)
{
	Dwarf_Addr entry;

	return !dwarf_entrypc(die, &entry) && entry <= vaddr ? vaddr - entry : 0;
}

size_t elf_dwarf_chain(struct elf_dwarf *d, uint64_t vaddr, struct sym *out, size_t max)
{
	const struct range *r = ranges_find(&d->code, vaddr), *f;
	struct unit *u = r && r->name < d->units.n ? &d->units.v[r->name] : NULL;
	Dwarf_Die die, inner;
	size_t n = 0;

	if (!u || !max)
		return 0;
	out[n++] = (struct sym){0};
	f = d->visits <= MAX_VISITS ? function_at(d, u, vaddr) : NULL;
	if (f) {
		die = u->dies.v[f->name];
		out[0].name = name_of(&die);
		out[0].name_off = vaddr - f->sym_start;
		while (n < max && inlined_at(d, &die, vaddr, &inner, 0)) {
			call_line(u, &inner, &out[n - 1]);
			out[n++] = (struct sym){.name = name_of(&inner),
			                        .name_off = offset_in(&inner, vaddr)};
			die = inner;
		}
	}
	line_at(u, vaddr, &out[n - 1]);
	return n;
}
