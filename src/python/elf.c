/* SPDX-License-Identifier: MIT */
/*
 * elf.c: is this file a CPython, and where in it is _PyRuntime? Reads .dynsym (which no
 * stripping takes away), within limits; the file is the workload's. A program that has the
 * interpreter linked in and exports nothing has the section .PyRuntime (from 3.10 on), and unless
 * it is stripped .symtab, which is read only then.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "python.h"

#define SECTIONS_MAX 4096
#define NAMES_MAX    (1u << 20)
#define SYMBOLS_MAX  (1u << 20) /* bytes of .dynsym and of its names: 24 and 32 times that */

struct file {
	int fd;
	Elf64_Ehdr eh;
	Elf64_Shdr *sh;
};

static int get(const struct file *f, void *p, size_t n, uint64_t off)
{
	ssize_t got = off <= INT64_MAX ? pread_full(f->fd, p, n, off) : -EINVAL;

	return got == (ssize_t)n ? 0 : -EINVAL;
}

static int read_headers(struct file *f, struct py_elf *out)
{
	const Elf64_Ehdr *eh = &f->eh;

	if (get(f, &f->eh, sizeof(f->eh), 0) || memcmp(eh->e_ident, ELFMAG, SELFMAG) ||
	    eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    (eh->e_type != ET_EXEC && eh->e_type != ET_DYN) ||
	    eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_shentsize != sizeof(Elf64_Shdr) ||
	    eh->e_shnum > SECTIONS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < eh->e_phnum && out->n_loads < PY_ELF_LOADS; i++) {
		Elf64_Phdr ph;

		if (get(f, &ph, sizeof(ph), eh->e_phoff + i * sizeof(ph)))
			return -EINVAL;
		if (ph.p_type == PT_LOAD)
			out->loads[out->n_loads++] =
			        (struct py_elf_load){ph.p_offset, ph.p_vaddr, ph.p_filesz};
	}
	f->sh = calloc(eh->e_shnum ? eh->e_shnum : 1, sizeof(*f->sh));
	if (!f->sh)
		return -ENOMEM;
	return get(f, f->sh, eh->e_shnum * sizeof(*f->sh), eh->e_shoff);
}

static void *section_bytes(const struct file *f, const Elf64_Shdr *s, size_t limit)
{
	void *p;

	if (!s->sh_size || s->sh_size > limit)
		return NULL;
	p = malloc(s->sh_size);
	if (p && get(f, p, s->sh_size, s->sh_offset)) {
		free(p);
		return NULL;
	}
	return p;
}

static bool named(const char *names, size_t n, uint32_t at, const char *name)
{
	size_t len = strlen(name) + 1;

	return at < n && len <= n - at && !memcmp(names + at, name, len);
}

/* Addresses of _PyRuntime, PyCode_Type and Py_Version in one table of symbols. */
static void scan(const struct file *f, const Elf64_Shdr *s, struct py_elf *out, uint64_t *version)
{
	const Elf64_Shdr *str = s->sh_link < f->eh.e_shnum ? &f->sh[s->sh_link] : NULL;
	Elf64_Sym *syms = section_bytes(f, s, SYMBOLS_MAX * 24u);
	char *names = str ? section_bytes(f, str, SYMBOLS_MAX * 32u) : NULL;

	for (size_t i = 0; syms && names && i < s->sh_size / sizeof(*syms); i++) {
		const Elf64_Sym *y = &syms[i];

		if (ELF64_ST_TYPE(y->st_info) != STT_OBJECT || y->st_shndx == SHN_UNDEF)
			continue;
		if (named(names, str->sh_size, y->st_name, PY_RUNTIME_SYMBOL)) {
			out->runtime = y->st_value;
			out->runtime_size = y->st_size;
		} else if (named(names, str->sh_size, y->st_name, PY_VERSION_SYMBOL)) {
			*version = y->st_value;
		} else if (named(names, str->sh_size, y->st_name, PY_CODE_TYPE_SYMBOL)) {
			out->code_type = y->st_value;
		}
	}
	free(syms);
	free(names);
}

/* The section that _PyRuntime is alone in. */
static const Elf64_Shdr *runtime_section(const struct file *f)
{
	const Elf64_Shdr *str = f->eh.e_shstrndx < f->eh.e_shnum ? &f->sh[f->eh.e_shstrndx] : NULL,
	                 *found = NULL;
	char *names = str ? section_bytes(f, str, NAMES_MAX) : NULL;

	for (unsigned i = 0; names && i < f->eh.e_shnum && !found; i++)
		if (f->sh[i].sh_flags & SHF_ALLOC &&
		    named(names, str->sh_size, f->sh[i].sh_name, ".PyRuntime"))
			found = &f->sh[i];
	free(names);
	return found;
}

static void scan_tables(const struct file *f, uint32_t type, struct py_elf *out, uint64_t *version)
{
	for (unsigned i = 0; i < f->eh.e_shnum; i++)
		if (f->sh[i].sh_type == type)
			scan(f, &f->sh[i], out, version);
}

static void find_runtime(const struct file *f, struct py_elf *out, uint64_t *version)
{
	const Elf64_Shdr *s;

	scan_tables(f, SHT_DYNSYM, out, version);
	s = out->runtime ? NULL : runtime_section(f);
	if (!s)
		return;
	scan_tables(f, SHT_SYMTAB, out, version);
	if (out->runtime)
		return;
	out->runtime = s->sh_addr;
	out->runtime_size = s->sh_size;
}

/* Up to n bytes of the image at vaddr, as far as the file has them; how many. */
static size_t image_bytes(const struct file *f, const struct py_elf *e, uint64_t vaddr, void *p,
                          size_t n)
{
	for (unsigned i = 0; i < e->n_loads; i++) {
		const struct py_elf_load *l = &e->loads[i];
		uint64_t at = vaddr - l->vaddr;

		if (vaddr < l->vaddr || at >= l->size)
			continue;
		if (n > l->size - at)
			n = l->size - at;
		return get(f, p, n, l->offset + at) ? 0 : n;
	}
	return 0;
}

int py_elf_read(int fd, struct py_elf *out)
{
	struct file f = {.fd = fd};
	uint64_t version = 0, hex = 0;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = read_headers(&f, out);
	if (!rc)
		find_runtime(&f, out, &version);
	free(f.sh);
	if (rc)
		return rc;
	if (!out->runtime)
		return -ENOENT;
	out->fixed = f.eh.e_type == ET_EXEC;
	if (version && image_bytes(&f, out, version, &hex, sizeof(hex)) == sizeof(hex) &&
	    hex <= UINT32_MAX)
		out->version = (uint32_t)hex;
	out->n_start = image_bytes(&f, out, out->runtime, out->start, sizeof(out->start));
	return 0;
}

int py_elf_address(const struct py_elf *e, uint64_t start, uint64_t offset, uint64_t page,
                   uint64_t *runtime)
{
	if (e->fixed) {
		*runtime = e->runtime;
		return 0;
	}
	if (!page || page & (page - 1))
		return -EINVAL;
	for (unsigned i = 0; i < e->n_loads; i++) {
		const struct py_elf_load *l = &e->loads[i];
		uint64_t from = l->offset & ~(page - 1);

		if (offset < from || offset >= l->offset + l->size)
			continue;
		*runtime = e->runtime + start - ((l->vaddr & ~(page - 1)) + (offset - from));
		return 0;
	}
	return -ENOENT;
}
