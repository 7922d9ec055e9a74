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
#define thread_pointer(t) ((t)->thread.fsbase)
#define regs_ip(r) ((r)->ip)
#define regs_sp(r) ((r)->sp)
#define MT_NR_FUTEX 202
#define MT_NR_CLONE(nr)	 ((nr) == 56 || (nr) == 57 || (nr) == 58 || (nr) == 435)
/* Calls that block on the descriptor in their first argument. */
#define MT_NR_FD(nr)                                                                   \
	((nr) <= 1 || ((nr) >= 16 && (nr) <= 20) || (nr) == 40 || ((nr) >= 42 && (nr) <= 48) || \
	 ((nr) >= 72 && (nr) <= 75) || (nr) == 242 || (nr) == 243 || (nr) == 275 || (nr) == 276 || \
	 (nr) == 288 || (nr) == 295 || (nr) == 296 || (nr) == 299 || (nr) == 307 || (nr) == 327 || \
	 (nr) == 328)
/* … that send on it. */
#define MT_NR_SEND(nr)                                                                 \
	((nr) == 1 || (nr) == 20 || (nr) == 40 || (nr) == 42 || (nr) == 44 || (nr) == 46 || \
	 (nr) == 48 || (nr) == 296 || (nr) == 307 || (nr) == 328)
#define MT_NR_POLL(nr)	 ((nr) == 7 || (nr) == 271)
#define MT_NR_MSG(nr)	 ((nr) == 69 || (nr) == 70)
#define MT_NR_SEMOP(nr)	 ((nr) == 65 || (nr) == 220)

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
#define thread_pointer(t) ((t)->thread.uw.tp_value)
#define regs_ip(r) ((r)->pc)
#define regs_sp(r) ((r)->sp)
#define MT_NR_FUTEX 98
#define MT_NR_CLONE(nr)	 ((nr) == 220 || (nr) == 435)
#define MT_NR_FD(nr)                                                                   \
	((nr) == 25 || (nr) == 29 || (nr) == 32 || ((nr) >= 63 && (nr) <= 71) || (nr) == 75 || \
	 (nr) == 76 || (nr) == 82 || (nr) == 83 || (nr) == 182 || (nr) == 183 || (nr) == 202 || \
	 (nr) == 203 || ((nr) >= 206 && (nr) <= 207) || ((nr) >= 210 && (nr) <= 212) || \
	 (nr) == 242 || (nr) == 243 || (nr) == 269 || (nr) == 286 || (nr) == 287)
#define MT_NR_SEND(nr)                                                                 \
	((nr) == 64 || (nr) == 66 || (nr) == 71 || (nr) == 70 || (nr) == 203 || (nr) == 206 || \
	 (nr) == 210 || (nr) == 211 || (nr) == 269 || (nr) == 287)
#define MT_NR_POLL(nr)	 ((nr) == 73)
#define MT_NR_MSG(nr)	 ((nr) == 188 || (nr) == 189)
#define MT_NR_SEMOP(nr)	 ((nr) == 192 || (nr) == 193)
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
