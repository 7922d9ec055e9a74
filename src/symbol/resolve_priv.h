/* SPDX-License-Identifier: MIT */
/* resolve_priv.h: names for frames whose file and offset are known, within limits. */
#ifndef MT_RESOLVE_PRIV_H
#define MT_RESOLVE_PRIV_H

#include "base.h"
#include "symbol.h"

#define SYM_BUILD_ID_MAX 64
#define VDSO_NAME        "[vdso]"

/* How an address was seen: as where a task was, or as where a call will return to. */
enum { FRAME_EXACT = 1, FRAME_RETURN = 2 };

struct sym_file {
	const char *path; /* as the process saw it */
	uint8_t build_id[SYM_BUILD_ID_MAX];
	uint8_t build_id_n;
	uint32_t first_space, last_space, user_space; /* who mapped it, and who ran in it last */
	uint32_t pids[3];                             /* theirs; 0 = none */
};

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

struct resolve {
	const struct kallsyms *k;
	symbolizer_emit emit;
	void *ctx;
	struct symbolizer_stats *st;
	struct buf *notes;
	const struct sym_file *files;
	size_t n_files;
	VEC(struct sym_frame) frames;
	uint64_t max_file_bytes, deadline_ns;
	size_t file_notes;
	unsigned ticks;
};

void resolve_start(struct resolve *r, const struct symbolizer_limits *lim);
/* Sets stats.timed_out once the time is used up. Cheap: looks at the clock now and then. */
bool resolve_out_of_time(struct resolve *r);
/* Names and emits all frames. 0, -ENOMEM, or what `emit` returned. */
int resolve_run(struct resolve *r);
/* Adds a line to the notes. 0 or -ENOMEM. */
int resolve_note(struct resolve *r, const char *fmt, ...) MT_PRINTF(2, 3);

/* The vdso's image, which every 64-bit process has the same of, as a file: an fd or -errno. */
int vdso_open(void);

#endif
