/* SPDX-License-Identifier: MIT */
/*
 * regs.bpf.h: a task's saved user registers, per architecture: is it inside a system
 * call, which, with which arguments; its user instruction and stack pointers.
 * bpf_task_pt_regs() needs Linux 5.15.
 */
#ifndef MT_REGS_BPF_H
#define MT_REGS_BPF_H

#define MT_ENOSYS 38

#if defined(__TARGET_ARCH_x86)
/* arch/x86/entry: on entry to a system call rax is preset to -ENOSYS and the number
 * is in orig_rax; both stay until the return value is written. Interrupts and faults
 * save the user's own rax. A 32-bit call sets TS_COMPAT in thread_info.status. */
#define MT_TS_COMPAT 2
static __always_inline s32 regs_syscall(struct task_struct *t, const struct pt_regs *r,
					struct mt_args *a, u32 *arch)
{
	if ((s64)r->ax != -MT_ENOSYS)
		return -1;
	*arch = t->thread_info.status & MT_TS_COMPAT ? 1 : 0;
	if (*arch) {
		a->a0 = (u32)r->bx;
		a->a1 = (u32)r->cx;
		a->a2 = (u32)r->dx;
		a->a3 = (u32)r->si;
	} else {
		a->a0 = r->di;
		a->a1 = r->si;
		a->a2 = r->dx;
		a->a3 = r->r10;
	}
	return (s32)r->orig_ax;
}
/* On the way out of a call: its number and arguments, as ax has what it returns by now. */
static __always_inline s32 regs_call(const struct pt_regs *r, struct mt_args *a)
{
	a->a0 = r->di;
	a->a1 = r->si;
	a->a2 = r->dx;
	a->a3 = r->r10;
	return (s32)r->orig_ax;
}
#define is_compat(t) ((t)->thread_info.status & MT_TS_COMPAT)
#define thread_pointer(t) ((t)->thread.fsbase)
#define regs_ip(r) ((r)->ip)
#define regs_sp(r) ((r)->sp)
#define regs_bp(r) ((r)->bp)
#define MT_NR_FUTEX 202
#define MT_NR_CLONE(nr)	 ((nr) == 56 || (nr) == 57 || (nr) == 58 || (nr) == 435)
/* Calls by what they block on, for call_class: each row [number or range] = class. */
#define MT_CALLS(FD, SEND, POLL, MSG, SEM)                                                       \
	[0] = FD, [1] = SEND, [7] = POLL, [16 ... 19] = FD, [20] = SEND, [40] = SEND, [42] = SEND, \
	[43] = FD, [44] = SEND, [45] = FD, [46] = SEND, [47] = FD, [48] = SEND, [65] = SEM,        \
	[69 ... 70] = MSG, [72 ... 75] = FD, [220] = SEM, [242 ... 243] = FD, [271] = POLL,        \
	[275 ... 276] = FD, [288] = FD, [295] = FD, [296] = SEND, [299] = FD, [307] = SEND,        \
	[327] = FD, [328] = SEND
/* Calls by what they move, see traffic.bpf.c. */
#define MT_MOVES(READ, WRITE, READ_MANY, WRITE_MANY, SPLICE, FILE, MQ_WRITE, MQ_READ, MSG_WRITE,   \
		 MSG_READ)                                                                         \
	[0] = READ, [1] = WRITE, [19] = READ, [20] = WRITE, [40] = FILE, [44] = WRITE, [45] = READ, \
	[46] = WRITE, [47] = READ, [69] = MSG_WRITE, [70] = MSG_READ, [242] = MQ_WRITE,            \
	[243] = MQ_READ, [275 ... 276] = SPLICE, [278] = WRITE, [299] = READ_MANY,                 \
	[307] = WRITE_MANY, [327] = READ, [328] = WRITE

#elif defined(__TARGET_ARCH_arm64)
/* arch/arm64/kernel/syscall.c: syscallno is NO_SYSCALL (-1) outside a system call. */
static __always_inline s32 regs_syscall(struct task_struct *t, const struct pt_regs *r,
					struct mt_args *a, u32 *arch)
{
	if (r->syscallno < 0)
		return -1;
	*arch = 0;
	a->a0 = r->orig_x0;
	a->a1 = r->regs[1];
	a->a2 = r->regs[2];
	a->a3 = r->regs[3];
	return r->syscallno;
}
static __always_inline s32 regs_call(const struct pt_regs *r, struct mt_args *a)
{
	a->a0 = r->orig_x0;
	a->a1 = r->regs[1];
	a->a2 = r->regs[2];
	a->a3 = r->regs[3];
	return r->syscallno;
}
#define is_compat(t) ((void)(t), 0)
#define thread_pointer(t) ((t)->thread.uw.tp_value)
#define regs_ip(r) ((r)->pc)
#define regs_sp(r) ((r)->sp)
#define regs_bp(r) ((r)->regs[29])
#define MT_NR_FUTEX 98
#define MT_NR_CLONE(nr)	 ((nr) == 220 || (nr) == 435)
#define MT_CALLS(FD, SEND, POLL, MSG, SEM)                                                       \
	[25] = FD, [29] = FD, [32] = FD, [63] = FD, [64] = SEND, [65] = FD, [66] = SEND,           \
	[67 ... 69] = FD, [70 ... 71] = SEND, [73] = POLL, [75 ... 77] = FD, [82 ... 83] = FD,     \
	[182 ... 183] = FD, [188 ... 189] = MSG, [192 ... 193] = SEM, [202] = FD, [203] = SEND,    \
	[206] = SEND, [207] = FD, [210 ... 211] = SEND, [212] = FD, [242 ... 243] = FD,            \
	[269] = SEND, [286] = FD, [287] = SEND
#define MT_MOVES(READ, WRITE, READ_MANY, WRITE_MANY, SPLICE, FILE, MQ_WRITE, MQ_READ, MSG_WRITE,   \
		 MSG_READ)                                                                         \
	[63] = READ, [64] = WRITE, [65] = READ, [66] = WRITE, [71] = FILE, [75] = WRITE,           \
	[76 ... 77] = SPLICE, [182] = MQ_WRITE, [183] = MQ_READ, [188] = MSG_READ,                 \
	[189] = MSG_WRITE, [206] = WRITE, [207] = READ, [211] = WRITE, [212] = READ,               \
	[243] = READ_MANY, [269] = WRITE_MANY, [286] = READ, [287] = WRITE
#endif

/* The same number on every architecture (asm-generic since 5.16 and 6.7). */
#define MT_NR_FUTEX_WAITV 449
#define MT_NR_FUTEX_WAIT 455

#define FUTEX_CMD_MASK 0x7f
#define FUTEX_PRIVATE  0x80

static __always_inline bool is_futex_wait(s32 nr, const struct mt_args *a)
{
	u32 cmd = a->a1 & FUTEX_CMD_MASK;

	if (nr == MT_NR_FUTEX) /* WAIT, LOCK_PI, WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2 */
		return cmd == 0 || cmd == 6 || cmd == 9 || cmd == 11 || cmd == 13;
	return nr == MT_NR_FUTEX_WAIT || nr == MT_NR_FUTEX_WAITV;
}

#endif
