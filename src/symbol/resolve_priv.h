/* SPDX-License-Identifier: MIT */
/* resolve_priv.h: names for frames whose file and offset are known, within limits. */
#ifndef MT_RESOLVE_PRIV_H
#define MT_RESOLVE_PRIV_H

#include "base.h"
#include "demangle_priv.h"
#include "registry_priv.h"
#include "symbol.h"

/* How an address was seen: as where a task was, or as where a call will return to. */
enum { FRAME_EXACT = 1, FRAME_RETURN = 2 };

struct elf_syms;
/* The file as its process sees it, which may be in a container, else as we see it; only one of the
 * right build id. data: for questions about variables only. NULL with *err. */
struct elf_syms *sym_file_open(const struct sym_file *f, uint64_t max_bytes, bool data,
                               struct err *err);

struct sym_frame {
	uint64_t offset;
	uint32_t file; /* index into files + 1; 0 = kernel */
	uint8_t flags; /* FRAME_* */
};

#define SYM_FILE_BYTES (2ull << 30) /* files beyond are not read, unless limits say otherwise */

#define SYM_MAX_CHAIN 32 /* functions at one address, inlined ones included */

struct resolve;
/* Takes the names of frame `index`: n functions, outermost first; n = 0: none. 0 or the error that
 * ends it all. */
typedef int (*resolve_put)(struct resolve *r, size_t index, const struct sym *chain, size_t n);

struct resolve {
	const struct kallsyms *k;
	symbolizer_emit emit;
	void *ctx;
	struct symbolizer_stats *st;
	struct buf *notes;
	const struct sym_file *files;
	size_t n_files;
	VEC(struct sym_frame) frames;
	struct symbolizer_limits lim; /* without zeros */
	uint64_t deadline_ns;
	size_t file_notes, emitted;
	unsigned ticks;
	resolve_put put; /* resolve_emit, or towards another process */
	void *put_ctx;
	struct demangler *name; /* NULL: names come demangled */
};

uint64_t monotonic_ns(void);
void resolve_start(struct resolve *r, const struct symbolizer_limits *lim);
/* Sets stats.timed_out once the time is used up. Cheap: looks at the clock now and then. */
bool resolve_out_of_time(struct resolve *r);
/* Names and emits all frames. 0, -ENOMEM, or what `emit` returned. */
int resolve_run(struct resolve *r);
/* Hands a frame's names to `emit`. */
int resolve_emit(struct resolve *r, size_t index, const struct sym *chain, size_t n);

/* Frames [from, to) of r->frames, all of one file. */
struct unit {
	size_t from, to;
};
enum detail {
	DETAIL_NONE,    /* say that there are no names */
	DETAIL_SYMBOLS, /* symbol tables */
	DETAIL_LINES,   /* and lines and inlined functions */
};
int resolve_unit(struct resolve *r, const struct unit *u, enum detail detail);
/* The same for frames in generated code. */
int resolve_jit(struct resolve *r, const struct sym_file *f, const struct unit *u);
/* Adds a line to the notes. 0 or -ENOMEM. */
int resolve_note(struct resolve *r, const char *fmt, ...) MT_PRINTF(2, 3);
/* One file's note; beyond a limit they are only counted. */
int resolve_file_note(struct resolve *r, const char *msg);

/* The vdso's image, which every 64-bit process has the same of, as a file: an fd or -errno. */
int vdso_open(void);

#endif
