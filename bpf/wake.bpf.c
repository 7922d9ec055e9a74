/* SPDX-License-Identifier: MIT */
/*
 * wake.bpf.c: who wakes whom. sched_waking runs in the waker's context, unless the wake
 * comes out of an interrupt: then the task that happens to run is innocent. The kernel's
 * own preempt_count says so. Where it cannot be read (x86 keeps it in a per-CPU variable,
 * whose address BPF learns only from a kernel with CONFIG_KALLSYMS_ALL), the entries and
 * exits of device interrupts and softirqs set a flag per CPU instead. Timers do so in any
 * case, to be told from devices.
 */
#define MT_IRQS_OFF
#include "core.bpf.h"
#include "stage.bpf.h"
#include "python.bpf.h"
#include "regs.bpf.h"

enum { IRQ_TIMER = 1, IRQ_DEVICE = 2 };
enum { TIMER_SOFTIRQ = 1, HRTIMER_SOFTIRQ = 8 };
enum { SOFT_TIMER = 1, SOFT_OTHER = 2 };

#if defined(__TARGET_ARCH_x86)
extern const int __preempt_count __ksym __weak;      /* before 6.2, and since 6.15 */
extern const struct pcpu_hot pcpu_hot __ksym __weak; /* 6.2 to 6.14 */
static __always_inline u32 preempt_count(struct task_struct *self)
{
	if (&__preempt_count)
		return *(const u32 *)bpf_this_cpu_ptr(&__preempt_count);
	if (&pcpu_hot) {
		const struct pcpu_hot *hot = bpf_this_cpu_ptr(&pcpu_hot);

		return hot->preempt_count;
	}
	return 0;
}
#else
static __always_inline u32 preempt_count(struct task_struct *self)
{
	return (u32)self->thread_info.preempt_count;
}
#endif

/* include/linux/preempt.h */
#define SOFTIRQ_SERVING 0x00000100
#define HARDIRQ_MASK    0x000f0000
#define NMI_MASK        0x00f00000

static __always_inline u32 flags_of_count(u32 count, const struct mt_cpu_stats *st)
{
	u32 flags = 0;

	if (count & HARDIRQ_MASK)
		flags |= WK_F_IRQ;
	if (count & SOFTIRQ_SERVING)
		flags |= WK_F_SOFTIRQ;
	if (count & NMI_MASK)
		flags |= WK_F_NMI | WK_F_IRQ;
	if (flags && (st->irq & IRQ_TIMER))
		flags |= WK_F_TIMER;
	return flags;
}

static __always_inline u32 context_flags(const struct mt_cpu_stats *st)
{
	u32 flags = 0;

	if (st->irq)
		flags |= WK_F_IRQ;
	if (st->softirq)
		flags |= WK_F_SOFTIRQ;
	if ((st->irq & IRQ_TIMER) || (st->softirq & SOFT_TIMER))
		flags |= WK_F_TIMER;
	return flags;
}

/* The call that the waker is in, and what that acts on. */
static __always_inline void describe_call(struct mt_waker *e, struct task_struct *self,
                                          struct task_state *ws, u64 ts)
{
	u32 arch = 0;
	u64 file;

	e->nr = regs_syscall(self, (void *)bpf_task_pt_regs(self), &e->args, &arch);
	if (e->nr < 0) {
		e->args.a0 = e->args.a1 = e->args.a2 = e->args.a3 = 0;
		return;
	}
	e->arch = arch;
	e->flags |= WK_F_SYSCALL;
	if (!ws || arch)
		return;
	if (e->nr == MT_NR_FUTEX) {
		if (!(e->args.a1 & FUTEX_PRIVATE))
			futex_identify(ws->id, ws->space, e->args.a0, ts);
		return;
	}
	file = file_of_call(ws, e->nr, &e->args, ts);
	e->file = FILE_ID(file);
	e->arch = FILE_KIND(file) << 8;
}

/*
 * What is sent within the machine over TCP is delivered in a softirq of the sender: the only
 * case where the task that a softirq interrupted can be the waker.
 */
static __always_inline void describe_sender(struct mt_waker *e, struct task_struct *self, u64 ts)
{
	const struct pt_regs *regs = (void *)bpf_task_pt_regs(self);
	struct task_state *ws;
	struct mt_args args;
	u32 arch = 0;
	s32 nr = regs_syscall(self, regs, &args, &arch);

	if (nr < 0 || arch || class_of(nr) != CALL_SEND)
		return;
	ws = task_find(self);
	if (!ws)
		return;
	describe_call(e, self, ws, ts);
	e->waker = ws->id;
}

/* The waker's part. Returns true when it is a task that is not followed. */
static __always_inline bool describe_waker(void *ctx, struct mt_waker *e, struct task_struct *self,
                                           u32 flags, u64 ts, bool stacks)
{
	struct task_state *ws = NULL;

	e->waker = 0;
	e->nr = -1;
	e->file = e->ustack = e->kstack = 0;
	__builtin_memset(&e->gil, 0, sizeof(e->gil));
	e->arch = 0;
	e->args.a0 = e->args.a1 = e->args.a2 = e->args.a3 = 0;
	e->flags = flags;
	if (!self->pid) {
		/* The idle loop wakes for others: interrupts, or a remote CPU's list. */
		e->flags |= flags & (WK_F_IRQ | WK_F_SOFTIRQ) ? 0 : WK_F_IRQ;
		return false;
	}
	if (flags & (WK_F_IRQ | WK_F_SOFTIRQ)) {
		if (!(flags & (WK_F_IRQ | WK_F_TIMER)))
			describe_sender(e, self, ts);
		return false;
	}
	if (self->flags & PF_KTHREAD) {
		e->flags |= WK_F_KTHREAD;
		return true;
	}
	ws = task_find(self);
	if (ws) {
		e->waker = ws->id;
		if (ws->born_ts && !ws->look_ts && ws->looks && py_spaces_n)
			look_soon(ws, ts);
	}
	describe_call(e, self, ws, ts);
	if (stacks && ws && followed(ws)) {
		e->kstack = stack_take(ctx, ws, ts, false);
		e->ustack = stack_take(ctx, ws, ts, true);
	}
	if (ws && gil_possible(ws)) {
		u64 uaddr = e->nr == MT_NR_FUTEX ? e->args.a0 : 0;
		struct mt_gil gil = {};

		if (gil_read(ws, &gil, uaddr, GIL_MINE, ts))
			e->gil = gil;
	}
	return !ws;
}

static __always_inline int on_waking(void *ctx, struct task_struct *p, bool count, bool stacks)
{
	struct task_struct *self;
	struct mt_waking_ext *x;
	struct task_state *s;
	struct mt_waker w;
	struct mt_waking *e;
	u32 flags;
	u64 ts;

	if (phase != MT_PHASE_ON)
		return 0;
	s = task_find(p);
	if (!s || !followed(s))
		return 0;
	self = bpf_get_current_task_btf();
	if (p->pid == self->pid)
		return 0; /* it found its condition true before it slept */
	ts = bpf_ktime_get_ns();
	if (!(s->flags & TS_BASED))
		send_base(p, s, ts, p->se.sum_exec_runtime, COUNTED_NONE);
	flags = count ? flags_of_count(preempt_count(self), my_stats()) : context_flags(my_stats());
	if (describe_waker(ctx, &w, self, flags, ts, stacks)) {
		x = stage_reserve(mt_waking_ext, ts, MT_EV_WAKING_EXT, s->id);
		if (!x)
			return 0;
		x->w = w;
		x->waker_tid = self->pid;
		x->pad = 0;
		bpf_probe_read_kernel(x->comm, sizeof(x->comm), self->comm);
		stage_submit(x);
	} else {
		/* A wait told as one on the GIL's condition variable ends by a wake-up of that. */
		if (w.gil.id && s->stack_cond && w.nr == MT_NR_FUTEX && w.args.a0 == s->stack_word)
			w.args.a0 = s->stack_cond;
		e = stage_reserve(mt_waking, ts, MT_EV_WAKING, s->id);
		if (!e)
			return 0;
		e->w = w;
		stage_submit(e);
	}
	return 0;
}

SEC("?tp_btf/sched_waking")
int BPF_PROG(mt_waking, struct task_struct *p)
{
	return on_waking(ctx, p, true, false);
}

SEC("?tp_btf/sched_waking")
int BPF_PROG(mt_waking_flags, struct task_struct *p)
{
	return on_waking(ctx, p, false, false);
}

/* With the waker's stack (--wake-stacks): programs of their own, as what takes it is most of what
 * the verifier would have to look at. */
SEC("?tp_btf/sched_waking")
int BPF_PROG(mt_waking_stack, struct task_struct *p)
{
	return on_waking(ctx, p, true, true);
}

SEC("?tp_btf/sched_waking")
int BPF_PROG(mt_waking_flags_stack, struct task_struct *p)
{
	return on_waking(ctx, p, false, true);
}

SEC("?tp_btf/hrtimer_expire_entry")
int BPF_PROG(mt_timer_in)
{
	my_stats()->irq |= IRQ_TIMER;
	return 0;
}

SEC("?tp_btf/hrtimer_expire_exit")
int BPF_PROG(mt_timer_out)
{
	my_stats()->irq &= ~IRQ_TIMER;
	return 0;
}

SEC("?tp_btf/irq_handler_entry")
int BPF_PROG(mt_irq_in)
{
	my_stats()->irq |= IRQ_DEVICE;
	return 0;
}

SEC("?tp_btf/irq_handler_exit")
int BPF_PROG(mt_irq_out)
{
	my_stats()->irq &= ~IRQ_DEVICE;
	return 0;
}

SEC("?tp_btf/softirq_entry")
int BPF_PROG(mt_softirq_in, unsigned int vec)
{
	my_stats()->softirq =
	        vec == TIMER_SOFTIRQ || vec == HRTIMER_SOFTIRQ ? SOFT_TIMER : SOFT_OTHER;
	return 0;
}

SEC("?tp_btf/softirq_exit")
int BPF_PROG(mt_softirq_out)
{
	my_stats()->softirq = 0;
	return 0;
}
