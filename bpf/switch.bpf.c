/* SPDX-License-Identifier: MIT */
/*
 * switch.bpf.c: sched_switch, the hook that nearly everything comes from. Runs with
 * interrupts off in the context of `prev`, whose saved user registers say which system
 * call it blocks in. The kernel has already charged prev (update_curr) and counted this
 * switch, so prev's counters are exact here.
 */
#define MT_IRQS_OFF
#include "core.bpf.h"
#include "stage.bpf.h"
#include "python.bpf.h"
#include "regs.bpf.h"

#define TASK_DEAD            0x80
#define TASK_WAKING          0x200
#define TASK_UNINTERRUPTIBLE 2

#define keep_apart(var) asm volatile("" : "+r"(var))

#define FUTEX_WAIT_BITSET 9

/* The word lies on the waiter's own stack: what it waits for is in the word before it. */
#define PARK_BYTES 1024

static __always_inline void read_futex(struct mt_switch *e, u64 uaddr, u64 sp)
{
	u32 words[3];

	e->flags |= SW_F_FUTEX;
	e->addr = uaddr;
	if (!bpf_probe_read_user(words, sizeof(words), (void *)uaddr)) {
		e->word = words[0];
		e->owner = words[2];
		e->flags |= SW_F_WORD | SW_F_OWNER;
	} else if (!bpf_probe_read_user(words, sizeof(words[0]), (void *)uaddr)) {
		e->word = words[0]; /* the last word of a page */
		e->flags |= SW_F_WORD;
	}
	if (uaddr - sp < PARK_BYTES)
		bpf_probe_read_user(&e->park, sizeof(e->park), (void *)(uaddr - sizeof(u64)));
}

struct futex_waitv {
	u64 val, uaddr;
	u32 flags, reserved;
};

static __noinline void send_waitv(u64 ts, u32 task, u64 list, u64 n)
{
	struct mt_waitv *e = ring_reserve(mt_waitv, ts, MT_EV_WAITV, task);

	if (!e)
		return;
	e->n = n > MT_MAX_WAITV ? MT_MAX_WAITV : n;
	for (int i = 0; i < MT_MAX_WAITV; i++) {
		struct futex_waitv w = {};

		if ((u64)i < n)
			bpf_probe_read_user(&w, sizeof(w), (void *)(list + i * sizeof(w)));
		e->addrs[i] = w.uaddr;
	}
	ring_submit(e);
}

/* The system call's part of the record; returns the first word that identifies the wait. */
static __always_inline u64 describe_wait(struct mt_switch *e, struct task_struct *prev,
                                         const struct pt_regs *regs, bool *shared)
{
	u32 arch = 0;

	*shared = false;
	e->nr = regs_syscall(prev, regs, &e->args, &arch);
	e->arch = arch;
	if (e->nr < 0) {
		e->args.a0 = e->args.a1 = e->args.a2 = e->args.a3 = 0;
		e->flags |= prev->flags & PF_NO_USER ? 0 : SW_F_FAULT;
		return 0;
	}
	e->flags |= SW_F_SYSCALL;
	if (arch)
		return e->args.a0;
	if (!is_futex_wait(e->nr, &e->args))
		return e->args.a0;
	if (e->nr == MT_NR_FUTEX_WAITV) {
		struct futex_waitv w = {};

		if (!bpf_probe_read_user(&w, sizeof(w), (void *)e->args.a0)) {
			read_futex(e, w.uaddr, regs_sp(regs));
			*shared = !(w.flags & FUTEX_PRIVATE);
		}
	} else {
		read_futex(e, e->args.a0, regs_sp(regs));
		*shared = !((e->nr == MT_NR_FUTEX ? e->args.a1 : e->args.a3) & FUTEX_PRIVATE);
	}
	/* A condition variable of glibc's is waited for at two words in turn. */
	return e->args.a0 & ~7ull;
}

/* A wait for the GIL under musl is told as one on its condition variable, as glibc's are. */
static __always_inline void find_cond(struct mt_switch *e, struct task_state *s)
{
	u32 off = gil_awaited(s->gil_addr, e->addr);

	s->stack_word = e->addr;
	s->stack_cond = off ? s->gil_addr + off : 0;
	if (!off)
		return;
	e->addr = e->args.a0 = s->stack_cond;
	e->park = 0;
}

/* The GIL, if this is Python. In a wait for it the task is not its holder. */
static __always_inline void read_gil(struct mt_switch *e, struct task_state *s, bool shared, u64 sp,
                                     u64 ts)
{
	bool futex = e->flags & SW_F_FUTEX;
	struct mt_gil gil = {};
	u32 flags = 0;

	if (futex && !shared && e->nr == MT_NR_FUTEX && e->args.a3 &&
	    (e->args.a1 & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET)
		flags |= GIL_TIMED;
	else if (!gil_possible(s))
		return;
	if (!futex || e->addr - s->gil_addr >= MT_GIL_BYTES)
		flags |= GIL_MINE;
	if (!gil_read(s, &gil, futex ? e->addr : 0, flags, ts))
		return;
	e->gil = gil;
	if (futex && !shared && s->gil_nodes && e->addr - sp < PARK_BYTES)
		find_cond(e, s);
}

static __always_inline u64 site_key(s32 nr, u64 ip, u64 sp, u64 arg)
{
	u64 h = (ip * 0x9e3779b97f4a7c15ULL) ^ (sp + (u64)(u32)nr * 0x100000001b3ULL);

	h = (h ^ arg) * 0xff51afd7ed558ccdULL;
	h ^= h >> 32;
	return h ? h : 1;
}

/* How often a stack may be found the same until it is looked at as seldom as can be. */
#define KNOWN_MOST 3

/*
 * Is it this site, reached by the same calls? That takes a look at the stack, which costs a third
 * of all else here where the caches are cold. Where several callers were seen, or a wait has
 * lasted not so many looks ago, it is looked at each time. Else, after CALM looks in a row that
 * found nothing new, once in 32 us, and after as many more once in 64: not more seldom, as a wait
 * that comes in between and lasts is told of the caller seen last, the first time.
 */
#define CALM          8
#define CALM_MOST     (2 * CALM)
#define CALM_NEVER    0xff
#define LASTING_NS    250000
#define LASTING_LOOKS 4096

static __always_inline bool look_is_due(const struct site_slot *slot, u32 us)
{
	u32 steps = slot->calm / CALM;

	return slot->lasting || slot->calm == CALM_NEVER || !steps ||
	       us - slot->checked >= 16u << (steps & 7);
}

static __always_inline bool site_is(struct site_slot *slot, u64 key, u64 sp, u32 us)
{
	if (slot->key != key || !slot->known)
		return false;
	if (!slot->places || !look_is_due(slot, us))
		return true;
	slot->checked = us;
	if (unwind_print(sp, slot->places) != slot->print) {
		slot->calm = CALM_NEVER;
		return false;
	}
	if (slot->calm < CALM_MOST)
		slot->calm++;
	if (slot->lasting)
		slot->lasting--;
	return true;
}

static __always_inline bool has_several(const struct site_slot *slot, u64 key)
{
	return slot->key == key && slot->calm == CALM_NEVER;
}

/* Where the site is remembered, + SITE_SLOTS; or will be: in one of two places, where it takes
 * that of the other's site which was not waited at for longer. Global functions, as the verifier
 * looks at them once. */
__noinline u32 site_find(struct task_state *s, u64 key, u64 sp, u64 ts)
{
	u32 i = key & (SITE_SLOTS - 1), j = i ^ 1, us = (u32)(ts >> 10);
	struct site_slot *a, *b;
	bool same;

	if (!s)
		return 0;
	a = &s->slots[i];
	b = &s->slots[j];
	same = site_is(a, key, sp, us);
	if (!same) {
		if (has_several(a, key) && b->key == key)
			b->calm = CALM_NEVER;
		same = site_is(b, key, sp, us);
		if (same || !b->key || (a->key && (s32)(b->used - a->used) < 0))
			i = j;
		if (!same)
			s->slots[i].calm =
			        has_several(a, key) || has_several(b, key) ? CALM_NEVER : 0;
	}
	s->slots[i].used = ts >> 20;
	return same ? i + SITE_SLOTS : i;
}

/* The stack just taken is that of the site. */
__noinline u32 site_keep(struct task_state *s, u32 i, u64 sp, u64 ustack)
{
	struct site_slot *slot;

	if (!s)
		return 0;
	slot = &s->slots[i & (SITE_SLOTS - 1)];
	if (stack_wanted())
		slot->known = 0;
	else if (!slot->known || ustack != slot->ustack)
		slot->known = 1;
	else if (slot->known < KNOWN_MOST)
		slot->known++;
	slot->ustack = ustack;
	slot->places = cfg.unwind ? unwind_places() : 0;
	slot->print = slot->places ? unwind_print(sp, slot->places) : 0;
	slot->blocked_ns = 0;
	return 0;
}

/*
 * The stack of a wait, at a cost bounded by blocked time: each site (system call, place,
 * first argument, the calls that lead there) keeps the stack it was last seen with; a new one is
 * taken for an unknown site, or when more than stack_refresh_ns were spent blocked there since, as
 * long as the task has blocked time left to pay with (stack_price_ns each). Where it is still
 * the same, the next look comes after twice that time, and after four times at most.
 */
static __always_inline void wait_stack(void *ctx, struct mt_switch *e, struct task_state *s,
                                       u64 key, u64 sp, u64 ts)
{
	u32 at = site_find(s, key, sp, ts), i = at & (SITE_SLOTS - 1);
	struct site_slot *slot = &s->slots[i];
	bool same = at >= SITE_SLOTS;

	s->slot = i;
	if (same && cfg.stacks == 1 &&
	    (slot->blocked_ns < cfg.stack_refresh_ns << ((slot->known - 1) & KNOWN_MOST) ||
	     s->credit_ns < cfg.stack_price_ns)) {
		e->ustack = slot->ustack;
		e->kstack = slot->kstack;
		e->flags |= SW_F_SITE_STACK;
		return;
	}
	if (slot->key != key)
		slot->kstack = slot->lasting = 0;
	if (!same) {
		slot->key = key;
		slot->known = 0;
		slot->blocked_ns = 0;
	}
	if (cfg.stacks == 1) {
		if (s->credit_ns < cfg.stack_price_ns) {
			e->flags |= SW_F_NOSTACK;
			my_stats()->no_stack++;
			return;
		}
		s->credit_ns -= cfg.stack_price_ns;
	}
	/* The kernel's way from the same call to the same wait: hardly another one, and half of the
	 * cost where the caches are cold. */
	if (!slot->kstack || cfg.stacks != 1)
		slot->kstack = stack_take(ctx, s, ts, false);
	e->kstack = slot->kstack;
	e->ustack = stack_take(ctx, s, ts, true);
	site_keep(s, i, sp, e->ustack);
}

/* Growth of prev's kernel counters since its last switch-out. Where an account began in the middle
 * of a turn (exec), what the kernel had counted by then is an estimate, and may be a little
 * more than what it says now: no growth yet. */
static __always_inline void take_growth(struct task_struct *prev, struct task_state *s, u64 *exec,
                                        u64 *delay)
{
	u64 run = prev->se.sum_exec_runtime, wait = run_delay_of(prev);

	*exec = 0;
	if (run > s->last_exec) {
		*exec = run - s->last_exec;
		s->last_exec = run;
	}
	*delay = wait - s->last_delay;
	s->last_delay = wait;
}

static __always_inline void send_blocked(void *ctx, struct task_struct *prev, struct task_state *s,
                                         u32 next, u32 state, u32 flags, u64 ts)
{
	const struct pt_regs *regs = (void *)bpf_task_pt_regs(prev);
	struct mt_switch *e;
	bool shared;
	u64 arg, key;

	e = stage_reserve(mt_switch, ts, MT_EV_SWITCH, s->id);
	if (!e) {
		take_growth(prev, s, &arg, &key);
		return;
	}
	e->next = next;
	e->state = state;
	e->flags = flags;
	e->pad = 0;
	e->word = e->owner = 0;
	e->addr = e->ustack = e->kstack = 0;
	e->park = e->file = 0;
	__builtin_memset(&e->gil, 0, sizeof(e->gil));
	take_growth(prev, s, &e->exec_ns, &e->delay_ns);
	if (BPF_CORE_READ_BITFIELD(prev, in_iowait))
		e->flags |= SW_F_IOWAIT;
	arg = describe_wait(e, prev, regs, &shared);
	if (shared)
		futex_identify(s->id, s->space, e->addr, ts);
	if (!(flags & SW_F_DEAD))
		read_gil(e, s, shared, regs_sp(regs), ts);
	s->slot = SITE_SLOTS;
	if (!(flags & SW_F_DEAD)) {
		key = site_key(e->nr, regs_ip(regs), regs_sp(regs), arg);
		/* Python functions that call each other leave no trace on the C stack. */
		if (py_spaces_n && cfg.stacks == 1)
			key ^= stack_site_python(s->space, ts);
		if (e->nr >= 0 && !e->arch) {
			u64 file = file_of_call(s, e->nr, &e->args, ts);

			e->file = FILE_ID(file);
			e->arch = FILE_KIND(file) << 8;
		}
		if (cfg.stacks)
			wait_stack(ctx, e, s, key, regs_sp(regs), ts);
	}
	if (e->nr == MT_NR_FUTEX_WAITV && !(e->arch & 1) && e->args.a1 > 1) {
		u64 list = e->args.a0, n = e->args.a1;

		stage_submit(e);
		send_waitv(ts, s->id, list, n);
		return;
	}
	stage_submit(e);
}

static __always_inline void send_preempted(struct task_struct *prev, struct task_state *s, u32 next,
                                           u32 state, u32 flags, u64 ts)
{
	struct mt_preempt *e;
	struct mt_gil gil = {};
	u64 exec, delay;

	if (s->born_ts && py_spaces_n && ts >= s->look_ts) {
		s->look_ts = ts + MT_LOOK_NS + ((ts - s->born_ts) >> MT_LOOK_SHIFT);
		look_spent(s);
		look_here(s, ts);
	}
	e = stage_reserve(mt_preempt, ts, MT_EV_PREEMPT, s->id);
	take_growth(prev, s, &exec, &delay);
	s->slot = SITE_SLOTS;
	if (!e)
		return;
	e->next = next;
	e->state = state;
	e->flags = flags | SW_F_RUNNABLE;
	e->pad = 0;
	e->exec_ns = exec;
	e->delay_ns = delay;
	__builtin_memset(&e->gil, 0, sizeof(e->gil));
	if (gil_possible(s) && gil_read(s, &gil, 0, GIL_MINE, ts))
		e->gil = gil;
	stage_submit(e);
}

static __always_inline void switch_out(void *ctx, struct task_struct *prev, struct task_state *s,
                                       u32 next, u32 state, bool preempt, u64 ts)
{
	u64 vol = prev->nvcsw;
	bool voluntary = vol != s->last_nvcsw;
	u32 flags = voluntary ? SW_F_VOLUNTARY : 0;

	if (!(s->flags & TS_BASED)) {
		/* Attached while it ran: this switch is its first event. */
		u64 run = prev->se.sum_exec_runtime, since = ts - s->attach_ts;

		voluntary = !preempt && state;
		flags = voluntary ? SW_F_VOLUNTARY : 0;
		send_base(prev, s, ts, run > since ? run - since : 0,
		          voluntary ? COUNTED_VOLUNTARY : COUNTED_INVOLUNTARY);
	}
	s->last_nvcsw = vol;
	if (preempt || (!state && !(flags & SW_F_DEAD))) {
		send_preempted(prev, s, next, state, flags, ts);
		s->block_ts = 0;
	} else {
		if (state & TASK_DEAD)
			flags |= SW_F_DEAD;
		send_blocked(ctx, prev, s, next, state, flags, ts);
		s->block_ts = ts;
	}
	if (ts >= s->rss_next_ns && !(flags & SW_F_DEAD))
		send_rss(prev, s, ts, false);
	if (flags & SW_F_DEAD)
		send_end(prev, s, ts, 0);
	else if (phase == MT_PHASE_STOPPING)
		send_end(prev, s, ts, CNT_F_ALIVE);
}

static __always_inline void switch_in(struct task_struct *next, struct task_state *s, u64 ts)
{
	struct site_slot *slot;
	u64 blocked;

	if (!(s->flags & TS_BASED))
		send_base(next, s, ts, next->se.sum_exec_runtime, COUNTED_NONE);
	s->in_ts = ts;
	if (!s->block_ts || ts <= s->block_ts)
		return;
	blocked = ts - s->block_ts;
	s->block_ts = 0;
	s->credit_ns += blocked;
	if (s->credit_ns > 64 * cfg.stack_price_ns)
		s->credit_ns = 64 * cfg.stack_price_ns;
	if (s->slot < SITE_SLOTS) {
		slot = &s->slots[s->slot & (SITE_SLOTS - 1)];
		slot->blocked_ns += blocked;
		if (blocked > LASTING_NS)
			slot->lasting = LASTING_LOOKS;
	}
}

static __always_inline int on_switch(void *ctx, struct task_struct *prev, struct task_struct *next,
                                     u32 state, bool preempt)
{
	struct task_state *out = NULL, *in = NULL;
	struct mt_switch_in *e;
	u64 ts;

	if (phase == MT_PHASE_IDLE)
		return 0;
	if (prev->pid)
		out = task_find(prev);
	if (next->pid)
		in = task_find(next);
	if (out && !followed(out))
		out = NULL;
	if (in && !followed(in))
		in = NULL;
	/* Two tests: or-ed together, as the compiler would, pointers are refused. */
	keep_apart(out);
	if (!out) {
		keep_apart(in);
		if (!in)
			return 0;
	}
	ts = bpf_ktime_get_ns();
	page_waits[bpf_get_smp_processor_id() & (MT_MAX_CPUS - 1)].fault = in ? in->fault : 0;
	if (in) {
		switch_in(next, in, ts);
		if (phase == MT_PHASE_STOPPING) {
			send_end(next, in, ts, CNT_F_ALIVE);
			in = NULL;
		}
	}
	if (out) {
		switch_out(ctx, prev, out, in ? in->id : 0, state, preempt, ts);
	} else if (in) {
		e = stage_reserve(mt_switch_in, ts, MT_EV_SWITCH_IN, in->id);
		if (e)
			stage_submit(e);
	}
	return 0;
}

/* Since 5.18 (fa2c3254d7cf) the state is an argument: task->__state may change under us. */
SEC("?tp_btf/sched_switch")
int BPF_PROG(mt_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
             unsigned int prev_state)
{
	return on_switch(ctx, prev, next, prev_state, preempt);
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(mt_switch_old, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return on_switch(ctx, prev, next, prev->__state, preempt);
}
