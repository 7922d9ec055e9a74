/* SPDX-License-Identifier: MIT */
/*
 * unwind.h: call frames without frame pointers. Reads the call frame information of an ELF
 * file (.eh_frame, .debug_frame; DWARF 5 section 6.4, LSB "Exception Frames", System V ABI
 * for x86-64 section 3.7) and boils it down to tables of 8-byte rows (mt_unwind.h), which the
 * BPF programs search, and which the unwinder here walks over memory it is given.
 *
 * What the rows keep is enough for code of today's compilers: where the CFA is, from rsp or
 * rbp, and the caller's rbp. Other callee-saved registers are not followed, so a CFA
 * relative to one of them is MT_UNW_UNSUPPORTED.
 *
 * Go programs that are stripped have none of it, and their frame pointers do not lead far (the
 * assembly they wait in keeps none): rows come from the run-time library's own table of
 * functions, .gopclntab (forms of Go 1.2, 1.16, 1.18, 1.20), which is what Go's linker makes
 * .debug_frame of, too. On a thread of C's, cgo's entry (crosscall_amd64) is followed by its
 * instructions. Generated code (V8, HotSpot) keeps frame pointers.
 *
 * Where a twelfth of .text or more has no information, as all of musl's C library, and does not begin its
 * functions with a frame pointer, rows come from what the instructions do to the stack pointer and
 * rbp, if the function proves itself: see codeframes.c. Less than that (some assembly) stays a
 * stack's end, STACK_END_NO_TABLE.
 *
 * ELF files belong to the workload and are hostile: nothing is mapped, everything is
 * bounded by UNWIND_MAX_*, and a bad file yields fewer rows or an error, never harm.
 */
#ifndef MT_UNWIND_USER_H
#define MT_UNWIND_USER_H

#include "base.h"
#include "mt_unwind.h"

#define UNWIND_MAX_SECTION (128u << 20)	/* bytes of call frame information */
#define UNWIND_MAX_WORDS (4u << 20)	/* of one table: 32 MiB */
#define UNWIND_MAX_WORK (512u << 20)	/* bytes of CFA instructions followed for one file */

/* --- tables ---------------------------------------------------------------------------- */

/* A built table. words: index and rows, as mt_unwind.h says. */
struct unwind_table {
	uint32_t base_block, n_blocks, n_rows;
	VEC(uint64_t) words;
};
/* Builds the table of fd's ELF file (x86-64, 64 bits, little-endian). 0; -ENOEXEC: not such a
 * file; -ENODATA: no call frame information; -E2BIG, -ENOMEM, -EIO. *t is valid (perhaps
 * empty) in every case: unwind_table_release(). */
int unwind_table_build(struct unwind_table *t, int fd);
void unwind_table_release(struct unwind_table *t);

/* A table that is somewhere in memory; words may be anything. */
struct unwind_view {
	const uint64_t *words;
	uint32_t n_words, base_block, n_blocks;
};
/* The row's info in effect at this file offset; MT_UNW_NONE when there is none. */
uint32_t unwind_find(const struct unwind_view *v, uint64_t file_offset);

/* --- walking ------------------------------------------------------------------------------ */

struct unwind_regs {
	uint64_t ip, sp, bp;
	bool bp_unknown;	/* until a frame restores it */
	bool exact;		/* ip is the interrupted instruction, not a return address */
};
/* What lies at an address. */
struct unwind_place {
	const struct unwind_view *table;	/* NULL: go by frame pointers */
	uint64_t file_offset;			/* of the address */
};
struct unwind_ops {
	/* Reads n bytes at addr, all of them: 0, else not to be had. */
	int (*read)(void *ctx, uint64_t addr, void *out, size_t n);
	/* 0 and *out, or -ENOENT: no executable mapping there. */
	int (*place)(void *ctx, uint64_t addr, struct unwind_place *out);
	void *ctx;
};
/*
 * Walks from *r outwards: frames[0] = r->ip, then return addresses, at most max. Returns how many;
 * *end is STACK_END_* and *flags gets STACK_F_TABLE and STACK_F_FP added. *r is left where it
 * ended, for going on later.
 */
size_t unwind_remote(const struct unwind_ops *ops, struct unwind_regs *r, uint64_t *frames, size_t max,
		     unsigned *end, unsigned *flags);

/* --- what a program will load --------------------------------------------------------------- */

/* Names in PT_INTERP and DT_NEEDED, DT_RUNPATH or DT_RPATH: of an ELF file, each at most once.
 * Strings, NUL-terminated, one after the other in `names`: interpreter ("" if none), run path
 * ("" if none), then libraries. 0 or -errno (-ENOEXEC: not ELF). */
int unwind_needed(int fd, struct buf *names);

#endif
