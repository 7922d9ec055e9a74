/* SPDX-License-Identifier: MIT */
/*
 * trace.h: the trace file, the border between recording and analysis.
 *
 * ## The file
 *
 *   file   = header block*
 *   header = magic "MPVTRACE", format major and minor, header size, flags (bit 0:
 *            complete), offset of the INDEX block (0 until finished), CRC-32 of the header
 *   block  = { magic, type, flags, raw_len, comp_len, first_ts, last_ts, records,
 *              crc of payload, crc of this head } + zlib payload
 *
 * Every integer of the fixed structures is little-endian. A block decompresses by
 * itself and carries its own delta state; a file that was cut is read up to its last
 * whole block, a damaged block is skipped by searching for the next block magic
 * with a valid head CRC. Block types: SCHEMA (first), DEFS (definitions: strings,
 * tasks, sites, stacks, maps, symbols), EVENTS (what happened), INDEX (last: offset,
 * type, time range and record count of each block). The writer flushes the open
 * DEFS block before the EVENTS block that may refer to it.
 *
 * ## Self-description
 *
 * SCHEMA lists every record kind with its name and each field's name and type. A
 * reader maps the file's fields to its own by name: fields it does not know are
 * skipped by their type, fields that the file lacks read as 0, and kinds it does not
 * know are passed over. So adding a field at the end, or a kind, is a minor version.
 *
 * ## A record
 *
 *   kind (1 byte) · ts (zigzag varint, delta to the record before in this block)
 *   · mask (varint, bit i = field i is present) · present fields in order
 *
 * Field types: U varint, absent = 0 · D zigzag varint of the difference to the same
 * field of the previous record of this kind in this block, absent = unchanged ·
 * B varint length + bytes · A varint count + zigzag varint deltas of u64s.
 *
 * Ids (string, task, space, site, stack) are small integers from 1; 0 means none.
 * A definition normally precedes its first use, but need not: readers must accept an
 * undefined id (a damaged block) and call it unknown. Times are CLOCK_MONOTONIC ns.
 */
#ifndef MT_TRACE_H
#define MT_TRACE_H

#include "base.h"
#include "mt_flags.h"

#define TRACE_MAGIC "MPVTRACE"
#define TRACE_MAJOR 1
#define TRACE_MINOR 0

/* Fields of each kind: F(name, type). Order is the wire order. Append only.
 * `ts` is common to all records. Sizes are in bytes, times in ns. */

/* DEFS: */
#define REC_STRING(F) F(id, U) F(text, B)
/* Facts about machine, recorder and workload: key "machine.release", value text.
 * Known keys: trace_meta.h. Later values of a key replace earlier ones. */
#define REC_META(F) F(key, B) F(value, B)
/* A task appears. ts: its creation, or the attach. parent: task id of its creator (0 unknown).
 * proc: task id of its thread-group leader (own id for a leader). flags: TASK_F_*. comm: string. */
#define REC_TASK(F) \
	F(id, U) F(parent, U) F(proc, U) F(space, U) F(tid, U) F(tgid, U) F(ns_tid, U) F(ns_tgid, U) \
	F(ppid, U) F(flags, U) F(clone_flags, U) F(comm, U) F(site, U) F(state, U)
/* An address space. parent: the one it was copied from at ts (fork), 0 = fresh (exec). */
#define REC_SPACE(F) F(id, U) F(parent, U)
/* A system call with its arguments, as a wait or wake site. nr: -1 + 1 = 0 for "not in a
 * system call" is written as nr_plus1. arch: 0 = the machine's own, 1 = 32-bit compat. */
#define REC_SITE(F) F(id, U) F(nr_plus1, U) F(a0, U) F(a1, U) F(a2, U) F(a3, U) F(arch, U)
/* frames: innermost first. kind: STACK_KERNEL, STACK_USER. space: 0 for kernel stacks.
 * flags: STACK_F_TRUNCATED … */
#define REC_STACK(F) F(id, U) F(kind, U) F(space, U) F(flags, U) F(frames, A)
/* An executable mapping of a space. file: string; build_id may be empty. flags: MAP_F_*. */
#define REC_MAP(F) \
	F(space, U) F(start, D) F(end, D) F(offset, D) F(file, U) F(build_id, B) F(dev, U) F(inode, U) F(flags, U)
/* A resolved symbol. module: string id of the file ("[kernel]" for the kernel);
 * offset: file offset of the frame's address (kernel: the address itself);
 * name: string (0 = looked for and not found); name_off: bytes past the symbol's start;
 * src, line: source file (string) and line, 0 = unknown. inline_depth: 0 = the physical
 * function, 1… = inlined into it (several records with the same key, outermost first). */
#define REC_SYMBOL(F) \
	F(module, U) F(offset, D) F(name, U) F(name_off, U) F(src, U) F(line, U) F(inline_depth, U)

/* EVENTS: */
/* prev stops running (0: not ours), next starts (0: not ours). state: the kernel's
 * prev_state. flags: SW_F_*. site: the blocking system call. word: futex word, owner: the
 * word after next, both at blocking (valid per flags). exec, delay: what the kernel's
 * sum_exec_runtime and sched_info.run_delay of prev grew by since its previous switch-out.
 * ustack, kstack: stack ids. */
#define REC_SWITCH(F) \
	F(cpu, D) F(prev, D) F(next, D) F(state, U) F(flags, U) F(site, D) F(word, U) F(owner, U) \
	F(exec, U) F(delay, U) F(ustack, D) F(kstack, D) F(addr, U)
/* task is being woken. waker: task id (0: not ours; then waker_tid and comm tell whom, or
 * nobody in interrupt context). flags: WK_F_*. site: the waker's system call. */
#define REC_WAKING(F) \
	F(cpu, D) F(task, D) F(waker, D) F(flags, U) F(site, D) F(waker_tid, U) F(comm, U)
#define REC_SAMPLE(F) F(cpu, U) F(task, U) F(ustack, U) F(kstack, U)
/* The task's counters when its recording begins (BASE) and ends (END, at its last switch
 * or when recording stops): what the kernel's counters were. END: flags CNT_F_*; first_read,
 * first_write, wp: page faults by error code (read or write of a page not present; write to
 * a protected page), counted from the task's first event. */
#define REC_BASE(F) \
	F(task, U) F(voluntary, U) F(involuntary, U) F(run, U) F(runnable, U) F(minflt, U) F(majflt, U)
#define REC_END(F) \
	F(task, U) F(flags, U) F(voluntary, U) F(involuntary, U) F(run, U) F(runnable, U) F(minflt, U) \
	F(majflt, U) F(first_read, U) F(first_write, U) F(wp, U) F(state, U)
/* code: as in wait(2) status. last: the process's last thread; then maxrss is its high-water mark. */
#define REC_EXIT(F) F(task, U) F(code, U) F(last, U) F(maxrss_bytes, U) F(group_code, U)
#define REC_EXEC(F) F(task, U) F(space, U) F(tid, U) F(file, U) F(comm, U)
#define REC_RENAME(F) F(task, U) F(comm, U)
/* Resident set of a process (task = any of its tasks), from the kernel's counters. */
#define REC_RSS(F) F(task, U) F(anon_bytes, U) F(file_bytes, U) F(shmem_bytes, U) F(hiwater_bytes, U)
/* From smaps_rollup. cost_ns: what reading it took. */
#define REC_FOOTPRINT(F) \
	F(task, U) F(rss_bytes, U) F(pss_bytes, U) F(uss_bytes, U) F(shared_bytes, U) F(swap_bytes, U) F(cost_ns, U)
/* More addresses of a futex_waitv wait that the SWITCH right before it (same task) began. */
#define REC_WAITV(F) F(task, U) F(addrs, A)
/* Cumulative count of events lost, by cause (string). The last one per cause counts. */
#define REC_LOSS(F) F(cause, U) F(count, U)
#define REC_NOTE(F) F(text, U)
/* Cost of recording: name (string: a BPF program, "recorder cpu", "footprint", …), cumulative. */
#define REC_COST(F) F(name, U) F(count, U) F(ns, U)
/* Milestones of the recording. what: MARK_*. value: MARK_END: exit status of the workload + 1
 * (0 = unknown or still running). */
#define REC_MARK(F) F(what, U) F(value, U)

/* X(NAME, number, name, block class, fields): append-only, never renumber. */
#define TRACE_KINDS(X) \
	X(STRING, 1, "string", DEFS) \
	X(META, 2, "meta", DEFS) \
	X(TASK, 3, "task", DEFS) \
	X(SPACE, 4, "space", DEFS) \
	X(SITE, 5, "site", DEFS) \
	X(STACK, 6, "stack", DEFS) \
	X(MAP, 7, "map", DEFS) \
	X(SYMBOL, 8, "symbol", DEFS) \
	X(SWITCH, 16, "switch", EVENTS) \
	X(WAKING, 17, "waking", EVENTS) \
	X(SAMPLE, 18, "sample", EVENTS) \
	X(BASE, 19, "base", EVENTS) \
	X(END, 20, "end", EVENTS) \
	X(EXIT, 21, "exit", EVENTS) \
	X(EXEC, 22, "exec", EVENTS) \
	X(RENAME, 23, "rename", EVENTS) \
	X(RSS, 24, "rss", EVENTS) \
	X(FOOTPRINT, 25, "footprint", EVENTS) \
	X(WAITV, 26, "waitv", EVENTS) \
	X(LOSS, 27, "loss", EVENTS) \
	X(NOTE, 28, "note", DEFS) \
	X(COST, 29, "cost", EVENTS) \
	X(MARK, 30, "mark", EVENTS)

enum rec_kind {
#define X(NAME, number, name, cls) REC_K_##NAME = (number),
	TRACE_KINDS(X)
#undef X
	REC_K_MAX = 64		/* kinds of one file are below this */
};

/* A bytes field: not NUL-terminated, owned by the reader until its next call. */
struct rec_bytes { const uint8_t *p; uint64_t n; };
/* An array field: owned by the reader until its next call. */
struct rec_array { const uint64_t *v; uint64_t n; };

/* struct rec_switch { uint64_t cpu, prev, … }: one struct per kind, members as listed. */
#define REC_T_U uint64_t
#define REC_T_D uint64_t
#define REC_T_B struct rec_bytes
#define REC_T_A struct rec_array
#define F(name, type) REC_T_##type name;
struct rec_string { REC_STRING(F) };
struct rec_meta { REC_META(F) };
struct rec_task { REC_TASK(F) };
struct rec_space { REC_SPACE(F) };
struct rec_site { REC_SITE(F) };
struct rec_stack { REC_STACK(F) };
struct rec_map { REC_MAP(F) };
struct rec_symbol { REC_SYMBOL(F) };
struct rec_switch { REC_SWITCH(F) };
struct rec_waking { REC_WAKING(F) };
struct rec_sample { REC_SAMPLE(F) };
struct rec_base { REC_BASE(F) };
struct rec_end { REC_END(F) };
struct rec_exit { REC_EXIT(F) };
struct rec_exec { REC_EXEC(F) };
struct rec_rename { REC_RENAME(F) };
struct rec_rss { REC_RSS(F) };
struct rec_footprint { REC_FOOTPRINT(F) };
struct rec_waitv { REC_WAITV(F) };
struct rec_loss { REC_LOSS(F) };
struct rec_note { REC_NOTE(F) };
struct rec_cost { REC_COST(F) };
struct rec_mark { REC_MARK(F) };
#undef F

/* --- where bytes come from and go to ---------------------------------------------- */

struct trace_source {
	/* Reads up to n bytes at off; returns bytes read (0 at the end) or -errno. */
	ssize_t (*read_at)(void *ctx, void *p, size_t n, uint64_t off);
	void *ctx;
};
struct trace_sink {
	int (*write)(void *ctx, const void *p, size_t n);		/* append; 0 or -errno */
	int (*write_at)(void *ctx, const void *p, size_t n, uint64_t off);	/* patch; 0 or -errno */
	void *ctx;
};
struct trace_sink trace_sink_fd(const int *fd);		/* *fd outlives the writer */
struct trace_sink trace_sink_buf(struct buf *b);
struct trace_source trace_source_fd(const int *fd);
struct trace_source trace_source_buf(const struct buf *b);

/* --- writing --------------------------------------------------------------------------- */

struct trace_writer;
/* Writes header and SCHEMA. NULL on error (*err set). */
struct trace_writer *trace_writer_new(struct trace_sink sink, struct err *err);
/* Adds a record of `kind` at ts; rec points to its struct rec_…. Buffers; a full block goes
 * to the sink. 0 or -errno of the sink; after a sink error every call returns that error
 * (what had been written stays readable). */
int trace_write(struct trace_writer *w, enum rec_kind kind, uint64_t ts, const void *rec);
/* Writes out the open blocks so that a reader sees everything up to now. */
int trace_writer_flush(struct trace_writer *w);
/* Flush, INDEX, header marked complete. Frees nothing. */
int trace_writer_finish(struct trace_writer *w);
void trace_writer_free(struct trace_writer *w);
struct trace_stats { uint64_t records, events, raw_bytes, file_bytes, blocks; uint64_t by_kind[REC_K_MAX]; };
const struct trace_stats *trace_writer_stats(const struct trace_writer *w);

/* --- reading: trusts nothing ------------------------------------------------------------- */

struct trace_record { enum rec_kind kind; uint64_t ts; const void *rec; /* its struct rec_… */ };

struct trace_reader;
/* Checks header and SCHEMA. NULL on error: *err says foreign, newer, damaged or unreadable
 * (status MT_EXIT_TRACE_*). A file without INDEX (still being written, or cut) opens. */
struct trace_reader *trace_reader_new(struct trace_source src, struct err *err);
void trace_reader_free(struct trace_reader *r);
/* Next record in file order: 1 and *out filled (valid until the next call), 0 at the end,
 * -errno when the source fails or memory ends. Damaged blocks are skipped and counted. */
int trace_read(struct trace_reader *r, struct trace_record *out);
void trace_reader_rewind(struct trace_reader *r);
/* Skip EVENTS blocks that lie wholly outside [since, until] (DEFS are always read). */
void trace_reader_window(struct trace_reader *r, uint64_t since_ts, uint64_t until_ts);

struct trace_info {
	unsigned major, minor;
	bool complete;			/* finished by its writer */
	uint64_t file_bytes, first_ts, last_ts;
	uint64_t blocks, damaged_blocks, skipped_bytes;	/* so far; exact after reading to the end */
	bool truncated;			/* ends in the middle of a block */
	uint64_t records, by_kind[REC_K_MAX];	/* so far */
	uint64_t unknown_records;	/* of kinds this build does not know */
};
const struct trace_info *trace_reader_info(const struct trace_reader *r);
const char *rec_kind_name(enum rec_kind kind);	/* "switch"; "?" when unknown */

/* --- META keys ---------------------------------------------------------------------------- */

#define META_VERSION "recorder.version"		/* program version that wrote the file */
#define META_COMMAND "recorder.command"		/* "run" or "attach" */
#define META_ARGV "workload.argv"		/* arguments, each ended by a NUL */
#define META_USER "workload.user"
#define META_CWD "workload.cwd"
#define META_PIDS "workload.pids"		/* attach: the PIDs named, comma-separated */
#define META_CPUS "workload.cpus"		/* CPUs it may use: affinity and cgroup quota, decimal, may have a fraction */
#define META_WHEN "recorder.realtime_ns"	/* CLOCK_REALTIME at MARK_START */
#define META_RELEASE "machine.release"		/* uname -r */
#define META_MACHINE "machine.arch"		/* uname -m */
#define META_HOST "machine.host"
#define META_NCPU "machine.cpus_online"
#define META_CPU_MODEL "machine.cpu_model"
#define META_PAGE_SIZE "machine.page_size"
#define META_THP "machine.thp"			/* transparent huge pages: always, madvise, never */
#define META_MEMORY "machine.memory_bytes"
#define META_LIBC "machine.libc"
#define META_STACKS "recorder.stacks"		/* auto, all, off */
#define META_FREQ "recorder.freq_hz"		/* on-CPU sampling; 0 = off */
#define META_FEATURES "recorder.features"	/* comma-separated: what this kernel allowed */
#define FEATURE_RUN_DELAY "run-delay"		/* … in it: the kernel counts sched_info.run_delay */
#define META_SEEN "recorder.seen"		/* events that the hooks offered (written + lost = this) */
#define META_WRITTEN "recorder.written"		/* of these, events that reached the file */
#define META_START_NS "recorder.startup_ns"	/* from our start to the workload's first instruction */

#endif
