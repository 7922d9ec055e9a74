/* SPDX-License-Identifier: MIT */
/*
 * symbol.h: names for addresses. Works on files (ELF through elfutils) and on text of
 * /proc/kallsyms; knows nothing of traces' tasks or of the model. ELF files belong to the
 * workload and are hostile: everything here runs without privilege, within limits of size
 * and time, and a bad file yields no name, never harm.
 */
#ifndef MT_SYMBOL_H
#define MT_SYMBOL_H

#include "base.h"

struct sym {
	const char *name;	/* the table's; NULL = none */
	uint64_t name_off;	/* bytes past its start */
	const char *src; uint32_t line;	/* NULL, 0 = unknown */
	uint64_t size;		/* of a data symbol; 0 = unknown */
};

/* --- one ELF file ------------------------------------------------------------------- */

struct elf_syms;
/* Opens fd's ELF file (fd is duplicated; the caller keeps his). expect_build_id (may be empty): when the
 * file's differs -> -ESTALE, because a wrong neighbour's name is worse than none.
 * Also looks for separate debug files (.build-id path, debuglink beside it and in
 * /usr/lib/debug). NULL on error (*err). */
struct elf_syms *elf_syms_open(int fd, const char *path, const uint8_t *expect_build_id, size_t n, struct err *err);
void elf_syms_free(struct elf_syms *e);
/* The function at this file offset. 0 found, -ENOENT none (in a gap: no guess). */
int elf_syms_lookup(struct elf_syms *e, uint64_t file_offset, struct sym *out);
/* All functions that the instruction at this file offset lies in: out[0] the one that the symbol
 * table names, then those that the compiler inlined into it, outermost first; each with its place
 * in the source, as far as there is debug information (DWARF, which is read here). Returns how
 * many, 0 = none. Strings are valid until the next call. */
size_t elf_syms_chain(struct elf_syms *e, uint64_t file_offset, struct sym *out, size_t max);
/* A data symbol that covers virtual address (already minus load bias), for naming locks. Thread-local
 * ones have no address and are not among them. 0, -ENOENT, or -errno of a broken table. */
int elf_syms_data(struct elf_syms *e, uint64_t vaddr, struct sym *out);

/* --- the kernel -------------------------------------------------------------------------- */

struct kallsyms;
/* Parses an open /proc/kallsyms (opened while privileged; may be read later without). NULL:
 * addresses are hidden (kptr_restrict) or it cannot be read; *err says which. */
struct kallsyms *kallsyms_read(int fd, struct err *err);
void kallsyms_free(struct kallsyms *k);
int kallsyms_lookup(const struct kallsyms *k, uint64_t addr, struct sym *out);	/* 0 or -ENOENT */

/* --- resolving everything a recording saw ------------------------------------------------- */

/*
 * Collects frames while recording, resolves them at the end and hands each symbol to
 * `emit`. Maps are known per space; a forked space sees its parent's maps as of then.
 */
struct symbolizer;
struct symbolizer *symbolizer_new(void);
void symbolizer_free(struct symbolizer *s);
struct sym_map { uint64_t start, end, offset; const char *file; const uint8_t *build_id; size_t build_id_n; uint64_t ts; };
int symbolizer_space(struct symbolizer *s, uint32_t space, uint32_t parent, uint64_t ts);
/* 0, 1 when it is known already (no need to keep it), or -ENOMEM. */
int symbolizer_map(struct symbolizer *s, uint32_t space, const struct sym_map *m);
/* What frames in such a mapping are filed under, as module: the file, or for memory without a file
 * (then *jit) "[jit PID]" or the like, a name of this space's alone, with the address itself as
 * offset. Call it after symbolizer_pid(). Valid until symbolizer_free; NULL: no memory. */
const char *symbolizer_module(struct symbolizer *s, uint32_t space, const struct sym_map *m, bool *jit);
/* How many processes have the space: when the last one has left it, what is kept of it may be
 * thrown away some time later. Spaces never counted are kept. */
int symbolizer_use(struct symbolizer *s, uint32_t space, int more);

/* Files may be gone by the end, or be out of reach (another mount namespace, less privilege): the
 * recorder opens them while it can. True: nobody has handed over an fd for m's file. */
bool symbolizer_wants_file(struct symbolizer *s, const struct sym_map *m);
/* Takes over fd (in any case): the file of m. A bounded number is kept, the oldest goes. */
int symbolizer_file(struct symbolizer *s, const struct sym_map *m, int fd);
/* The space has generated code, and nobody has handed over its perf map. */
bool symbolizer_wants_jit(const struct symbolizer *s, uint32_t space);
/* Takes over fd (in any case): the space's perf map, or jitdump; read at the end. A later one takes
 * the place of an earlier one. */
int symbolizer_jit(struct symbolizer *s, uint32_t space, int fd, bool dump);
/* A stack's frames to be named later. space 0 = kernel addresses. */
int symbolizer_stack(struct symbolizer *s, uint32_t space, uint64_t ts, const uint64_t *frames, size_t n);
/* Where to open a file seen at `path` by a process: symbolizer tries /proc/<pid>/root/path
 * of a live process first when one was given for the space, then path itself. */
int symbolizer_pid(struct symbolizer *s, uint32_t space, uint32_t pid);
struct symbol_out { const char *module; uint64_t offset; struct sym sym; unsigned inline_depth; };
/* *o and its strings are valid during the call only; sym.name NULL: looked for, not found.
 * Non-zero stops and is returned. */
typedef int (*symbolizer_emit)(void *ctx, const struct symbol_out *o);
/* 0 = defaults: 2 GiB, 20 s, 5 s without a sign of life (then that file's lines are done without,
 * then the file), 1 GiB. Files are read by a child process with rlimits, whose death costs names
 * only; in_process: read them here (tools, tests). progress, when set, is called some times a
 * second from the beginning on. */
struct symbolizer_limits {
	uint64_t max_file_bytes, max_total_ns, max_stall_ns, max_memory_bytes;
	bool in_process;
	void (*progress)(void *ctx, size_t files_done, size_t files);
	void *progress_ctx;
};
struct symbolizer_stats { uint64_t frames, resolved, files, files_failed; bool timed_out; };
/* Resolves all collected frames, each (module, offset) once. Errors of single files become
 * entries of `notes` (strings the caller frees). k may be NULL. */
int symbolizer_resolve(struct symbolizer *s, const struct kallsyms *k, const struct symbolizer_limits *lim,
		       symbolizer_emit emit, void *ctx, struct symbolizer_stats *st, struct buf *notes);

/* The variable that runtime address addr of a space lies in: a data symbol (.bss and .data of the
 * program and of libraries), demangled. Works any time once the space's mappings are known, and
 * without privilege as long as the files can be opened; a file is read at the first question
 * about it and kept (a bounded number of them). Strings are valid until the next call. */
struct symbol_object {
	const char *name;	/* "pool_lock", "ns::registry" */
	uint64_t off, size;	/* bytes past its start; bytes of the whole */
	const char *module;	/* the file's path */
};
/* 0, or -ENOENT: no variable (heap, stack, stripped); -errno when the file gives none. */
int symbolizer_object(struct symbolizer *s, uint32_t space, uint64_t addr, struct symbol_object *out);

#endif
