/* SPDX-License-Identifier: MIT */
/* sample.bpf.c: what runs on the CPUs: a software clock per CPU. */
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
		kstack = stack_take(ctx, s, ts, false);
		ustack = stack_take(ctx, s, ts, true);
	}
	e = ring_reserve(mt_sample, ts, MT_EV_SAMPLE, s->id);
	if (!e)
		return 0;
	e->ustack = ustack;
	e->kstack = kstack;
	ring_submit(e);
	return 0;
}
