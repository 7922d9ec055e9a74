/* SPDX-License-Identifier: MIT */
/*
 * cfa.c: call frame instructions (DWARF 5, 6.4.2) into rows. Only the CFA, rbp and the return
 * address are followed. Expressions are recognized by their bytes: there are three in the
 * wild that matter (PLT entries; functions that realign the stack; OpenSSL's assembler).
 */
#include <errno.h>
#include <string.h>

#include "unwind_priv.h"

enum { REG_RDI = 5, REG_RBP = 6, REG_RSP = 7, REG_RA = 16 };
enum { STATES_MAX = 16 };

enum {
	OP_NOP = 0x00,
	OP_SET_LOC,
	OP_ADVANCE1,
	OP_ADVANCE2,
	OP_ADVANCE4,
	OP_OFFSET_EXT,
	OP_RESTORE_EXT,
	OP_UNDEFINED,
	OP_SAME_VALUE,
	OP_REGISTER,
	OP_REMEMBER,
	OP_RESTORE_STATE,
	OP_DEF_CFA,
	OP_DEF_CFA_REG,
	OP_DEF_CFA_OFF,
	OP_DEF_CFA_EXPR,
	OP_EXPR,
	OP_OFFSET_EXT_SF,
	OP_DEF_CFA_SF,
	OP_DEF_CFA_OFF_SF,
	OP_VAL_OFFSET,
	OP_VAL_OFFSET_SF,
	OP_VAL_EXPR,
	OP_ARGS_SIZE = 0x2e,
	OP_NEG_OFFSET_EXT,
};

static bool fits_cfa(int64_t off)
{
	return !(off & 7) && off >= -32768 * 8 && off <= 32767 * 8;
}

/* Where the caller's rbp is: bits of a row. False: not to be told in one. */
static bool bp_bits(const struct cfa_state *s, unsigned *flags, int64_t *bp8)
{
	*bp8 = 0;
	if (s->bp == BP_SAME)
		return true;
	if (s->bp == BP_BAD || (s->bp_off & 7) || s->bp_off < -1024 || s->bp_off > 1016)
		return false;
	*bp8 = s->bp_off / 8;
	if (s->bp == BP_AT_BP)
		*flags |= MT_UNW_BP_AT_BP;
	return s->bp == BP_AT_BP || *bp8;
}

static uint32_t info_of(const struct cie *cie, const struct cfa_state *s)
{
	const uint32_t unsupported = MT_INFO(MT_UNW_UNSUPPORTED, 0, 0, 0);
	unsigned flags = 0;
	int64_t bp8;

	if (cie->signal)
		return MT_INFO(MT_UNW_SIGNAL, 0, 0, 0);
	if (s->ra == RA_BOTTOM)
		return MT_INFO(MT_UNW_BOTTOM, 0, 0, 0);
	if (s->ra == RA_RDI && s->cfa == CFA_REG && s->reg == REG_RSP && s->off >= 0 &&
	    s->off < 4096 && !(s->off & 7) && s->bp == BP_SAME)
		return MT_INFO(MT_UNW_RDI, 0, s->off / 8, 0);
	if (s->ra == RA_RDI || s->ra == RA_BAD || s->ra_off != -8 || s->cfa == CFA_BAD ||
	    !bp_bits(s, &flags, &bp8))
		return unsupported;
	if (s->cfa == CFA_INFO)
		return s->info | MT_INFO(0, flags, 0, bp8);
	if (!fits_cfa(s->off) || (s->reg != REG_RSP && s->reg != REG_RBP))
		return unsupported;
	return MT_INFO(s->reg == REG_RSP ? MT_UNW_RSP : MT_UNW_RBP, flags, s->off / 8, bp8);
}

/* A CFA given by an expression. */
static void cfa_expression(struct cfa_state *s, struct cursor e)
{
	static const uint8_t plt[] = {0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22};
	uint8_t op;
	int64_t off;
	unsigned kind, flags = 0;

	s->cfa = CFA_BAD;
	if (cursor_left(&e) == sizeof(plt) && !memcmp(e.p, plt, sizeof(plt))) {
		s->cfa = CFA_INFO;
		s->info = MT_INFO(MT_UNW_PLT, 0, 0, 0);
		return;
	}
	op = (uint8_t)cursor_uint(&e, 1); /* DW_OP_breg6 or 7 */
	if (op != 0x70 + REG_RBP && op != 0x70 + REG_RSP)
		return;
	kind = op == 0x70 + REG_RBP ? MT_UNW_RBP_DEREF : MT_UNW_RSP_DEREF;
	off = cursor_sleb(&e);
	if (cursor_uint(&e, 1) != 0x06 || e.bad || !fits_cfa(off)) /* DW_OP_deref */
		return;
	if (cursor_left(&e) == 2) {
		/* DW_OP_plus_uconst 8, or DW_OP_lit8 DW_OP_plus */
		uint64_t two = cursor_uint(&e, 2);

		if (two != 0x0823 && two != 0x2238)
			return;
		flags = MT_UNW_ADD8;
	} else if (cursor_left(&e)) {
		return;
	}
	s->cfa = CFA_INFO;
	s->info = MT_INFO(kind, flags, off / 8, 0);
}

static void set_offset(struct cfa_state *s, uint64_t reg, int64_t off)
{
	if (reg == REG_RBP) {
		s->bp = BP_CFA;
		s->bp_off = off;
	} else if (reg == REG_RA) {
		s->ra = RA_CFA;
		s->ra_off = off;
	}
}

/* The register is somewhere that a row cannot tell. */
static void set_elsewhere(struct cfa_state *s, uint64_t reg, bool undefined)
{
	if (reg == REG_RBP)
		s->bp = undefined ? BP_SAME : BP_BAD; /* undefined: nobody above needs it */
	else if (reg == REG_RA)
		s->ra = undefined ? RA_BOTTOM : RA_BAD;
}

/* rbp saved where an expression says: at an offset from itself, in functions that realign. */
static void reg_expression(struct cfa_state *s, uint64_t reg, struct cursor e)
{
	int64_t off;

	set_elsewhere(s, reg, false);
	if (reg != REG_RBP || cursor_uint(&e, 1) != 0x70 + REG_RBP)
		return;
	off = cursor_sleb(&e);
	if (e.bad || cursor_left(&e))
		return;
	s->bp = BP_AT_BP;
	s->bp_off = off;
}

static void restore(struct cfa_state *s, const struct cfa_state *initial, uint64_t reg)
{
	if (reg == REG_RBP) {
		s->bp = initial->bp;
		s->bp_off = initial->bp_off;
	} else if (reg == REG_RA) {
		s->ra = initial->ra;
		s->ra_off = initial->ra_off;
	}
}

static int64_t times(int64_t a, int64_t b)
{
	int64_t r;

	return __builtin_mul_overflow(a, b, &r) ? 1 : r; /* 1: fits no row */
}

static struct cursor take_block(struct cursor *c)
{
	uint64_t n = cursor_uleb(c);
	struct cursor b = {c->p, c->p, false};

	cursor_skip(c, n);
	if (!c->bad)
		b.end = c->p;
	else
		b.bad = true;
	return b;
}

struct cfa_stack {
	struct cfa_state s[STATES_MAX];
	unsigned n;
};

/* Where the frame is. False: no instruction for that. */
static bool step_cfa(struct cfa_state *s, struct cursor *c, uint8_t op, int64_t da)
{
	switch (op) {
	case OP_DEF_CFA:
	case OP_DEF_CFA_SF:
		s->cfa = CFA_REG;
		s->reg = (uint32_t)cursor_uleb(c);
		s->off = op == OP_DEF_CFA ? (int64_t)cursor_uleb(c) : times(cursor_sleb(c), da);
		return true;
	case OP_DEF_CFA_REG:
		if (s->cfa == CFA_INFO)
			s->cfa = CFA_BAD;
		s->reg = (uint32_t)cursor_uleb(c);
		return true;
	case OP_DEF_CFA_OFF:
		s->off = (int64_t)cursor_uleb(c);
		return true;
	case OP_DEF_CFA_OFF_SF:
		s->off = times(cursor_sleb(c), da);
		return true;
	case OP_DEF_CFA_EXPR:
		cfa_expression(s, take_block(c));
		return true;
	default:
		return false;
	}
}

/* Where a register of the caller is. False: no instruction for that. */
static bool step_register(const struct cie *cie, struct cfa_state *s, struct cursor *c, uint8_t op)
{
	int64_t da = cie->data_align;
	uint64_t reg;

	switch (op) {
	case OP_OFFSET_EXT:
		reg = cursor_uleb(c);
		set_offset(s, reg, times((int64_t)cursor_uleb(c), da));
		return true;
	case OP_OFFSET_EXT_SF:
		reg = cursor_uleb(c);
		set_offset(s, reg, times(cursor_sleb(c), da));
		return true;
	case OP_NEG_OFFSET_EXT:
		reg = cursor_uleb(c);
		set_offset(s, reg, times(-(int64_t)(cursor_uleb(c) & INT64_MAX), da));
		return true;
	case OP_RESTORE_EXT:
		restore(s, &cie->initial, cursor_uleb(c));
		return true;
	case OP_UNDEFINED:
		set_elsewhere(s, cursor_uleb(c), true);
		return true;
	case OP_SAME_VALUE:
		reg = cursor_uleb(c);
		if (reg == REG_RBP)
			s->bp = BP_SAME;
		else
			set_elsewhere(s, reg, false);
		return true;
	case OP_REGISTER:
		reg = cursor_uleb(c);
		set_elsewhere(s, reg, false);
		if (cursor_uleb(c) == REG_RDI && reg == REG_RA)
			s->ra = RA_RDI;
		return true;
	case OP_VAL_OFFSET:
	case OP_VAL_OFFSET_SF:
		set_elsewhere(s, cursor_uleb(c), false);
		cursor_uleb(c);
		return true;
	case OP_EXPR:
		reg = cursor_uleb(c);
		reg_expression(s, reg, take_block(c));
		return true;
	case OP_VAL_EXPR:
		set_elsewhere(s, cursor_uleb(c), false);
		take_block(c);
		return true;
	default:
		return false;
	}
}

/* Everything but the advances. False: unknown. */
static bool step(const struct cie *cie, struct cfa_state *s, struct cfa_stack *saved,
                 struct cursor *c, uint8_t op)
{
	switch (op) {
	case OP_NOP:
		return true;
	case OP_REMEMBER:
		if (saved->n >= STATES_MAX)
			return false;
		saved->s[saved->n++] = *s;
		return true;
	case OP_RESTORE_STATE:
		if (!saved->n)
			return false;
		*s = saved->s[--saved->n];
		return true;
	case OP_ARGS_SIZE:
		cursor_uleb(c);
		return true;
	default:
		return step_cfa(s, c, op, cie->data_align) || step_register(cie, s, c, op);
	}
}

/* How far an instruction advances, in units of code_align; false: it is none that does. */
static bool advance_of(struct cursor *c, uint8_t op, uint64_t *units)
{
	if ((op & 0xc0) == 0x40)
		*units = op & 0x3f;
	else if (op == OP_ADVANCE1)
		*units = cursor_uint(c, 1);
	else if (op == OP_ADVANCE2)
		*units = cursor_uint(c, 2);
	else if (op == OP_ADVANCE4)
		*units = cursor_uint(c, 4);
	else
		return false;
	return true;
}

int cfa_run(const struct cie *cie, struct cfa_state *s, struct cursor *ins, uint64_t start,
            uint64_t end, cfa_row fn, void *ctx)
{
	struct cfa_stack saved = {.n = 0};
	uint64_t loc = start, units;
	int rc = 0;

	while (cursor_left(ins) && !rc) {
		uint8_t op = (uint8_t)cursor_uint(ins, 1);

		if (advance_of(ins, op, &units)) {
			if (fn && units && !ins->bad)
				rc = fn(ctx, loc, info_of(cie, s));
			if (__builtin_mul_overflow(units, cie->code_align, &units) ||
			    (fn && units >= end - loc))
				return rc; /* beyond the function: what follows says nothing */
			loc += units;
		} else if ((op & 0xc0) == 0x80) {
			set_offset(s, op & 0x3f, times((int64_t)cursor_uleb(ins), cie->data_align));
		} else if ((op & 0xc0) == 0xc0) {
			restore(s, &cie->initial, op & 0x3f);
		} else if (!step(cie, s, &saved, ins, op)) {
			rc = -EINVAL;
		}
	}
	if (ins->bad && !rc)
		rc = -EINVAL;
	if (fn && (!rc || rc == -EINVAL)) {
		/* Not understood: from here to the function's end nothing is known. */
		int last =
		        fn(ctx, loc, rc ? MT_INFO(MT_UNW_UNSUPPORTED, 0, 0, 0) : info_of(cie, s));

		rc = last ? last : 0;
	}
	return rc;
}
