/* SPDX-License-Identifier: MIT */
/*
 * tb.h: builds a trace in memory with the real writer, so that everything behind the
 * trace file is tested against known answers, without root and without a clock.
 *
 *	struct tb *tb = tb_new();
 *	tb_task(tb, 1, "main");
 *	tb_run(tb, 1, 0, 10 * MS);
 *	tb_futex_wait(tb, 1, 0x1000, 15 * MS, 0);	(blocks at 10 ms, is woken at 15 ms)
 *	tb_run(tb, 1, 16 * MS, 20 * MS);		(waited 1 ms for a CPU)
 *	tb_exit(tb, 1, 0);				(at 20 ms)
 *	struct model *m = tb_load(tb, NULL);
 *
 * Times are ns since the wall start; the trace begins TB_START before it. What a task does
 * is told in its own order; tasks may be told one after the other: records are sorted,
 * switches of one CPU at one moment joined, when the trace is made. A task's kernel
 * counters (BASE, END) follow from what it did. Misuse and lack of memory abort: a test
 * that cannot be built is no test.
 */
#ifndef MT_TB_H
#define MT_TB_H

#include "model.h"
#include "trace.h"

#define US 1000ull
#define MS 1000000ull
#define SEC 1000000000ull
#define TB_EPOCH (1000 * SEC)	/* absolute time of the wall start */
#define TB_START (5 * MS)	/* MARK_START is that long before it (attach: 0) */
#define TB_NEVER UINT64_MAX

/* Numbers of the recorded machine, x86_64. */
enum { TB_NR_read = 0, TB_NR_poll = 7, TB_NR_nanosleep = 35, TB_NR_clone = 56, TB_NR_vfork = 58,
       TB_NR_wait4 = 61, TB_NR_futex = 202, TB_NR_fsync = 74, TB_NR_recvfrom = 45,
       TB_NR_restart_syscall = 219, TB_NR_futex_wait = 455 };

struct tb;
struct tb *tb_new(void);	/* of `run` */
struct tb *tb_new_attach(void);	/* of `attach`: the tasks of tb_attached() were there before */
/* Of `run`, with process 1 and its threads 2 to n, there from the start, on CPUs of their own from 0 on. */
struct tb *tb_program(unsigned n, const char *main, const char *others);
void tb_free(struct tb *tb);

/* --- tasks: ids are the caller's, tid = 1000 + id, ns_tid = id ------------------------------ */

/* A process at time 0; the first one is the root. Space = id. */
void tb_task(struct tb *tb, uint32_t id, const char *comm);
void tb_thread(struct tb *tb, uint32_t id, uint32_t proc, const char *comm, uint64_t t);
void tb_fork(struct tb *tb, uint32_t id, uint32_t parent, const char *comm, uint64_t t);
/* In its creator's space until tb_exec(). */
void tb_vfork(struct tb *tb, uint32_t id, uint32_t parent, const char *comm, uint64_t t);
void tb_exec(struct tb *tb, uint32_t id, uint64_t t, const char *file, const char *comm);
void tb_rename(struct tb *tb, uint32_t id, uint64_t t, const char *comm);
/* There before the recording, since when it waits in call nr (-1: in none) with kernel state
 * `state`; state 0 = runnable. TASK_F_ON_CPU in flags: running. Counters begin at 1000 …. */
void tb_attached(struct tb *tb, uint32_t id, uint32_t proc, const char *comm, uint64_t flags,
		 uint64_t state, int32_t nr, uint64_t a0, uint64_t a1);

/* --- what a task does -------------------------------------------------------------------------- */

void tb_on(struct tb *tb, uint32_t id, uint32_t cpu);	/* from its next run on; default 0 */
/* On a CPU during [t0, t1]; a run that begins where the last ended goes on without a switch. */
void tb_run(struct tb *tb, uint32_t id, uint64_t t0, uint64_t t1);
/* Of the present run, time that the kernel does not count (hypervisor, interrupts). */
void tb_steal(struct tb *tb, uint32_t id, uint64_t ns);
/* Stacks of the next switch-outs until changed. */
void tb_stacks(struct tb *tb, uint32_t id, uint32_t ustack, uint32_t kstack);
/* All of these leave the CPU where the last run ended. t_wake TB_NEVER: not woken; waker 0:
 * nobody of ours. */
void tb_preempt(struct tb *tb, uint32_t id);
void tb_futex_wait(struct tb *tb, uint32_t id, uint64_t addr, uint64_t t_wake, uint32_t waker);
void tb_join(struct tb *tb, uint32_t id, uint32_t other, uint64_t t_wake);
void tb_call(struct tb *tb, uint32_t id, int32_t nr, uint64_t a0, enum fd_kind fd, uint64_t t_wake,
	     uint32_t waker);
/* With a second argument. */
void tb_call_with(struct tb *tb, uint32_t id, int32_t nr, uint64_t a0, uint64_t a1, enum fd_kind fd,
		  uint64_t t_wake, uint32_t waker);
void tb_iowait(struct tb *tb, uint32_t id, bool on);	/* its calls from here on count as I/O with the kernel */
/* Any other: flags and state as in REC_SWITCH. */
void tb_block(struct tb *tb, uint32_t id, uint64_t flags, uint64_t state, uint64_t t_wake,
	      uint32_t waker);
/* futex(addr, op, val, timeout): op with its flags, timeout 0 = none. */
void tb_futex(struct tb *tb, uint32_t id, uint64_t addr, uint32_t op, uint32_t val, uint64_t timeout,
	      uint64_t t_wake, uint32_t waker);
void tb_exit(struct tb *tb, uint32_t id, uint64_t wait_status);
void tb_faults(struct tb *tb, uint32_t id, uint64_t minor, uint64_t major, uint64_t first_write,
	       uint64_t wp);
void tb_rss(struct tb *tb, uint32_t id, uint64_t t, uint64_t anon_bytes, uint64_t file_bytes);
void tb_footprint(struct tb *tb, uint32_t id, uint64_t t, uint64_t rss_bytes, uint64_t pss_bytes,
		  uint64_t uss_bytes);
void tb_sample(struct tb *tb, uint32_t id, uint64_t t, uint32_t ustack, uint32_t kstack);

/* --- locks and channels: tb_locks.c ------------------------------------------------------------- */

enum { TB_FUTEX_WAKE = 128 | 1, TB_FUTEX_WAIT = 128 | 0, TB_FUTEX_BITSET = 128 | 9, TB_FUTEX_LOCK_PI = 128 | 6,
       TB_FUTEX_SHARED_BITSET = 9, TB_FUTEX_SHARED_WAKE = 1, TB_NR_write = 1, TB_NR_sendto = 44, TB_NR_tgkill = 234,
       TB_NR_exit = 60, TB_NR_exit_group = 231, TB_NR_epoll_wait = 232, TB_NR_waitid = 247 };
/* From here on, what `id` has in the following calls until changed; 0 = none. */
void tb_owner(struct tb *tb, uint32_t id, uint32_t ns_tid);	/* owner word beside its futexes */
void tb_park(struct tb *tb, uint32_t id, uint64_t addr);	/* parking lot: the word before its futex */
void tb_on_file(struct tb *tb, uint32_t id, uint32_t file);	/* descriptor it waits for */
void tb_wakes_by(struct tb *tb, uint32_t id, uint32_t site, uint32_t file);	/* call in which it wakes others */
void tb_wake_flags(struct tb *tb, uint32_t id, uint32_t flags);	/* WK_F_*, more of them */
void tb_ctid(struct tb *tb, uint32_t id, uint64_t addr);
uint32_t tb_file(struct tb *tb, enum fd_kind kind, uint64_t inode, uint64_t peer, const char *name);
uint32_t tb_tcp(struct tb *tb, uint32_t local_port, uint32_t remote_port);	/* 127.0.0.1 */
void tb_futex_key(struct tb *tb, uint32_t space, uint64_t addr, uint64_t inode, uint64_t offset,
		  const char *file);
void tb_object(struct tb *tb, uint32_t space, uint64_t addr, const char *name, uint64_t off,
	       uint64_t size);
void tb_holds(struct tb *tb, uint32_t task, uint32_t space, uint64_t addr, unsigned evidence);
/* version: 0x030b07f0 … */
void tb_gil(struct tb *tb, uint32_t id, uint32_t space, uint64_t addr, bool main, uint32_t version);
void tb_pythread(struct tb *tb, uint32_t id, uint64_t tstate);
/* Every switch-out of `id` and wake by it from here on reads this of the GIL. */
void tb_reads_gil(struct tb *tb, uint32_t id, uint32_t gil, bool locked, uint64_t holder, uint64_t switches);

/* --- names ---------------------------------------------------------------------------------------- */

uint32_t tb_string(struct tb *tb, const char *text);
uint32_t tb_site(struct tb *tb, int32_t nr, uint64_t a0, uint64_t a1, uint64_t a2, enum fd_kind fd);
uint32_t tb_stack(struct tb *tb, int kind, uint32_t space, const uint64_t *frames, size_t n);
void tb_stack_end(struct tb *tb, uint8_t end);	/* STACK_END_*, of the stacks that follow */
void tb_map(struct tb *tb, uint32_t space, uint64_t start, uint64_t end, uint64_t offset,
	    const char *file);
/* depth: inline_depth. name NULL: looked for, not found. */
void tb_symbol(struct tb *tb, const char *module, uint64_t offset, const char *name,
	       uint64_t name_off, unsigned depth);
void tb_meta(struct tb *tb, const char *key, const char *value);
void tb_note(struct tb *tb, const char *text);
void tb_loss(struct tb *tb, const char *cause, uint64_t count);
void tb_cost(struct tb *tb, const char *name, uint64_t count, uint64_t ns);

/* --- the recording as a whole ------------------------------------------------------------------ */

/* Recording stops at t: tasks that have not exited live on and get their END there. */
void tb_stop(struct tb *tb, uint64_t t);
void tb_no_end(struct tb *tb, uint32_t id);	/* its END record is missing */
/* Any record, at an absolute time; arrays and bytes must stay valid. */
void tb_raw(struct tb *tb, enum rec_kind kind, uint64_t abs_ts, const void *rec);
/* Records of that CPU come ns too late in the file (their times stay right). */
void tb_skew(struct tb *tb, uint32_t cpu, uint64_t ns);
/* Loses the nth (from 0) record of the kind. */
void tb_drop(struct tb *tb, enum rec_kind kind, unsigned nth);
/* The recorder was killed: no STOP, END marks, no INDEX. */
void tb_killed(struct tb *tb);

/* The finished trace; the builder's. Nothing can be added after. */
const struct buf *tb_bytes(struct tb *tb);
/* Reads it back. opts NULL = all. NULL when model_load failed. */
struct model *tb_load(struct tb *tb, const struct model_opts *opts);
/* Model of any bytes (a damaged trace), NULL on error. */
struct model *tb_load_bytes(const struct buf *b, const struct model_opts *opts, struct err *err);

#endif
