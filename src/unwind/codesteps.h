/* SPDX-License-Identifier: MIT */
/* codesteps.h: instructions (x86-64), as far as they matter for where a caller's frame is. */
#ifndef MT_CODESTEPS_H
#define MT_CODESTEPS_H

#include "base.h"

enum code_op {
	CODE_NOTHING,
	CODE_ADJUST, /* rsp += val */
	CODE_PUSH_BP,
	CODE_POP_BP,
	CODE_STORE_BP,   /* rbp to rsp + val */
	CODE_LOAD_BP,    /* from there */
	CODE_BP_FROM_SP, /* rbp = rsp + val */
	CODE_SP_FROM_BP, /* rsp = rbp + val */
	CODE_LEAVE,
	CODE_CLOBBER_BP,   /* rbp is something else */
	CODE_MAYBE_BOTTOM, /* rbp = 0: where nothing has saved it, by the ABI the outermost frame */
	CODE_LOST,         /* rsp is something that is not followed; or no instruction */
	CODE_CALL, /* val: offset of where to, -1 = not known or elsewhere; so of the jumps */
	CODE_JMP,
	CODE_JMP_INDIRECT,
	CODE_JCC,
	CODE_RET,
	CODE_STOP, /* does not go on */
	CODE_PAD,
	CODE_SYSCALL,
	CODE_RAX, /* rax = val */
};
struct code_step {
	uint32_t at; /* offset in the code */
	int32_t val;
	int32_t addr; /* offset of code whose address it loads, -1 = none */
	uint8_t op;
};
typedef VEC(struct code_step) code_step_vec;

/* Adds the instructions of n bytes of code. What is no instruction is CODE_LOST, a byte long. 0,
 * -E2BIG, -ENOMEM. */
int code_steps(const uint8_t *code, size_t n, code_step_vec *out);

#endif
