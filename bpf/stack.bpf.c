/* SPDX-License-Identifier: MIT */
/*
 * stack.bpf.c: a stack of the current task: its frames, told from others by a hash of them, and
 * sent when that is new.
 */
#include "python.bpf.h"

_Static_assert((MT_MAX_USER_FRAMES & (MT_MAX_USER_FRAMES + 1)) == 0, "a mask");

#define SENT_SHIFT 24 /* 17 ms: when a stack was last sent or checked */

/* Contents already sent, so that a stack crosses the ring once. An evicted one is sent again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u32);
} stacks_sent SEC(".maps");

/* busy: a stack is being taken on this CPU. Hooks of page faults have interrupts on, and where the
 * kernel itself can be preempted lose the CPU: a hook in an interrupt, or of a switch, does without
 * a stack then. */
struct stack_scratch {
	u32 busy, pad;
	struct mt_stack stack;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stack_scratch);
} scratch SEC(".maps");

__noinline u64 hash_some(const struct mt_stack *s, u32 from, u32 n, u64 h)
{
	if (!s)
		return h;
	for (u32 i = 0; i < LOOP_STEPS; i++) {
		if (from + i >= n)
			break;
		h = (h ^ s->frames[(from + i) & MT_MAX_USER_FRAMES]) * 0x100000001b3ULL;
		h ^= h >> 29;
	}
	return h;
}

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
	for (u32 i = 0; i < MT_MAX_USER_FRAMES; i += LOOP_STEPS) {
		if (i >= n)
			break;
		h = hash_some(s, i, n, h);
	}
	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 32;
	return h ? h : 1;
}

static __always_inline u32 frames_of(long bytes, u32 most)
{
	u32 n = bytes > 0 ? (u32)bytes / sizeof(u64) : 0;

	return n > most ? most : n;
}

static __always_inline void kernel_frames(void *ctx, struct mt_stack *sc)
{
	long bytes = bpf_get_stack(ctx, sc->frames, MT_MAX_KERNEL_FRAMES * sizeof(u64), 0);

	sc->end = STACK_END_UNKNOWN;
	sc->n = frames_of(bytes, MT_MAX_KERNEL_FRAMES);
	sc->flags = sc->n >= MT_MAX_KERNEL_FRAMES ? STACK_F_TRUNCATED : 0;
}

static __always_inline void user_frames(void *ctx, struct mt_stack *sc, const struct task_state *s)
{
	u32 n = cfg.unwind ? unwind_user(sc, s->space, s->id) : 0;

	if (n) {
		sc->n = n > MT_MAX_USER_FRAMES ? MT_MAX_USER_FRAMES : n;
		return;
	}
	sc->end = STACK_END_UNKNOWN;
	sc->n = frames_of(
	        bpf_get_stack(ctx, sc->frames, MT_MAX_USER_FRAMES * sizeof(u64), BPF_F_USER_STACK),
	        MT_MAX_USER_FRAMES);
	sc->flags = STACK_F_FP | (sc->n >= MT_MAX_USER_FRAMES ? STACK_F_TRUNCATED : 0);
}

/* To user space. */
static __always_inline void send_stack(struct mt_stack *sc, u64 hash, u32 n_py, u64 ts, u32 task)
{
	u32 cpu = bpf_get_smp_processor_id(), seen = (u32)(ts >> SENT_SHIFT);
	u32 bytes = __builtin_offsetof(struct mt_stack, frames) + sc->n * sizeof(u64) +
	            n_py * sizeof(struct mt_pyframe);
	struct mt_cpu_stats *st = my_stats();
	void *ring = my_ring_now(cpu);

	asm volatile("" : "+r"(bytes));
	if (bytes > sizeof(*sc))
		return;
	sc->hash = hash;
	sc->h.ts = ts;
	sc->h.kind = MT_EV_STACK;
	sc->h.cpu = cpu;
	sc->h.task = task;
	sc->n_py = n_py;
	count_one(st->seen);
	if (!ring || bpf_ringbuf_output(ring, sc, bytes, ring_flags())) {
		count_one(st->lost_ring);
		return;
	}
	bpf_map_update_elem(&stacks_sent, &hash, &seen, BPF_ANY);
}

/* A stack with Python frames, whose hash is py_hash. */
static __always_inline u64 take_python(struct mt_stack *sc, const struct task_state *s, u64 hash,
                                       u64 py_hash, u64 ts)
{
	u64 whole = py_mix(hash, py_hash, py_epoch(s->space));
	u32 *sent = bpf_map_lookup_elem(&stacks_sent, &whole), seen = (u32)(ts >> SENT_SHIFT);
	struct py_scratch *py;
	u32 n_py, n = sc->n;

	if (sent && seen - *sent < 2 && !py_reuses(s->space))
		return whole;
	/* Its code objects are looked at from time to time: an address may be reused. */
	py = py_frames();
	if (!py)
		return 0;
	py_note_codes(s->space, ts, s->id);
	hash = py_mix(hash, py_hash, py_epoch(s->space) + ((u64)py->cut << 32));
	sent = bpf_map_lookup_elem(&stacks_sent, &hash);
	if (sent) {
		*sent = seen;
		return hash;
	}
	sc->flags |= py->flags;
	asm volatile("" : "+r"(n)); /* or the bound is one of a copy, which 6.1's verifier loses */
	n &= MT_MAX_USER_FRAMES;
	/* Only here: 5.15 forgets the bounds of 32 bits that the compiler puts on the stack. */
	n_py = py->n;
	asm volatile("" : "+r"(n_py));
	if (n_py > MT_MAX_PY_FRAMES)
		n_py = MT_MAX_PY_FRAMES;
	bpf_probe_read_kernel(&sc->frames[n], n_py * sizeof(struct mt_pyframe), py->frames);
	send_stack(sc, hash, n_py, ts, s->id);
	return hash;
}

static __always_inline u64 take(void *ctx, struct mt_stack *sc, struct task_state *s, u64 ts,
                                bool user)
{
	struct mt_cpu_stats *st = my_stats();
	u64 hash, py_hash = 0;

	sc->kind = user;
	sc->space = user ? s->space : 0;
	sc->wanted = 0;
	if (user)
		user_frames(ctx, sc, s);
	else
		kernel_frames(ctx, sc);
	count_one(st->stacks);
	if (user && py_spaces_n)
		py_hash = py_walk(s->space, ts);
	if (!sc->n && !py_hash) {
		count_one(st->bad_stack);
		return 0;
	}
	/* One that user space goes on with is one of a kind: others that look alike so far may not
	 * be alike. */
	hash = hash_frames(sc, sc->n, user ? s->space | (u64)sc->wanted << 32 : 0x6b65726eULL);
	if (py_hash)
		return take_python(sc, s, hash, py_hash, ts);
	if (!bpf_map_lookup_elem(&stacks_sent, &hash))
		send_stack(sc, hash, 0, ts, s->id);
	return hash;
}

u64 stack_take(void *ctx, struct task_state *s, u64 ts, bool user)
{
	u32 zero = 0;
	struct stack_scratch *x = bpf_map_lookup_elem(&scratch, &zero);
	u64 hash;

	if (!x || x->busy)
		return 0;
	x->busy = 1;
	hash = take(ctx, &x->stack, s, ts, user);
	x->busy = 0;
	return hash;
}

u64 stack_take_python(struct task_state *s, u64 ts)
{
	u32 zero = 0;
	struct stack_scratch *x = bpf_map_lookup_elem(&scratch, &zero);
	u64 hash = 0, py_hash;

	if (!py_spaces_n || !x || x->busy)
		return 0;
	x->busy = 1;
	py_hash = py_walk(s->space, ts);
	if (py_hash) {
		x->stack.kind = STACK_USER;
		x->stack.space = s->space;
		x->stack.wanted = 0;
		x->stack.n = 0;
		x->stack.end = STACK_END_UNKNOWN;
		x->stack.flags = 0;
		hash = take_python(&x->stack, s, s->space, py_hash, ts);
	}
	x->busy = 0;
	return hash;
}

u64 stack_site_python(u32 space, u64 ts)
{
	u32 zero = 0;
	struct stack_scratch *x = bpf_map_lookup_elem(&scratch, &zero);

	return !x || x->busy ? 0 : py_walk_some(space, PY_SITE_FRAMES, ts);
}

bool stack_wanted(void)
{
	u32 zero = 0;
	struct stack_scratch *x = bpf_map_lookup_elem(&scratch, &zero);

	return x && x->stack.wanted;
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
	sc->wanted = 0;
	/* Unlike the rest here, with interrupts on. */
	(void)__sync_fetch_and_add(&my_stats()->seen, 1);
	ring = my_ring_now(cpu);
	if (!ring ||
	    bpf_ringbuf_output(ring, sc,
	                       __builtin_offsetof(struct mt_stack, frames) + n * sizeof(u64), 0)) {
		(void)__sync_fetch_and_add(&my_stats()->lost_ring, 1);
		return 0;
	}
	return sc->hash;
}
