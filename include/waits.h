/* SPDX-License-Identifier: MIT */
/*
 * waits.h: lock objects, channels and logical waits: who waited for what, and at each
 * moment for whom. Built from a model loaded with MODEL_SLICES; what comes after (causes,
 * critical path, report) reads nothing but this and the model.
 *
 * ## Lock objects
 * Futex words are grouped into locks: both words of a condition variable, the six words of
 * a GIL, a shared word under all its addresses. Identity of a private word is (space it
 * was created in, address), of a shared one (dev, inode, generation, offset). What kind
 * of lock a word belongs to is told by, in this order: a GIL's range; a task's
 * clear_child_tid word (join); the parking lot's word (SWITCH.park); the C library
 * function on the waits' stacks (pthread_cond_wait, sem_wait, …); the futex operation (PI)
 * and the words' layout; else it is a plain futex.
 *
 * A lock on a file (flock, fcntl, lockf) is one of the file's, whatever its range: FILE, shared, by (dev, inode),
 * those of flock apart from the others.
 *
 * ## Logical waits
 * A maximal run of blocked slices of one task on one lock, broken only by timeouts, signals or
 * spurious wake-ups with less than WAIT_STITCH_NS of running between them, is one wait
 * (waits on a GIL in 5 ms turns are the extreme). After a long wait more is allowed, for a program
 * that looks around every 300 ms: one part in WAIT_STITCH_PART of it, up to WAIT_STITCH_MAX_NS.
 * Who does more than that after a timeout had it for a clock: such a wait, on what is no mutex,
 * is a sleep (TIMER). Everything else that blocks (sleep, I/O, a pipe,
 * a child) is one wait per slice.
 *
 * ## Blame
 * The blocked time of a wait is tiled by segments; each says what the waiter then waited
 * for, of whom, and by what evidence. Lists are in time order and never overlap.
 */
#ifndef MT_WAITS_H
#define MT_WAITS_H

#include "base.h"
#include "model.h"

#define WAIT_STITCH_NS 100000
#define WAIT_STITCH_PART 100
#define WAIT_STITCH_MAX_NS 2000000

/* X(NAME, json key). Append-only. */
#define LOCK_KINDS(X) \
	X(GIL, "gil") X(MUTEX, "mutex") X(COND, "cond") X(SEMAPHORE, "semaphore") X(RWLOCK, "rwlock") \
	X(BARRIER, "barrier") X(JOIN, "join") X(FUTEX, "futex") X(FILE, "file")
enum lock_kind {
#define X(NAME, key) LOCK_##NAME,
	LOCK_KINDS(X)
#undef X
	LOCK_KIND_N
};
const char *lock_kind_key(enum lock_kind kind);

/* What a wait is for. X(NAME, key). LOCK: lock is set. CHANNEL: channel is set. CHILD: wait4 and
 * the like, vfork. IO: disk and files,
 * and what io_uring has under way, if no task ended the wait. TIMER: sleep, or a timeout that was meant (no lock, no
 * channel). EXTERNAL: terminal, a socket or pipe whose other end is outside, signals. FAULT: page
 * fault. STOPPED. POLL: poll, epoll, select on what is not known. */
#define WAIT_KINDS(X) \
	X(LOCK, "lock") X(CHANNEL, "channel") X(CHILD, "child") X(IO, "io") X(TIMER, "sleep") \
	X(EXTERNAL, "external") X(FAULT, "fault") X(STOPPED, "stopped") X(POLL, "poll") X(OTHER, "other")
enum wait_kind {
#define X(NAME, key) WAIT_##NAME,
	WAIT_KINDS(X)
#undef X
	WAIT_KIND_N
};

/* How it is known who is to blame. X(NAME, json key). OWNER: the lock's owner word. HOLDER: the lock's
 * own order of waits and hand-offs (GIL timeline). POSTER: the waker posted to this very
 * lock or channel (its system call says so). WAKER: a task woke it from elsewhere.
 * CHILD: the call names the child, or it exited then. FOUND: found in memory at the end (HOLDS). */
#define EVIDENCES(X) \
	X(UNKNOWN, "unknown") X(OWNER, "owner") X(HOLDER, "holder") X(POSTER, "waker") X(WAKER, "waker") \
	X(CHILD, "child") X(FOUND, "found")
enum evidence {
#define X(NAME, key) EVIDENCE_##NAME,
	EVIDENCES(X)
#undef X
};
const char *evidence_key(enum evidence e);

/* State of the thing waited for during a segment. */
enum blame_state {
	BLAME_HELD,	/* `task` holds it, or is the one who has to act (post, write, exit) */
	BLAME_HANDOFF,	/* nobody holds it: released; `task` gets it next, 0 = the waiter itself or unknown */
	BLAME_NOBODY,	/* no task of the workload is known: see wait.kind */
};

struct blame {
	uint64_t start_ns, end_ns;	/* absolute trace times */
	uint32_t task;			/* trace id of whom the waiter waits for; 0 = none known */
	uint8_t state;			/* enum blame_state */
	uint8_t evidence;		/* enum evidence */
	uint8_t agrees;			/* second kind of evidence: 0 none, 1 agrees, 2 differs */
};

struct wait {
	uint64_t start_ns, end_ns;	/* first blocked … made runnable for good (or end of the recording) */
	uint64_t in_ns;			/* ran again; = end_ns when it never did */
	uint64_t blocked_ns;		/* of [start, end]: off-CPU blocked; without turns in between */
	uint32_t task;			/* trace id */
	uint32_t lock, channel;		/* index + 1 into locks, channels; 0 = none */
	uint32_t slice, n_slices;	/* in the task's slices */
	uint32_t blame, n_blame;	/* in waits.blames */
	uint32_t waker;			/* task that ended it, 0 = none or unknown */
	uint8_t kind;			/* enum wait_kind */
	uint8_t open;			/* nobody ended it: the recording or the task did */
	uint8_t timed_out;		/* its timeout ended it */
	uint8_t timed;			/* a lock: it has a timeout, or may have one */
	uint8_t look_out;		/* a sleep of a language's scheduler that has nothing to run: nobody asked for it */
};

struct lock_task {			/* of a waiter or a blocker */
	uint32_t task;
	uint64_t waits, wait_ns, max_ns;
	uint8_t evidence;		/* blockers: the commonest */
};
struct lock_site { uint32_t ustack, kstack; uint64_t waits, wait_ns; };
#define LOCK_NAMED_SYSV "System V"	/* a set of semaphores of the kernel's, whose id is known */
struct lock {
	uint32_t id;			/* 1 …, = index + 1 */
	uint8_t kind;			/* enum lock_kind */
	bool shared;			/* between processes */
	bool py;			/* CPython's own lock object (threading.Lock …) */
	const char *py_kind;		/* … and what Python's library made of it: "lock", "RLock", "condition", "semaphore",
					 * "event", "barrier", "queue", "future", "thread start", "import lock"; NULL = not
					 * known. kind is what it is made of. */
	uint32_t space; uint64_t addr;	/* base address; of the first seen when shared */
	uint64_t dev, inode, offset;	/* shared */
	uint32_t gil;			/* REC_GIL id */
	uint32_t join_task;		/* join: the thread waited for, 0 unknown */
	char name[160];			/* "cache_lock", "GIL (pid 4711)", "join of worker-2" …: for a person */
	const char *name_from;		/* "symbol", "object", "file", "site", "thread", LOCK_NAMED_SYSV */
	uint64_t waits, wait_ns, max_ns, held_ns, handoff_ns, ready_ns;	/* logical waits; ready: runnable after the wake */
	uint64_t p50_ns, p99_ns;
	uint32_t family;		/* id of one of those that are one lock in truth, the most waited for: each thread
					 * parks on a word of its own and is woken by others of them; 0 = none */
	uint32_t family_n;		/* that one: how many they are */
	bool family_held;		/* that one: functions on its stacks say that they wait for a lock's owner */
	uint32_t pool;			/* a Python queue: id of the most waited for at the same place, where most of the
					 * waiting is for threads that wait there, too; 0 = it is not */
	uint64_t owner_known, owner_agree, owner_differ;	/* waits by agreement of two kinds of evidence */
	VEC(struct lock_task) waiters, blockers;	/* by wait_ns, largest first */
	VEC(struct lock_site) sites;			/* by wait_ns, largest first */
};

/* What Python made of it: a queue, condition, event, barrier, future or the start of a thread. Who waits for that
 * waits for something to be done; nobody holds it. */
bool lock_is_for_work(const struct lock *l);
/* Threads gather there, Python's included. */
bool lock_is_barrier(const struct lock *l);
/* The name of a lock at which a thread of a Go program waits for something to run. */
bool lock_name_is_go_idle(const char *name);
/* Its name says what it is: "file lock a.lock", "join of worker-2", "System V semaphore 5". */
bool lock_names_itself(const struct lock *l);
/* What its user calls its kind: "mutex", "Python lock", "Python queue". Returns out. */
const char *lock_kind_text(const struct lock *l, char *out, size_t n);

/* What a task put in and took out, counted with --messages (recording.traffic_known), of the whole
 * recording: calls that moved data, and each message of sendmmsg and recvmmsg; bytes as the program
 * passed them, headers of a protocol on top (4 bytes before each message of multiprocessing) included.
 * unsized: messages whose bytes are not known and not counted. */
struct channel_task { uint32_t task; uint64_t sent, sent_bytes, received, received_bytes, unsized; };

/* One end of a TCP connection, by the kernel's counters, which are exact: bytes that its owner put in and took
 * out during the whole recording. */
struct channel_end { char address[64]; uint64_t sent_bytes, received_bytes; };

struct channel {
	uint32_t id;			/* 1 …, = index + 1 */
	uint8_t kind;			/* enum fd_kind */
	const char *what;		/* "pipe", "FIFO", "socket pair", "UNIX", "TCP", "eventfd", … */
	char name[160];
	uint64_t waits, wait_ns, max_ns, read_wait_ns, write_wait_ns;
	VEC(struct lock_task) waiters, blockers;	/* blockers: the task at the other end */
	VEC(struct channel_end) ends;		/* the ends whose bytes are known: both, one, none */
	struct channel_task total;		/* task 0: sums of … */
	VEC(struct channel_task) traffic;	/* by bytes, most first; empty: none, or not counted */
};

/* A GIL's holder over time (locks/gil.c): spans without gaps or overlap from its first sight to
 * the end of the recording (absolute times). HELD: `task` held it. HANDOFF: it was free. NOBODY:
 * it was held by a thread that is not known, or nothing is known. evidence: OWNER, read in its
 * memory; HOLDER, follows from the order of releases, wakes and switches. */
struct gil_span { uint64_t start_ns, end_ns; uint32_t task; uint8_t state; /* HELD, HANDOFF = free, NOBODY = unknown */ uint8_t evidence; };

struct gil_timeline;
/* From all gil samples of a model loaded with MODEL_SLICES. NULL on error. gil: index into model_gils(). */
struct gil_timeline *gil_timeline_build(const struct model *m, struct err *err);
void gil_timeline_free(struct gil_timeline *tl);
const struct gil_span *gil_timeline_spans(const struct gil_timeline *tl, size_t gil, size_t *n);
/* Calls cb for each piece of [t0, t1], clipped to it, in time order; what lies before the GIL's
 * first sight is one NOBODY piece. The pieces tile [t0, t1]. Non-zero stops and is returned. */
typedef int (*gil_segment_cb)(void *ctx, const struct gil_span *piece);
int gil_segments(const struct gil_timeline *tl, size_t gil, uint64_t t0, uint64_t t1, gil_segment_cb cb, void *ctx);
/* The GIL whose words [addr, addr + 208) hold this futex address, as index + 1 into
 * model_gils(); 0 = none. A space that was forked from the GIL's has its own. */
#define GIL_BYTES 208
uint32_t gil_of_futex(const struct model *m, uint32_t space, uint64_t addr);

struct waits {
	const struct model *m;
	struct gil_timeline *gil;	/* owned; NULL when there is no GIL */
	VEC(struct lock) locks;
	VEC(struct channel) channels;
	VEC(struct wait) waits;		/* by task (order of model_task_at), then time */
	VEC(struct blame) blames;
	VEC(uint32_t) task_waits;	/* first wait of each task of model_task_at, and the end */
	struct hmap task_index;		/* task id -> its place in task_waits */
	struct hmap enders;		/* process -> waits_ender() */
};
/* m was loaded with MODEL_SLICES. NULL on error (*err). Free with waits_free. */
struct waits *waits_build(const struct model *m, struct err *err);
void waits_free(struct waits *w);
/* The waits of a task: *n of them, in time order. */
const struct wait *waits_of(const struct waits *w, uint32_t task, size_t *n);
/* The thread that ended its process by exit_group and took the others along; 0 = none that is known.
 * Who waits for a process's end waits for this one: whichever goes last only went away. */
uint32_t waits_ender(const struct waits *w, uint32_t proc);
/* The blame segment of this wait at time t; NULL: t is in none. */
const struct blame *wait_blame_at(const struct waits *w, const struct wait *x, uint64_t t);

#endif
