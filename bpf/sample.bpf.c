/* SPDX-License-Identifier: MIT */
/* sample.bpf.c: what runs on the CPUs (a software clock per CPU), and page faults. */
#define MT_IRQS_OFF
#include "core.bpf.h"

SEC("?perf_event")
int mt_sample(struct bpf_perf_event_data *ctx)
{
	struct task_state *s;
	struct mt_sample *e;
	u64 ts, ustack = 0, kstack = 0;

	if (phase != MT_PHASE_ON)
		return 0;
	s = task_find(bpf_get_current_task_btf());
	if (!s || !followed(s))
		return 0;
	ts = bpf_ktime_get_ns();
	if (cfg.stacks) {
		kstack = stack_take(ctx, s->space, ts, s->id, false);
		ustack = stack_take(ctx, s->space, ts, s->id, true);
	}
	e = ring_reserve(mt_sample, ts, MT_EV_SAMPLE, s->id);
	if (!e)
		return 0;
	e->ustack = ustack;
	e->kstack = kstack;
	ring_submit(e);
	return 0;
}

/* x86 error code of a page fault: bit 0 the page was present, bit 1 a write. */
enum { PF_PROT = 1, PF_WRITE = 2 };

static __always_inline int on_fault(u64 addr, u64 error_code)
{
	struct task_state *s;

	if ((s64)addr < 0)
		return 0; /* the kernel's own memory */
	s = task_find(bpf_get_current_task_btf());
	if (!s)
		return 0;
	if (error_code & PF_PROT)
		s->wp += !!(error_code & PF_WRITE);
	else if (error_code & PF_WRITE)
		s->first_write++;
	else
		s->first_read++;
	return 0;
}

SEC("?tp_btf/page_fault_user")
int BPF_PROG(mt_fault_user, unsigned long addr, struct pt_regs *regs, unsigned long ec)
{
	return on_fault(addr, ec);
}

/* Faults of the kernel on the task's memory: a system call that fills a fresh buffer. */
SEC("?tp_btf/page_fault_kernel")
int BPF_PROG(mt_fault_kernel, unsigned long addr, struct pt_regs *regs, unsigned long ec)
{
	/* Only a look (by us too, along frame pointers that are none): it brings in no page. */
	if (bpf_get_current_task_btf()->pagefault_disabled)
		return 0;
	return on_fault(addr, ec);
}
