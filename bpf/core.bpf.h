/* SPDX-License-Identifier: MIT */
/*
 * core.bpf.h: what all programs share: settings, the state of a followed task, the way
 * into the ring buffers. Programs record facts (raw numbers, ns, bytes); every
 * interpretation is user space's.
 */
#ifndef MT_CORE_BPF_H
#define MT_CORE_BPF_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "mt_abi.h"
#include "mt_flags.h"

#define SITE_SLOTS 16 /* remembered wait sites per task; a power of two */
#define FD_SLOTS   4 /* remembered files per task; a power of two */

/* task_struct.flags: a thread that io_uring made (5.12), one of the kernel's own. Never in user space. */
#define PF_IO_WORKER 0x10
#define PF_KTHREAD   0x00200000
#define PF_NO_USER   (PF_IO_WORKER | PF_KTHREAD)

/*
 * A followed task's state follows 8 bytes of the kernel's own that begin a cache line, or, where it
 * is allocated by bpf_mem_alloc (since 6.4), 16. So what lies in 56 bytes from one of 56, 120 and so
 * on is in one line by either. Most lines are cold when a task is switched to or from.
 */

/* A wait site whose stack is remembered (--stacks=auto). */
struct site_slot {
	u64 key;	/* hash of system call, ip, sp and first argument; 0 = empty */
	u64 ustack, kstack;
	u64 blocked_ns; /* blocked here since the stack was taken */
	u64 places; /* of the stack's return addresses, see unwind_places() */
	u32 used; /* when it was last waited at, in 2^20 ns */
	u32 print; /* of what is in `places`, see unwind_print() */
	/* When to look whether `print` is still right, see look_is_due(). */
	u32 checked; /* the last look: ~us */
	u16 lasting; /* so many more looks as a wait has lasted */
	u8 calm; /* so many looks in a row found it unchanged, up to CALM_MOST; or CALM_NEVER */
	u8 known; /* how often the stack was found to be this one; 0 = no stack, see KNOWN_MOST */
	u64 line_end;
};
_Static_assert(sizeof(struct site_slot) == 64 && __builtin_offsetof(struct site_slot, line_end) == 56,
	       "in one cache line");

/* A file that a descriptor of the task referred to, see file_of(). */
struct fd_slot {
	u64 inode, ino; /* address and number: together never the same again; 0 = empty */
	u64 own; /* files that share an inode (eventfd): address of what is behind it */
	u64 file; /* FILE_* */
	u64 line_end[4];
};

/* A followed task. Only its own CPU writes it, but for the flags, once it is TS_READY. What every
 * switch needs lies in the first two cache lines. */
struct task_state {
	u32 id, proc, space;
	u32 flags; /* TS_* */
	u64 last_exec, last_delay, last_nvcsw;
	u64 block_ts; /* when it blocked; 0 = it did not */
	u32 slot; /* of the wait that it is in, SITE_SLOTS = none */
	u32 fault; /* FAULT_*: what the last page fault was, while its outcome is open */

	u64 credit_ns; /* blocked time not yet spent on stacks */
	u64 rss_next_ns;
	u64 in_ts; /* when it last got a CPU */
	u64 born_ts; /* new, or a new program: since when; 0 = not */
	u32 gil_n, gil_id, gil_generation; /* see gil.bpf.c */
	u32 new_order; /* of the page of `fault` */
	u64 gil_addr;
	u64 tstate; /* its PyThreadState */
	u32 gil_nodes, pad; /* see gil_awaited() */
	u64 stack_word, stack_cond; /* musl: the word on its stack where it waits for that condition
				     * variable of a GIL's; cond 0 = it does not */

	u64 look_ts; /* of a new one: when to look next */
	u64 attach_ts;
	u64 call_ts; /* when the fork call that it is in began to copy the address space */
	u64 first_read, first_write, wp;
	u64 touched_pages, cow_pages;
	u64 touch_credit, cow_credit; /* bytes since the last stack */
	u64 new_stack; /* of a page allocated, until it is known what for */
	u64 cow_bytes, cow_stack; /* a copy to be told, unless it is taken back */
	struct site_slot slots[SITE_SLOTS];
	struct fd_slot fds[FD_SLOTS];
	u32 looks; /* so many more by a timer */
	u32 late; /* so many by it in a row */
};
_Static_assert(__builtin_offsetof(struct task_state, slots) % 64 == 56 &&
		       __builtin_offsetof(struct task_state, fds) % 64 == 56,
	       "each in one cache line");
enum {
	TS_BASED = 1, /* its counters at the start are known or zero */
	TS_ENDED = 2, /* its END has been sent: nothing more */
	TS_HELD = 4, /* the command, before its exec: its life begins there */
	TS_READY = 8, /* all is filled in: a walk adds tasks that run meanwhile */
};

/* Looks at a new task by a timer, see memory.bpf.c. */
enum { LOOKS_THREAD = 12 /* of both kinds */, LOOKS_PROCESS = 100 };
/* Makes that CPU's timer, where memory can be had. */
u32 look_timer_make(u32 cpu);
/* The current task, whose state is s, was not looked at yet: so soon it is. Also for who holds locks
 * of the scheduler's. Not static: see hash_frames(). */
u32 look_soon(struct task_state *s, u64 ts);

/* The last page fault of the task on a CPU, see memory.bpf.c. */
enum { FAULT_NEW = 1, FAULT_WP = 2, FAULT_COPIED = 4, FAULT_KERNEL = 8, FAULT_ALLOCATED = 16 };
extern struct page_wait page_waits[MT_MAX_CPUS];

extern const volatile struct mt_cfg cfg;
extern volatile __u32 phase; /* enum mt_phase */
extern struct mt_cpu_stats stats[MT_MAX_CPUS];
extern __u32 last_task_id, last_space_id;

struct task_map {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
};
extern struct task_map tasks SEC(".maps");

struct ring_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
struct rings_map {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 64);
	__type(key, u32);
	__array(values, struct ring_map);
};
extern struct rings_map rings SEC(".maps");

struct stages_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* possible CPUs */
	__type(key, u32);
	__type(value, struct mt_stage);
};
extern struct stages_map stages SEC(".maps");

/*
 * The value of a pointer member. Since 6.3 the verifier looks four names up, among all the kernel's
 * types, each time that a path comes to a pointer read the plain way out of a task: 2 ms of
 * start-up. So what need not stay a typed pointer is read as a number.
 */
#define pointer_value(of, member)                                          \
	({                                                                 \
		u64 value_ = 0;                                            \
		bpf_core_read(&value_, sizeof(value_), &(of)->member);     \
		value_;                                                    \
	})

/*
 * The verifier walks each round of a loop. A long one is one of LOOP_STEPS rounds in a function of
 * its own (not static, so that it is looked at once), and a short one around that.
 */
#define LOOP_STEPS 16

static __always_inline struct task_state *task_find(struct task_struct *t)
{
	return bpf_task_storage_get(&tasks, t, 0, 0);
}

/* Are its events to be recorded? */
static __always_inline bool followed(const struct task_state *s)
{
	return (s->flags & (TS_READY | TS_ENDED)) == TS_READY;
}

/* Counters are per CPU, so a plain increment does where interrupts are off: in the programs of
 * switches, wake-ups and samples. Elsewhere (page faults, walks over tasks, and what all of them
 * share) a hook in an interrupt, or another task, may come in between. */
#ifdef MT_IRQS_OFF
#define count_one(counter) ((counter)++)
#else
#define count_one(counter) ((void)__sync_fetch_and_add(&(counter), 1))
#endif

static __always_inline struct mt_cpu_stats *my_stats(void)
{
	return &stats[bpf_get_smp_processor_id() & (MT_MAX_CPUS - 1)];
}

static __always_inline void *my_ring(u32 cpu)
{
	u32 key = cpu & cfg.ring_mask;

	return bpf_map_lookup_elem(&rings, &key);
}

/* What has gathered in this CPU's page goes into its ring: in front of any other record. Where the
 * ring is full it stays. Not static: see hash_frames(). */
u32 stage_flush(u32 cpu);

/* This CPU's ring, for a record that does not go by its page (stage.bpf.h). */
static __always_inline void *my_ring_now(u32 cpu)
{
	if (cfg.staged)
		stage_flush(cpu);
	return my_ring(cpu);
}

/* Room for one record in this CPU's ring; NULL (and counted) when it is full. */
#define ring_reserve(type, ts_, kind_, task_)                                          \
	({                                                                             \
		u32 cpu_ = bpf_get_smp_processor_id();                                 \
		struct mt_cpu_stats *st_ = &stats[cpu_ & (MT_MAX_CPUS - 1)];           \
		void *ring_ = my_ring_now(cpu_);                                          \
		struct type *e_ = ring_ ? bpf_ringbuf_reserve(ring_, sizeof(struct type), 0) : NULL; \
		count_one(st_->seen);                                                           \
		if (e_) {                                                              \
			e_->h.ts = (ts_);                                              \
			e_->h.kind = (kind_);                                          \
			e_->h.cpu = cpu_;                                              \
			e_->h.task = (task_);                                          \
		} else {                                                               \
			count_one(st_->lost_ring);                                              \
		}                                                                      \
		e_;                                                                    \
	})

/*
 * Wake-ups of the recorder cost more than a record, so a record asks for none; but
 * every 64th on a CPU looks whether the ring has filled up meanwhile.
 */
static __always_inline u64 ring_flags(void)
{
	struct mt_cpu_stats *st = my_stats();
	void *ring;

	if (++st->tick & 63)
		return BPF_RB_NO_WAKEUP;
	ring = my_ring(bpf_get_smp_processor_id());
	if (ring && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >= cfg.wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

#define ring_submit(e) bpf_ringbuf_submit((e), ring_flags())

static __always_inline u64 run_delay_of(struct task_struct *t)
{
	if (bpf_core_field_exists(t->sched_info.run_delay))
		return t->sched_info.run_delay;
	return 0;
}

/* --- stack.bpf.c, unwind.bpf.c --- */

/* The content hash of the current task's stack (its state is s), its frames sent when they are
 * new; 0 = none. */
u64 stack_take(void *ctx, struct task_state *s, u64 ts, bool user) __hidden;
/* The same with Python's frames only: a third of the cost. 0: no Python here. */
u64 stack_take_python(struct task_state *s, u64 ts) __hidden;
/* What identifies the Python code that waits: a hash of the innermost PY_SITE_FRAMES, of which the
 * first two are mostly the library's (Queue.get, Condition.wait); 0 = none. Not static: see
 * hash_frames(). */
u64 stack_site_python(u32 space, u64 ts);
/* Did the user stack just taken on this CPU end where a table was missing that is on its way? A
 * later look will see more. */
bool stack_wanted(void) __hidden;
/* The current task's user stack by tables: sets frames, end, flags and wanted. Returns the number
 * of frames, 0 = not by this way. Not static: see hash_frames(). */
__noinline u32 unwind_user(struct mt_stack *sc, u32 space, u32 task);

/* The same of another task's kernel stack, for walks over tasks: one at a time. */
u64 stack_of_task(struct task_struct *t, u32 task, u64 ts) __hidden;

/* Where above the stack pointer the return addresses of the stack unwound last on this CPU lie:
 * a byte each, the number of the word + 1; the innermost seven of them that are near, then the last
 * of these again. 0: none is. */
u64 unwind_places(void) __hidden;

/* What lies in these places now, as a hash: is a stack with the same stack pointer still the one
 * that was unwound? One read, where unwinding takes one for each frame. */
__noinline u32 unwind_print(u64 sp, u64 places);

/* What a system call blocks on: a table, as the verifier walks each branch to the end. */
enum { CALL_OTHER, CALL_FD, CALL_SEND, CALL_POLL, CALL_MSG, CALL_SEM };
#define CALLS_MAX 512 /* a power of two */
extern const volatile __u8 call_class[CALLS_MAX];

static __always_inline u32 class_of(s32 nr)
{
	u64 i = (u32)nr;

	if (i >= CALLS_MAX)
		return CALL_OTHER;
	asm volatile("" : "+r"(i)); /* or the compiler leaves out the mask that the verifier wants */
	return call_class[i & (CALLS_MAX - 1)];
}

/*
 * The file that the current task (its state is s), in a system call, waits for or acts on: its id
 * and kind, 0 = none is known. Its FILE record is sent when it is new. Not static: see
 * hash_frames().
 */
u64 file_of_call(struct task_state *s, u64 nr, const struct mt_args *a, u64 ts);
/* The same of any task, more slowly. */
u64 file_of_task(struct task_struct *t, struct task_state *s, s32 nr, const struct mt_args *a,
                 u64 ts) __hidden;
#define FILE_ID(v)     ((u32)(v))
#define FILE_KIND(v)   ((u32)((v) >> 32) & 0xff)
#define FILE_CHANGING  (1ULL << 40) /* a socket that is not connected yet */

/* The pipe, socket, queue or the like that a descriptor of the current task is, as above; other
 * files and devices: 0. */
u64 file_of_fd(struct task_state *s, u64 fd, u64 ts);
/* Has a FILE record been sent of it? Not of what shares its inode. */
bool file_is_known(u64 ino, u32 dev) __hidden;
/* A System V message queue. */
u64 file_of_msg(u32 ipc_id, u32 task, u64 ts) __hidden;

/* Tells which object the shared futex at addr is a word of, when that is not known yet: for the
 * current task (not static: see hash_frames()), for any. */
u32 futex_identify(u32 task, u32 space, u64 addr, u64 ts);
void futex_identify_of(struct task_struct *t, u32 task, u32 space, u64 addr, u64 ts) __hidden;

/* Sends BASE: what the kernel's counters were before this task's first event. When that is a
 * switch the kernel has already counted it, as `counted` says. */
enum base_counted { COUNTED_NONE, COUNTED_VOLUNTARY, COUNTED_INVOLUNTARY };
void send_base(struct task_struct *t, struct task_state *s, u64 ts, u64 run, u32 counted) __hidden;
/* Sends END once. */
void send_end(struct task_struct *t, struct task_state *s, u64 ts, u32 flags) __hidden;
/* Sends RSS when the process's turn has come. */
void send_rss(struct task_struct *t, struct task_state *s, u64 ts, bool now) __hidden;

/* --- gil.bpf.c --- */

extern volatile __u32 gil_generation; /* changes when a GIL becomes known */
enum { GIL_TIMED = 1, /* uaddr: a private timed wait: perhaps for a GIL that is not known yet */
       GIL_MINE = 2 }; /* the current task may be its last holder */
/* Reads the GIL of the current task, whose state is s: 1, or 0 when there is none. uaddr: the futex
 * that it waits for or wakes, 0 = none. Not static: see hash_frames(). */
u32 gil_read(struct task_state *s, struct mt_gil *out, u64 uaddr, u32 flags, u64 ts);
/* Does who waits on this word of its own stack wait for one of the GIL's condition variables, as
 * musl does? Which one, from the GIL's address; 0 = no. */
u32 gil_awaited(u64 gil, u64 uaddr);
/* The child's space has copies of the parent's GILs. */
void gil_fork(u32 parent, u32 child, u32 task, u64 ts) __hidden;

/* May its space have a GIL? The cheap question that others begin with. */
static __always_inline bool gil_possible(const struct task_state *s)
{
	return s->gil_n || s->gil_generation != gil_generation;
}

#endif
