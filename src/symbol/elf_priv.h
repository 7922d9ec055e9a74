/* SPDX-License-Identifier: MIT */
/*
 * elf_priv.h: one ELF file, as far as names need it, and where its parts are.
 *
 * The file belongs to the workload, so it may lie about everything and change while it is
 * read. Nothing is mapped (a file that shrinks would kill us), every read is bounded by a
 * limit of this header, and counts are checked before libelf allocates for them.
 */
#ifndef MT_ELF_PRIV_H
#define MT_ELF_PRIV_H

#include <libelf.h>

#include "base.h"
#include "ranges_priv.h"

#define ELF_MAX_FILE     (2ull << 30)
#define ELF_MAX_SECTIONS 65536
#define ELF_MAX_SEGMENTS 1024
#define ELF_MAX_SYMBOLS  (4u << 20)
#define ELF_MAX_STRINGS  (256u << 20)
#define ELF_MAX_NOTES    65536
#define ELF_MAX_BUILD_ID 64

struct elf_section {
	uint64_t flags, addr, off, size, entsize;
	uint32_t name, type, link; /* name: offset into elf_file.secnames */
};
/* A loaded segment: file bytes [off, off + filesz) are at vaddr, zeros follow up to memsz. */
struct elf_segment {
	uint64_t off, filesz, vaddr, memsz;
	bool exec;
};

struct elf_file {
	int fd; /* valid while elf is set */
	Elf *elf;
	uint64_t size, dev, ino;
	uint16_t machine;
	bool is64;
	VEC(struct elf_section) sections;
	VEC(struct elf_segment) segments;
	struct buf secnames;
	uint8_t build_id[ELF_MAX_BUILD_ID];
	size_t build_id_n;
};

/* Opens a path of the workload: regular files only, never blocking on a FIFO or a device.
 * fd or -errno (-ENXIO for what is not a regular file). */
int regular_open(const char *path);

/* Takes over fd (also when it fails). 0 or -errno with *err, which names `path`. */
int elf_file_open(struct elf_file *f, int fd, const char *path, struct err *err);
void elf_file_close(struct elf_file *f); /* takes a zeroed one; idempotent */
/* First section of that type or name that has bytes in the file; NULL = none. */
const struct elf_section *elf_section_typed(const struct elf_file *f, uint32_t type);
const struct elf_section *elf_section_named(const struct elf_file *f, const char *name);
/* Reads n bytes of the file at off, all or nothing. 0 or -errno (-EIO when it ends before). */
int elf_read(const struct elf_file *f, void *p, size_t n, uint64_t off);

/* The separate debug file of `main`, which lies at `path` ("/proc/PID/root" in front says that
 * its file system is another one's). Only a file proven to belong to it is taken, by build id
 * or CRC. 0 (dbg open) or -ENOENT. */
int elf_debug_find(const struct elf_file *main, const char *path, struct elf_file *dbg);
/* The file packed into main's .gnu_debugdata: a symbol table without
 * the dynamic symbols. 0 (mini open), -ENOENT, or -errno. */
int elf_mini_open(const struct elf_file *main, struct elf_file *mini);

enum elf_sym_class { ELF_SYM_CODE, ELF_SYM_DATA };
enum { ELF_SYM_RANK_GO = 3 }; /* rank of names from Go's table (see ranges_priv.h) */
/* Adds the symbols of section `tab` (SHT_SYMTAB or SHT_DYNSYM) to t; t may hold some already.
 * 0 or -errno. */
int elf_symtab_read(const struct elf_file *f, const struct elf_section *tab, enum elf_sym_class cls,
                    struct ranges *t);
/* Adds "name@plt" for the entries whose target is known (x86-64; none elsewhere). 0 or -errno. */
int elf_plt_read(const struct elf_file *f, struct ranges *t);

struct elf_syms;
/* elf_syms_open() for questions about data only: the functions are not read. */
struct elf_syms *elf_syms_open_data(int fd, const char *path, const uint8_t *expect_build_id,
                                    size_t n, struct err *err);
/* Runtime address to virtual address, from where the code at a file offset was mapped. 0, or
 * -ENOENT when the file has no code there or nothing at the address. */
int elf_syms_vaddr(const struct elf_syms *e, uint64_t code_start, uint64_t code_offset,
                   uint64_t addr, uint64_t *vaddr);
size_t elf_syms_count(const struct elf_syms *e); /* named ranges of code; 0 = stripped */

#endif
