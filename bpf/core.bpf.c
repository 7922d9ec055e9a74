/* SPDX-License-Identifier: MIT */
#include "python.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile struct mt_cfg cfg = {};
volatile __u32 phase = MT_PHASE_IDLE;
struct mt_cpu_stats stats[MT_MAX_CPUS] = {};
__u32 last_task_id = 0, last_space_id = 0;

struct task_map tasks SEC(".maps");
struct rings_map rings SEC(".maps");
/* python.bpf.c's; a map that several files name is defined in the one that is linked first. */
struct py_scratch_map py_scratch SEC(".maps");
struct py_spaces_map py_spaces SEC(".maps");

/* Contents already sent, so that a stack crosses the ring once. An evicted one is sent again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u32);
} stacks_sent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct mt_stack);
} scratch SEC(".maps");

/*
 * FNV-1a over whole words with a final mix: the stacks of one recording, some ten thousand,
 * have to differ in 64 bits. Not static: the verifier then looks at the loop once, and not
 * again on each of the thousands of paths that lead here (200 ms of start-up).
 */
__noinline u64 hash_frames(const struct mt_stack *s, u32 n, u64 seed)
{
	u64 h = 0xcbf29ce484222325ULL ^ seed;

	if (!s)
		return 1;
	for (u32 i = 0; i < MT_MAX_USER_FRAMES; i++) {
		if (i >= n)
			break;
		h = (h ^ s->frames[i]) * 0x100000001b3ULL;
		h ^= h >> 29;
	}
	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 32;
	return h ? h : 1;
}

#define SENT_SHIFT 24 /* 17 ms: when a stack was last sent or checked */

u64 stack_take(void *ctx, u32 space, u64 ts, u32 task, bool user)
{
	u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct mt_cpu_stats *st = my_stats();
	struct mt_stack *sc = bpf_map_lookup_elem(&scratch, &zero);
	void *ring;
	long bytes;
	struct py_scratch *py = NULL;
	u64 hash, py_hash = 0;
	u32 n, n_py = 0, *sent, seen = (u32)(ts >> SENT_SHIFT);

	if (!sc)
		return 0;
	if (user)
		bytes = bpf_get_stack(ctx, sc->frames, sizeof(sc->frames), BPF_F_USER_STACK);
	else
		bytes = bpf_get_stack(ctx, sc->frames, MT_MAX_KERNEL_FRAMES * sizeof(u64), 0);
	st->stacks++;
	if (user && py_spaces_n)
		py_hash = py_walk(space);
	if (bytes <= 0 && !py_hash) {
		st->bad_stack++;
		return 0;
	}
	n = bytes > 0 ? (u32)bytes / sizeof(u64) : 0;
	if (n > MT_MAX_USER_FRAMES)
		n = MT_MAX_USER_FRAMES;
	hash = hash_frames(sc, n, user ? space : 0x6b65726eULL);
	if (!py_hash) {
		if (bpf_map_lookup_elem(&stacks_sent, &hash))
			return hash;
	} else {
		u64 whole = py_mix(hash, py_hash, py_epoch(space));

		sent = bpf_map_lookup_elem(&stacks_sent, &whole);
		if (sent && seen - *sent < 2 && !py_reuses(space))
			return whole;
		/* Its code objects are looked at from time to time: an address may be reused. */
		py = py_frames();
		if (!py)
			return 0;
		py_note_codes(space, ts, task);
		n_py = py->n;
		if (n_py > MT_MAX_PY_FRAMES)
			n_py = MT_MAX_PY_FRAMES;
		hash = py_mix(hash, py_hash, py_epoch(space) + ((u64)py->cut << 32));
		sent = bpf_map_lookup_elem(&stacks_sent, &hash);
		if (sent) {
			*sent = seen;
			return hash;
		}
	}
	sc->h.ts = ts;
	sc->h.kind = MT_EV_STACK;
	sc->h.cpu = cpu;
	sc->h.task = task;
	sc->hash = hash;
	sc->space = user ? space : 0;
	sc->kind = user;
	sc->end = STACK_END_UNKNOWN;
	sc->flags = user ? STACK_F_FP : 0;
	if (n >= (user ? MT_MAX_USER_FRAMES : MT_MAX_KERNEL_FRAMES))
		sc->flags |= STACK_F_TRUNCATED;
	sc->n = n;
	sc->n_py = n_py;
	sc->pad = 0;
	if (py && n <= MT_MAX_USER_FRAMES) {
		sc->flags |= py->flags;
		bpf_probe_read_kernel(&sc->frames[n], n_py * sizeof(struct mt_pyframe), py->frames);
	}
	st->seen++;
	ring = my_ring(cpu);
	if (!ring || bpf_ringbuf_output(ring, sc,
	                                __builtin_offsetof(struct mt_stack, frames) +
	                                        n * sizeof(u64) + n_py * sizeof(struct mt_pyframe),
	                                ring_flags())) {
		st->lost_ring++;
		return hash;
	}
	bpf_map_update_elem(&stacks_sent, &hash, &seen, BPF_ANY);
	return hash;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct mt_stack);
} walk_scratch SEC(".maps");

u64 stack_of_task(struct task_struct *t, u32 task, u64 ts)
{
	u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct mt_stack *sc = bpf_map_lookup_elem(&walk_scratch, &zero);
	void *ring;
	long bytes;
	u32 n;

	if (!sc)
		return 0;
	bytes = bpf_get_task_stack(t, sc->frames, MT_MAX_KERNEL_FRAMES * sizeof(u64), 0);
	if (bytes <= 0)
		return 0;
	n = (u32)bytes / sizeof(u64);
	if (n > MT_MAX_KERNEL_FRAMES)
		n = MT_MAX_KERNEL_FRAMES;
	sc->h.ts = ts;
	sc->h.kind = MT_EV_STACK;
	sc->h.cpu = cpu;
	sc->h.task = task;
	/* One of a kind, not of its content: hashing would cost the verifier more than all of this.
	 */
	sc->hash = (ts ^ (u64)task << 32) * 0x9e3779b97f4a7c15ULL | 1;
	sc->space = 0;
	sc->kind = STACK_KERNEL;
	sc->end = STACK_END_UNKNOWN;
	sc->flags = 0;
	sc->n = n;
	sc->n_py = 0;
	sc->pad = 0;
	count_one(my_stats()->seen);
	ring = my_ring(cpu);
	if (!ring ||
	    bpf_ringbuf_output(ring, sc,
	                       __builtin_offsetof(struct mt_stack, frames) + n * sizeof(u64), 0)) {
		count_one(my_stats()->lost_ring);
		return 0;
	}
	return sc->hash;
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
	e->flags = 0;
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
	e->flags = flags | (cfg.pages ? CNT_F_PAGES : 0);
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
	struct mm_struct *mm = t->mm;
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
	e->hiwater_pages = mm->hiwater_rss;
	ring_submit(e);
}
