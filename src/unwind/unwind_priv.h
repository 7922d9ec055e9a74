/* SPDX-License-Identifier: MIT */
/*
 * unwind_priv.h: how the table builder's parts fit together.
 *
 *     image.c   the ELF file: headers, segments, sections, bounded reads
 *     cfi.c     CIEs and FDEs: which code an FDE covers
 *     cfa.c     an FDE's instructions: the rows of that code
 *     golang.c  Go: rows by its own table of functions, for a file that is stripped; where a
 *               stack ends
 *     gotable.c that table as bytes
 *     gofuncs.c names and lines from it (golang.h)
 *     initfini.c  rows of .init and .fini, which have no call frame information
 *     codeframes.c  rows by the instructions, of code that has none either
 *     codesteps.c   what instructions do (codesteps.h)
 *     build.c   rows of a whole file, sorted, with their index
 *     remote.c  walking a stack by tables
 *     needed.c  which libraries a program will load
 */
#ifndef MT_UNWIND_PRIV_H
#define MT_UNWIND_PRIV_H

#include "unwind.h"

/* --- image.c --- */

#define IMAGE_MAX_SEGMENTS 1024
#define IMAGE_MAX_SECTIONS 65536

struct image_segment {
	uint64_t off, filesz, vaddr;
	uint32_t type; /* PT_* */
	bool exec;
};
/* Bytes of the file, and the address they are loaded at. */
struct image_bytes {
	struct buf data;
	uint64_t vaddr;
};
/* Bytes of the file that are read when they are needed. */
struct image_place {
	uint64_t off, n;
};
/* A row that came from instructions: from vaddr on. */
struct code_row {
	uint64_t vaddr;
	uint32_t info;
};
typedef VEC(struct code_row) code_row_vec;
struct image {
	int fd;
	uint64_t size, entry;
	VEC(struct image_segment) segments;
	struct image_bytes eh_frame, debug_frame;
	uint64_t eh_hdr; /* address of .eh_frame_hdr, 0 = none */
	bool is_go, is_cgo, is_musl;
	struct image_place symtab, strtab, dynsym, dynstr; /* n 0 = none */
	struct image_place pclntab, relro, rela, text;     /* Go's table; .data.rel.ro, .rela.dyn */
	struct image_place init, fini;
	uint64_t pclntab_vaddr, relro_vaddr, text_vaddr, init_vaddr, fini_vaddr;
	struct image_bytes go; /* the table's bytes; only where .debug_frame is missing */
	uint64_t crosscall;    /* address of cgo's crosscall_amd64, 0 = none */
	code_row_vec code_rows;
	VEC(uint64_t) bottoms; /* addresses of functions that nobody called on this stack */
};
/* Reads headers and segments only. 0 or -errno (-ENOEXEC). */
int image_open(struct image *im, int fd);
/* Then the call frame information, whichever there is. 0 or -errno. */
int image_frames(struct image *im);
/* Or Go's table alone, im->go, which stays empty when there is none. 0 or -errno. */
int image_go(struct image *im);
void image_release(struct image *im);
/* n bytes of the file at off, appended to b. 0 or -errno. */
int image_read(const struct image *im, uint64_t off, uint64_t n, struct buf *b);
/* Offset in the file of a loaded address, and how many bytes of its segment follow in the file.
 * exec: only segments that are. 0 or -ENOENT. */
int image_offset(const struct image *im, uint64_t vaddr, bool exec, uint64_t *off, uint64_t *left);

/* --- reading numbers (cfi.c): past the end they fail, once and for all --- */

struct cursor {
	const uint8_t *p, *end;
	bool bad;
};
uint64_t cursor_uint(struct cursor *c, unsigned bytes);
int64_t cursor_sint(struct cursor *c, unsigned bytes);
uint64_t cursor_uleb(struct cursor *c);
int64_t cursor_sleb(struct cursor *c);
void cursor_skip(struct cursor *c, uint64_t n);
static inline size_t cursor_left(const struct cursor *c)
{
	return c->bad ? 0 : (size_t)(c->end - c->p);
}

/* --- cfa.c --- */

/* What is followed of the register rules at one place. */
struct cfa_state {
	enum { CFA_REG, CFA_INFO, CFA_BAD } cfa; /* INFO: an expression, known by its bytes */
	uint32_t reg;
	int64_t off;
	uint32_t info; /* CFA_INFO: kind, flags and offset as in a row */
	enum { BP_SAME, BP_CFA, BP_AT_BP, BP_BAD } bp;
	int64_t bp_off;
	enum { RA_CFA, RA_RDI, RA_BOTTOM, RA_BAD } ra;
	int64_t ra_off;
};
struct cie {
	uint64_t at; /* where it was, to know it again */
	uint64_t code_align;
	int64_t data_align;
	uint8_t fde_enc;
	bool signal, augmented, valid;
	struct cfa_state initial;
};
/* Told each row: from vaddr on. Non-zero stops. */
typedef int (*cfa_row)(void *ctx, uint64_t vaddr, uint32_t info);
/* Follows the instructions; start: address of the first row. fn NULL: a CIE's, which leave
 * *s as they end. 0, -EINVAL for what cannot be understood, or what fn returned. */
int cfa_run(const struct cie *cie, struct cfa_state *s, struct cursor *ins, uint64_t start,
            uint64_t end, cfa_row fn, void *ctx);

/* --- cfi.c --- */

/* Where a function's unwinding information is; of two that have it the first is taken. */
enum fde_source {
	FDE_EH,
	FDE_DEBUG,
	FDE_GO,
	FDE_CODE /* its instructions */,
	FDE_INITFINI,
	FDE_SCANNED
};
struct fde {
	uint64_t start, end; /* code, [start, end) */
	uint32_t ins, ins_n; /* its instructions (GO: its table of frame sizes): where in the
	                        section's bytes. INITFINI: where in the code the stack pointer has
	                        been lowered, and where it is back. SCANNED: its rows in
	                        image.code_rows */
	uint32_t cie;        /* where its CIE is */
	enum fde_source source;
};
typedef VEC(struct fde) fde_vec;
/* Adds the section's FDEs. What cannot be understood is left out. 0 or -ENOMEM, -E2BIG. */
int cfi_list(const struct image *im, const struct image_bytes *sec, bool debug, fde_vec *out);
/* The CIE at `at` of the section; *cie may hold the one of an earlier call. False: unusable. */
bool cfi_cie(const struct image_bytes *sec, bool debug, uint64_t at, struct cie *cie);

/* --- gotable.c: .gopclntab, whose forms are told by golang.h. Hostile, as all bytes of a file.  */

#define GO_HEADER 72 /* bytes, at most */

struct go_table {
	const uint8_t *p;
	uint64_t n;
	unsigned form; /* the Go it came with: 12, 116, 118, 120 (1.2 …) */
	unsigned word; /* bytes of an entry of the list of functions */
	uint64_t text; /* address that the entries count from */
	uint64_t n_funcs;
	uint64_t names, units, files, pcs, list, funcs; /* where the parts begin */
};
/* False: these 8 bytes do not begin such a table. */
bool go_table_is(const uint8_t *p);
/* b stays the caller's, as long as g is used. 0 or -ENOEXEC. */
int go_table_open(struct go_table *g, const struct buf *b);

struct go_func {
	uint64_t start, end;
	const char *name;
	uint64_t pcsp, pcfile, pcln; /* its lists of numbers by place; 0 = none */
	uint64_t unit;               /* where the names of its files begin */
	uint64_t pcdata;             /* where the places of more lists are */
	uint32_t n_pcdata, n_funcdata;
};
/* Function i; false: it makes no sense. */
bool go_table_func(const struct go_table *g, uint64_t i, struct go_func *f);
uint64_t go_table_pcdata(const struct go_table *g, const struct go_func *f,
                         unsigned i); /* 0 = none */
/* Before Go 1.18 an address, since then bytes past moduledata.gofunc. */
bool go_table_funcdata(const struct go_table *g, const struct go_func *f, unsigned i,
                       uint64_t *out);
const char *go_table_file(const struct go_table *g, const struct go_func *f, int64_t id); /* NULL */
const char *go_table_name(const struct go_table *g, uint32_t at);                         /* NULL */

/* A list: a value and how many bytes of code it holds for, by differences. */
struct go_list {
	struct cursor c;
	bool begun;
	int64_t value;
	uint64_t bytes;
};
bool go_list_open(const struct go_table *g, uint64_t at, struct go_list *l);
bool go_list_next(struct go_list *l);
/* The value so many bytes past the function's start; -1 also when there is none. */
int64_t go_table_value(const struct go_table *g, uint64_t at, uint64_t past);

/* --- golang.c --- */

/* What the symbols tell: im->bottoms, im->crosscall. 0 or -ENOMEM. */
int golang_symbols(struct image *im);
/* Finds and reads im->go. 0 or -errno. */
int golang_table(struct image *im);
/* Then opens it: *g is valid as long as im. 0 or -ENOEXEC. */
int golang_read(const struct image *im, struct go_table *g);
/* The address at vaddr, as it is once the program has been loaded at 0; 0 = none. */
uint64_t golang_word(const struct image *im, uint64_t vaddr);
/* A place where a loaded program has this address, by its relocations; 0 = none. */
uint64_t golang_pointer_to(const struct image *im, uint64_t vaddr);
/* Adds the functions of im->go, and to im->bottoms those that belong there; and im->crosscall.
 * What cannot be understood is left out. 0 or -ENOMEM. */
int golang_list(struct image *im, fde_vec *out);
/* The rows of such a function's code (FDE_GO, FDE_CODE), as cfa_run(). */
int golang_rows(const struct image *im, const struct fde *f, cfa_row fn, void *ctx);

/* --- initfini.c --- */

/* Adds .init and .fini, where they are as the C library's start files make them. 0 or -ENOMEM. */
int initfini_list(const struct image *im, fde_vec *out);
/* The rows of one of them (FDE_INITFINI), as cfa_run(). */
int initfini_rows(const struct fde *f, cfa_row fn, void *ctx);

/* --- codeframes.c --- */

/* Addresses where functions begin: the first n_sure do, of the rest those that follow a function's
 * end. Both in order. What is elsewhere is ignored. */
struct code_starts {
	uint64_t *v;
	size_t n, cap, n_sure;
};
/* Rows of n bytes of code that are at vaddr when loaded, by following their instructions. None
 * where most functions keep frame pointers. 0, -ENOTSUP (no disassembler), -E2BIG, -ENOMEM. */
int code_rows(const uint8_t *code, size_t n, uint64_t vaddr, const struct code_starts *starts,
              code_row_vec *out);
/* Adds what of .text none of *out covers. Where instructions cannot be followed nothing is
 * added. 0 or -ENOMEM. */
int codeframes_list(struct image *im, fde_vec *out);
/* The rows of one of these (FDE_SCANNED), as cfa_run(). */
int codeframes_rows(const struct image *im, const struct fde *f, cfa_row fn, void *ctx);

#endif
