/* SPDX-License-Identifier: MIT */
/*
 * trace.h: the trace file, the border between recording and analysis.
 *
 * ## The file
 *
 *   file   = header block*
 *   block  = head payload
 *
 * All integers of fixed size are little-endian, CRCs are zlib's CRC-32.
 *
 *   header  0  8  magic "MPVTRACE"             head  0  4  magic F7 'M' 'V' 'B'
 *           8  2  format major                       4  1  type: 1 SCHEMA, 2 DEFS, 3 EVENTS, 4 INDEX
 *          10  2  format minor                       5  1  flags: 0 (else it cannot be unpacked)
 *          12  4  bytes of the header, >= 40         6  2  reserved, 0
 *          16  4  flags: bit 0 = complete            8  4  sequence number: 0, 1, … in file order
 *          20  4  reserved, 0                       12  4  raw_len: bytes when unpacked, <= 16 MiB
 *          24  8  offset of the INDEX block,        16  4  stored_len: of these, stored as they are
 *                 0 = none                          20  4  comp_len: bytes of the payload
 *          32  4  reserved, 0                       24  4  records in it
 *          36  4  CRC of bytes 0 to 35              28  8  smallest time of its records
 *                                                   36  8  largest time
 *                                                   44  4  CRC of the payload
 *                                                   48  4  CRC of bytes 0 to 47
 *
 *   payload = zlib stream (comp_len - stored_len bytes), stored bytes (stored_len)
 *
 * Unpacked, a block is the stream's raw_len - stored_len bytes and then the stored ones. The
 * header's layout is for ever, so that any version can say which one wrote a file; a minor
 * version may append to it. `complete` and the INDEX offset are filled in at the very end.
 *
 * A block unpacks by itself and carries its own delta state. A file that was cut is read up
 * to its last whole block. A damaged block is left out: the next one is found by searching
 * for a magic with a right head CRC, and by their sequence numbers it is known how many are
 * missing; a block with a number that was passed already (a copy, leftovers) is not read.
 * Blocks of unknown type are passed over. SCHEMA is the first block; DEFS hold definitions
 * (strings, tasks, sites, stacks, maps, symbols), EVENTS what happened. The writer puts the
 * open DEFS block before the EVENTS block that may refer to it. Records of either may have
 * times slightly out of order; between blocks, too.
 *
 * ## Self-description
 *
 *   SCHEMA = count, then per kind: number (1 to 63), block type, name, count of fields (<= 64),
 *            then per field: type (one byte: 'U' 'D' 'B' 'A'), name
 *
 * with every number a varint (LEB128: 7 bits a byte, lowest first, at most 64 bits) and every
 * name as varint length and bytes. A reader maps the file's kinds by number and name, and
 * their fields by name; U and D of one name are converted to each other; fields that it does
 * not know or that have an incompatible type are left unread, fields that the file lacks
 * read as 0, kinds that it does not know are passed over. So adding a field at the end, a
 * kind, or a field type is a minor version.
 *
 * ## Records
 *
 * DEFS and EVENTS hold their records in columns: values of one field beside each other
 * compress several times better and faster than whole records do.
 *
 *   DEFS, EVENTS = directory, columns
 *   directory    = count of columns, then per column: its bytes * 2 + 1 if it is stored
 *   columns      = kinds, times, then for each kind of SCHEMA, in that order: masks, its fields
 *
 * Columns that are stored (because they look like noise) stand in the stored bytes, the
 * others behind the directory, each part in the order of the directory. Per record:
 *
 *   kinds   one byte
 *   times   zigzag varint, difference to the record before in this block (of any kind; before
 *           the first: 0). zigzag(v) = v << 1 ^ (v >> 63 arithmetic); differences modulo 2^64
 *   masks   varint, bit i = field i of the record is present
 *   field   its value, when present, by type
 *           U  varint; absent = 0
 *           D  zigzag varint, difference to the field of the record of this kind before in
 *              this block (before the first: 0); absent = unchanged
 *           B  varint length, bytes; absent = empty
 *           A  varint count, then zigzag varints: differences to the number before in this
 *              array (before the first: 0); absent = empty
 *
 * Every column is used up exactly when the last record has been read. A record larger than a
 * block can hold is refused by the writer.
 *
 *   INDEX = count, then per block before it: offset (difference to the block before), type,
 *           smallest time (zigzag difference to the largest of the block before), largest
 *           (zigzag difference to the smallest), records; all varints
 *
 * INDEX may be missing (recording was interrupted, or extremely long): the heads say the same.
 *
 * ## Meaning
 *
 * Ids (string, task, space, site, stack) are small integers from 1; 0 means none. A definition
 * normally precedes its first use, but need not: readers must accept an undefined id (a damaged
 * block) and call it unknown. Times are CLOCK_MONOTONIC ns.
 */
#ifndef MT_TRACE_H
#define MT_TRACE_H

#include "base.h"
#include "mt_flags.h"

#define TRACE_MAGIC "MPVTRACE"
#define TRACE_MAJOR 1
#define TRACE_MINOR 1

/* Fields of each kind: F(name, type). Order is the wire order. Append only.
 * `ts` is common to all records. Sizes are in bytes, times in ns. */

/* DEFS: */
#define REC_STRING(F) F(id, U) F(text, B)
/* Facts about machine, recorder and workload: key "machine.release", value text.
 * Known keys: trace_meta.h. Later values of a key replace earlier ones. */
#define REC_META(F) F(key, B) F(value, B)
/* A task appears. ts: its creation, or the attach. parent: task id of its creator (0 unknown).
 * proc: task id of its thread-group leader (own id for a leader). flags: TASK_F_*. comm: string.
 * ctid: address of its clear_child_tid word, on which its joiners wait; 0 = none or unknown.
 * Attached and blocked since before: state, site and, as in the SWITCH that began this wait,
 * wait_flags (SW_F_SYSCALL, FUTEX, WORD, OWNER, IOWAIT, FAULT; 0 = not looked at), addr, word,
 * owner (read at the attach), park, file, ustack, kstack.
 * call: how long before ts the creator's call began to copy the address space; 0 = none, or unknown. */
#define REC_TASK(F) \
	F(id, U) F(parent, U) F(proc, U) F(space, U) F(tid, U) F(tgid, U) F(ns_tid, U) F(ns_tgid, U) \
	F(ppid, U) F(flags, U) F(clone_flags, U) F(comm, U) F(site, U) F(state, U) F(ctid, U) \
	F(wait_flags, U) F(addr, U) F(word, U) F(owner, U) F(park, U) F(file, U) F(ustack, U) F(kstack, U) \
	F(call, U)
/* An address space. parent: the one it was copied from at ts (fork), 0 = fresh (exec). */
#define REC_SPACE(F) F(id, U) F(parent, U)
/* A system call with its arguments, as a wait or wake site. nr: -1 + 1 = 0 for "not in a
 * system call" is written as nr_plus1. arch: 0 = the machine's own, 1 = 32-bit compat. */
#define REC_SITE(F) F(id, U) F(nr_plus1, U) F(a0, U) F(a1, U) F(a2, U) F(a3, U) F(arch, U)
/* frames: innermost first. kind: STACK_KERNEL, STACK_USER. space: 0 for kernel stacks.
 * flags: STACK_F_*. end: STACK_END_*, how unwinding ended. py: the Python frames of the same
 * moment, innermost first, each a PY_FRAME() of a PYCODE id, a line and whether this frame
 * was entered from C (the interpreter's C call begins with it). */
#define REC_STACK(F) F(id, U) F(kind, U) F(space, U) F(flags, U) F(frames, A) F(py, A) F(end, U)
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

/* A Python code object: its qualified name (3.11+; else its name), file and first line. Strings. */
#define REC_PYCODE(F) F(id, U) F(name, U) F(file, U) F(first_line, U)
/* A CPython GIL. addr: its struct _gil_runtime_state in that space, from the switch interval on (its
 * first field but in free-threaded builds). main: it is the main interpreter's. version:
 * PY_VERSION_HEX (0 unknown). Its futex words lie in [addr, addr + 208). The GIL of a
 * forked space is another one, at the same address: it has a record of its own. A later record
 * of the same id adds what was not known before. */
#define REC_GIL(F) F(id, U) F(space, U) F(addr, U) F(main, U) F(version, U)
/* Which object the shared futex at (space, addr) is a word of: futexes of equal (dev, inode,
 * generation, offset) are one, wherever they are mapped. A later one for the same address replaces
 * it from its ts on (mapped anew); inode 0 = from then on it is private memory. A futex that was
 * waited for as shared and has no such record lies in private memory. file: string, 0 = no name. */
#define REC_FUTEX_KEY(F) F(space, U) F(addr, U) F(dev, U) F(inode, U) F(generation, U) F(offset, U) F(file, U)
/* A pipe, socket or other file that a descriptor referred to. kind: enum fd_kind of mt_flags.h.
 * peer: inode of the socket at the other end (UNIX stream sockets), 0 unknown. family: AF_*.
 * laddr, raddr: address bytes (4 for AF_INET, also where an IPv6 socket speaks IPv4; 16), in network
 * order; lport, rport: ports (TCP, UDP). name: string: last part of the path, or what the kernel
 * calls it ("[eventfd]"), of a UNIX socket the path that it or its peer is bound to (after "…" its
 * end; abstract: "@…"); 0 = none. A later one of the same id replaces it (it was connected).
 * Of files with an inode of their own, several ids may exist for one: equal (kind, dev, inode) are
 * one. FD_ANON files share an inode: their id is their identity. FD_SYSV: dev 1 message queue,
 * 2 semaphore set; inode: its id in the IPC namespace. */
#define REC_FILE(F) \
	F(id, U) F(kind, U) F(dev, U) F(inode, U) F(peer, U) F(family, U) F(laddr, B) F(lport, U) F(raddr, B) F(rport, U) F(name, U)
/* The data symbol that the futex word at (space, addr) lies in. name: string, off: bytes past
 * its start, size of it, module: string, the ELF file. */
#define REC_OBJECT(F) F(space, U) F(addr, U) F(name, U) F(off, U) F(size, U) F(module, U)

/* EVENTS: */
/* prev stops running (0: not ours), next starts (0: not ours). state: the kernel's
 * prev_state. flags: SW_F_*. site: the blocking system call. word: futex word, owner: the
 * word after next, both at blocking (valid per flags). exec, delay: what the kernel's
 * sum_exec_runtime and sched_info.run_delay of prev grew by since its previous switch-out.
 * ustack, kstack: stack ids. park: the futex word lies on the waiter's own stack, and this is
 * the word before it: for CPython's parking lot the lock that it waits for. file: FILE id of
 * the descriptor that the call waits for.
 * gil: id of a GIL of prev's space, read at this moment: gil_state bit 0 = locked;
 * gil_holder: its last_holder (address of a PyThreadState, see PYTHREAD); gil_switches: its
 * switch_number. gil 0 = not read. */
#define REC_SWITCH(F) \
	F(cpu, D) F(prev, D) F(next, D) F(state, U) F(flags, U) F(site, D) F(word, U) F(owner, U) \
	F(exec, U) F(delay, U) F(ustack, D) F(kstack, D) F(addr, U) F(park, U) F(file, D) \
	F(gil, U) F(gil_state, U) F(gil_holder, D) F(gil_switches, D)
/* task is being woken. waker: task id (0: not ours; then waker_tid and comm tell whom, or
 * nobody in interrupt context). flags: WK_F_*. site: the waker's system call. file: FILE id of
 * that call's descriptor. With WK_F_SOFTIRQ and a waker: that task was sending on the socket `file`
 * when the softirq ran. It is the waker only if the socket's other end is what the woken task
 * waits for (TCP within the machine delivers in the sender's softirq). ustack, kstack: the waker's stacks, when they were asked for.
 * gil…: as in SWITCH, read in the waker's space in the waker's context. */
#define REC_WAKING(F) \
	F(cpu, D) F(task, D) F(waker, D) F(flags, U) F(site, D) F(waker_tid, U) F(comm, U) F(file, D) \
	F(ustack, D) F(kstack, D) F(gil, U) F(gil_state, U) F(gil_holder, D) F(gil_switches, D)
/* task was running. gil: id of a GIL of its space, read at this moment, 0 = not read; gil_state: GIL_S_*. */
#define REC_SAMPLE(F) F(cpu, U) F(task, U) F(ustack, U) F(kstack, U) F(gil, U) F(gil_state, U)
/* The task's counters when its recording begins (BASE) and ends (END, at its last switch
 * or when recording stops): what the kernel's counters were. END: flags CNT_F_*; first_read,
 * first_write, wp: page faults by error code (read or write of a page not present; write to
 * a protected page), counted from the task's first event, unless CNT_F_NO_FAULTS. With CNT_F_PAGES: touched, pages of memory that
 * its faults brought into being (a huge page counts as all of its pages); cow, pages that
 * its faults copied from a page shared since a fork. With CNT_F_IO (in both): reads, writes, calls of
 * the read and write families on whatever descriptor (send, recv and their kind are not among
 * them), and the bytes they moved: task_io_accounting's syscr, syscw, rchar, wchar. */
#define REC_BASE(F) \
	F(task, U) F(voluntary, U) F(involuntary, U) F(run, U) F(runnable, U) F(minflt, U) F(majflt, U) \
	F(flags, U) F(reads, U) F(writes, U) F(read_bytes, U) F(written_bytes, U)
#define REC_END(F) \
	F(task, U) F(flags, U) F(voluntary, U) F(involuntary, U) F(run, U) F(runnable, U) F(minflt, U) \
	F(majflt, U) F(first_read, U) F(first_write, U) F(wp, U) F(state, U) F(touched, U) F(cow, U) \
	F(reads, U) F(writes, U) F(read_bytes, U) F(written_bytes, U)
/* code: as in wait(2) status. last: the process's last thread; then maxrss is its high-water mark. */
#define REC_EXIT(F) F(task, U) F(code, U) F(last, U) F(maxrss_bytes, U) F(group_code, U)
/* args: the first bytes of the arguments, each ended by a NUL. */
#define REC_EXEC(F) F(task, U) F(space, U) F(tid, U) F(file, U) F(comm, U) F(args, B)
#define REC_RENAME(F) F(task, U) F(comm, U)
/* Resident set of a process (task = any of its tasks), from the kernel's counters. */
#define REC_RSS(F) F(task, U) F(anon_bytes, U) F(file_bytes, U) F(shmem_bytes, U) F(hiwater_bytes, U)
/* From smaps_rollup. ts: before it was read; cost_ns: the CPU time that reading took; took_ns: how long it
 * took. */
#define REC_FOOTPRINT(F) \
	F(task, U) F(rss_bytes, U) F(pss_bytes, U) F(uss_bytes, U) F(shared_bytes, U) F(swap_bytes, U) F(cost_ns, U) F(took_ns, U)
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
/* The PyThreadState of a task, from its first sight on. */
#define REC_PYTHREAD(F) F(task, U) F(tstate, D)
/* The task was found to hold the lock whose futex word is (space, addr), when the recording
 * stopped, by its memory: evidence HOLD_*. */
#define REC_HOLDS(F) F(task, U) F(space, U) F(addr, U) F(evidence, U)
/* A task touched or copied (what: TOUCH_*) so many bytes since its last such record: a sample
 * of the places, in which the bytes sum up to nearly all. */
#define REC_TOUCH(F) F(task, U) F(what, U) F(bytes, U) F(ustack, D)

/* What a task put into (write 1) or took out of the FILE while recording, with --messages: calls
 * that moved data (each message of sendmmsg, recvmmsg), their bytes. unsized: messages whose bytes are
 * not in `bytes`. Written at the end. */
#define REC_TRAFFIC(F) F(task, U) F(file, U) F(write, U) F(messages, U) F(bytes, U) F(unsized, U)

/* The kernel's own counters of one end of a TCP connection, by the inode of its socket: bytes of data that its
 * owner has put in and taken out since it was made. What a program can do with it being over, the last one
 * counts: the largest. flags: FLOW_F_*. Of sockets that some task was seen to wait for (they have a FILE) when
 * they close, and of all that are open at the beginning and at the end. */
#define REC_FLOW(F) F(inode, U) F(sent_bytes, U) F(received_bytes, U) F(flags, U)

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
	X(PYCODE, 9, "pycode", DEFS) \
	X(GIL, 10, "gil", DEFS) \
	X(FUTEX_KEY, 11, "futex_key", DEFS) \
	X(FILE, 12, "file", DEFS) \
	X(OBJECT, 13, "object", DEFS) \
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
	X(MARK, 30, "mark", EVENTS) \
	X(PYTHREAD, 31, "pythread", EVENTS) \
	X(HOLDS, 32, "holds", EVENTS) \
	X(TOUCH, 33, "touch", EVENTS) \
	X(TRAFFIC, 34, "traffic", EVENTS) \
	X(FLOW, 35, "flow", EVENTS)

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
struct rec_pycode { REC_PYCODE(F) };
struct rec_gil { REC_GIL(F) };
struct rec_futex_key { REC_FUTEX_KEY(F) };
struct rec_file { REC_FILE(F) };
struct rec_object { REC_OBJECT(F) };
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
struct rec_pythread { REC_PYTHREAD(F) };
struct rec_holds { REC_HOLDS(F) };
struct rec_touch { REC_TOUCH(F) };
struct rec_traffic { REC_TRAFFIC(F) };
struct rec_flow { REC_FLOW(F) };
#undef F

/* A number of REC_STACK.py. */
#define PY_FRAME(code, line, entry) ((uint64_t)(code) << 32 | ((uint64_t)(line) & 0x7fffffff) << 1 | !!(entry))
#define PY_FRAME_CODE(v) ((uint32_t)((v) >> 32))
#define PY_FRAME_LINE(v) ((uint32_t)(v) >> 1)
#define PY_FRAME_ENTRY(v) ((v) & 1)

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

/*
 * Write-behind: a sink in front of another. Between start and stop a thread hands the bytes on,
 * in order, so that a disk that stalls for seconds does not stall the caller, whose buffers
 * fill up meanwhile. At most 64 MiB wait; then writing waits as well. Without the thread
 * (before start, after stop) it writes at once.
 * An error of the other sink comes back from the next write and from stop, and stays; what
 * follows the bytes that failed is dropped.
 */
struct behind;
struct behind *behind_new(struct trace_sink to);	/* NULL: no memory */
struct trace_sink behind_sink(struct behind *b);	/* b outlives the writer */
int behind_start(struct behind *b);	/* 0, or -errno: there is no thread, it writes at once */
int behind_stop(struct behind *b);	/* waits for what is on its way; 0 or the sink's -errno */
void behind_free(struct behind *b);	/* stops; NULL is fine */

/* --- writing --------------------------------------------------------------------------- */

struct trace_writer;
/* Writes header and SCHEMA. NULL on error (*err set). */
struct trace_writer *trace_writer_new(struct trace_sink sink, struct err *err);
/* Adds a record of `kind` at ts; rec points to its struct rec_…. Buffers; a full block goes
 * to the sink. 0 or -errno of the sink; after a sink error every call returns that error
 * (what had been written stays readable). -E2BIG: the record is larger than a block (16 MiB)
 * and was left out; -EINVAL: no such kind, or already finished. Neither stops the writer. */
int trace_write(struct trace_writer *w, enum rec_kind kind, uint64_t ts, const void *rec);
/* Writes out the open blocks so that a reader sees everything up to now (with write-behind,
 * as soon as it is written). */
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
	uint64_t file_bytes;
	uint64_t first_ts, last_ts;	/* of the EVENTS; from the start if there is an index, else so far */
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
#define FEATURE_FIND_VMA "futex-key-bpf"	/* … in it: shared futexes are identified as they are waited for */
#define FEATURE_MESSAGES "messages"		/* … in it: TRAFFIC of all pipes, sockets and queues was counted */
#define FEATURE_FORK_CALLS "fork-calls"		/* … in it: when a fork began to copy the address space is told */
#define FEATURE_TCP "tcp-bytes"			/* … in it: FLOW of TCP sockets was written */
#define META_SEEN "recorder.seen"		/* events that the hooks offered (written + lost = this) */
#define META_WRITTEN "recorder.written"		/* of these, events that reached the file */
/* CPU time used by all but the recorder on the CPUs of the workload's affinity, between the beginning and the end of
 * the recording; how much there was, used or not; and how many CPUs these are. Right to about 1/100 s for each CPU; absent = unknown. */
#define META_BUSY "machine.busy_ns"
#define META_CAPACITY "machine.capacity_ns"
#define META_CAPACITY_CPUS "machine.capacity_cpus"
#define META_RECORDER "machine.recorder_ns"	/* CPU time of the recorder itself in that time, on any CPU */
#define META_START_NS "recorder.startup_ns"	/* from our start to the workload's first instruction */

#endif
