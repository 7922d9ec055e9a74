/* SPDX-License-Identifier: MIT */
/*
 * model_priv.h: the model while it is being loaded. Inside src/model only.
 *
 * Loading is one pass: records are decoded, events sorted over a short window (order.c),
 * and each kind handed to its handler (load.c). The state machine (slices.c) closes one
 * slice per switch-out and adds it, clipped to the window, to its task, its stack row and
 * its futex; nothing is kept per event but two or three bytes of the timeline.
 *
 * The window's start is known only when MARK_EXEC comes: what was added before that is
 * dropped then (model_set_origin); totals of the whole recording go on in `all`, because
 * the kernel's counters know no window.
 */
#ifndef MT_MODEL_PRIV_H
#define MT_MODEL_PRIV_H

#include "model.h"

/* Definitions beyond these are refused and counted: a file cannot make us take all memory
 * by naming tasks that do nothing. */
#define MAX_TASKS   (1u << 19)
#define MAX_FUTEXES (1u << 19)
#define MAX_SPACES  (4u << 20)
#define RESERVOIR   4096u

/* --- ids.c: trace id -> index ------------------------------------------------------------ */

#define NO_INDEX UINT32_MAX

/* Dense ids by array, wild ones by hash. Zeroed = empty. */
struct idmap {
	VEC(uint32_t) direct; /* index + 1 */
	struct hmap far;
	size_t n;
};
uint32_t idmap_get(const struct idmap *map, uint64_t id); /* NO_INDEX when absent */
int idmap_put(struct idmap *map, uint64_t id, uint32_t index);
void idmap_release(struct idmap *map);

/* Ids are small in any real file; what does not fit is nobody's id. */
static inline uint32_t id32(uint64_t id)
{
	return id < UINT32_MAX ? (uint32_t)id : 0;
}

/* --- tasks while loading ------------------------------------------------------------------- */

enum phase {
	PHASE_NEW,  /* defined, no event yet */
	PHASE_OFF,  /* off the CPU since out_ns */
	PHASE_ON,   /* on a CPU since in_ns */
	PHASE_DEAD, /* had its last switch at last_ns */
};

/* Totals of the whole recording, to compare with the kernel's. */
struct totals {
	uint64_t voluntary, involuntary, run_ns, queue_ns, delay_ns;
};

/* Rows of a futex that the task's last wait was added to; futex is index + 1, 0 = none. */
struct futex_used {
	uint32_t futex, ustack, kstack, waiter, site;
};

#define MAX_WAITV 8 /* words kept of one futex_waitv */

/* Who woke, in which call, on which descriptor (index + 1 into files). */
struct wake {
	uint32_t task, site, file, ustack, kstack;
	uint8_t flags;
};

/* t is first: a struct task * of ours is a struct ltask *. */
struct ltask {
	struct task t; /* start_ns, end_ns: unclipped until model_finish */
	uint64_t out_ns, in_ns, last_ns;
	uint64_t wake_ns;  /* of the open slice, when woken */
	uint64_t queue_ns; /* waits for a CPU inside the window */
	uint64_t skew_ns;  /* see preempted_until() in slices.c */
	uint32_t site, ustack, kstack, futex, owner, file, flags; /* of the open slice */
	struct wake waker;
	uint32_t row; /* index + 1 of the stack row last used */
	struct futex_used used;
	uint16_t cpu;
	uint8_t phase, cause;
	bool runnable;    /* open slice: left the CPU while still wanting it */
	bool woken;       /* open slice: a wake-up was seen */
	bool first_slice; /* open slice began with the task's life, not with a switch */
	bool on_at_start; /* its first time on a CPU began before the recording */
	bool exited, ended;
	uint64_t end_ts, exit_ts; /* of END, of EXIT */
	uint64_t end_flags;
	struct counters base, last; /* kernel's, at BASE and END */
	struct io_counters io_base;
	bool no_io_base; /* BASE did not have them */
	struct totals all;
	/* A wake-up that came while it was still on its way off the CPU. */
	uint64_t early_wake_ns;
	struct wake early_waker;
	uint64_t def_state; /* TASK.state and site: what an attached task waited in */
	uint32_t def_site;
	uint32_t called; /* site of the last call that it blocked in */
	uint64_t *
	        words; /* of the open slice's futex_waitv, MAX_WAITV of them; NULL = it made none */
	uint32_t n_words;
	struct rec_switch *def_wait; /* how that wait would have been recorded; NULL = not known */
	uint32_t comm, first_comm;   /* string ids of the trace */
};

struct lproc {
	struct proc p;
	uint32_t exe;  /* string id */
	uint32_t args; /* in m->strings */
	uint64_t maxrss_bytes, hiwater_bytes;
	bool exited;
};

/* A site and what follows from its call, worked out once. */
struct lsite {
	struct site s;
	uint8_t cause;
	uint8_t op; /* of a futex call: WAIT, WAIT_BITSET, LOCK_PI … */
	bool is_futex, is_private, is_pi;
	bool maybe_join; /* a shared wait for a value, as pthread_join does */
	bool resumes;    /* restart_syscall: the kernel goes on with the call before */
};
struct lspace {
	uint32_t id, parent;
	uint64_t ts;
	size_t maps, n_maps; /* range in m->maps, once sorted */
};
struct lmap {
	uint64_t start, end, offset, ts;
	uint64_t max_end; /* largest end of this and all before it in the space */
	uint32_t space, file;
};
/* module and name are ids of m->strings, not of the trace. */
struct lsymbol {
	uint64_t offset, name_off;
	uint32_t module, name, src, line, depth, order;
};
struct lstack {
	struct mstack s;
	size_t first, first_py; /* in m->frames, m->py_frames; s.frames is set by stacks_finish */
};
struct lpycode {
	uint32_t name, file, first_line; /* strings of the trace, ours once loaded */
};
struct meta {
	uint32_t key;
	size_t off, n; /* of the value in meta_bytes, a NUL follows */
};
/* Which task had this tid of the innermost namespace, and when. proc 0: anywhere. */
struct tid_life {
	uint32_t ns_tid, proc, task;
	uint64_t start_ns, end_ns;
};
struct named_cost {
	uint32_t name;
	uint64_t count, ns;
};

/* An event on its way through the sorting window. */
struct event {
	uint64_t ts;
	uint32_t kind;
	union {
		struct rec_switch sw;
		struct rec_waking wk;
		struct rec_sample sample;
		struct rec_touch touch;
		struct rec_base base;
		struct rec_end end;
		struct rec_exit exit;
		struct rec_exec exec;
		struct rec_rename rename;
		struct {
			struct rec_waitv waitv; /* its array is the one behind it */
			uint64_t words[MAX_WAITV];
		};
		struct rec_mark mark;
		struct rec_pythread pythread;
		struct rec_holds holds;
	};
};
struct order;

struct delta {
	uint64_t ts;
	int64_t d;
};
/* How many tasks run, as varints of (time step, change). */
struct timeline {
	VEC(uint8_t) bytes;
	uint64_t last_ts;
	size_t undo_n; /* state before the last change, and that change (0: none) */
	uint64_t undo_ts;
	int64_t undo_change;
	VEC(struct delta) late; /* known only afterwards; any order */
	VEC(uint64_t) histogram;
};

struct gil_place {
	uint64_t addr;
	uint32_t space, number; /* number: index + 1 */
};

/* From ts on the thread state (number in tstates) is this task's. */
struct pythread {
	uint64_t ts;
	uint32_t tstate, task;
};

/* REC_FLOW of a socket: at the beginning, and the largest since. */
struct flow {
	uint64_t first_sent, first_received, sent, received;
};

struct model {
	struct model_opts opts;
	struct recording rec;
	struct trace_info info_copy;
	struct model_oddities odd;
	struct order *order;

	bool have_origin, have_start, have_exec, have_stop;
	uint64_t origin_ns, stop_ns, first_ts, last_ts;
	uint64_t lo_ns, hi_ns; /* window: what is outside is not added */
	uint64_t mark_end;     /* MARK_END.value */
	uint64_t stopping_ns;  /* MARK_STOPPING; 0 = nobody lived on, or an older recorder */

	struct strtab *strings;
	struct idmap string_ids; /* trace's string id -> id in strings */
	VEC(struct meta) metas;
	struct hmap meta_ids;
	struct buf meta_bytes;
	char arch[32];        /* META_MACHINE */
	bool run_delay_known; /* META_FEATURES: the kernel counts run_delay */

	VEC(struct ltask *) tasks; /* by order of appearance */
	struct idmap task_ids;
	struct hmap proc_tids; /* (proc, tid in the innermost namespace) -> task id */
	struct hmap ctids;     /* (space, address of clear_child_tid) -> task id */
	VEC(struct tid_life) lives;
	uint64_t *latest_ends; /* of lives, a tree of maxima: leaves from [life_leaves] on */
	size_t life_leaves;
	VEC(const struct task *) listed;
	VEC(struct lproc) procs;
	struct idmap proc_ids;
	VEC(const struct proc *) listed_procs;

	VEC(struct lsite) sites;
	struct idmap site_ids;
	VEC(struct futex) futexes;
	struct hmap futex_ids;      /* (space and whether parked, addr) -> index */
	struct hmap waiter_ids;     /* (futex, task) -> index of the waiter */
	struct hmap futex_site_ids; /* (futex, stacks) -> index of the site */
	uint64_t random;

	VEC(struct mfile) files;
	VEC(uint32_t) file_users; /* by file: the process that used it last, 0 = none seen */
	struct hmap socket_ends;  /* both addresses of a socket -> file index + 1 */
	struct idmap file_ids;
	VEC(struct futex_key) futex_keys;
	VEC(struct futex_object) futex_objects;
	struct hmap key_ids, object_ids; /* (space, addr) -> index */
	VEC(struct hold) holds;
	VEC(struct traffic) traffic;
	VEC(struct flow) flows;
	struct hmap flow_ids; /* inode -> index */

	VEC(struct gil) gils;
	struct idmap gil_ids;
	VEC(struct gil_sample) gil_samples;
	VEC(struct gil_place) gil_places; /* by space and address */
	struct hmap tstates; /* (space, address of a PyThreadState) -> number, from 1 */
	VEC(struct pythread) pythreads;

	VEC(struct lstack) stacks;
	struct idmap stack_ids;
	VEC(uint64_t) frames, py_frames;
	VEC(struct lpycode) pycodes;
	struct idmap pycode_ids;
	VEC(struct lspace) spaces;
	struct idmap space_ids;
	VEC(struct lmap) maps;
	VEC(struct lsymbol) symbols;
	uint32_t kernel_module; /* "[kernel]" in strings */
	VEC(struct stack_row) off_cpu, on_cpu, touch;
	struct hmap off_ids, on_ids, touch_ids;
	VEC(struct cpu_sample) samples, looks; /* MODEL_SLICES only */

	struct timeline running;

	VEC(struct named_cost) losses, costs;
	struct hmap loss_ids, cost_ids, note_ids;
	VEC(struct loss) loss_list;
	VEC(struct bpf_cost) cost_list;
	VEC(const char *) notes;
	VEC(uint32_t) note_strings;
};

/* --- order.c: events leave sorted by time unless they come later than the window ---------- */

struct order *order_new(void);
void order_free(struct order *o);
/* The slot of a new event at ts: fill it before the next call. When the window is full the
 * oldest one is in *out (valid until the next call), else *out is NULL. */
struct event *order_push(struct order *o, uint64_t ts, const struct event **out);
const struct event *order_pop(struct order *o); /* NULL when empty */

/* --- load.c --------------------------------------------------------------------------------- */

/* The wall starts at ts: what was added to the window before is dropped. */
void model_set_origin(struct model *m, uint64_t ts);

/* --- tasks.c -------------------------------------------------------------------------------- */

struct ltask *task_get(const struct model *m, uint64_t id); /* NULL unknown */
/* The task, made as a placeholder when it has no definition. NULL: id 0, or no memory or over
 * the limit; *err is then -ENOMEM or unchanged. */
struct ltask *task_need(struct model *m, uint64_t id, uint64_t ts, int *err);
int on_task(struct model *m, uint64_t ts, const struct rec_task *r);
int on_base(struct model *m, uint64_t ts, const struct rec_base *r);
int on_end(struct model *m, uint64_t ts, const struct rec_end *r);
int on_exit_event(struct model *m, uint64_t ts, const struct rec_exit *r);
/* Its bytes are the reader's, and it waits to be sorted: takes them, as a string of the model
 * whose number stands in args.n from then on. */
int exec_keep_args(struct model *m, struct rec_exec *r);
int on_exec(struct model *m, uint64_t ts, const struct rec_exec *r);
int on_rename(struct model *m, uint64_t ts, const struct rec_rename *r);
int tasks_finish(struct model *m); /* closes lives; sets wall end */
int tasks_list(struct model *m);   /* clips lives to the window, lists those inside */
void tasks_release(struct model *m);

/* --- lives.c -------------------------------------------------------------------------------- */

int lives_add(struct model *m, const struct task *t); /* placeholders are left out */
int lives_finish(struct model *m);                    /* all are there; before it nobody is found */
void lives_release(struct model *m);

/* --- slices.c ------------------------------------------------------------------------------- */

int on_switch(struct model *m, uint64_t ts, const struct rec_switch *r);
int on_waitv(struct model *m, uint64_t ts, const struct rec_waitv *r);
int on_waking(struct model *m, uint64_t ts, const struct rec_waking *r);
int task_attach_running(struct model *m,
                        struct ltask *lt); /* it was on a CPU when its life began */
/* Ends the turn of a running task at ts and begins another, without a switch. */
int task_split(struct model *m, struct ltask *lt, uint64_t ts);
int task_close(struct model *m, struct ltask *lt,
               uint64_t end); /* closes what is open at its end */

/* --- procs.c -------------------------------------------------------------------------------- */

struct lproc *proc_get(const struct model *m, uint64_t id);
struct lproc *proc_need(struct model *m, uint32_t id, int *err);
int on_rss(struct model *m, uint64_t ts, const struct rec_rss *r);
int on_footprint(struct model *m, uint64_t ts, const struct rec_footprint *r);
int proc_touch(struct model *m, const struct ltask *lt, uint64_t ts, const struct rec_touch *r);
int procs_finish(struct model *m);
void procs_release(struct model *m);

/* --- futexes.c ------------------------------------------------------------------------------ */

/* The futex of the wait that began with this switch. *number: its index + 1, 0 = refused, there are
 * too many. 0 or -ENOMEM. */
int futex_need(struct model *m, uint32_t space, const struct rec_switch *r, uint32_t *number);
int futex_add_wait(struct model *m, struct ltask *lt, uint32_t futex, uint64_t wait_ns);
void futexes_reset(struct model *m);
void futexes_finish(struct model *m);
void futexes_release(struct model *m);

/* --- referents.c: what futex words and descriptors refer to ----------------------------------- */

int on_file(struct model *m, uint64_t ts, const struct rec_file *r);
int on_futex_key(struct model *m, uint64_t ts, const struct rec_futex_key *r);
int on_object(struct model *m, uint64_t ts, const struct rec_object *r);
int on_holds(struct model *m, uint64_t ts, const struct rec_holds *r);
int on_traffic(struct model *m, uint64_t ts, const struct rec_traffic *r);
int on_flow(struct model *m, uint64_t ts, const struct rec_flow *r);
uint32_t file_number(const struct model *m, uint64_t id); /* index + 1, 0 unknown */
/* Are these (index + 1) two ends of one connection, or the same one? */
bool files_meet(const struct model *m, uint32_t a, uint32_t b);
/* The process is seen with this file in hand. 0 or -ENOMEM. */
int file_used(struct model *m, uint32_t file, uint32_t proc);
/* Does this socket's other end belong to the process? */
bool file_leads_to(const struct model *m, uint32_t file, uint32_t proc);
int referents_finish(struct model *m);
void referents_release(struct model *m);

/* --- gil.c ----------------------------------------------------------------------------------- */

/* A reading of a GIL in the context of the task `by`. */
struct gil_reading {
	uint64_t gil, state, holder, switches;
	uint64_t woke; /* address that a futex call of the reader wakes, 0 = none */
	bool waking, blocked;
};
int on_gil(struct model *m, uint64_t ts, const struct rec_gil *r);
int on_pythread(struct model *m, uint64_t ts, const struct rec_pythread *r);
int gil_read(struct model *m, uint64_t ts, uint64_t by, const struct gil_reading *r);
/* Whose thread state it is that lt runs with. */
uint32_t gil_state_owner(const struct model *m, const struct ltask *lt);
int gils_finish(struct model *m);
void gil_release(struct model *m);

/* --- syscalls.c ----------------------------------------------------------------------------- */

int on_site(struct model *m, uint64_t ts, const struct rec_site *r);
const struct lsite *site_get(const struct model *m, uint64_t id); /* NULL unknown */

/* --- stacks.c (rows), maps.c (spaces, maps, symbols) ---------------------------------------- */

int on_stack(struct model *m, uint64_t ts, const struct rec_stack *r);
int on_touch(struct model *m, uint64_t ts, const struct rec_touch *r);
int on_sample(struct model *m, uint64_t ts, const struct rec_sample *r);
int stack_add_off(struct model *m, struct ltask *lt, uint64_t blocked_ns, uint64_t runnable_ns);
void stacks_reset(struct model *m);
void stacks_finish(struct model *m);
void stacks_trim(struct model *m); /* once names are known */
void stacks_release(struct model *m);
int on_pycode(struct model *m, uint64_t ts, const struct rec_pycode *r); /* frames.c */
void pycodes_finish(struct model *m);
void pycodes_release(struct model *m);
int on_space(struct model *m, uint64_t ts, const struct rec_space *r);
int on_map(struct model *m, uint64_t ts, const struct rec_map *r);
int on_symbol(struct model *m, uint64_t ts, const struct rec_symbol *r);
int maps_finish(struct model *m);
void maps_release(struct model *m);

/* --- timeline.c ----------------------------------------------------------------------------- */

int timeline_add(struct timeline *tl, uint64_t ts, int64_t change);
/* An interval that became known after others that follow it. */
int timeline_late(struct timeline *tl, uint64_t ts, int64_t change);
int timeline_histogram(struct timeline *tl, uint64_t lo, uint64_t hi);
void timeline_release(struct timeline *tl);

/* --- quality.c: strings, facts, losses, costs, notes ----------------------------------------- */

uint32_t model_string(const struct model *m, uint64_t id);  /* in m->strings; 0 unknown */
const char *model_text(const struct model *m, uint64_t id); /* "" unknown; valid once loaded */
int on_string(struct model *m, uint64_t ts, const struct rec_string *r);
int on_meta(struct model *m, uint64_t ts, const struct rec_meta *r);
int on_loss(struct model *m, uint64_t ts, const struct rec_loss *r);
int on_cost(struct model *m, uint64_t ts, const struct rec_cost *r);
int on_note(struct model *m, uint64_t ts, const struct rec_note *r);
int quality_finish(struct model *m);
void quality_release(struct model *m);

#endif
