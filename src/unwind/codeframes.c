/* SPDX-License-Identifier: MIT */
/*
 * codeframes.c: rows from the code itself, where a file has no call frame information and keeps no
 * frame pointers: musl's C library above all, whose every wait is in such code.
 *
 * Each function is followed from its start, where the return address is on top of the stack: what
 * its instructions do to the stack pointer says how far away that is from then on, also past jumps.
 * It proves itself: wherever the function returns, the stack pointer must be back at the return
 * address and rbp must be the caller's again, and whichever way leads to a place must bring the
 * same. A function where this fails gets no rows.
 *
 * Where functions begin: symbols, what calls go to, whose address is loaded or stored (relative
 * relocations), the program's entry.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codesteps.h"
#include "unwind_priv.h"

#define TEXT_MAX   (16u << 20)
#define CODE_MAX   (2u << 20) /* 100 MiB of memory, where each instruction is a byte */
#define GAP_MIN    16
#define WORTH_PART 12 /* of .text, one in so many: some assembly is in many files */
#define LIST_MAX   (8u << 20)
#define PASSES     6
#define FP_SAMPLE  20

enum { IS_START = 1, IS_KNOWN = 2, IS_BAD = 4 };

/* Before an instruction. */
struct frame_state {
	enum { AT_UNKNOWN, AT_FRAME, AT_BOTTOM, AT_SIGNAL } at;
	int32_t depth; /* CFA = rsp + depth; 0 = not known, but by fp */
	int32_t fp;    /* CFA = rbp + fp; 0 = rbp does not lead there */
	int32_t bp_at; /* the caller's rbp is at CFA - bp_at; 0 = in rbp, -1 = lost */
};
struct scan {
	code_step_vec steps;
	size_t n;               /* bytes of code */
	uint32_t *index;        /* by offset: its instruction, UINT32_MAX = none begins there */
	uint8_t *flags;         /* by instruction: IS_* */
	struct frame_state *in; /* by instruction: what jumps bring there, IS_KNOWN */
	struct frame_state *before;
	bool changed;
};

static const struct frame_state entry = {.at = AT_FRAME, .depth = 8};

static bool same(const struct frame_state *a, const struct frame_state *b)
{
	return a->at == b->at && a->depth == b->depth && a->fp == b->fp && a->bp_at == b->bp_at;
}

/* --- one instruction --- */

static void sp_moves(struct frame_state *f, int64_t by)
{
	int64_t depth = f->depth - by;

	if (!f->depth)
		return;
	f->depth = depth >= 8 && depth <= INT16_MAX * 8 ? (int32_t)depth : 0;
	if (!f->depth && !f->fp)
		f->at = AT_UNKNOWN;
}

static void bp_saved(struct frame_state *f, int32_t at)
{
	if (!f->bp_at && at > 8)
		f->bp_at = at;
}

/* From there: the caller's again? */
static void bp_read(struct frame_state *f, int32_t at)
{
	f->bp_at = f->bp_at == at && f->depth ? 0 : f->bp_at ? f->bp_at : -1;
	f->fp = 0;
}

static void bp_is_frame(struct frame_state *f, int32_t above_sp)
{
	f->fp = f->bp_at > 0 && f->depth ? f->depth - above_sp : 0;
	if (!f->bp_at)
		f->bp_at = -1;
}

static void sp_from_bp(struct frame_state *f, int32_t above_bp)
{
	f->depth = f->fp;
	if (!f->fp)
		f->at = AT_UNKNOWN;
	sp_moves(f, above_bp);
}

static void run_step(struct frame_state *f, const struct code_step *s)
{
	if (f->at != AT_FRAME)
		return;
	switch (s->op) {
	case CODE_ADJUST:
		sp_moves(f, s->val);
		break;
	case CODE_PUSH_BP:
		sp_moves(f, -8);
		bp_saved(f, f->depth);
		break;
	case CODE_POP_BP:
		bp_read(f, f->depth);
		sp_moves(f, 8);
		break;
	case CODE_STORE_BP:
		bp_saved(f, f->depth ? f->depth - s->val : 0);
		break;
	case CODE_LOAD_BP:
		bp_read(f, f->depth - s->val);
		break;
	case CODE_BP_FROM_SP:
		bp_is_frame(f, s->val);
		break;
	case CODE_SP_FROM_BP:
		sp_from_bp(f, s->val);
		break;
	case CODE_LEAVE:
		sp_from_bp(f, 0);
		bp_read(f, f->depth);
		sp_moves(f, 8);
		break;
	case CODE_MAYBE_BOTTOM:
		if (!f->bp_at)
			f->at = AT_BOTTOM;
		f->fp = 0;
		break;
	case CODE_CLOBBER_BP:
		f->fp = 0;
		if (!f->bp_at)
			f->bp_at = -1;
		break;
	case CODE_LOST:
		f->depth = 0;
		if (!f->fp)
			f->at = AT_UNKNOWN;
		break;
	default:
		break;
	}
}

static bool ends_flow(uint8_t op)
{
	return op == CODE_JMP || op == CODE_JMP_INDIRECT || op == CODE_RET || op == CODE_STOP;
}

/* --- where functions begin --- */

static void mark_start(struct scan *s, uint64_t offset, bool any)
{
	uint32_t i = offset < s->n ? s->index[offset] : UINT32_MAX;

	if (i == UINT32_MAX)
		return;
	if (any || !i || s->steps.v[i - 1].op == CODE_PAD || ends_flow(s->steps.v[i - 1].op))
		s->flags[i] |= IS_START;
}

/* Of n in order, those that are here. */
static void mark_starts(struct scan *s, uint64_t vaddr, const uint64_t *v, size_t n, bool any)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid] < vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < n && v[lo] - vaddr < s->n; lo++)
		mark_start(s, v[lo] - vaddr, any);
}

static void find_starts(struct scan *s)
{
	for (size_t i = 0; i < s->steps.n; i++) {
		const struct code_step *p = &s->steps.v[i];

		if (p->op == CODE_CALL && p->val >= 0)
			mark_start(s, (uint64_t)p->val, true);
		if (p->addr >= 0)
			mark_start(s, (uint64_t)p->addr, false);
	}
	if (s->steps.n)
		s->flags[0] |= IS_START;
}

/* Do its functions begin with what makes a frame pointer? Then that is the better way. */
static bool keeps_frame_pointers(const struct scan *s)
{
	size_t n = 0, with = 0;

	for (size_t i = 0; i + 1 < s->steps.n; i++) {
		if (!(s->flags[i] & IS_START))
			continue;
		n++;
		with += s->steps.v[i].op == CODE_PUSH_BP && s->steps.v[i + 1].op == CODE_BP_FROM_SP;
	}
	return n >= FP_SAMPLE && with * 2 > n;
}

/* --- the way through --- */

/* What a jump brings to its target. */
static void send(struct scan *s, const struct frame_state *f, int32_t to)
{
	uint32_t i = to >= 0 ? s->index[to] : UINT32_MAX;

	if (i == UINT32_MAX || f->at == AT_UNKNOWN || (s->flags[i] & (IS_START | IS_KNOWN)))
		return;
	s->in[i] = *f;
	s->flags[i] |= IS_KNOWN;
	s->changed = true;
}

struct way {
	struct frame_state f, indirect; /* of the last jump through a table in this function */
	size_t start;
	bool ended;
	uint8_t last; /* instruction but padding */
};

/* Behind a call that does not return, the next function: nobody falls or jumps there. Not so the
 * head of a loop, the other thing that is aligned. */
static bool is_behind_end(const struct scan *s, const struct way *w, size_t i)
{
	return i && w->last == CODE_CALL && s->steps.v[i - 1].op == CODE_PAD &&
	       s->steps.v[i].op != CODE_PAD && s->steps.v[i].at % 16 == 0;
}

/* mov $15,%rax; syscall: sigreturn, where a signal handler returns to. */
static bool is_sigreturn(const struct scan *s, size_t i)
{
	return i + 1 < s->steps.n && s->steps.v[i].op == CODE_RAX && s->steps.v[i].val == 15 &&
	       s->steps.v[i + 1].op == CODE_SYSCALL;
}

/* Two ways lead to instruction i. rbp may be of use on one of them and a number like others on the
 * next. */
static void join(struct scan *s, const struct way *w, size_t i)
{
	struct frame_state *in = &s->in[i];

	if (same(&w->f, in))
		return;
	/* A call that does not return is followed by what belongs to another way, or function. */
	if (w->last == CODE_CALL) {
		s->flags[i] |= same(in, &entry) ? IS_START : 0;
		return;
	}
	if (w->f.at != in->at || !in->depth || w->f.depth != in->depth || w->f.bp_at != in->bp_at) {
		s->flags[w->start] |= IS_BAD;
	} else {
		s->changed |= in->fp != 0;
		in->fp = 0;
	}
}

/* Before instruction i. */
static void arrive(struct scan *s, struct way *w, size_t i, unsigned pass)
{
	if (pass && !(s->flags[i] & (IS_START | IS_KNOWN)) && is_behind_end(s, w, i))
		*w = (struct way){.start = i, .ended = true};
	if (!(s->flags[i] & IS_START) && (s->flags[i] & IS_KNOWN) && !w->ended &&
	    w->f.at != AT_UNKNOWN)
		join(s, w, i);
	if (s->flags[i] & IS_START) {
		*w = (struct way){.f = entry, .start = i};
	} else if (s->flags[i] & IS_KNOWN) {
		w->f = s->in[i];
		w->ended = false;
	} else if (w->ended) {
		w->f = w->indirect;
		w->ended = w->f.at == AT_UNKNOWN;
	}
	if (is_sigreturn(s, i))
		w->f = (struct frame_state){.at = AT_SIGNAL};
}

static void go_through(struct scan *s, unsigned pass)
{
	struct way w = {.ended = true};

	for (size_t i = 0; i < s->steps.n; i++) {
		const struct code_step *p = &s->steps.v[i];

		arrive(s, &w, i, pass);
		s->before[i] = w.f;
		run_step(&w.f, p);
		if (p->op == CODE_JCC || p->op == CODE_JMP)
			send(s, &w.f, p->val);
		if (p->op == CODE_JMP_INDIRECT)
			w.indirect = w.f;
		if (p->op == CODE_RET && w.f.at == AT_FRAME && (w.f.depth != 8 || w.f.bp_at))
			s->flags[w.start] |= IS_BAD;
		w.last = p->op == CODE_PAD ? w.last : p->op;
		if (ends_flow(p->op)) {
			w.ended = true;
			w.f = (struct frame_state){0};
		}
	}
}

/* --- rows --- */

static uint32_t info_of(const struct frame_state *f)
{
	int32_t cfa = f->depth ? f->depth : f->fp;

	if (f->at == AT_BOTTOM)
		return MT_INFO(MT_UNW_BOTTOM, 0, 0, 0);
	if (f->at == AT_SIGNAL)
		return MT_INFO(MT_UNW_SIGNAL, 0, 0, 0);
	if (f->at != AT_FRAME || !cfa || cfa % 8 || f->bp_at < 0 || f->bp_at % 8 ||
	    f->bp_at > 128 * 8)
		return MT_INFO(MT_UNW_NONE, 0, 0, 0);
	return MT_INFO(f->depth ? MT_UNW_RSP : MT_UNW_RBP, 0, cfa / 8, -(f->bp_at / 8));
}

static int make_rows(const struct scan *s, uint64_t vaddr, code_row_vec *out)
{
	uint32_t last = MT_INFO(MT_UNW_UNSUPPORTED, 0, 0, 0);
	bool bad = false;
	int rc = 0;

	for (size_t i = 0; i < s->steps.n && !rc; i++) {
		struct code_row row = {.vaddr = vaddr + s->steps.v[i].at};

		if (s->flags[i] & IS_START)
			bad = s->flags[i] & IS_BAD;
		if (s->steps.v[i].op == CODE_PAD && s->before[i].at == AT_UNKNOWN)
			continue;
		row.info = bad ? MT_INFO(MT_UNW_NONE, 0, 0, 0) : info_of(&s->before[i]);
		if (row.info == last)
			continue;
		last = row.info;
		/* A handler's return address is looked up as any other: by the byte before. */
		if (s->before[i].at == AT_SIGNAL && row.vaddr > vaddr)
			row.vaddr--;
		rc = vec_push(out, row);
	}
	return rc;
}

static int follow(struct scan *s, uint64_t vaddr, code_row_vec *out)
{
	for (unsigned pass = 0; pass < PASSES && (s->changed || pass < 2); pass++) {
		s->changed = false;
		for (size_t i = 0; i < s->steps.n; i++)
			s->flags[i] &= (uint8_t)~IS_BAD;
		go_through(s, pass);
	}
	return make_rows(s, vaddr, out);
}

int code_rows(const uint8_t *code, size_t n, uint64_t vaddr, const struct code_starts *starts,
              code_row_vec *out)
{
	struct scan s = {.n = n};
	int rc = n && n <= CODE_MAX ? code_steps(code, n, &s.steps) : -E2BIG;
	size_t k = s.steps.n + 1;

	if (!rc) {
		s.index = malloc(n * sizeof(*s.index));
		s.flags = calloc(k, sizeof(*s.flags));
		s.in = calloc(k, sizeof(*s.in));
		s.before = calloc(k, sizeof(*s.before));
		rc = s.index && s.flags && s.in && s.before ? 0 : -ENOMEM;
	}
	if (!rc) {
		memset(s.index, 0xff, n * sizeof(*s.index));
		for (size_t i = 0; i < s.steps.n; i++)
			s.index[s.steps.v[i].at] = (uint32_t)i;
		mark_starts(&s, vaddr, starts->v, starts->n_sure, true);
		if (starts->n > starts->n_sure)
			mark_starts(&s, vaddr, starts->v + starts->n_sure,
			            starts->n - starts->n_sure, false);
		find_starts(&s);
		rc = keeps_frame_pointers(&s) ? 0 : follow(&s, vaddr, out);
	}
	vec_release(&s.steps);
	free(s.index);
	free(s.flags);
	free(s.in);
	free(s.before);
	return rc;
}

/* --- of a file --- */

static int starts_of_symbols(const struct image *im, const struct image_place *place,
                             struct code_starts *out)
{
	struct buf b = {0};
	int rc = place->n && place->n <= LIST_MAX ? image_read(im, place->off, place->n, &b) : 0;

	for (size_t at = 0; at + sizeof(Elf64_Sym) <= b.n && !rc; at += sizeof(Elf64_Sym)) {
		Elf64_Sym s;

		memcpy(&s, b.p + at, sizeof(s));
		if (s.st_shndx && ELF64_ST_TYPE(s.st_info) == STT_FUNC)
			rc = vec_push(out, s.st_value);
	}
	buf_release(&b);
	return rc == -ENOMEM ? rc : 0;
}

/* Addresses that the loaded program stores: tables of functions. */
static int starts_of_pointers(const struct image *im, struct code_starts *out)
{
	struct buf b = {0};
	int rc = im->rela.n && im->rela.n <= LIST_MAX ? image_read(im, im->rela.off, im->rela.n, &b)
	                                              : 0;

	for (size_t at = 0; at + sizeof(Elf64_Rela) <= b.n && !rc; at += sizeof(Elf64_Rela)) {
		Elf64_Rela r;

		memcpy(&r, b.p + at, sizeof(r));
		if (ELF64_R_TYPE(r.r_info) == R_X86_64_RELATIVE)
			rc = vec_push(out, (uint64_t)r.r_addend);
	}
	buf_release(&b);
	return rc == -ENOMEM ? rc : 0;
}

/* What calls go to, and what code that is not followed jumps to (its last call may be a jump): by
 * their bytes. gaps: what is followed, by address. */
static int starts_of_calls(const struct image *im, const fde_vec *gaps, struct code_starts *out)
{
	struct buf b = {0};
	int rc = image_read(im, im->text.off, im->text.n, &b);

	for (size_t at = 0, gap = 0; !rc && at + 5 <= b.n; at++) {
		uint64_t vaddr = im->text_vaddr + at, to;
		int32_t by;

		while (gap < gaps->n && gaps->v[gap].end <= vaddr)
			gap++;
		if ((b.p[at] & 0xfe) != 0xe8 ||
		    (b.p[at] == 0xe9 && gap < gaps->n && vaddr >= gaps->v[gap].start))
			continue;
		memcpy(&by, b.p + at + 1, sizeof(by));
		to = vaddr + 5 + (uint64_t)(int64_t)by;
		if (to - im->text_vaddr < im->text.n)
			rc = vec_push(out, to);
	}
	buf_release(&b);
	return rc == -ENOMEM ? rc : 0;
}

static int compare_address(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int list_starts(const struct image *im, const fde_vec *gaps, struct code_starts *out)
{
	int rc = starts_of_symbols(im, &im->symtab, out);

	rc = rc ? rc : starts_of_symbols(im, &im->dynsym, out);
	rc = rc ? rc : vec_push(out, im->entry);
	out->n_sure = out->n;
	rc = rc ? rc : starts_of_pointers(im, out);
	rc = rc ? rc : starts_of_calls(im, gaps, out);
	if (!rc) {
		qsort(out->v, out->n_sure, sizeof(*out->v), compare_address);
		qsort(out->v + out->n_sure, out->n - out->n_sure, sizeof(*out->v), compare_address);
	}
	return rc;
}

static int compare_start(const void *a, const void *b)
{
	const struct fde *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Parts of .text that no FDE covers. */
static int find_gaps(const struct image *im, const fde_vec *have, fde_vec *gaps, uint64_t *bytes)
{
	uint64_t at = im->text_vaddr, end = at + im->text.n;
	fde_vec sorted = {0};
	int rc = vec_reserve(&sorted, have->n + 1);

	*bytes = 0;
	if (rc || end < at)
		return rc;
	if (have->n)
		memcpy(sorted.v, have->v, have->n * sizeof(*have->v));
	sorted.v[have->n] = (struct fde){.start = end, .end = end};
	sorted.n = have->n + 1;
	qsort(sorted.v, sorted.n, sizeof(*sorted.v), compare_start);
	for (size_t i = 0; i < sorted.n && !rc && at < end; i++) {
		const struct fde *f = &sorted.v[i];
		uint64_t to = f->start < end ? f->start : end;

		if (to > at && to - at >= GAP_MIN) {
			rc = vec_push(
			        gaps,
			        ((struct fde){.start = at, .end = to, .source = FDE_SCANNED}));
			*bytes += to - at;
		}
		at = f->end > at ? f->end : at;
	}
	vec_release(&sorted);
	return rc;
}

static int scan_gap(struct image *im, struct fde *gap, const struct code_starts *starts,
                    fde_vec *out)
{
	uint64_t off = im->text.off + (gap->start - im->text_vaddr);
	size_t first = im->code_rows.n;
	struct buf b = {0};
	int rc = image_read(im, off, gap->end - gap->start, &b);

	if (!rc)
		rc = code_rows(b.p, b.n, gap->start, starts, &im->code_rows);
	buf_release(&b);
	if (rc == -ENOMEM || im->code_rows.n == first)
		return rc == -ENOMEM ? rc : 0;
	gap->ins = (uint32_t)first;
	gap->ins_n = (uint32_t)(im->code_rows.n - first);
	return vec_push(out, *gap);
}

/* Has most of the code information of its own? Before anything is sorted: it is so for nearly all.
 */
static bool is_covered(const struct image *im, const fde_vec *have)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < have->n; i++)
		bytes += have->v[i].end - have->v[i].start;
	return bytes >= im->text.n - im->text.n / WORTH_PART;
}

int codeframes_list(struct image *im, fde_vec *out)
{
	struct code_starts starts = {0};
	fde_vec gaps = {0};
	uint64_t bytes = 0;
	int rc = 0;

	if (!im->is_go && im->text.n && im->text.n <= TEXT_MAX &&
	    (im->is_musl || !is_covered(im, out)))
		rc = find_gaps(im, out, &gaps, &bytes);
	if (!rc && bytes && (bytes >= im->text.n / WORTH_PART || im->is_musl)) {
		rc = list_starts(im, &gaps, &starts);
		for (size_t i = 0; i < gaps.n && !rc; i++)
			rc = scan_gap(im, &gaps.v[i], &starts, out);
	}
	vec_release(&starts);
	vec_release(&gaps);
	return rc;
}

int codeframes_rows(const struct image *im, const struct fde *f, cfa_row fn, void *ctx)
{
	int rc = 0;

	for (uint32_t i = 0; i < f->ins_n && !rc; i++) {
		const struct code_row *r = &im->code_rows.v[f->ins + i];

		rc = fn(ctx, r->vaddr, r->info);
	}
	return rc;
}
