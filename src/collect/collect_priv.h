/* SPDX-License-Identifier: MIT */
/*
 * collect_priv.h: how the parts of the recorder fit together.
 *
 * target.c: the workload, started held back or found in /proc
 *
 * session.c: the BPF programs are opened, configured, loaded and attached; session_run.c: at work
 *
 * rings.c: what they write, ring buffers merged into one stream by time
 *
 * perfmaps.c: executable mappings as they happen (perf's MMAP2 records)
 *
 * drain.c: that stream into trace records, with everything interned; with drain_tasks.c,
 * drain_maps.c, drain_stacks.c
 *
 * ident.c: what locks and channels are: files, sockets, objects
 *
 * tables.c: unwinding tables for the BPF programs; builder.c: a process that makes them
 *
 * remote.c: stacks of tasks that do not run
 *
 * holds.c: who holds what tasks wait for at the end, by their memory; pylocks.c: Python's locks
 *
 * footprint.c: PSS and USS from /proc within a budget
 *
 * mapped.c: the workload's files, opened while they can be
 *
 * symbols.c: names at the end, without privilege
 *
 * user.c: who asked for all this, and giving up privilege
 *
 * machine.c: facts about the machine
 *
 * record.c: collect(), the order of all of it; record_begin.c, record_end.c
 */
#ifndef MT_COLLECT_PRIV_H
#define MT_COLLECT_PRIV_H

#include <sched.h>
#include <sys/types.h>

#include "base.h"
#include "collect.h"
#include "mt_abi.h"
#include "python.h"
#include "symbol.h"
#include "trace.h"

uint64_t now_ns(void); /* CLOCK_MONOTONIC, as the BPF programs stamp */

/* --- user.c ------------------------------------------------------------------------ */

/* The user on whose behalf we run: SUDO_UID, DOAS_USER or PKEXEC_UID when root, else ourselves. */
struct invoker {
	uid_t uid;
	gid_t gid;
	char name[64], home[256], shell[128];
	bool known; /* found in the user database */
};
int invoker_get(struct invoker *who, struct err *err);
/* A user by name ("root", "alice") or number. */
int invoker_named(const char *name, struct invoker *who, struct err *err);
/* In the workload's process, before exec: becomes `who` for good, with groups and HOME. 0 or
 * -errno. */
int invoker_become(const struct invoker *who);
/* Keeps only what a running recording needs (reading /proc of the workload, BPF statistics). */
int privileges_reduce(struct err *err);
/* Keeps only what makes the kernel measure its BPF programs. 0 or -errno. */
int privileges_for_statistics(void);
/* NULL, or the name of a capability that recording needs and we lack. */
const char *privileges_missing(void);
/* Not missing, but those of a user namespace, which are not enough. */
bool privileges_confined(void);

/* --- target.c --------------------------------------------------------------------- */

/* The command, started but held before its exec. */
struct target {
	pid_t pid;
	int go_fd;     /* write a byte: it execs */
	int status_fd; /* errno of a failed exec, or end of file when it succeeded */
	int pidfd;     /* readable when it has ended */
};
int target_launch(struct target *t, char *const argv[], const struct invoker *who, struct err *err);
/* Waits until it is held: nothing of it happens from then on. */
int target_await_held(struct target *t, struct err *err);
/* Lets it go and waits for its exec: 0, or -errno with *err (status 126 or 127). */
int target_release(struct target *t, const char *name, struct err *err);
void target_close(struct target *t);
/* Ends a helper process of ours and the socket to it, if they are there; *sock is -1 then, *pid 0.
 */
void helper_end(pid_t *pid, int *sock);
/* All descendants of the processes in pids, added to it. */
int target_descendants(uint32_t **pids, size_t *n);
bool target_exists(uint32_t tid);
/* n bytes of the process's memory at addr: all of them, or false. */
bool process_read(uint32_t pid, uint64_t addr, void *p, size_t n);

/* --- session.c ------------------------------------------------------------------- */

struct session;
/* Loads and attaches everything; nothing is recorded yet. */
int session_new(struct session **out, const struct collect_opts *o, struct err *err);
void session_free(struct session *s); /* detaches; nothing of ours stays in the kernel */
/* From now on. */
void session_start(struct session *s);
/* Adds all tasks of these processes; flags are TASK_F_*. */
int session_follow(struct session *s, const uint32_t *pids, size_t n, uint32_t flags,
                   struct err *err);
/* First half of the end: each task's next switch is its last. */
void session_stopping(struct session *s);
/* Second half: the counters of tasks that did not switch meanwhile; then silence. */
int session_stop(struct session *s);
/* Opens and closes the windows in which the programs' cost is measured (that costs itself). */
void session_cost_round(struct session *s, uint64_t now);
void session_cost_end(struct session *s);

struct session_totals {
	uint64_t seen, lost_ring, lost_task, lost_missed, no_stack, stacks, bad_stack;
};
void session_totals(struct session *s, struct session_totals *t);
/* What a program cost: exact while a window was open, the time up to the next one by that one's
 * rate: of a program that writes records for each event, of one that only counts for the time. */
struct session_cost {
	char name[32];
	uint64_t runs, ns;
};
size_t session_costs(struct session *s, struct session_cost *out, size_t max);
/* Comma-separated names of what is in use, for the trace. */
const char *session_features(const struct session *s);
struct rings *session_rings(struct session *s);
/* For the frame walker: layout number `id`; a space that is a CPython's (kept when it is known
 * already: BPF has learned more). */
int session_py_layout(struct session *s, uint32_t id, const struct mt_py_layout *l);
int session_py_space(struct session *s, uint32_t space, const struct mt_py_space *v);
/* Where the GIL of the space's main interpreter will be. */
int session_gil_hint(struct session *s, uint32_t space, const struct mt_gil_hint *hint);

/* What --messages counted: the map (-1 = it was not asked for), and messages that found no room. */
struct session_traffic {
	int fd;
	uint64_t lost;
};
struct session_traffic session_traffic(struct session *s);

/* What unwinding by tables needs of it. */
struct session_unwind {
	struct session *session;
	int words_fd, files_fd; /* the maps */
	uint32_t n_words;       /* room for tables */
};
/* false: not in use (--stacks=off, another machine than x86-64). */
bool session_unwind(struct session *s, struct session_unwind *out);
/* The inode behind one of our own mappings. 0 or -errno. */
struct session_file_key {
	uint64_t key;
	uint32_t ino;
};
int session_file_key(struct session *s, uint64_t addr, struct session_file_key *out);

/* --- rings.c -------------------------------------------------------------------------- */

struct rings;
/* stages_fd: the map of the CPUs' pages, n_stages of them and n at least; ring i is CPU i's then.
 * 0 = records go into the rings only. */
struct rings *rings_new(const int *map_fds, size_t n, size_t bytes_each, int stages_fd,
                        size_t n_stages, struct err *err);
/* How many records went by the pages, and how many found no room there. */
void rings_staged(const struct rings *r, uint64_t *seen, uint64_t *lost);
void rings_free(struct rings *r);
/* The oldest record of all rings whose time is at most `until_ts`: NULL when there is none.
 * Valid until rings_next() is called again. */
const struct mt_hdr *rings_next(struct rings *r, uint64_t until_ts, uint32_t *len);
/* Gives everything returned so far back to the kernel. */
void rings_release_consumed(struct rings *r);
/* Looks for new records, in the CPUs' pages as well; returns the largest ring's fill in permille.
 */
unsigned rings_refresh(struct rings *r);
int rings_epoll_add(struct rings *r, int epoll_fd);

/* --- perfmaps.c ------------------------------------------------------------------------- */

struct map_event {
	uint64_t ts;
	uint32_t pid;
	bool is_exec; /* a new image begins: what follows belongs to it */
	uint64_t start, end, offset;
	uint8_t build_id[20];
	uint8_t build_id_n;
	uint32_t dev;
	uint64_t inode;
	const char *file; /* valid until the next call */
};
struct perfmaps;
struct perfmaps *perfmaps_new(struct err *err);
void perfmaps_free(struct perfmaps *p);
/* Oldest event up to until_ts: 1, or 0 when there is none. */
int perfmaps_next(struct perfmaps *p, uint64_t until_ts, struct map_event *out);
uint64_t perfmaps_lost(const struct perfmaps *p);

/* --- pyspaces.c: which spaces are a CPython's ---------------------------------------------- */

struct pyspaces;
struct pyspaces *pyspaces_new(struct session *session);
void pyspaces_free(struct pyspaces *p);
/* A file was mapped into the space. p may be NULL. */
void pyspaces_map(struct pyspaces *p, uint32_t space, const struct map_event *e, const char *file);
void pyspaces_fork(struct pyspaces *p, uint32_t space, uint32_t parent);
const struct py_build *pyspaces_build(const struct pyspaces *p, uint32_t layout); /* NULL unknown */
/* The space's interpreter and where its _PyRuntime is; NULL = none. */
const struct py_build *pyspaces_at(const struct pyspaces *p, uint32_t space, uint64_t *runtime);
size_t pyspaces_notes(const struct pyspaces *p, char *const **out);

/* --- pycode.c: code objects and their lines ------------------------------------------------- */

struct pycodes;
struct pycodes *pycodes_new(void);
void pycodes_free(struct pycodes *p);
/* The record of a code object. pid: its process, to read what did not fit.
 * added: a PYCODE is to be written; name and file are valid until the next call. */
struct pycode_new {
	uint32_t id;
	bool added;
	const char *name, *file;
};
/* Is this code object known? */
bool pycodes_has(const struct pycodes *p, uint32_t space, uint64_t code);
int pycodes_add(struct pycodes *p, const struct mt_pycode *e, const struct py_build *b,
                uint32_t pid, struct pycode_new *out);
/* n frames into PY_FRAME()s, at most n. false: a code object has not been seen yet. */
bool pycodes_stack(struct pycodes *p, uint32_t space, const struct mt_pyframe *f, size_t n,
                   uint64_t *out, size_t *n_out);
/* --- tables.c: unwinding tables, made by a process without privilege ------------------------- */

struct tables;
/* Starts that process, as `who`, with what argv (may be NULL) will load. 0 or -errno. */
int tables_begin(struct tables **out, char *const argv[], const struct invoker *who);
/* Once the programs are loaded. 0 or -errno. All below take t NULL: then nothing happens. */
int tables_connect(struct tables *t, const struct session_unwind *k);
void tables_free(struct tables *t);
pid_t tables_helper(const struct tables *t); /* 0 = none */
int tables_fd(const struct tables *t); /* readable: tables_poll() has something to do; or -1 */
/* Puts what has been made into the kernel. */
void tables_poll(struct tables *t);
/* Waits (a little) until the command's own files are there. */
void tables_settle(struct tables *t);
/* Asks for the tables of all that a process has mapped; tables_settle() waits for them. */
struct proc_maps;
void tables_process(struct tables *t, const struct proc_maps *maps);
/* A process has mapped the file of that name: its table is made before a stack leads there, as
 * the process may be gone by then. In another mount namespace the name means another file, and
 * tables_want() has to do. */
void tables_path(struct tables *t, const char *path);
/* Process pid has that file mapped. */
void tables_want(struct tables *t, const struct mt_want *e, uint32_t pid);
struct table_totals {
	uint64_t files, rows;
	uint64_t bytes;   /* at most at once */
	uint64_t without; /* files that have no table, or none that is understood */
	uint64_t no_room; /* … of these, for lack of room */
	uint64_t evicted; /* files not used for long that gave way to others */
};
struct table_totals tables_totals(const struct tables *t);

/* --- remote.c: stacks of tasks that do not run, by their memory ------------------------------- */

struct remote;
struct remote *remote_new(struct tables *t); /* NULL: no memory */
void remote_free(struct remote *r);
/* The process's executable mappings become known, and their tables asked for. */
int remote_process(struct remote *r, uint32_t pid);
/* The user stack of an attached task that is still blocked as `e` says: frames (at most max), with
 * STACK_END_* and STACK_F_*. 0 = none: it moved on, or its process is not known. */
size_t remote_stack(struct remote *r, const struct mt_task *e, uint64_t *frames, size_t max,
                    unsigned *end, unsigned *flags);
/* Is the task still in the wait that it was found in? */
bool remote_still_there(const struct mt_task *e);

/* --- drain.c ------------------------------------------------------------------------------ */

struct live_task {
	uint32_t id, tid, tgid, proc, space, ns_tid, ns_tgid;
	uint64_t wait_addr, wait_park; /* of its last futex wait; 0 = none yet */
	uint64_t image_ns;             /* when its program began; 0 = before us */
	bool root;
	/* Of a leader: what footprint.c knows of its process. */
	uint64_t rss_bytes; /* the kernel's counter, last seen */
	uint64_t read_rss_bytes, read_pss_bytes, read_ns, read_changes, due_ns, interval_ns;
	uint64_t faults; /* at the last tick */
	bool reads_known;
};

struct drain;
struct drain *drain_new(struct trace_writer *w, struct symbolizer *sym, bool run_mode);
void drain_free(struct drain *d);
void drain_tables(struct drain *d, struct tables *t); /* who is told of files without tables */
void drain_remote(struct drain *d, struct remote *r); /* for attached tasks' stacks; NULL = none */
/* Writes everything up to until_ts. 0 or -errno (of the trace file). */
int drain_round(struct drain *d, struct rings *r, struct perfmaps *p, uint64_t until_ts);
/* From now on Python's frames are recorded; p outlives d. */
int drain_python(struct drain *d, struct pyspaces *p);
uint32_t drain_string(struct drain *d, const char *s); /* interned; 0 on error */
size_t drain_alive(const struct drain *d);
/* Walks the tasks that are still alive: *pos starts at 0; NULL at the end. Forgetting one puts
 * another in its place. */
struct live_task *drain_next_alive(struct drain *d, size_t *pos);
void drain_forget(struct drain *d, struct live_task *t); /* it has gone unseen (events were lost) */
uint64_t drain_written(const struct drain *d);           /* ring records consumed */
uint64_t drain_last_exec_ts(const struct drain *d);      /* of any task, 0 = none yet */
uint64_t drain_last_birth_ts(const struct drain *d);     /* of a process, the same */
uint64_t drain_exec_ts(const struct drain *d); /* first exec of the command, 0 = not yet */
struct ident *drain_ident(struct drain *d);
/* Executable mappings of a process that was there before us, from /proc. */
int drain_existing_maps(struct drain *d, uint32_t pid);
/* Then the Python frames of its tasks that were blocked already. 0 or -errno of the trace file. */
int drain_attached_python(struct drain *d);

/* The perf maps of programs that generate code: those that have one by now. */
void drain_jit_maps(struct drain *d);

/* --- gils.c ------------------------------------------------------------------------------- */

/* Zeroed = none. */
struct gils {
	VEC(struct mt_gil_ev) unnamed; /* nothing is known of their interpreters yet */
};
void gils_release(struct gils *g);
/* Writes the GIL. p may be NULL. 0 or -errno. */
int gils_found(struct gils *g, struct trace_writer *w, const struct pyspaces *p,
               const struct mt_gil_ev *e);
/* The space may have become a known interpreter's: writes its GILs again, with what is known now.
 */
int gils_space(struct gils *g, struct trace_writer *w, const struct pyspaces *p, uint32_t space);

/* --- mapped.c ------------------------------------------------------------------------------ */

struct mapped { /* zeroed = nothing yet */
	uint64_t copied, root_mount, namespace;
};
/* Is the open file on the mount of our root? One that is not must not be held: its file system
 * could not be unmounted any more. */
bool mapped_on_root(int fd);
/* A process has mapped a file with code: opens it when nobody has, and notes jitdumps. */
void mapped_keep(struct mapped *c, struct symbolizer *sym, uint32_t space, uint32_t pid,
                 const struct sym_map *m);
/* Opens the perf map of a process for its (or its previous) space, when it is wanted. */
void mapped_perf_map(struct symbolizer *sym, const struct live_task *t, uint32_t space);

/* --- ident.c -------------------------------------------------------------------------------- */

struct ident;
struct ident *ident_new(struct drain *d, struct trace_writer *w);
void ident_free(struct ident *id);
/* The programs cannot tell which object a shared futex is of: /proc/PID/maps has to. */
void ident_by_maps(struct ident *id);
/* Each writes what the trace has to hold; 0 or -errno of the trace file. pid: the process whose
 * event it is. */
int ident_futex_key(struct ident *id, const struct mt_futex_key *e, uint32_t pid);
int ident_file(struct ident *id, const struct mt_file *e);
int ident_word(struct ident *id, uint32_t space, uint64_t addr); /* one more of the wait's words */
int ident_wait(struct ident *id, const struct mt_switch *e, uint32_t space, uint32_t pid);
/* The variables that the futex words lie in. Ends the counting of waits. */
int ident_objects(struct ident *id, struct symbolizer *sym);
/* Fills in what an attached task has been waiting for, from its memory. */
int ident_attached(struct ident *id, const struct mt_task *e, struct rec_task *r);

/* Writes what was counted, once the programs are silent. 0 or -errno of the trace file. */
int traffic_write(const struct session_traffic *s, struct trace_writer *w);

/* flow.c: writes the counters of the TCP sockets that these processes have open before they are
 * recorded; that those have open who live on. 0 or -errno of the trace file. */
int flow_first(struct trace_writer *w, const uint32_t *pids, size_t n);
int flow_last(struct trace_writer *w, struct drain *d);

/* Writes who holds what tasks still wait for, by their memory. 0 or -errno. */
int holds_write(struct drain *d, struct trace_writer *w, const struct pyspaces *py);

/* The line of a /proc/PID/maps text that covers addr: 0 or -ENOENT. path lies in text, as it is
 * there, n bytes, "" for anonymous memory. */
struct mapping {
	uint64_t start, end, offset, inode;
	uint32_t dev; /* as the kernel has it inside: major << 20 | minor */
	bool shared;
	const char *path;
	size_t path_n;
};
int maps_find(const char *text, uint64_t addr, struct mapping *out);

/* --- footprint.c --------------------------------------------------------------------------- */

struct footprint {
	uint64_t look_ns; /* when to look again who is due */
	uint64_t spent_ns, start_ns, reads;
	uint64_t tick_ns; /* when to see whether anything has changed */
	uint64_t changes; /* page faults of all processes, as seen then; and more when one came or
	                     went */
	uint64_t change;  /* so many of these are worth reading for */
	uint64_t who;     /* a hash of the processes there were */
	unsigned permille;
	bool late; /* the budget kept a process from its first reading, or long from the next */
};
void footprint_init(struct footprint *f, unsigned permille, uint64_t start_ns);
/* Reads what is due and affordable. */
int footprint_round(struct footprint *f, struct drain *d, struct trace_writer *w, uint64_t now);

/* --- busy.c -------------------------------------------------------------------------------- */

/* What the CPUs that the workload may use did while it was recorded, by /proc/stat (exact to a tick
 * for each CPU and end): how much of it others used tells how much of them is to be had. */
struct busy_look {
	uint64_t at_ns, idle_ns, own_ns; /* own_ns: CPU time of the recorder and its helper */
	unsigned cpus;
};
struct busy {
	cpu_set_t set[8]; /* one: 8,192 CPUs */
	struct busy_look begin;
	bool known;
};
/* helper: the process that makes unwinding tables; 0 = none. */
void busy_begin(struct busy *b, pid_t workload, pid_t helper);
/* Writes META_BUSY and what belongs to it, or nothing when that is not known. 0 or -errno of the
 * file. */
int busy_write(const struct busy *b, pid_t helper, struct trace_writer *w);
/* Idle ticks of those CPUs, and how many they are, from the text of /proc/stat. 0 or -ENODATA. */
int busy_idle(const char *stat, const cpu_set_t *set, size_t size, uint64_t *ticks, unsigned *cpus);

/* --- cgroup.c -------------------------------------------------------------------------------- */

/* What the control groups of a process leave it, version 1 or 2; 0: no limit, or none to see. */
struct cgroup_limits {
	double cpus; /* quota ÷ period */
	uint64_t memory_bytes;
};
void cgroup_limits(uint32_t pid, struct cgroup_limits *out);
/* The same from the text of /proc/PID/cgroup, which it takes apart, and where the groups are
 * mounted. */
void cgroup_limits_in(const char *mount, char *text, struct cgroup_limits *out);

/* --- symbols.c, machine.c -------------------------------------------------------------------- */

/* progress: on a terminal, when it takes long. */
int symbols_write(struct symbolizer *sym, int kallsyms_fd, struct drain *d, struct trace_writer *w,
                  bool progress);
int machine_write(struct trace_writer *w, const struct collect_opts *o, const struct invoker *who,
                  const char *features);
int meta_write(struct trace_writer *w, const char *key, const char *value);
int meta_write_u64(struct trace_writer *w, const char *key, uint64_t value);
int note_write(struct drain *d, struct trace_writer *w, const char *text);

#endif
