/* SPDX-License-Identifier: MIT */
/*
 * mt_flags.h: bits of the trace's flag fields. Set by the BPF programs, stored as they
 * are, so both sides include this; nothing else may be in here.
 */
#ifndef MT_FLAGS_H
#define MT_FLAGS_H

/* Bits of the flags fields; append-only. */
enum { TASK_F_ATTACHED = 1 << 0,	/* existed before the recording; ts is the attach */
       TASK_F_ROOT = 1 << 1,		/* the command that `run` started, or a PID named to attach */
       TASK_F_ON_CPU = 1 << 2 };	/* attached while on a CPU */
enum { STACK_KERNEL = 0, STACK_USER = 1 };
enum { STACK_F_TRUNCATED = 1 << 0,	/* deeper than was recorded */
       STACK_F_TABLE = 1 << 1,		/* unwound by .eh_frame tables … */
       STACK_F_FP = 1 << 2,		/* … by frame pointers (both: some frames each way) */
       STACK_F_COPY = 1 << 3,		/* … finished from a copy of the stack */
       STACK_F_PY = 1 << 4,		/* Python frames were looked for */
       STACK_F_PY_PART = 1 << 5 };	/* … and not all of them could be read */
/* How unwinding of a user stack ended: append-only. */
enum { STACK_END_UNKNOWN, STACK_END_BOTTOM,	/* main's caller or the thread's start: complete */
       STACK_END_DEPTH,			/* deeper than was recorded */
       STACK_END_NO_TABLE,		/* code without unwinding information */
       STACK_END_NO_MAPPING,		/* an address in no known mapping */
       STACK_END_BAD_READ,		/* the stack's memory could not be read */
       STACK_END_BAD_ROW,		/* the table led nowhere: stale, or hostile */
       STACK_END_NOT_YET };		/* code whose unwinding information was still being read */
/* What a file descriptor refers to (REC_FILE.kind; second byte of REC_SITE.arch), append-only.
 * ANON: eventfd and the like. */
enum fd_kind { FD_UNKNOWN, FD_FILE, FD_PIPE, FD_SOCKET, FD_CHAR, FD_BLOCK, FD_ANON, FD_MQUEUE, FD_SYSV };
/* REC_HOLDS.evidence, append-only. */
enum { HOLD_OWNER_WORD = 1,		/* the lock's owner word */
       HOLD_WITH_BLOCK,			/* an entered Python `with` block on its frames */
       HOLD_OBJECT_OWNER,		/* the Python object's own owner field (RLock) */
       HOLD_FLOCK, HOLD_RECORD_LOCK };	/* flock()'s, fcntl()'s lock on a file: space is the kernel's dev_t,
					 * addr the inode */
enum { FLOW_F_FIRST = 1 << 0 };		/* when the recording began */
enum { MAP_F_DELETED = 1 << 0, MAP_F_SYNTHETIC = 1 << 1 /* read from /proc, not seen happening */ };
enum { SW_F_VOLUNTARY = 1 << 0,		/* counted by the kernel in nvcsw (else nivcsw); REC_TASK.wait_flags: of a
					 * thread that is never in user space */
       SW_F_RUNNABLE = 1 << 1,		/* prev still wants the CPU (preempted or yielded) */
       SW_F_DEAD = 1 << 2,		/* prev's last switch */
       SW_F_SYSCALL = 1 << 3,		/* prev is inside the system call of `site` */
       SW_F_FUTEX = 1 << 4,		/* … a futex wait: addr holds the futex address */
       SW_F_WORD = 1 << 5,		/* word is valid */
       SW_F_OWNER = 1 << 6,		/* owner is valid */
       SW_F_IOWAIT = 1 << 7,		/* the kernel counts this wait as I/O */
       SW_F_NOSTACK = 1 << 8,		/* no stack was taken here: over budget */
       SW_F_FAULT = 1 << 9,		/* blocked outside a system call: a page fault */
       SW_F_SITE_STACK = 1 << 10 };	/* the stack is the one remembered for this wait site */
/* REC_SAMPLE.gil_state: the GIL is locked; who had it last is the task that was sampled. */
enum { GIL_S_LOCKED = 1 << 0, GIL_S_MINE = 1 << 1 };
enum { WK_F_IRQ = 1 << 0,		/* hard interrupt context: the task that was running is not the waker */
       WK_F_SOFTIRQ = 1 << 1, WK_F_TIMER = 1 << 2, /* a timer ran out */
       WK_F_NMI = 1 << 3,
       WK_F_NEW = 1 << 4,		/* first wake-up of a new task */
       WK_F_SYSCALL = 1 << 5,		/* waker is inside the system call of `site` */
       WK_F_KTHREAD = 1 << 6 };		/* waker is a kernel thread */
enum { CNT_F_ALIVE = 1 << 0,		/* the task lives on; recording stopped */
       CNT_F_PAGES = 1 << 2,		/* touched and cow were counted */
       CNT_F_NO_FAULTS = 1 << 4,	/* first_read, first_write and wp were not counted */
       CNT_F_IO = 1 << 3,		/* reads, writes and their bytes are known */
       CNT_F_ON_CPU = 1 << 1 };		/* … and was on a CPU: `run` is up to one tick old */
enum { TOUCH_FIRST = 1,	/* memory that was not there before */
       TOUCH_LOOK = 3,	/* nothing: a look at what a new process's interpreter is about */
       TOUCH_COW = 2 };	/* a page copied away from the one that a fork left shared */
/* Looks at a new process come where it faults (or by a timer, when none did for twice as long), each
 * this much after the one before, or its age >> MT_LOOK_SHIFT, whichever is more; at a thread half. */
#define MT_LOOK_NS 50000
#define MT_LOOK_SHIFT 5
enum { MARK_START = 1,	/* hooks are attached; first moment of the recording */
       MARK_EXEC = 2,	/* the workload's first instruction: wall time starts here (run) */
       MARK_STOP = 3,	/* recording stopped (last exit, -d, Ctrl-C) */
       MARK_END = 4,	/* all data written; value = exit status + 1 */
       MARK_FOLLOW = 5,	/* the first task is followed: wall time starts here (attach) */
       MARK_STOPPING = 6 };	/* tasks live on: wall time ends here; each is seen until a little later */

#endif
