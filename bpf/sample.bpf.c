/* SPDX-License-Identifier: MIT */
/* sample.bpf.c: what runs on the CPUs: a software clock per CPU. */
#define MT_IRQS_OFF
#include "core.bpf.h"

static __always_inline u32 gil_state_of(const struct task_state *s, const struct mt_gil *gil)
{
	u32 state = gil->locked ? GIL_S_LOCKED : 0;

	return gil->holder && gil->holder == s->tstate ? state | GIL_S_MINE : state;
}

SEC("?perf_event")
int mt_sample(struct bpf_perf_event_data *ctx)
{
	struct task_state *s;
	struct mt_gil gil = {};
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
	if (gil_possible(s))
		gil_read(s, &gil, 0, GIL_MINE, ts);
	e = ring_reserve(mt_sample, ts, MT_EV_SAMPLE, s->id);
	if (!e)
		return 0;
	e->ustack = ustack;
	e->kstack = kstack;
	e->gil = gil.id;
	e->gil_state = gil_state_of(s, &gil);
	ring_submit(e);
	return 0;
}
