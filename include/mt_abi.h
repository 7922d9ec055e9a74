/* SPDX-License-Identifier: MIT */
/*
 * mt_abi.h: what the BPF programs and the recorder share: ring buffer records,
 * settings, counters. Compiled by both sides; each size is asserted. A recording has
 * both sides from one build, so nothing here is ever persisted.
 *
 * Times are CLOCK_MONOTONIC ns (bpf_ktime_get_ns). Ids (task, space) are given out by
 * the BPF side, dense from 1; 0 = none.
 */
#ifndef MT_ABI_H
#define MT_ABI_H

#ifndef MT_KERNEL_H /* the BPF side has its own, without headers */
#include <linux/types.h>
#endif

#define MT_COMM_LEN 16
#define MT_MAX_CPUS 1024	/* more CPUs share counters; nothing breaks, counts may race */
#define MT_MAX_USER_FRAMES 255	/* CPython to 3.10 has some 4 for each of its own, 24 for an import */
#define MT_MAX_KERNEL_FRAMES 64
#define MT_MAX_WAITV 8		/* addresses kept of one futex_waitv (the call allows 128) */
#define MT_FILE_LEN 200
#define MT_ARGS_LEN 256
#define MT_LEAF 40
#define MT_MAX_PY_FRAMES 96
#define MT_PY_NAME 96
#define MT_PY_FILE 256
#define MT_PY_TABLE 1024

/* Ring records. X(NAME, number, struct) */
#define MT_EVENTS(X)                                                                   \
	X(SWITCH, 1, mt_switch) /* prev is ours (next perhaps) */                      \
	X(SWITCH_IN, 2, mt_switch_in) /* only next is ours */                          \
	X(WAKING, 3, mt_waking)                                                        \
	X(WAKING_EXT, 4, mt_waking_ext) /* woken by a task that is not ours */         \
	X(TASK, 5, mt_task)                                                            \
	X(BASE, 6, mt_counters)                                                        \
	X(END, 7, mt_counters)                                                         \
	X(EXIT, 8, mt_exit_ev)                                                         \
	X(EXEC, 9, mt_exec)                                                            \
	X(RENAME, 10, mt_rename)                                                       \
	X(RSS, 11, mt_rss)                                                             \
	X(SAMPLE, 12, mt_sample)                                                       \
	X(STACK, 13, mt_stack)                                                         \
	X(WAITV, 14, mt_waitv)                                                         \
	X(PREEMPT, 15, mt_preempt) /* SWITCH of a task that still wants the CPU */      \
	X(PYCODE, 16, mt_pycode)                                                       \
	X(PYTHREAD, 17, mt_pythread)                                                   \
	X(FUTEX_KEY, 18, mt_futex_key)                                                 \
	X(FILE, 19, mt_file)                                                           \
	X(TOUCH, 20, mt_touch)                                                         \
	X(GIL, 24, mt_gil_ev)                                                          \
	X(WANT, 25, mt_want) /* a file without unwinding tables yet */                   \
	X(COPY, 26, mt_copy) /* the rest of a stack that ended there */              \
	X(FLOW, 27, mt_flow) /* a TCP socket closes */                              \
	X(BATCH, 28, mt_stage) /* several records that were gathered first */

enum mt_event {
#define X(NAME, number, type) MT_EV_##NAME = (number),
	MT_EVENTS(X)
#undef X
	MT_EV_MAX
};

struct mt_hdr {
	__u64 ts;
	__u16 kind;	/* enum mt_event */
	__u16 cpu;
	__u32 task;	/* id of the task the record is about */
};

struct mt_args { __u64 a0, a1, a2, a3; };

#define MT_GIL_BYTES 208	/* from its first word to the end of its last */

/* Where user space expects the main interpreter's GIL: at addr or, addr 0, where the interpreter
 * that *head points to has a pointer to it, at offset off. tries: 0; BPF counts its looks. */
struct mt_gil_hint {
	__u64 addr, head;
	__u32 off, tries;
};

/* A GIL as read at that moment; all 0 = not read. */
struct mt_gil {
	__u64 holder;		/* last_holder: a PyThreadState's address */
	__u64 switches;		/* switch_number */
	__u32 id;		/* REC_GIL id */
	__u32 locked;
};

struct mt_switch {
	struct mt_hdr h;	/* task = prev */
	__u32 next;		/* id or 0 */
	__u32 flags;		/* SW_F_* of trace.h */
	__u32 state;		/* kernel's prev_state */
	__s32 nr;		/* system call or -1 */
	__u32 arch;		/* as REC_SITE.arch: byte 0 compat, byte 1 kind of file */
	__u32 word, owner;	/* futex word and the word after next */
	__u32 pad;
	struct mt_args args;
	__u64 addr;		/* futex address */
	__u64 exec_ns, delay_ns;
	__u64 ustack, kstack;	/* content hashes, 0 = none */
	__u64 park;		/* see REC_SWITCH */
	__u64 file;		/* id of a FILE record, 0 = none */
	struct mt_gil gil;
};

struct mt_preempt {
	struct mt_hdr h;
	__u32 next;
	__u32 flags;
	__u32 state;
	__u32 pad;
	__u64 exec_ns, delay_ns;
	struct mt_gil gil;
};

struct mt_switch_in { struct mt_hdr h; /* task = next */ };

struct mt_waker {
	__u32 waker;		/* id or 0 */
	__u32 flags;		/* WK_F_* */
	__s32 nr;
	__u32 arch;
	struct mt_args args;
	__u64 file;		/* id of a FILE record, 0 = none */
	__u64 ustack, kstack;	/* content hashes, 0 = none */
	struct mt_gil gil;
};

struct mt_waking {
	struct mt_hdr h;	/* task = wakee */
	struct mt_waker w;
};

struct mt_waking_ext {
	struct mt_hdr h;
	struct mt_waker w;
	__u32 waker_tid;
	__u32 pad;
	char comm[MT_COMM_LEN];
};

/*
 * Where the records that come all the time gather: a CPU's own page. Room in a ring costs some ten
 * cold cache lines in four other pages (its lock, two positions, the data), here mostly none. The
 * page goes into the ring as one record when it is full, or before any other record does, so that
 * a ring stays in order. User space reads what is here at its rounds.
 *
 * Each byte has a position for life: of what is here, where >> MT_STAGE_BITS bytes came before.
 * So what is seen twice, here and in the ring, is known.
 */
#define MT_STAGE_BYTES 4096
#define MT_STAGE_BITS  16
#define MT_STAGE_USED(where) ((where) & ((1u << MT_STAGE_BITS) - 1))
struct mt_stage {
	struct mt_hdr h;
	__u64 where;		/* position of data[0] << MT_STAGE_BITS | bytes of whole records */
	__u64 seen, lost;	/* as in mt_cpu_stats: those for this page */
	__u32 open;		/* where the record lies that is being written */
	__u32 busy;		/* it is on its way into the ring */
	__u64 pad[2];
	__u8 data[MT_STAGE_BYTES - 64];
};

struct mt_task {
	struct mt_hdr h;
	__u32 parent, proc, space, space_parent;	/* space_parent: set when space is new */
	__u32 tid, tgid, ns_tid, ns_tgid;
	__u32 ppid, flags;				/* TASK_F_* */
	__u64 clone_flags;
	char comm[MT_COMM_LEN];
	__u32 state;					/* attached: task state; 0 = running or runnable */
	__s32 nr;
	__u32 arch;
	__u32 wait_flags;				/* attached and blocked: SW_F_* */
	struct mt_args args;
	__u64 ctid;					/* its clear_child_tid word */
	__u64 ip, sp, bp;				/* attached and blocked: user registers … */
	__u64 kstack, file;				/* … content hash, id of a FILE record */
	__u64 call_ns;					/* before h.ts, the call in the parent began; 0 unknown */
};

struct mt_counters {
	struct mt_hdr h;
	__u32 flags;		/* CNT_F_* */
	__u32 state;
	__u64 voluntary, involuntary, run_ns, runnable_ns, minflt, majflt;
	__u64 first_read, first_write, wp;
	__u64 touched, cow;	/* pages; when cfg.pages */
	__u64 reads, writes, read_bytes, written_bytes;	/* CNT_F_IO */
};

/* Memory that a task touched first, or copied, since its last such record: at this place. */
struct mt_touch {
	struct mt_hdr h;
	__u64 bytes, ustack;
	__u32 what;		/* TOUCH_* */
	__u32 pad;
};

struct mt_exit_ev {
	struct mt_hdr h;
	__u32 code;		/* wait(2) status */
	__u32 group_code;
	__u32 last;		/* last thread of its process */
	__u32 pad;
	__u64 maxrss_pages;
};

struct mt_exec {
	struct mt_hdr h;
	__u32 space, tid;
	char comm[MT_COMM_LEN];
	char file[MT_FILE_LEN];
	__u32 args_len, pad;
	char args[MT_ARGS_LEN];	/* the first bytes of them, each ended by a NUL */
};

struct mt_rename { struct mt_hdr h; char comm[MT_COMM_LEN]; };

struct mt_rss { struct mt_hdr h; __u64 anon_pages, file_pages, shmem_pages, hiwater_pages; };

struct mt_sample {
	struct mt_hdr h;
	__u64 ustack, kstack;
	__u32 gil;		/* REC_GIL id, 0 = not read */
	__u32 gil_state;	/* GIL_S_* */
};

struct mt_stack {
	struct mt_hdr h;
	__u64 hash;
	__u32 space;
	__u8 kind;		/* STACK_KERNEL, STACK_USER */
	__u8 end;		/* STACK_END_* */
	__u16 flags;		/* STACK_F_* */
	__u16 n;		/* native frames, first in frames[] */
	__u16 n_py;		/* Python frames, behind them: two words each, struct mt_pyframe */
	__u32 wanted;		/* ended where a table was missing that is on its way; >= MT_COPY_FIRST:
				 * the id of its COPY */
	__u64 frames[MT_MAX_USER_FRAMES + 2 * MT_MAX_PY_FRAMES];	/* only n + 2 * n_py are sent */
};

/* A Python frame as BPF sees it. */
struct mt_pyframe {
	__u64 code;		/* address of the code object */
	__u32 instr;		/* byte offset into its bytecode, or MT_PY_INSTR_* */
	__u32 entry;		/* entered from C */
};
#define MT_PY_INSTR_NONE 0xffffffffu	/* unknown: no line */
#define MT_PY_INSTR_START 0xfffffffeu	/* before the first instruction: the function's own line */

/* A str of the target: raw characters, cut to what there is room for. */
struct mt_pystr {
	__u32 length;		/* characters in all */
	__u16 stored;		/* bytes here */
	__u8 kind;		/* bytes of a character: 1, 2, 4; 0 = could not be read */
	__u8 ascii;
};

/* A code object at its first sight in a space, or when another took its address. What is cut is
 * told by its length. */
struct mt_pycode {
	struct mt_hdr h;
	__u64 code;
	__u64 check;		/* of its fields: tells a reused address */
	__u32 space;
	__u32 first_line;
	__u32 layout;		/* index of the layout in use */
	__u32 table_len;	/* bytes of the line table in all; up to MT_PY_TABLE follow */
	struct mt_pystr name, file;
	__u8 name_data[MT_PY_NAME];
	__u8 file_data[MT_PY_FILE];
	__u8 table[MT_PY_TABLE];	/* only what there is is sent */
};

/* Where one CPython version has what: offsets in bytes. MT_PY_NO: there is no such field. */
#define MT_PY_NO 0xffff
enum { MT_PY_LASTI_BYTES, MT_PY_LASTI_UNITS, MT_PY_INSTR_PTR };
struct mt_py_layout {
	__u16 interp_head;	/* in _PyRuntime: first interpreter */
	__u16 tstate_current;	/* … the thread state that has the GIL (to 3.11) */
	__u16 interp_next, interp_threads;	/* in PyInterpreterState */
	__u16 tstate_next, tstate_thread_id;	/* in PyThreadState */
	__u16 tstate_frame;	/* … frame, current_frame, or cframe */
	__u16 cframe_frame;	/* in the cframe: the frame; MT_PY_NO = tstate_frame is it already */
	__u16 frame_size;	/* so many bytes of a frame are read: at most 112 */
	__u16 frame_code, frame_prev, frame_instr;	/* multiples of 8 */
	__u16 frame_owner;	/* byte; 3 and more: the interpreter's own (3.12 on) */
	__u16 frame_entry;	/* byte: entered from C (3.11) */
	__u16 code_file, code_name, code_qualname, code_table, code_first_line, code_start;
	__u16 str_length, str_state, str_ascii, str_wide;	/* str_ascii, str_wide: characters */
	__u16 bytes_length, bytes_data;
	__u16 object_type, type_name;	/* in PyObject, in PyTypeObject */
	__u16 instr_kind;	/* MT_PY_LASTI_BYTES … */
	__u16 kind_shift;	/* of the kind, 3 bits, in state; compact and ascii follow */
	__u16 code_mask;	/* bits of frame_code that are no address */
	__u16 frame_tlbc;	/* s32: which of the code object's copies of its bytecode runs (3.14t) */
	__u16 code_tlbc;	/* … pointer to their number and addresses; the first one is its own */
	__u16 tstate_interp;	/* in PyThreadState: its interpreter */
	__u16 tstate_cframe;	/* … pointer into the C stack: the evaluation loop that runs (3.10 to 3.12) */
	__u16 tstate_size;	/* so many bytes of it are read: at most 256 */
};
#define MT_PY_LAYOUTS 64	/* of one recording */

/* Value of the map of Python spaces. */
struct mt_py_space {
	__u64 runtime;		/* address of _PyRuntime */
	__u64 code_type;	/* address of PyCode_Type, by its symbol, or learned; 0 = not yet */
	__u32 layout;		/* index */
	__u32 tss_key;		/* learned: key + 1 of the thread's own state; 0 = not yet */
	__u32 epoch;		/* grows when a code object's address was reused */
	__u32 several;		/* to 3.11: it has sub-interpreters */
	__u64 head;		/* … its interpreter, while it is the only one */
	__u64 main;		/* learned: the main interpreter; 0 = not yet */
};

/* A mapped file that a stack led to and that has no unwinding tables yet. */
struct mt_want {
	struct mt_hdr h;
	__u64 key;		/* its inode's address */
	__u64 start, end, offset;	/* the mapping */
	__u32 ino, space;	/* ino: as in mt_file_table */
};

/*
 * A stack led to a file whose table is on its way: the registers at its last frame, and what is on
 * the stack from there on. User space goes on with it when the table is there. Only then: where
 * a file has no information there is nothing to go on by in user space either, and what the
 * kernel side cannot follow (MT_UNW_UNSUPPORTED) it cannot. Not more than one a CPU in
 * MT_COPY_EVERY ns, but for MT_COPY_BURST that come at once: a library that is being loaded is
 * waited for several times in a row, and mostly deep below an interpreter's import.
 */
#define MT_COPY_PAGES 6
#define MT_COPY_BYTES (MT_COPY_PAGES * 4096)
#define MT_COPY_EVERY 500000
#define MT_COPY_BURST 8
#define MT_COPY_FIRST (1u << 31)
struct mt_copy {
	struct mt_hdr h;
	__u64 ip, sp, bp;
	__u32 id, space;	/* id: of its CPU (h.cpu) */
	__u32 exact;		/* ip is the interrupted instruction, not a return address */
	__u32 bytes;		/* from sp on; only these are sent */
	__u8 data[MT_COPY_BYTES];
};

/* A GIL at its first sight in a space: found by its signature, or copied at fork. */
struct mt_gil_ev {
	struct mt_hdr h;
	__u64 addr;
	__u32 space, id;
};

struct mt_pythread { struct mt_hdr h; __u64 tstate; };

struct mt_futex_key {
	struct mt_hdr h;
	__u64 addr, inode, offset;
	__u32 space, dev, generation, pad;
	char name[MT_LEAF];	/* last part of its path */
};

struct mt_file {
	struct mt_hdr h;
	__u64 id, inode, peer;	/* peer: inode */
	__u32 dev, kind, family;
	__u16 lport, rport;
	__u8 laddr[16], raddr[16];	/* 4 used for AF_INET */
	/* last part of its path, or what the kernel calls it: "[eventfd]"; UNIX sockets: path, its
	 * end when it is longer, of itself or its peer */
	char name[MT_LEAF];
};

/* As in REC_FLOW. */
struct mt_flow { struct mt_hdr h; __u64 inode, sent_bytes, received_bytes; };

struct mt_waitv { struct mt_hdr h; __u64 n; __u64 addrs[MT_MAX_WAITV]; };

/* What a task put into (write 1) or took out of a FILE: the map of --messages. unsized: messages
 * whose bytes are not among `bytes`. */
struct mt_traffic_key { __u32 task, file, write, pad; };
struct mt_traffic { __u64 messages, bytes, unsized; };

/* In the map of targets, beside TASK_F_*: a command that waits for its exec. */
#define MT_TARGET_HELD (1u << 31)

/* Settings, fixed before the programs load (.rodata). */
struct mt_cfg {
	__u32 ring_mask;	/* rings - 1; a CPU writes ring cpu & mask */
	__u32 stacks;		/* 0 off, 1 auto, 2 all */
	__u32 page_shift;
	__u32 has_prev_state;	/* unused by the programs themselves: which variant is loaded */
	__u32 find_vma;		/* the kernel has bpf_find_vma() (5.17) */
	__u32 unwind;		/* by tables; else by frame pointers only */
	__u32 kiocb_type;	/* the kernel's BTF id of struct kiocb, see read_fd(); 0 = none */
	__u32 pad;
	__u64 wake_bytes;	/* wake the recorder when a ring holds this much */
	__u64 stack_price_ns;	/* auto: blocked time that buys one stack */
	__u64 stack_refresh_ns;	/* auto: blocked time after which a remembered stack is taken anew; up to four times that when it stays the same */
	__u64 rss_interval_ns;	/* RSS of a process at most this often */
	__u64 touch_bytes;	/* a stack for each so many bytes touched or copied; 0 = none */
	__u64 pages;		/* allocations behind page faults are seen */
	__u64 faults;		/* page faults are */
	__u64 staged;		/* each CPU has a ring of its own, with room for its page: see mt_stage */
};

/* Counters per CPU (.bss, mapped into the recorder). `seen` = written + lost_ring. */
struct mt_cpu_stats {
	__u64 seen;		/* records offered */
	__u64 lost_ring;	/* no room in the ring */
	__u64 lost_task;	/* a task could not be followed: no memory for its state */
	__u64 no_stack;		/* waits without a stack: over budget */
	__u64 stacks;		/* stacks taken */
	__u64 bad_stack;	/* stack could not be read */
	__u32 irq, softirq;	/* context flags, see irq.bpf.c */
	__u64 tick;
};

/* Of the programs' own: what page fault of a followed task is open on a CPU. A line each. */
struct page_wait { __u32 fault, pad[15]; };

/* What the programs are to do now (.bss). */
enum mt_phase { MT_PHASE_IDLE, MT_PHASE_ON, MT_PHASE_STOPPING };

#ifndef MT_KERNEL_H
_Static_assert(sizeof(struct mt_hdr) == 16, "ring ABI");
_Static_assert(sizeof(struct mt_switch) == 160, "ring ABI");
_Static_assert(sizeof(struct mt_preempt) == 72, "ring ABI");
_Static_assert(sizeof(struct mt_waking) == 112, "ring ABI");
_Static_assert(sizeof(struct mt_cpu_stats) == 64, "one cache line");
_Static_assert(sizeof(struct mt_pyframe) == 16, "two words of mt_stack.frames");
#endif

#endif
