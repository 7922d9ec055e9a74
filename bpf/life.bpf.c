/* SPDX-License-Identifier: MIT */
/*
 * life.bpf.c: tasks come, change and go: creation, exec, rename, exit; and the walk over
 * all tasks with which a recording begins (who is to be followed) and ends (counters of
 * those that live on).
 */
#include "core.bpf.h"
#include "regs.bpf.h"
#include "python.bpf.h"

#define CLONE_VM     0x00000100
#define CLONE_THREAD 0x00010000
#define TASK_DEAD    0x80
#define TASK_NEW     0x800 /* created, but nobody has been told yet */

/* How deep the recorder's own PID namespace is: 0 outside of containers. Ids of tasks are those
 * that it sees in /proc. */
__u32 pid_level = 0;

/* tgids to follow from the start: value = TASK_F_* flags of their tasks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} targets SEC(".maps");

/* The task's id in the PID namespace that is so deep, at most its own. */
static __always_inline u32 id_at(struct task_struct *t, u32 most)
{
	struct pid *pid = BPF_CORE_READ(t, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	const char *upids = (const char *)pid + bpf_core_field_offset(struct pid, numbers);
	struct upid *upid;

	if (level > most)
		level = most;
	upid = (void *)(upids + (u64)level * bpf_core_type_size(struct upid));
	return BPF_CORE_READ(upid, nr);
}

#define ns_id(t) id_at(t, ~0u)

static __always_inline u32 tid_of(struct task_struct *t)
{
	return pid_level ? id_at(t, pid_level) : (u32)t->pid;
}

static __always_inline u32 tgid_of(struct task_struct *t)
{
	return pid_level ? id_at(BPF_CORE_READ(t, group_leader), pid_level) : (u32)t->tgid;
}

/* State of a new followed task; NULL and counted when the kernel has no memory for it. */
static __always_inline struct task_state *task_add(struct task_struct *t)
{
	struct task_state *s = bpf_task_storage_get(&tasks, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!s) {
		my_stats()->lost_task++;
		return NULL;
	}
	s->id = __sync_fetch_and_add(&last_task_id, 1) + 1;
	s->slot = SITE_SLOTS;
	s->credit_ns = 32 * cfg.stack_price_ns;
	return s;
}

/* What a task that is attached has been waiting for, and since when nobody knows. */
static __always_inline void describe_state(struct mt_task *e, struct task_struct *t,
                                           struct task_state *s, u64 ts)
{
	const struct pt_regs *regs = (void *)bpf_task_pt_regs(t);
	u32 arch = 0;
	u64 file;

	e->state = t->__state;
	if (!e->state || !regs)
		return;
	e->nr = regs_syscall(t, regs, &e->args, &arch);
	e->arch = arch;
	if (s->flags & TS_HELD)
		return;
	e->ip = regs_ip(regs);
	e->sp = regs_sp(regs);
	e->bp = regs_bp(regs);
	e->wait_flags = e->nr >= 0              ? SW_F_SYSCALL
	                : t->flags & PF_NO_USER ? SW_F_VOLUNTARY
	                                        : SW_F_FAULT;
	if (BPF_CORE_READ_BITFIELD(t, in_iowait))
		e->wait_flags |= SW_F_IOWAIT;
	if (cfg.stacks)
		e->kstack = stack_of_task(t, s->id, ts);
	if (e->nr < 0 || arch)
		return;
	if (is_futex_wait(e->nr, &e->args))
		e->wait_flags |= SW_F_FUTEX;
	file = file_of_task(t, s, e->nr, &e->args, ts);
	e->file = FILE_ID(file);
	e->arch = FILE_KIND(file) << 8;
	if (e->nr == MT_NR_FUTEX && !(e->args.a1 & FUTEX_PRIVATE))
		futex_identify_of(t, s->id, s->space, e->args.a0, ts);
}

static __always_inline void send_task(struct task_struct *t, struct task_state *s, u64 ts,
                                      u32 parent, u32 space_parent, u32 flags, u64 clone_flags)
{
	struct mt_task *e = ring_reserve(mt_task, ts, MT_EV_TASK, s->id);

	if (!e)
		return;
	e->parent = parent;
	e->proc = s->proc;
	e->space = s->space;
	e->space_parent = space_parent;
	e->tid = tid_of(t);
	e->tgid = tgid_of(t);
	e->ns_tid = ns_id(t);
	e->ns_tgid = t->pid == t->tgid ? e->ns_tid : ns_id(BPF_CORE_READ(t, group_leader));
	e->ppid = pid_level ? id_at(BPF_CORE_READ(t, real_parent, group_leader), pid_level)
	                    : (u32)BPF_CORE_READ(t, real_parent, tgid);
	e->flags = flags;
	e->clone_flags = clone_flags;
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), t->comm);
	e->state = 0;
	e->nr = -1;
	e->arch = 0;
	e->wait_flags = 0;
	e->args.a0 = e->args.a1 = e->args.a2 = e->args.a3 = 0;
	e->ctid = (u64)t->clear_child_tid;
	e->ip = e->sp = e->bp = e->kstack = e->file = 0;
	e->call_ns = s->call_ts && s->call_ts < ts ? ts - s->call_ts : 0;
	if (flags & TASK_F_ATTACHED)
		describe_state(e, t, s, ts);
	ring_submit(e);
}

/*
 * A new address space has its counters allocated first thing (mm_init(), since 6.2), before
 * fork() copies the page tables, which is what fork() of a large process costs.
 */
SEC("?tp_btf/percpu_alloc_percpu")
int BPF_PROG(mt_call)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct task_state *s;
	struct mt_args args;
	u32 arch = 0;

	if (phase != MT_PHASE_ON)
		return 0;
	s = task_find(t);
	if (!s || !followed(s) || s->call_ts)
		return 0;
	if (MT_NR_CLONE(regs_syscall(t, (void *)bpf_task_pt_regs(t), &args, &arch)) && !arch)
		s->call_ts = bpf_ktime_get_ns();
	return 0;
}

/* What the process had of its own before it had threads is what processes instead would have to
 * have: an earlier reading may be of a program that had hardly begun. */
static __always_inline void at_first_thread(struct task_struct *parent, struct task_state *ps,
                                            u64 ts)
{
	struct signal_struct *signal = (void *)pointer_value(parent, signal);

	if (BPF_CORE_READ(signal, live.counter) == 2)
		send_rss(parent, ps, ts, true);
}

/* Called at the end of copy_process(), in the parent: the child exists, but never ran. */
SEC("?tp_btf/task_newtask")
int BPF_PROG(mt_newtask, struct task_struct *child, u64 clone_flags)
{
	struct task_struct *parent;
	struct task_state *ps, *s;
	u32 space, space_parent = 0;
	u64 ts;

	if (phase != MT_PHASE_ON)
		return 0;
	parent = bpf_get_current_task_btf();
	ps = task_find(parent);
	if (!ps || !followed(ps))
		return 0;
	ts = bpf_ktime_get_ns();
	if (clone_flags & CLONE_THREAD)
		at_first_thread(parent, ps, ts);
	s = task_add(child);
	if (!s)
		return 0;
	s->flags = TS_BASED | TS_READY;
	if (clone_flags & CLONE_VM) {
		space = ps->space;
	} else {
		space = __sync_fetch_and_add(&last_space_id, 1) + 1;
		space_parent = ps->space;
		py_fork(space_parent, space);
	}
	if (space_parent || clone_flags & CLONE_THREAD) {
		s->born_ts = ts;
		s->looks = space_parent ? LOOKS_PROCESS : LOOKS_THREAD;
	}
	s->space = space;
	s->proc = clone_flags & CLONE_THREAD ? ps->proc : s->id;
	s->call_ts = ps->call_ts; /* told by send_task(), and then it is its own */
	ps->call_ts = 0;
	send_task(child, s, ts, ps->id, space_parent, 0, clone_flags);
	if (space_parent && gil_possible(ps))
		gil_fork(space_parent, space, s->id, ts);
	s->call_ts = 0;
	return 0;
}

/* The first bytes of the arguments, each ended by a NUL. */
static __always_inline u32 read_args(struct task_struct *p, char *out)
{
	struct mm_struct *mm = (void *)pointer_value(p, mm);
	u64 start, len;

	if (!mm)
		return 0;
	start = BPF_CORE_READ(mm, arg_start);
	len = BPF_CORE_READ(mm, arg_end) - start;
	if (len > MT_ARGS_LEN)
		len = MT_ARGS_LEN;
	if (!len || bpf_probe_read_user(out, len, (void *)start))
		return 0;
	return len;
}

SEC("?tp_btf/sched_process_exec")
int BPF_PROG(mt_exec, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	struct task_state *s = task_find(p);
	struct mt_exec *e;
	u64 ts;

	if (phase != MT_PHASE_ON || !s || !followed(s))
		return 0;
	ts = bpf_ktime_get_ns();
	if (s->flags & TS_HELD) {
		/* Its counters begin anew here. The kernel's run time of a task that is running
		 * is as old as the last tick; what it had when it got the CPU is exact. */
		s->flags &= ~TS_HELD;
		s->first_read = s->first_write = s->wp = 0;
		s->touched_pages = s->cow_pages = 0;
		send_base(p, s, ts, s->last_exec + (ts - s->in_ts), COUNTED_NONE);
	}
	s->space = __sync_fetch_and_add(&last_space_id, 1) + 1;
	s->gil_n = s->gil_generation = 0;
	s->gil_addr = s->tstate = 0;
	s->born_ts = ts;
	s->look_ts = 0;
	s->looks = LOOKS_PROCESS;
	for (int i = 0; i < SITE_SLOTS; i++)
		s->slots[i].key = 0;
	e = ring_reserve(mt_exec, ts, MT_EV_EXEC, s->id);
	if (!e)
		return 0;
	e->space = s->space;
	e->tid = tid_of(p);
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), p->comm);
	if (bpf_probe_read_kernel_str(e->file, sizeof(e->file), bprm->filename) < 0)
		e->file[0] = 0;
	e->args_len = read_args(p, e->args);
	e->pad = 0;
	/* The recorder has to find out what the program is before it gets going. */
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("?tp_btf/task_rename")
int BPF_PROG(mt_rename, struct task_struct *p, const char *comm)
{
	struct task_state *s = task_find(p);
	struct mt_rename *e;

	if (phase != MT_PHASE_ON || !s || !followed(s))
		return 0;
	e = ring_reserve(mt_rename, bpf_ktime_get_ns(), MT_EV_RENAME, s->id);
	if (!e)
		return 0;
	if (bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), comm) < 0)
		e->comm[0] = 0;
	ring_submit(e);
	return 0;
}

/* The task still runs a little after this; its last counters come with its last switch. */
SEC("?tp_btf/sched_process_exit")
int BPF_PROG(mt_exit, struct task_struct *p)
{
	struct task_state *s = task_find(p);
	struct signal_struct *signal;
	struct mt_exit_ev *e;
	u64 ts;

	if (phase != MT_PHASE_ON || !s || !followed(s))
		return 0;
	ts = bpf_ktime_get_ns();
	e = ring_reserve(mt_exit_ev, ts, MT_EV_EXIT, s->id);
	if (!e)
		return 0;
	e->code = p->exit_code;
	signal = (void *)pointer_value(p, signal);
	e->group_code = BPF_CORE_READ(signal, group_exit_code);
	e->last = BPF_CORE_READ(signal, live.counter) == 0;
	e->pad = 0;
	e->maxrss_pages = BPF_CORE_READ(signal, maxrss);
	ring_submit(e);
	return 0;
}

static __always_inline struct task_state *attach_one(struct task_struct *t)
{
	struct task_state *s = task_find(t);

	return s ? s : task_add(t);
}

SEC("?iter/task")
int mt_attach(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task, *leader;
	struct task_state *s, *ls;
	u32 tgid, *flags, on_cpu, state;
	u64 ts;

	if (!t)
		return 0;
	if (ctx->meta->seq_num < MT_MAX_CPUS) /* there are more tasks than CPUs */
		look_timer_make(ctx->meta->seq_num);
	pid_level = BPF_CORE_READ(bpf_get_current_task_btf(), thread_pid, level);
	tgid = tgid_of(t);
	flags = bpf_map_lookup_elem(&targets, &tgid);
	if (!flags)
		return 0;
	s = task_find(t);
	if (s && s->proc)
		return 0; /* followed already: its creator was */
	/* Its creation is told in a moment, when its creator is followed; else the next walk
	 * finds it. And of a process of which nothing lives there is nothing to record. */
	state = t->__state;
	if ((state & TASK_NEW) ||
	    ((state & TASK_DEAD) && BPF_CORE_READ(t, signal, live.counter) <= 0))
		return 0;
	ts = bpf_ktime_get_ns();
	leader = t->group_leader;
	ls = attach_one(leader);
	s = attach_one(t);
	if (!s || !ls)
		return 0;
	if (!ls->space)
		ls->space = __sync_fetch_and_add(&last_space_id, 1) + 1;
	s->space = ls->space;
	s->proc = ls->id;
	if (*flags & MT_TARGET_HELD)
		s->flags |= TS_HELD;
	s->last_nvcsw = t->nvcsw;
	s->attach_ts = ts;
	on_cpu = t->on_cpu ? TASK_F_ON_CPU : 0;
	send_task(t, s, ts, 0, 0, (*flags & ~MT_TARGET_HELD) | TASK_F_ATTACHED | on_cpu, 0);
	if (state & TASK_DEAD) { /* a leader that left its threads behind */
		send_base(t, s, ts, t->se.sum_exec_runtime, COUNTED_NONE);
		send_end(t, s, ts, 0);
	}
	__sync_fetch_and_or(&s->flags, TS_READY);
	return 0;
}

SEC("?iter/task")
int mt_finish(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct task_state *s;
	u64 ts;

	if (!t)
		return 0;
	s = task_find(t);
	if (!s || !followed(s))
		return 0;
	ts = bpf_ktime_get_ns();
	if (!(s->flags & TS_BASED))
		send_base(t, s, ts, t->se.sum_exec_runtime, COUNTED_NONE);
	send_end(t, s, ts, CNT_F_ALIVE | (t->on_cpu ? CNT_F_ON_CPU : 0));
	return 0;
}
