/* SPDX-License-Identifier: MIT */
/*
 * codesteps.c: what instructions do to the stack pointer, rbp and the flow of control.
 *
 * Only as much is decoded as that needs, and how long each is (Intel's manual, volume 2: chapter 2
 * and appendix A): libraries of 10 MB of assembly are not rare, and a disassembler takes a
 * second for each 4 MB. What it takes for an instruction that is none, or the other way round, is
 * found out by who asks (codeframes.c): the stack pointer does not come back then.
 */
#include <errno.h>
#include <string.h>

#include "codesteps.h"

enum { RAX, RSP = 4, RBP = 5, NO_REG = 255 };
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };
enum { MAP_1, MAP_0F, MAP_38, MAP_3A, MAP_OTHER };

/* An instruction in its parts. */
struct insn {
	const uint8_t *p, *end;
	bool bad, has_rex, size16, addr32, vex, has_modrm;
	uint8_t rex, map, op, vvvv;
	uint8_t mod, reg, rm; /* with rex */
	uint8_t base;         /* of what is in memory: RSP, RBP, or NO_REG = anything else */
	bool rip;             /* … counts from the next instruction */
	int32_t disp;
	int64_t imm;
};

static uint8_t byte(struct insn *in)
{
	if (in->p < in->end)
		return *in->p++;
	in->bad = true;
	return 0;
}

static int64_t number(struct insn *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)byte(in) << (8 * i);
	if (bytes && bytes < 8 && v >> (8 * bytes - 1))
		v |= ~0ULL << (8 * bytes);
	return (int64_t)v;
}

/* --- which opcodes have what --- */

/* Sets of opcodes: a bit each. */
#define SET(a, b, c, d, e, f, g, h)    \
	{                              \
		a, b, c, d, e, f, g, h \
	}
typedef uint32_t op_set[8];

static bool in_set(const op_set set, uint8_t op)
{
	return set[op >> 5] >> (op & 31) & 1;
}

static const op_set modrm_1 =
        SET(0x0f0f0f0f, 0x0f0f0f0f, 0, 0x00000a08, 0x0000ffff, 0, 0xff0f00c3, 0xc0c00000);
static const op_set none_1 =
        SET(0xc0c040c0, 0x80808080, 0x0000ffff, 0x00000003, 0x04000004, 0, 0x00704000, 0x00000400);
static const op_set imm8_1 =
        SET(0x10101010, 0x10101010, 0, 0xffff0c00, 0x00000009, 0x00ff0100, 0x00002043, 0x000008ff);
static const op_set immz_1 =
        SET(0x20202020, 0x20202020, 0, 0x00000300, 0x00000002, 0x00000200, 0x00000080, 0);
static const op_set plain_0f =
        SET(0x00004b60, 0x00ff0000, 0, 0x00800000, 0x0000ffff, 0x00000707, 0x0000ff00, 0);
static const op_set imm8_0f = SET(0x00008000, 0, 0, 0x000f0000, 0, 0x04001010, 0x00000074, 0);

/* Whose destination is a general register: the one in `reg`, the one in `rm`. */
static const op_set reg_1 = SET(0x0c0c0c0c, 0x000c0c0c, 0, 0x00000a08, 0x00002c00, 0, 0, 0);
static const op_set rm_1 = SET(0x03030303, 0x00030303, 0, 0, 0x0000034f, 0, 0x000f00c3, 0xc0c00000);
static const op_set reg_0f =
        SET(0x0000000c, 0x00003000, 0x0001ffff, 0, 0, 0xf1c08000, 0x00800020, 0);
static const op_set rm_0f = SET(0, 0, 0, 0x40000000, 0xffff0000, 0x0c0b3830, 0x00000083, 0);

/* --- decoding --- */

static void prefixes(struct insn *in)
{
	static const uint8_t skipped[] = {0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};

	for (unsigned i = 0; i < 14; i++) {
		uint8_t b = in->p < in->end ? *in->p : 0;

		if (b == 0x66)
			in->size16 = true;
		else if (b == 0x67)
			in->addr32 = true;
		else if (!memchr(skipped, b, sizeof(skipped)))
			break;
		in->p++;
	}
	if (in->p < in->end && (*in->p & 0xf0) == 0x40) {
		in->has_rex = true;
		in->rex = *in->p++ & 15;
	}
}

/* VEX, EVEX and XOP: bits are inverted there. b: their first byte. */
static void vex_prefix(struct insn *in, uint8_t b)
{
	uint8_t p1 = byte(in), p2;

	in->vex = true;
	if (b == 0xc5) {
		in->rex = p1 & 0x80 ? 0 : REX_R;
		in->vvvv = ~(p1 >> 3) & 15;
		in->map = MAP_0F;
	} else {
		p2 = byte(in);
		in->rex = (p1 & 0x80 ? 0 : REX_R) | (p1 & 0x40 ? 0 : REX_X) |
		          (p1 & 0x20 ? 0 : REX_B) | (p2 & 0x80 ? REX_W : 0);
		in->vvvv = ~(p2 >> 3) & 15;
		p1 &= b == 0x62 ? 7 : 31;
		in->map = p1 >= 1 && p1 <= 3 ? p1 : MAP_OTHER;
		if (b == 0x62)
			byte(in);
		else if (b == 0xc4 && in->map == MAP_OTHER)
			in->bad = true;
		if (b == 0x8f && p1 == 8)
			in->map = MAP_3A; /* these have a byte more, too */
	}
	in->op = byte(in);
}

static void opcode(struct insn *in)
{
	uint8_t b = byte(in), next = in->p < in->end ? *in->p : 0;

	in->map = MAP_1;
	in->op = b;
	if (b == 0xc4 || b == 0xc5 || b == 0x62 || (b == 0x8f && (next & 31) >= 8)) {
		vex_prefix(in, b);
		return;
	}
	if (b != 0x0f)
		return;
	in->map = MAP_0F;
	in->op = byte(in);
	if (in->op == 0x38 || in->op == 0x3a) {
		in->map = in->op == 0x38 ? MAP_38 : MAP_3A;
		in->op = byte(in);
	}
}

static void memory(struct insn *in, uint8_t rm)
{
	uint8_t base = rm, sib;
	bool index = false;

	if (rm == 4) {
		sib = byte(in);
		base = sib & 7;
		index = (sib >> 3 & 7) != 4 || (in->rex & REX_X);
	}
	in->rip = !in->mod && rm == 5;
	if (in->mod == 1)
		in->disp = (int32_t)number(in, 1);
	else if (in->mod == 2 || (!in->mod && base == 5))
		in->disp = (int32_t)number(in, 4);
	if ((!in->mod && base == 5) || index || in->addr32)
		base = NO_REG;
	in->base = in->rex & REX_B ? NO_REG : base;
}

static void modrm(struct insn *in)
{
	uint8_t b = byte(in);

	in->has_modrm = true;
	in->mod = b >> 6;
	in->reg = (b >> 3 & 7) | (in->rex & REX_R ? 8 : 0);
	in->rm = (b & 7) | (in->rex & REX_B ? 8 : 0);
	if (in->mod != 3)
		memory(in, b & 7);
}

static bool wants_modrm(const struct insn *in)
{
	if (in->vex)
		return in->map != MAP_0F || in->op != 0x77;
	return in->map == MAP_1 ? in_set(modrm_1, in->op)
	                        : in->map != MAP_0F || !in_set(plain_0f, in->op);
}

static unsigned imm_bytes(const struct insn *in)
{
	unsigned z = in->size16 && !(in->rex & REX_W) ? 2 : 4, op = in->op;

	if (in->map == MAP_3A)
		return 1;
	if (in->map == MAP_0F && !in->vex && op >= 0x80 && op <= 0x8f)
		return 4;
	if (in->map == MAP_0F)
		return in_set(imm8_0f, in->op) &&
		       !(in->vex && (op == 0xa4 || op == 0xac || op == 0xba || op == 0x0f));
	if (in->map != MAP_1)
		return 0;
	if (op >= 0xb8 && op <= 0xbf)
		return in->rex & REX_W ? 8 : z;
	if (op >= 0xa0 && op <= 0xa3)
		return in->addr32 ? 4 : 8;
	if (op == 0xc2 || op == 0xca)
		return 2;
	if (op == 0xc8)
		return 3;
	if (op == 0xf6 || op == 0xf7)
		return (in->reg & 7) > 1 ? 0 : op == 0xf6 ? 1 : z;
	if (op == 0xe8 || op == 0xe9)
		return 4;
	return in_set(imm8_1, in->op) ? 1 : in_set(immz_1, in->op) ? z : 0;
}

static void decode(struct insn *in, const uint8_t *p, const uint8_t *end)
{
	*in = (struct insn){.p = p, .end = end, .base = NO_REG, .vvvv = NO_REG};
	prefixes(in);
	opcode(in);
	if (!in->vex && in->map == MAP_1 && in_set(none_1, in->op))
		in->bad = true;
	if (wants_modrm(in))
		modrm(in);
	in->imm = number(in, imm_bytes(in));
}

/* --- what it does --- */

static void set(struct code_step *s, enum code_op op, int64_t val)
{
	s->op = (uint8_t)op;
	s->val = (int32_t)val;
}

static bool writes(const struct insn *in, uint8_t r)
{
	bool rm = in->has_modrm && in->mod == 3 && in->rm == r, reg = in->has_modrm && in->reg == r;
	uint8_t op = in->op, group = in->reg & 7;

	if (in->map == MAP_1 && !in->vex) {
		if ((op & 0xf8) == 0xb8 || (op & 0xf8) == 0x90)
			return (op & 7) + (in->rex & REX_B ? 8 : 0) == r;
		if ((op >= 0x80 && op <= 0x83 && group == 7) ||
		    (op >= 0xf6 && op <= 0xf7 && group != 2 && group != 3) ||
		    (op >= 0xfe && group > 1))
			return false; /* cmp, test, mul, push … */
		return (rm && in_set(rm_1, op)) || (reg && in_set(reg_1, op)) ||
		       (op == 0x87 && (rm || reg));
	}
	if (in->map == MAP_0F && !in->vex)
		return (rm && in_set(rm_0f, op) && (op != 0xba || group > 4)) ||
		       (reg && in_set(reg_0f, op)) || (op == 0xc1 && reg) ||
		       ((op & 0xf8) == 0xc8 && (op & 7) + (in->rex & REX_B ? 8 : 0) == r);
	if (in->map == MAP_0F)
		return (reg && (op == 0x2c || op == 0x2d || op == 0x50 || op == 0xd7 ||
		                op == 0xc5 || op == 0x93)) ||
		       (rm && op == 0x7e);
	if (in->map == MAP_38)
		return ((reg && op >= 0xf0) || (in->vex && op >= 0xf0 && in->vvvv == r));
	return in->map == MAP_3A && ((rm && op >= 0x14 && op <= 0x17) || (reg && op == 0xf0));
}

/* mov and lea between the two, and between rbp and the stack. True: that was it. */
static bool moves(struct code_step *s, const struct insn *in)
{
	bool sp_mem = in->mod != 3 && in->base == RSP, wide = in->rex & REX_W;
	uint8_t to = in->op == 0x89 ? in->rm : in->reg, from = in->op == 0x89 ? in->reg : in->rm;

	if (in->map != MAP_1 || in->vex || !wide ||
	    (in->op != 0x89 && in->op != 0x8b && in->op != 0x8d))
		return false;
	if (in->op == 0x8d && in->mod != 3) {
		from = in->base;
		if (to == RSP && from == RSP)
			set(s, CODE_ADJUST, in->disp);
	} else if (in->mod != 3) {
		if (sp_mem && in->reg == RBP)
			set(s, in->op == 0x89 ? CODE_STORE_BP : CODE_LOAD_BP, in->disp);
		return s->op != CODE_NOTHING;
	}
	if (to == RBP && from == RSP)
		set(s, CODE_BP_FROM_SP, in->disp);
	else if (to == RSP && from == RBP)
		set(s, CODE_SP_FROM_BP, in->disp);
	return s->op != CODE_NOTHING;
}

static void stack_op(struct code_step *s, const struct insn *in)
{
	uint8_t op = in->map == MAP_1 && !in->vex ? in->op : 0, group = in->reg & 7;
	uint8_t low = (op & 7) + (in->rex & REX_B ? 8 : 0);
	bool on_sp = in->has_modrm && in->mod == 3 && in->rm == RSP && (in->rex & REX_W);

	if ((op & 0xf8) == 0x50)
		set(s, low == RBP ? CODE_PUSH_BP : CODE_ADJUST, -8);
	else if ((op & 0xf8) == 0x58)
		set(s, low == RBP ? CODE_POP_BP : low == RSP ? CODE_LOST : CODE_ADJUST, 8);
	else if (op == 0x68 || op == 0x6a || op == 0x9c || (op == 0xff && group == 6))
		set(s, CODE_ADJUST, -8);
	else if (op == 0x9d || op == 0x8f)
		set(s, CODE_ADJUST, 8);
	else if ((op == 0x81 || op == 0x83) && on_sp && (!group || group == 5))
		set(s, CODE_ADJUST, group ? -in->imm : in->imm);
	else if (op == 0xc9)
		set(s, CODE_LEAVE, 0);
	else if (op == 0xc8)
		set(s, CODE_LOST, 0);
	else if ((op == 0x31 || op == 0x33 || op == 0x29 || op == 0x2b) && in->mod == 3 &&
	         in->reg == RBP && in->rm == RBP)
		set(s, CODE_MAYBE_BOTTOM, 0);
	if (s->op == CODE_ADJUST && in->size16 && !on_sp)
		set(s, CODE_LOST, 0);
	if (s->op != CODE_NOTHING || moves(s, in))
		return;
	if (writes(in, RSP))
		set(s, CODE_LOST, 0);
	else if (writes(in, RBP))
		set(s, CODE_CLOBBER_BP, 0);
}

/* next: offset of the instruction behind. */
static void flow_op(struct code_step *s, const struct insn *in, uint64_t next, size_t n)
{
	uint64_t to = next + (uint64_t)in->imm;
	int64_t target = to < n ? (int64_t)to : -1;
	uint8_t op = in->op, group = in->reg & 7;

	if (in->vex || in->map > MAP_0F)
		return;
	if (in->map == MAP_0F) {
		if (op >= 0x80 && op <= 0x8f)
			set(s, CODE_JCC, target);
		else if (op == 0x05)
			set(s, CODE_SYSCALL, 0);
		else if (op == 0x0b)
			set(s, CODE_STOP, 0);
		else if (op == 0x1f)
			set(s, CODE_PAD, 0);
		return;
	}
	if (op == 0xe8)
		set(s, CODE_CALL, target);
	else if (op == 0xe9 || op == 0xeb)
		set(s, CODE_JMP, target);
	else if ((op >= 0x70 && op <= 0x7f) || (op >= 0xe0 && op <= 0xe3))
		set(s, CODE_JCC, target);
	else if (op == 0xff && (group == 2 || group == 3))
		set(s, CODE_CALL, -1);
	else if (op == 0xff && (group == 4 || group == 5))
		set(s, CODE_JMP_INDIRECT, -1);
	else if (op == 0xc2 || op == 0xc3 || op == 0xca || op == 0xcb)
		set(s, CODE_RET, 0);
	else if (op == 0xf4 || op == 0xcc)
		set(s, CODE_STOP, 0);
	else if (op == 0x90 && !in->has_rex)
		set(s, CODE_PAD, 0);
	else if ((op == 0xb8 && !(in->rex & REX_B)) ||
	         (op == 0xc7 && in->mod == 3 && in->rm == RAX))
		set(s, CODE_RAX, in->imm);
}

/* --- all of them --- */

int code_steps(const uint8_t *code, size_t n, code_step_vec *out)
{
	size_t at = 0;

	if (n > INT32_MAX)
		return -E2BIG;
	while (at < n) {
		struct code_step s = {.at = (uint32_t)at, .op = CODE_NOTHING, .addr = -1};
		struct insn in;
		uint64_t to;

		decode(&in, code + at, code + n);
		if (in.bad) {
			set(&s, CODE_LOST, 0); /* on with the next byte */
			at++;
		} else {
			at = (size_t)(in.p - code);
			flow_op(&s, &in, at, n);
			if (s.op == CODE_NOTHING)
				stack_op(&s, &in);
			to = at + (uint64_t)(int64_t)in.disp;
			if (in.rip && in.op == 0x8d && in.map == MAP_1 && to < n)
				s.addr = (int32_t)to;
		}
		if (vec_push(out, s))
			return -ENOMEM;
	}
	return 0;
}
