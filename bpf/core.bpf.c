/* SPDX-License-Identifier: MIT */
#include "python.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile struct mt_cfg cfg = {};
volatile __u32 phase = MT_PHASE_IDLE;
/* A line each: what one CPU counts must not slow down what the others read (phase). */
struct mt_cpu_stats stats[MT_MAX_CPUS] __attribute__((aligned(64))) = {};
__u32 last_task_id = 0, last_space_id = 0;

struct task_map tasks SEC(".maps");
struct rings_map rings SEC(".maps");
struct stages_map stages SEC(".maps");
/* python.bpf.c's; a map that several files name is defined in the one that is linked first. */
struct py_scratch_map py_scratch SEC(".maps");
struct py_spaces_map py_spaces SEC(".maps");
struct py_layouts_map py_layouts SEC(".maps");

/* The kernel may be built without these counters. */
static __always_inline u32 io_of(struct task_struct *t, struct mt_counters *e)
{
	if (!bpf_core_field_exists(t->ioac.rchar)) {
		e->reads = e->writes = e->read_bytes = e->written_bytes = 0;
		return 0;
	}
	e->reads = t->ioac.syscr;
	e->writes = t->ioac.syscw;
	e->read_bytes = t->ioac.rchar;
	e->written_bytes = t->ioac.wchar;
	return CNT_F_IO;
}

void send_base(struct task_struct *t, struct task_state *s, u64 ts, u64 run, u32 counted)
{
	u64 vol = t->nvcsw - (counted == COUNTED_VOLUNTARY);
	struct mt_counters *e;

	s->flags |= TS_BASED;
	s->last_exec = run;
	s->last_delay = run_delay_of(t);
	s->last_nvcsw = vol;
	e = ring_reserve(mt_counters, ts, MT_EV_BASE, s->id);
	if (!e)
		return;
	e->flags = io_of(t, e);
	e->state = 0;
	e->voluntary = vol;
	e->involuntary = t->nivcsw - (counted == COUNTED_INVOLUNTARY);
	e->run_ns = run;
	e->runnable_ns = s->last_delay;
	e->minflt = t->min_flt;
	e->majflt = t->maj_flt;
	e->first_read = e->first_write = e->wp = e->touched = e->cow = 0;
	ring_submit(e);
}

void send_end(struct task_struct *t, struct task_state *s, u64 ts, u32 flags)
{
	struct mt_counters *e;

	if (__sync_fetch_and_or(&s->flags, TS_ENDED) & TS_ENDED)
		return;
	e = ring_reserve(mt_counters, ts, MT_EV_END, s->id);
	if (!e)
		return;
	e->flags = flags | (cfg.pages ? CNT_F_PAGES : 0) | (cfg.faults ? 0 : CNT_F_NO_FAULTS) |
	           io_of(t, e);
	e->state = t->__state;
	e->voluntary = t->nvcsw;
	e->involuntary = t->nivcsw;
	e->run_ns = t->se.sum_exec_runtime;
	e->runnable_ns = run_delay_of(t);
	e->minflt = t->min_flt;
	e->majflt = t->maj_flt;
	e->first_read = s->first_read;
	e->first_write = s->first_write;
	e->wp = s->wp;
	e->touched = s->touched_pages;
	e->cow = s->cow_pages;
	ring_submit(e);
}

/* mm->rss_stat changed from plain atomics to percpu counters in 6.2 (f1a7941243c1). The
 * count leaves out what each CPU still holds back: at most 32 pages per CPU and kind. */
static __always_inline u64 rss_of(struct mm_struct *mm, u64 member)
{
	const char *p = (const char *)mm;
	s64 n = 0;

	/* Offsets by hand: an index is relocated only where the compiler sees a constant. */
	if (bpf_core_type_exists(struct mm_rss_stat___old)) {
		struct mm_struct___old *old = (void *)mm;

		p += bpf_core_field_offset(old->rss_stat.count) + member * sizeof(s64);
	} else {
		p += bpf_core_field_offset(mm->rss_stat) +
		     member * bpf_core_type_size(struct percpu_counter) +
		     bpf_core_field_offset(struct percpu_counter, count);
	}
	bpf_probe_read_kernel(&n, sizeof(n), p);
	return n > 0 ? n : 0;
}

void send_rss(struct task_struct *t, struct task_state *s, u64 ts, bool now)
{
	struct mm_struct *mm = (void *)pointer_value(t, mm);
	struct task_state *leader;
	struct mt_rss *e;

	s->rss_next_ns = ts + cfg.rss_interval_ns;
	if (!mm)
		return;
	leader = task_find(t->group_leader);
	if (leader && leader != s) {
		if (!now && ts < leader->rss_next_ns)
			return;
		leader->rss_next_ns = s->rss_next_ns;
	}
	e = ring_reserve(mt_rss, ts, MT_EV_RSS, s->id);
	if (!e)
		return;
	/* MM_FILEPAGES, MM_ANONPAGES, (MM_SWAPENTS), MM_SHMEMPAGES */
	e->file_pages = rss_of(mm, 0);
	e->anon_pages = rss_of(mm, 1);
	e->shmem_pages = rss_of(mm, 3);
	e->hiwater_pages = BPF_CORE_READ(mm, hiwater_rss);
	ring_submit(e);
}

static __always_inline u64 stage_ring_flags(void *ring)
{
	return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >= cfg.wake_bytes ? BPF_RB_FORCE_WAKEUP
	                                                                    : BPF_RB_NO_WAKEUP;
}

/*
 * Its copy in the ring begins with the page's own head, which tells the position. With interrupts
 * on a hook in one may come in between and gather more, but never begins the page anew, as this one
 * is busy; what came meanwhile stays, and is known by its position when it goes next time.
 */
__noinline u32 stage_flush(u32 cpu)
{
	struct mt_stage *st = bpf_map_lookup_elem(&stages, &cpu);
	u64 where, bytes;
	void *ring;

	if (!st)
		return 0;
	ring = my_ring(cpu);
	if (!ring || *(volatile u32 *)&st->busy)
		return 0;
	*(volatile u32 *)&st->busy = 1;
	where = *(volatile u64 *)&st->where;
	bytes = MT_STAGE_USED(where) + __builtin_offsetof(struct mt_stage, data);
	/* Or both tests are made one, which 6.1 does not understand. */
	asm volatile("" : "+r"(bytes));
	if (bytes <= sizeof(*st) && MT_STAGE_USED(where)) {
		st->h.kind = MT_EV_BATCH;
		st->h.cpu = cpu;
		if (!bpf_ringbuf_output(ring, st, bytes, stage_ring_flags(ring)))
			__sync_val_compare_and_swap(
			        &st->where, where,
			        ((where >> MT_STAGE_BITS) + MT_STAGE_USED(where)) << MT_STAGE_BITS);
	}
	*(volatile u32 *)&st->busy = 0;
	return 0;
}
