/* SPDX-License-Identifier: MIT */
/*
 * remote.c: the walk that bpf/unwind.bpf.c does in the kernel, in user space. The two are
 * kept alike: same rows, same ends.
 */
#include <errno.h>
#include <string.h>

#include "mt_flags.h"
#include "unwind_priv.h"

#define FP_SPAN (1u << 20) /* a frame is smaller: else it is no frame pointer */

uint32_t unwind_find(const struct unwind_view *v, uint64_t file_offset)
{
	uint64_t block = file_offset >> MT_BLOCK_SHIFT, lo, hi, n_rows;
	const uint64_t *rows;

	if (file_offset > UINT32_MAX || block < v->base_block ||
	    block - v->base_block >= v->n_blocks || v->n_words <= v->n_blocks + 1)
		return 0;
	rows = v->words + v->n_blocks + 1;
	n_rows = v->n_words - v->n_blocks - 1;
	lo = v->words[block - v->base_block];
	hi = v->words[block - v->base_block + 1];
	if (lo >= n_rows || hi >= n_rows)
		return 0;
	while (lo < hi) {
		uint64_t mid = (lo + hi + 1) / 2;

		if (MT_ROW_OFF(rows[mid]) <= file_offset)
			lo = mid;
		else
			hi = mid - 1;
	}
	return MT_ROW_OFF(rows[lo]) <= file_offset ? MT_ROW_INFO(rows[lo]) : 0;
}

struct walk {
	const struct unwind_ops *ops;
	struct unwind_regs *r;
	unsigned *flags;
};

static int read_word(const struct walk *w, uint64_t addr, uint64_t *out)
{
	return w->ops->read(w->ops->ctx, addr, out, sizeof(*out)) ? -EFAULT : 0;
}

/* By frame pointer: the caller's is at rbp, the return address behind it. */
static unsigned step_fp(const struct walk *w)
{
	struct unwind_regs *r = w->r;
	uint64_t two[2];

	*w->flags |= STACK_F_FP;
	/* Where code was interrupted that keeps no frame pointers, a 0 says nothing. */
	if (!r->bp_unknown && !r->bp)
		return r->exact ? STACK_END_NO_TABLE : STACK_END_BOTTOM;
	if (r->bp_unknown || (r->bp & 7) || r->bp < r->sp || r->bp - r->sp > FP_SPAN)
		return STACK_END_NO_TABLE;
	if (w->ops->read(w->ops->ctx, r->bp, two, sizeof(two)))
		return STACK_END_BAD_READ;
	r->sp = r->bp + 16;
	r->bp = two[0];
	r->ip = two[1];
	r->exact = false;
	return r->ip ? STACK_END_UNKNOWN : STACK_END_BOTTOM;
}

/* ucontext of x86-64: registers from byte 40 on, rbp the 11th, rsp the 16th, rip the 17th. */
static unsigned step_signal(const struct walk *w)
{
	struct unwind_regs *r = w->r;
	uint64_t gregs[7];

	if (w->ops->read(w->ops->ctx, r->sp + 120, gregs, sizeof(gregs)))
		return STACK_END_BAD_READ;
	r->bp = gregs[0];
	r->sp = gregs[5];
	r->ip = gregs[6];
	r->bp_unknown = false;
	r->exact = true;
	return STACK_END_UNKNOWN;
}

/* 0 and the CFA, or how it ended. */
static unsigned find_cfa(const struct walk *w, uint32_t info, uint64_t *cfa)
{
	const struct unwind_regs *r = w->r;
	unsigned kind = MT_INFO_KIND(info);
	bool of_bp = kind == MT_UNW_RBP || kind == MT_UNW_RBP_DEREF;

	if (of_bp && r->bp_unknown)
		return STACK_END_BAD_ROW;
	*cfa = (of_bp ? r->bp : r->sp) + (uint64_t)MT_INFO_CFA(info);
	if (kind == MT_UNW_PLT)
		*cfa = r->sp + 8 + ((r->ip & 15) >= 11 ? 8 : 0);
	if (kind == MT_UNW_RSP_DEREF || kind == MT_UNW_RBP_DEREF) {
		if (read_word(w, *cfa, cfa))
			return STACK_END_BAD_READ;
		if (MT_INFO_FLAGS(info) & MT_UNW_ADD8)
			*cfa += 8;
	}
	return *cfa > r->sp ? 0 : STACK_END_BAD_ROW;
}

static unsigned step_row(const struct walk *w, uint32_t info)
{
	struct unwind_regs *r = w->r;
	bool at_bp = (MT_INFO_FLAGS(info) & MT_UNW_BP_AT_BP) != 0;
	uint64_t cfa, ra;
	unsigned end = find_cfa(w, info, &cfa);

	*w->flags |= STACK_F_TABLE;
	if (end)
		return end;
	if (read_word(w, cfa - 8, &ra))
		return STACK_END_BAD_READ;
	if (at_bp || MT_INFO_BP(info) != 0) {
		uint64_t at = (at_bp ? r->bp : cfa) + (uint64_t)MT_INFO_BP(info);

		if (at_bp && r->bp_unknown)
			return STACK_END_BAD_ROW;
		if (read_word(w, at, &r->bp))
			return STACK_END_BAD_READ;
		r->bp_unknown = false;
	}
	r->sp = cfa;
	r->ip = ra;
	r->exact = false;
	return ra ? STACK_END_UNKNOWN : STACK_END_BOTTOM;
}

/* One frame outwards: STACK_END_UNKNOWN = go on. */
static unsigned step(const struct walk *w)
{
	uint64_t pc = w->r->ip - !w->r->exact;
	struct unwind_place p = {0};
	uint32_t info;

	if (w->ops->place(w->ops->ctx, pc, &p))
		return STACK_END_NO_MAPPING;
	if (!p.table)
		return step_fp(w);
	info = unwind_find(p.table, p.file_offset);
	switch (MT_INFO_KIND(info)) {
	case MT_UNW_RSP:
	case MT_UNW_RBP:
	case MT_UNW_RSP_DEREF:
	case MT_UNW_RBP_DEREF:
	case MT_UNW_PLT:
		return step_row(w, info);
	case MT_UNW_SIGNAL:
		*w->flags |= STACK_F_TABLE;
		return step_signal(w);
	case MT_UNW_RDI: /* which nobody has told us */
		*w->flags |= STACK_F_TABLE;
		return STACK_END_BAD_ROW;
	case MT_UNW_BOTTOM:
		*w->flags |= STACK_F_TABLE;
		return STACK_END_BOTTOM;
	default:
		return step_fp(w);
	}
}

size_t unwind_remote(const struct unwind_ops *ops, struct unwind_regs *r, uint64_t *frames,
                     size_t max, unsigned *end, unsigned *flags)
{
	const struct walk w = {ops, r, flags};
	size_t n = 0;

	*end = STACK_END_DEPTH;
	while (n < max) {
		unsigned e;

		frames[n++] = r->ip;
		e = step(&w);
		if (e != STACK_END_UNKNOWN) {
			*end = e;
			break;
		}
	}
	return n;
}
