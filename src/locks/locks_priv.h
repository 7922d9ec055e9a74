/* SPDX-License-Identifier: MIT */
/*
 * locks_priv.h: from slices to waits. Inside src/locks only.
 *
 * In this order: futex words become lock objects (words.c gathers what is known of them,
 * kinds.c what functions say, objects.c groups them), descriptors become channels
 * (channels.c), slices waits (stitch.c), each wait gets its blame (blame.c, holders.c,
 * gil.c), and locks and channels their sums and names (stats.c, names.c).
 */
#ifndef MT_LOCKS_PRIV_H
#define MT_LOCKS_PRIV_H

#include "waits.h"

/* What a system call means for waits: bits. */
enum {
	CALL_FUTEX = 1 << 0,      /* a futex call, and … */
	CALL_FUTEX_WAKE = 1 << 1, /* … one that wakes or hands over */
	CALL_EXIT = 1 << 2,
	CALL_EXIT_GROUP = 1 << 10,
	CALL_READ = 1 << 3, /* takes from a descriptor */
	CALL_WRITE = 1 << 4,
	CALL_TIMED = 1 << 5,  /* a futex wait with a timeout */
	CALL_SIGNAL = 1 << 6, /* waits for signals */
	CALL_VFORK = 1 << 7,
	CALL_KNOWN = 1 << 8,
	CALL_ACCEPT = 1 << 9,
	CALL_FILE_LOCK = 1 << 11, /* waits for a lock on a file */
	CALL_KILL = 1 << 12,      /* sends a signal */
	CALL_SEEN = 1 << 15,      /* the table has it */
};

/* What all waits on one futex word say together. */
struct word {
	uint32_t votes[LOCK_KIND_N]; /* waits whose stack names a function of this kind */
	uint32_t waits, posted, py_votes, park_votes, gomp_votes;
	uint32_t python; /* waits with Python frames on the stack */
	uint32_t owners; /* waits with the id of another live task in the owner's place */
	bool pi, bitset;
};

/* Pieces of waits; those of one wait are neighbours, from wait.blame on. */
struct blames {
	VEC(struct blame) v;
};

struct build {
	const struct model *m;
	struct waits *w;
	const char *arch;
	VEC(uint16_t) calls;       /* by site: CALL_* */
	struct hmap far_calls;     /* the same, of large ids */
	struct hmap stack_kinds;   /* user stack -> struct kind_vote, packed */
	VEC(struct word) words;    /* by futex index */
	VEC(uint32_t) futex_locks; /* futex index -> lock index + 1 */
	VEC(uint32_t) lock_futex;  /* by lock index: one of its words, as futex index + 1 */
	struct hmap joins;         /* task waited for, or address -> lock index + 1 */
	struct hmap holds;         /* lock id -> task that memory says holds it at the end */
	struct hmap file_locks;    /* inode, device and kind -> lock index + 1; semaphores: id */
	struct hmap channel_ids;
	VEC(uint32_t) file_channels; /* file index -> channel index + 1 */
	VEC(uint32_t) order;         /* places in w->waits, by lock */
};

/* --- calls.c ------------------------------------------------------------------------------- */

/* All sites of the model's slices, which are those that may be asked for then. */
int calls_gather(struct build *b);
unsigned call_bits(const struct build *b, uint32_t site);
/* Was the blocked part of the slice ended by somebody who did what the wait was for? */
bool slice_posted(const struct build *b, const struct task *t, const struct slice *s);
/* … by a timeout? */
bool slice_timed_out(const struct slice *s);
/* The live task that the owner word read when the slice began names; 0 = none. */
uint32_t slice_owner(const struct build *b, const struct task *t, const struct slice *s,
                     bool shared);

/* --- enders.c --- */

int waits_find_enders(struct build *b); /* after calls_gather */

/* --- kinds.c: what the functions on a stack say --------------------------------------------- */

struct kind_vote {
	uint8_t kind;  /* enum lock_kind, LOCK_KIND_N = nothing said */
	bool py;       /* CPython's own lock */
	bool park;     /* … in its parking lot */
	bool python;   /* it has Python frames */
	bool py_join;  /* … of Thread.join */
	bool gomp;     /* it ends in libgomp */
	bool look_out; /* a language's scheduler looks for something to run */
};
int kind_of_stack(struct build *b, uint32_t ustack, struct kind_vote *out);
/* Does it end in a library whose threads wait for work so, and wake each other for it? */
bool stack_waits_for_work(const struct model *m, uint32_t ustack);

/* --- words.c --------------------------------------------------------------------------------- */

int words_gather(struct build *b);

/* --- objects.c ---------------------------------------------------------------------------- */

int locks_group(struct build *b);
/* The lock of a join: by the thread waited for, or by the word's address when that is unknown.
 * *lock: index + 1. */
int locks_join(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock);
/* Leaves out the locks that nobody waited for; waits, words and joins follow. */
int locks_compact(struct build *b);
int locks_find_holds(struct build *b);
/* Who was found to hold it when the recording stopped; 0 = nobody looked, or nobody. */
uint32_t hold_of_lock(const struct build *b, const struct lock *l);

/* --- files.c ------------------------------------------------------------------------------ */

/* Does it wait for a lock on a file that is known? Then which; *lock: index + 1. */
bool slice_is_file_lock(const struct build *b, const struct slice *s);
int locks_of_file(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock);
/* The same of System V semaphores. */
bool slice_is_sysv(const struct build *b, const struct slice *s);
int locks_of_sysv(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock);
static inline bool hold_is_of_file(const struct hold *h)
{
	return h->evidence == HOLD_FLOCK || h->evidence == HOLD_RECORD_LOCK;
}
/* Its lock as index + 1; NULL or 0 = nobody waited for it. */
const uint64_t *file_lock_of_hold(const struct build *b, const struct hold *h);

/* --- channels.c --------------------------------------------------------------------------- */

int channels_group(struct build *b);
int channels_compact(struct build *b);
uint32_t channel_of_file(const struct build *b, uint32_t file); /* index + 1 -> index + 1 */

/* --- traffic.c ---------------------------------------------------------------------------- */

int traffic_sum(struct build *b);
/* Is a file of that sort worth being a channel for its traffic alone? */
bool traffic_is_news(const struct mfile *f);

/* --- stitch.c ----------------------------------------------------------------------------- */

int waits_stitch(struct build *b);
/* Was the wait ended by somebody who did what it was for? */
bool wait_posted(const struct build *b, const struct wait *x);
static inline const struct slice *wait_last_slice(const struct build *b, const struct wait *x)
{
	return &model_task(b->m, x->task)->slices.v[x->slice + x->n_slices - 1];
}

/* --- blame.c, holders.c ------------------------------------------------------------------- */

int waits_blame(struct build *b);
/* One lock, the places of its waits in w->waits, task by task in the order of time, and the pieces
 * that they get. Locks are gone through side by side: of what they share, each changes only its own
 * waits. */
struct lock_blame {
	const struct build *b;
	struct lock *l;
	const uint32_t *waits;
	size_t n, limit;
	struct blames pieces;
};
int holders_blame(struct lock_blame *lb);
/* Appends it to the wait's pieces; joins equal neighbours. What lies before the birth of its task
 * is its maker's, and so on. */
int blame_add(const struct model *m, struct blames *to, struct wait *x, struct blame piece);

/* --- stats.c, names.c ---------------------------------------------------------------------- */

int waits_sum(struct build *b);
int locks_name(struct build *b);

/* --- pykinds.c: what Python's library made of the interpreter's locks ------------------------- */

int locks_find_py_kinds(struct build *b); /* after waits_sum */
bool lock_is_py_semaphore(const struct lock *l);
bool lock_is_py_queue(const struct lock *l);

/* --- families.c: many words, one lock -------------------------------------------------------- */

int locks_find_families(struct build *b);

/* --- semaphores.c: Python's, which have a word for each wait ---------------------------------- */

int locks_find_semaphores(struct build *b); /* after locks_name */

#endif
