/* SPDX-License-Identifier: MIT */
/*
 * model.h: the recording as tasks, processes, slices, stacks: what every analysis
 * reads. Built from a trace only; no root, no clock, no live /proc.
 *
 * ## States
 * A task's recorded life [start_ns, end_ns] is tiled by slices, each
 *
 *     out_ns ........ queued_ns ....... in_ns ............ end_ns
 *      |   blocked      |    runnable     |     on a CPU      |
 *
 * from one switch-out to the next. queued = in - (growth of the kernel's run_delay over
 * the slice), clamped to [out, in]: the kernel's own moment of becoming runnable. A slice
 * that begins preempted has queued == out. Open slices are closed at the end of the
 * recording or of the task. Totals per task:
 *     run_ns      = sum of exec (growth of sum_exec_runtime): what the kernel accounts;
 *     blocked_ns  = sum of queued - out, split by cause;
 *     runnable_ns = life - run_ns - blocked_ns: wanted a CPU. On a virtual machine this
 *                   includes time stolen by the hypervisor while "on" a CPU (steal_ns).
 * They add up to the life to the ns, by construction and by test.
 *
 * Ids are those of the trace, and trusted not at all: lookups of undefined ids return
 * NULL or a placeholder, never crash.
 */
#ifndef MT_MODEL_H
#define MT_MODEL_H

#include "base.h"
#include "trace.h"

/* Why a task was blocked. Order = report order. X(NAME, json key, heading) append-only */
#define BLOCK_CAUSES(X) \
	X(FUTEX, "futex", "futex") X(JOIN, "join", "join") X(PIPE, "pipe", "pipe") \
	X(SOCKET, "socket", "socket") X(POLL, "poll", "poll") X(FILE, "file", "file") \
	X(SLEEP, "sleep", "sleep") X(CHILD, "child", "child") X(FAULT, "fault", "fault") \
	X(STOPPED, "stopped", "stopped") X(OTHER, "other", "other")
enum block_cause {
#define X(NAME, key, heading) BLOCK_##NAME,
	BLOCK_CAUSES(X)
#undef X
	BLOCK_N
};

struct counters { uint64_t voluntary, involuntary, run_ns, runnable_ns, minflt, majflt; };
/* Calls of the read and write families, on whatever descriptor, and the bytes they moved; send, recv and
 * their kind are not among them. */
struct io_counters { uint64_t reads, writes, read_bytes, written_bytes; };

/* One turn of a task: off the CPU, ready, on it. Times are absolute trace times. */
struct slice {
	uint64_t out_ns, queued_ns, in_ns, end_ns;	/* in_ns == end_ns when it never ran again */
	uint32_t site;		/* index for model_site(), 0 = none */
	uint32_t ustack, kstack;/* stack ids of the switch-out, 0 = none */
	uint32_t waker;		/* task id of the waker, 0 = unknown or not a task of ours */
	uint32_t futex;		/* index + 1 into model futexes, 0 = not a futex wait */
	uint32_t owner;		/* the word after next at blocking (a glibc mutex's owner tid; of a PI futex the
				 * tid in its word); valid per flags. A join: tid of the thread waited for */
	uint32_t file;		/* index + 1 into model files: what the call waits for; 0 = none */
	uint32_t waker_site;	/* the waker's system call, index for model_site(); 0 = none */
	uint32_t waker_file;	/* index + 1 into model files: the waker's descriptor */
	uint32_t waker_ustack, waker_kstack;	/* stack ids, 0 = not asked for */
	uint32_t flags;		/* SW_F_* */
	uint16_t cpu;		/* where it ran after */
	uint8_t cause;		/* enum block_cause of [out, queued] */
	uint8_t waker_flags;	/* WK_F_* */
};

struct task {
	uint32_t id, parent, proc, space;	/* trace ids; proc = id of the leader's task */
	uint32_t tid, tgid, ns_tid, ns_tgid, ppid;
	uint64_t flags, clone_flags;		/* TASK_F_*, CLONE_* */
	const char *comm;			/* last name it had */
	const char *first_comm;			/* name at its creation */
	uint64_t start_ns, end_ns;		/* absolute trace times, inside the window */
	uint64_t born_ns, gone_ns;		/* the same, wherever they lie */
	uint64_t call_ns;			/* its creator's call began to copy the address space; 0 = unknown */
	uint64_t first_in_ns;			/* it first got a CPU; 0 = never */
	uint64_t exec_ns, last_exec_ns;		/* its first and its last exec; 0 = none */
	uint64_t exit_ns;			/* it began to exit (its last switch is later); 0 = unknown */
	bool alive;				/* still there when recording stopped */
	bool has_base, has_end;			/* kernel counters known at both ends */
	bool kernel_run_exact;			/* false: on a CPU at the end (or start), counter is stale */
	bool kernel_runnable_exact;		/* false: it was waiting for a CPU at the end (or start), which
						 * the kernel counts only when the wait is over */
	bool placeholder;			/* its definition is missing: only its id is known */
	int exit_status;			/* shell's form; -1 = unknown or alive */
	uint64_t run_ns, runnable_ns, blocked_ns, on_cpu_ns, steal_ns;
	uint64_t blocked_by[BLOCK_N];
	uint64_t voluntary, involuntary;	/* as recorded: switch events */
	struct counters kernel;			/* growth of the kernel's counters over the same time: END - BASE,
						 * less what was recorded outside the window (the faults
						 * are those of the whole recording) */
	uint64_t kernel_run_all_ns, kernel_runnable_all_ns; /* the same of the whole recording */
	uint64_t futex_waits, wakes_given, samples;
	bool faults_known;			/* the next three were counted */
	uint64_t first_read_faults, first_write_faults, wp_faults;
	bool pages_known;			/* the next two were counted */
	uint64_t touched_pages, cow_pages;	/* REC_END: of the whole recording, like the faults */
	bool io_known;
	struct io_counters io;			/* of the whole recording, like the faults */
	VEC(struct slice) slices;		/* in time order; empty unless MODEL_SLICES */
	/* loader's state */
	void *priv;
};

struct rss_sample { uint64_t t_ns, anon_bytes, file_bytes, shmem_bytes; };
/* Memory that its tasks touched first, or copied (what: TOUCH_FIRST, TOUCH_COW), since the last such sample. */
struct touch_sample { uint64_t t_ns, bytes; uint8_t what; };
/* took_ns: reading it ended so long after t_ns. Not of readings that a fork fell into: nobody knows on which side
 * of it they are. */
struct footprint_sample { uint64_t t_ns, rss_bytes, pss_bytes, uss_bytes, shared_bytes, swap_bytes, took_ns; };

/* One per thread group. */
struct proc {
	uint32_t id, pid, ppid, parent;		/* id = leader's task id; parent = task id that created it, or 0 */
	const char *comm, *exe;			/* exe: file of the last exec, "" = not seen */
	const char *start_method;		/* exec, fork, spawn, forkserver; NULL = it was there before */
	const char *args;			/* arguments of the last exec (their first 256 bytes), blanks between; "" = not seen */
	uint64_t start_ns, end_ns;
	uint32_t n_tasks, n_execs;
	bool alive;
	int exit_status;			/* of the whole process; -1 unknown */
	uint64_t rss_peak_bytes;		/* the kernel's high-water mark; 0 = unknown */
	bool rss_peak_from_kernel;		/* read at its end; else the largest sample */
	bool faults_known;			/* of all its tasks: */
	uint64_t wp_faults;
	bool cow_known;				/* of all its tasks: */
	uint64_t cow_pages, touched_pages;
	VEC(struct rss_sample) rss;
	VEC(struct footprint_sample) footprint;
	VEC(struct touch_sample) touches;	/* sampled by bytes: nearly all, but for what came after the last */
};

/* A futex word: (space, addr) for now; lock objects come on top. waits may be 0: all of its
 * waits lie outside the window. */
struct futex_waiter { uint32_t task; uint64_t waits, wait_ns, max_ns; };
struct futex_site { uint32_t ustack, kstack; uint64_t waits, wait_ns; };
struct futex {
	uint32_t space; uint64_t addr;
	bool is_private;			/* FUTEX_PRIVATE_FLAG seen */
	uint64_t waits, wait_ns, max_ns;	/* wait = blocked time of a slice with this futex */
	VEC(uint64_t) durations_ns;		/* every wait, or a uniform sample of 4096 (for p50, p99);
						 * smaller samples when there are thousands of futexes */
	VEC(struct futex_waiter) waiters;
	VEC(struct futex_site) sites;		/* by stacks of the waits, in order of appearance */
	uint32_t op;				/* futex op (low bits) of the last wait */
	uint64_t words[5];			/* how many waits began with the word at 0, 1, 2, 3, another value */
	uint64_t minus_ones;			/* … at -1 (among the others of words) */
	bool park;				/* addr is the word before one on the waiter's stack (REC_SWITCH.park) … */
	uint64_t word;				/* … and this is that one, of the last wait; else = addr */
};

/* A pipe, socket, … : REC_FILE. */
struct mfile {
	uint8_t kind; const char *name;
	uint64_t dev, inode, peer;
	uint32_t family, lport, rport;
	uint8_t laddr[16], raddr[16];
	bool bytes_known;			/* REC_FLOW: what its owner put in and took out while recording … */
	uint64_t sent_bytes, received_bytes;	/* … of the whole recording */
};

/* REC_TRAFFIC: of the whole recording, also when only a window of it is looked at.
 * file: index + 1 into model files, 0 = unknown. */
struct traffic { uint32_t task, file; bool write; uint64_t messages, bytes, unsized; };

/* Which object a shared futex word is: REC_FUTEX_KEY. */
struct futex_key { uint64_t dev, inode, generation, offset; const char *file; };
/* The data symbol around a futex word: REC_OBJECT. */
struct futex_object { const char *name, *module; uint64_t off, size; };

/* A GIL: REC_GIL. And one reading of it: a repeat of the same state is left out. */
struct gil { uint32_t id, space; uint64_t addr; bool main; uint32_t version; };
struct gil_sample {
	uint64_t ts, switches;
	uint32_t gil;		/* index into model gils */
	uint32_t by;		/* task that was switched out, or woke somebody */
	uint32_t holder;	/* task id by PYTHREAD; 0 = unknown */
	bool locked;
	bool blocked;		/* read when `by` left its CPU to wait */
	bool waking;		/* read when `by` woke somebody … */
	bool released;		/* … on the word where threads wait for this GIL: `by` had just released it */
};

/* REC_HOLDS. */
struct hold { uint32_t task, space; uint64_t addr; uint8_t evidence; };

struct site { int32_t nr; uint64_t a[4]; uint8_t arch; uint8_t fd_kind; };	/* nr -1 = not in a call */

/* ts: when it was first seen. */
struct mstack {
	uint8_t kind, flags;
	uint8_t end;			/* STACK_END_* */
	uint32_t space, n, n_py;
	const uint64_t *frames;
	const uint64_t *py;		/* PY_FRAME()s, innermost first */
	uint64_t ts;
};

enum frame_kind { FRAME_KERNEL, FRAME_NATIVE, FRAME_INLINED, FRAME_PYTHON };

/* Resolved frame. Strings are the model's. */
struct frame {
	const char *module;	/* file path, "[kernel]", "[vdso]" or "" when unmapped */
	uint64_t offset;	/* in the file (kernel: the address) */
	const char *name;	/* NULL = no symbol: print [module+0xoff] */
	uint64_t name_off;
	const char *src; uint32_t line;		/* NULL, 0 = unknown */
	bool inlined;		/* kind is FRAME_INLINED */
	uint8_t kind;		/* enum frame_kind. Python: name is the (qualified) name, module and src
				 * the file as the code object has it, offset 0 */
};

struct bpf_cost { const char *name; uint64_t count, ns; };
struct loss { const char *cause; uint64_t count; };

/* Everything of the recording as a whole. */
struct recording {
	uint64_t start_ns, stop_ns;		/* MARK_START, MARK_STOP (or last event) */
	uint64_t wall_start_ns, wall_end_ns;	/* first exec (attach: the first task is followed) to last exit, or to
						 * MARK_STOPPING when tasks live on; inside the window */
	bool attached, complete, damaged;
	bool windowed;				/* since_ns or until_ns cut something off … */
	uint64_t since_ns, whole_ns;		/* … of a wall time of whole_ns: all before since_ns, or what is last */
	int exit_status;			/* of the command; -1 unknown or attached */
	bool traffic_known;			/* --messages: traffic was counted … */
	uint64_t traffic_lost;			/* … but for so many messages */
	double cpus;				/* CPUs the workload may use; 0 = unknown */
	uint64_t events, lost;
	uint64_t page_size;
};

/* What did not fit while loading: signs of lost or damaged records. All 0 in a whole recording. */
struct model_oddities {
	uint64_t lost_in, lost_out;	/* a switch-out without its switch-in; a switch-in while running */
	uint64_t late;			/* came after later ones, beyond what sorting repairs: time was clamped */
	uint64_t undefined_tasks;	/* tasks known by id only */
	uint64_t refused;		/* definitions beyond the limits of the model */
};

struct model_opts {
	uint64_t since_ns, until_ns;	/* relative to the wall start; until 0 = to the end */
	unsigned flags;			/* MODEL_* */
};
enum { MODEL_SLICES = 1 << 0 };		/* keep every slice and every sample */

struct model;
/* Reads the whole trace. NULL on error (*err). Damaged parts are skipped; see recording.damaged. */
struct model *model_load(struct trace_reader *r, const struct model_opts *opts, struct err *err);
void model_free(struct model *m);

const struct recording *model_recording(const struct model *m);
bool model_has_slices(const struct model *m);	/* loaded with MODEL_SLICES */
/* Tasks by order of appearance; those that did not live inside the window are left out. */
size_t model_n_tasks(const struct model *m);
const struct task *model_task_at(const struct model *m, size_t i);
/* By trace id, also of tasks outside the window (a waker, a parent); NULL unknown. */
const struct task *model_task(const struct model *m, uint32_t id);
size_t model_n_procs(const struct model *m);
const struct proc *model_proc_at(const struct model *m, size_t i);
const struct proc *model_proc(const struct model *m, uint32_t id);
size_t model_n_futexes(const struct model *m);
const struct futex *model_futex_at(const struct model *m, size_t i);
const struct site *model_site(const struct model *m, uint32_t id);	/* NULL unknown */
const struct mstack *model_stack(const struct model *m, uint32_t id);	/* NULL unknown */
const char *model_meta(const struct model *m, const char *key);		/* NULL absent */
bool model_meta_u64(const struct model *m, const char *key, uint64_t *out);	/* false absent, or no number */
size_t model_meta_bytes(const struct model *m, const char *key, const uint8_t **p);
const struct trace_info *model_trace_info(const struct model *m);
size_t model_losses(const struct model *m, const struct loss **out);
size_t model_costs(const struct model *m, const struct bpf_cost **out);
size_t model_notes(const struct model *m, const char *const **out);
const struct model_oddities *model_oddities(const struct model *m);

/* Wall time with exactly i tasks on CPUs, i < *n; sums to wall_end - wall_start. */
const uint64_t *model_running_histogram(const struct model *m, size_t *n);

/* Off-CPU time (blocked only, or blocked + runnable) and samples summed per stack:
 * one row per (task, ustack, kstack, cause). */
struct stack_row { uint32_t task, ustack, kstack; uint8_t cause; uint64_t blocked_ns, runnable_ns, count; };
size_t model_off_cpu(const struct model *m, const struct stack_row **out);
size_t model_on_cpu(const struct model *m, const struct stack_row **out);	/* count = samples */
/* Every on-CPU sample inside the window, in time order; MODEL_SLICES only. */
struct cpu_sample {
	uint64_t ts;
	uint32_t task, ustack, kstack;
	uint32_t gil;		/* REC_GIL id of the GIL read at that moment, 0 = none: see model_gil_number() */
	bool has_gil;		/* the task had it */
};
/* cause: TOUCH_*; count: bytes. */
size_t model_touch(const struct model *m, const struct stack_row **out);
size_t model_samples(const struct model *m, const struct cpu_sample **out);
/* Looks at new processes (TOUCH_LOOK), in time order; kstack 0. */
size_t model_looks(const struct model *m, const struct cpu_sample **out);

/* Frames of the address at `frames[i]` of stack s, outermost inlined last; at most max.
 * Returns how many (at least 1: an unresolved frame is still a frame). */
size_t model_resolve(const struct model *m, const struct mstack *s, uint32_t i, struct frame *out, size_t max);

size_t model_n_files(const struct model *m);
const struct mfile *model_file_at(const struct model *m, size_t i);
size_t model_traffic(const struct model *m, const struct traffic **out);
/* NULL = none known. */
const struct futex_key *model_futex_key(const struct model *m, uint32_t space, uint64_t addr);
const struct futex_object *model_futex_object(const struct model *m, uint32_t space, uint64_t addr);
size_t model_gils(const struct model *m, const struct gil **out);
/* Index + 1 into model_gils(), 0 = none: by id; by an address in its 208 bytes; a space's last one
 * by address. */
uint32_t model_gil_number(const struct model *m, uint32_t id);
uint32_t model_gil_around(const struct model *m, uint32_t space, uint64_t addr);
uint32_t model_last_gil_in(const struct model *m, uint32_t space);
size_t model_gils_in(const struct model *m, uint32_t space);	/* how many a space has */
size_t model_gil_samples(const struct model *m, const struct gil_sample **out);	/* in time order; MODEL_SLICES only */
size_t model_holds(const struct model *m, const struct hold **out);
/* The task whose clear_child_tid word this is (the latest), 0 = none. */
uint32_t model_task_by_ctid(const struct model *m, uint32_t space, uint64_t addr);
/* The task with that tid in the innermost namespace, in the process `proc` or, proc 0, anywhere; alive at ts. */
uint32_t model_task_by_ns_tid(const struct model *m, uint32_t proc, uint32_t ns_tid, uint64_t ts);
/* The space that this one was forked from, through all its forebears: identity of private words. 0 = none. */
uint32_t model_space_parent(const struct model *m, uint32_t space);

/* The whole stack, innermost frame first: native and inlined functions, and Python functions in
 * place of the interpreter's evaluation loop that ran them, in calling order. Python frames that
 * cannot be placed (no native frame is known to be the loop) are not lost: they come where most
 * of them must be, see frames.c. At most max frames (the outermost are left out); returns how
 * many. 0: unknown stack. */
size_t model_frames(const struct model *m, uint32_t stack_id, struct frame *out, size_t max);
/* Files of code that every program waits through, so their functions say nothing about it: the C
 * library, the loader, the kernel; plumbing: interpreter and C++ library, too. */
bool model_is_libc(const char *module);
bool model_is_plumbing(const char *module);
/* Code of C++'s or Rust's standard library, which templates, generics and inlining put into the program
 * itself: told by its source file, else by its name. */
bool model_is_std(const struct frame *f);
#define MODEL_FRAMES_MAX 1024	/* enough for nearly every stack */

/* Name of a system call of the recording machine's architecture: "futex"; NULL unknown. */
const char *syscall_name(const char *arch, int32_t nr);
/* What a task blocked in that call waits for. */
enum block_cause syscall_cause(const char *arch, const struct site *site);
/* wait(2) status -> shell's form (code, or 128 + signal). */
int shell_status(uint64_t wait_status);

#endif
