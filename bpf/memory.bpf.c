/* SPDX-License-Identifier: MIT */
/*
 * memory.bpf.c: who brings pages into memory. Page faults are counted by their error code.
 * What a fault did is told by what follows it in the same task:
 *
 *     page not present, a page is allocated,           first touch, of that size (else it
 *               the anonymous or shared RSS grows       is a file's page)
 *     write to a present page, a page is allocated      a copy-on-write copy; but when
 *                     and the anonymous RSS grows       the first write to a zero or file page
 *     write to a present page, and nothing              re-use: the last owner writes
 *
 * Before 6.2 (f1a7941243c1) faults tell of the RSS only now and then: there every page that
 * is allocated counts as the fault's, and nothing is taken back.
 *
 * The two hooks behind the fault fire for every page of the machine. So a fault of a
 * followed task leaves a mark for its CPU, and without one they return after one load.
 */
#include "python.bpf.h"
#include "regs.bpf.h"

struct page_wait page_waits[MT_MAX_CPUS] __attribute__((aligned(64))) = {};

/* x86 error code of a page fault: bit 0 the page was present, bit 1 a write. */
enum { PF_PROT = 1, PF_WRITE = 2 };

#define GFP_MOVABLE   0x08u /* of user pages; page tables and the kernel's own are not */
#define MM_ANONPAGES  1
#define MM_SHMEMPAGES 3

static __always_inline struct page_wait *my_wait(void)
{
	return &page_waits[bpf_get_smp_processor_id() & (MT_MAX_CPUS - 1)];
}

/*
 * A stack for each touch_bytes that a task touches or copies: exact in sum, sampled in place.
 * It is taken where the page is allocated, and only there: what takes stacks is long to verify.
 */
static __always_inline u64 fault_stack(void *ctx, struct task_state *s, u64 sum)
{
	if (!cfg.touch_bytes || sum < cfg.touch_bytes)
		return 0;
	return stack_take(ctx, s, bpf_ktime_get_ns(), true);
}

/*
 * When does a new process begin with what it is for? Looks at its Python frames tell, where it
 * faults anyway, as a starting interpreter does all the time: at most 270 of them. One at work may
 * not fault any more: so where none came for twice the time a timer takes one, if the process is
 * on the timer's CPU then. An interrupt costs more than a look, so each look puts the timer off,
 * and one that follows another comes later and later, as does one that found somebody else. A
 * thread begins soon: it gets few looks in all. One that finds its stack and heap as another has
 * left them does not fault at all: for it the timer is set when it first wakes somebody, as
 * Thread.start() waits until it is woken by the new thread, which does next what it is for.
 */
#define LOOK_UNTIL 2000000000ull
#define IDLE_LOOKS 5
#define IDLE_NS    200000

#define CLOCK_MONOTONIC 1

struct look_timer {
	struct bpf_timer timer;
	u32 on, idle, made, pad;
};

/* One a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_MAX_CPUS);
	__type(key, u32);
	__type(value, struct look_timer);
} look_timers SEC(".maps");

u32 look_now(struct task_state *s, u64 ts)
{
	return s ? look_here(s, ts) : LOOK_OTHER;
}

static __always_inline u64 look_gap(const struct task_state *s, u64 ts)
{
	u64 gap = (ts - s->born_ts) >> MT_LOOK_SHIFT;
	u64 least = s->looks <= LOOKS_THREAD ? MT_LOOK_NS / 2 : MT_LOOK_NS;

	return gap > least ? gap : least;
}

/* How long after a look by the timer the next one comes, if none comes in between. */
static __always_inline u64 next_late(struct task_state *s, u64 gap)
{
	if (s->late < 12)
		s->late++;
	return gap << (s->late & 15);
}

static int look_late(void *map, u32 *cpu, struct look_timer *v)
{
	struct task_state *s = task_find(bpf_get_current_task_btf());
	u64 ts = bpf_ktime_get_ns(), after, gap;

	if (phase == MT_PHASE_ON && s && s->born_ts && s->looks) {
		v->idle = 0;
		gap = look_gap(s, ts);
		s->look_ts = ts + gap;
		s->looks--;
		look_here(s, ts);
		if (ts - s->born_ts > LOOK_UNTIL)
			s->born_ts = 0;
		after = next_late(s, gap);
	} else if (phase == MT_PHASE_ON && v->idle < IDLE_LOOKS) {
		after = (u64)IDLE_NS << (v->idle & 7);
		v->idle++;
	} else {
		v->on = 0;
		return 0;
	}
	bpf_timer_start(&v->timer, after, 0);
	return 0;
}

static __always_inline void timer_make(struct look_timer *v)
{
	bpf_timer_init(&v->timer, &look_timers, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&v->timer, look_late);
	v->made = 1;
}

u32 look_timer_make(u32 cpu)
{
	struct look_timer *v = bpf_map_lookup_elem(&look_timers, &cpu);

	if (v && !v->made)
		timer_make(v);
	return 0;
}

/* Not where it has to be made: that allocates memory, which may wake somebody. */
u32 look_soon(struct task_state *s, u64 ts)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct look_timer *v = bpf_map_lookup_elem(&look_timers, &cpu);

	if (!s || !v || !v->made)
		return 0;
	s->look_ts = ts;
	v->on = 1;
	v->idle = 0;
	bpf_timer_start(&v->timer, MT_LOOK_NS / 2, 0);
	return 0;
}

/* This CPU's timer is to look then, and not before. */
static __always_inline void put_off(u64 after)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct look_timer *v = bpf_map_lookup_elem(&look_timers, &cpu);

	if (!v)
		return;
	if (!v->made)
		timer_make(v);
	v->on = 1;
	v->idle = 0;
	bpf_timer_start(&v->timer, after, 0);
}

static __always_inline void look(struct task_state *s)
{
	u64 ts, gap;
	u32 seen;

	if (!s->born_ts || !py_spaces_n)
		return;
	ts = bpf_ktime_get_ns();
	if (ts < s->look_ts)
		return;
	gap = look_gap(s, ts);
	s->look_ts = ts + gap;
	if (ts - s->born_ts > LOOK_UNTIL)
		s->born_ts = 0;
	look_spent(s);
	seen = look_now(s, ts);
	if (seen == LOOK_NOTHING)
		s->look_ts = ts + gap / 4; /* soon it has frames */
	if (seen == LOOK_OTHER || !s->looks)
		return;
	s->late = 0;
	put_off(2 * gap);
}

static __always_inline void touched(struct task_state *s, u64 bytes, u64 stack)
{
	s->touched_pages += bytes >> cfg.page_shift;
	s->touch_credit += bytes;
	if (!stack)
		return;
	send_touch(s, TOUCH_FIRST, s->touch_credit, stack);
	s->touch_credit = 0;
}

static __always_inline void copied(struct task_state *s, u64 bytes, u64 stack)
{
	s->cow_pages += bytes >> cfg.page_shift;
	s->cow_credit += bytes;
	if (!stack)
		return;
	s->cow_stack = stack;
	s->cow_bytes = s->cow_credit;
	s->cow_credit = 0;
}

/* The copy was one: nothing of it was taken back since. */
static __always_inline void copy_stands(struct task_state *s)
{
	if (!s->cow_bytes)
		return;
	send_touch(s, TOUCH_COW, s->cow_bytes, s->cow_stack);
	s->cow_bytes = 0;
}

static __always_inline int on_fault(u64 addr, u64 error_code, u32 from_kernel)
{
	struct task_state *s;

	if ((s64)addr < 0)
		return 0; /* the kernel's own memory */
	s = task_find(bpf_get_current_task_btf());
	if (!s)
		return 0;
	copy_stands(s);
	s->fault = 0;
	if (error_code & PF_PROT) {
		s->wp += !!(error_code & PF_WRITE);
		if (error_code & PF_WRITE)
			s->fault = FAULT_WP | from_kernel;
	} else if (error_code & PF_WRITE) {
		s->first_write++;
		s->fault = FAULT_NEW | from_kernel;
	} else {
		s->first_read++;
		/* Else the page cache may have it, and a later allocation is another matter. */
		if (!from_kernel)
			s->fault = FAULT_NEW;
	}
	my_wait()->fault = s->fault;
	return 0;
}

SEC("?tp_btf/page_fault_user")
int BPF_PROG(mt_fault_user, unsigned long addr, struct pt_regs *regs, unsigned long ec)
{
	return on_fault(addr, ec, 0);
}

/* Faults of the kernel on the task's memory: a system call that fills a fresh buffer. */
SEC("?tp_btf/page_fault_kernel")
int BPF_PROG(mt_fault_kernel, unsigned long addr, struct pt_regs *regs, unsigned long ec)
{
	/* Only a look (by us too, along frame pointers that are none): it brings in no page. */
	if (bpf_get_current_task_btf()->pagefault_disabled)
		return 0;
	return on_fault(addr, ec, FAULT_KERNEL);
}

static __always_inline bool in_syscall(struct task_struct *t)
{
	struct mt_args args;
	u32 arch = 0;

	return regs_syscall(t, (void *)bpf_task_pt_regs(t), &args, &arch) >= 0;
}

SEC("?tp_btf/mm_page_alloc")
int BPF_PROG(mt_fault_alloc, struct page *page, unsigned int order, unsigned int gfp)
{
	struct page_wait *w = my_wait();
	struct task_struct *t;
	struct task_state *s;
	u32 fault = w->fault;
	u64 bytes, stack;

	if (!(fault & (FAULT_NEW | FAULT_WP)) || !(gfp & GFP_MOVABLE))
		return 0;
	t = bpf_get_current_task_btf();
	s = task_find(t);
	if (!s || !s->fault)
		return 0;
	/* The fault is over when the task is in a call: pages of files are movable too. */
	if (!(fault & FAULT_KERNEL) && in_syscall(t)) {
		s->fault = w->fault = 0;
		return 0;
	}
	if (cfg.touch_bytes)
		look(s);
	bytes = 1ull << (cfg.page_shift + (order & 31));
	stack = fault_stack(ctx, s, bytes + (fault & FAULT_WP ? s->cow_credit : s->touch_credit));
	if (fault & FAULT_WP) {
		copied(s, bytes, stack);
		s->fault = w->fault = FAULT_COPIED | (fault & FAULT_KERNEL);
	} else if (bpf_core_type_exists(struct mm_rss_stat___old)) {
		touched(s, bytes, stack);
		s->fault = w->fault = 0;
	} else {
		s->new_order = order & 31;
		s->new_stack = stack;
		s->fault = w->fault = FAULT_ALLOCATED | (fault & FAULT_KERNEL);
	}
	return 0;
}

SEC("?tp_btf/rss_stat")
int BPF_PROG(mt_fault_rss, struct mm_struct *mm, int member)
{
	struct page_wait *w = my_wait();
	struct task_struct *t;
	struct task_state *s;
	u32 fault = w->fault;

	if (!(fault & (FAULT_COPIED | FAULT_ALLOCATED)))
		return 0;
	t = bpf_get_current_task_btf();
	s = task_find(t);
	if (!s || s->fault != fault || pointer_value(t, mm) != (u64)mm)
		return 0;
	if ((fault & FAULT_COPIED) && member != MM_ANONPAGES)
		return 0; /* the file's page that it replaces */
	s->fault = w->fault = 0;
	if (!(fault & FAULT_KERNEL) && in_syscall(t))
		return 0;
	if (fault & FAULT_ALLOCATED) {
		if (member == MM_ANONPAGES || member == MM_SHMEMPAGES)
			touched(s, 1ull << (cfg.page_shift + s->new_order), s->new_stack);
		return 0;
	}
	/* What was copied from was no anonymous page: new memory. */
	s->cow_pages--;
	if (s->cow_bytes) {
		s->cow_credit = s->cow_bytes - (1ull << cfg.page_shift);
		s->cow_bytes = 0;
	} else {
		s->cow_credit -= 1ull << cfg.page_shift;
	}
	touched(s, 1ull << cfg.page_shift, 0);
	return 0;
}
