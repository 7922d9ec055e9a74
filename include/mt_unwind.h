/* SPDX-License-Identifier: MIT */
/*
 * mt_unwind.h: the form of unwinding tables, as BPF and user space read them. Only numbers
 * and macros; compiled by both sides.
 *
 * A table is an array of u64 words: n_blocks + 1 index words, then the rows. Rows and code are
 * addressed by offset in the ELF file (what a mapping gives without knowing load biases).
 * Index word i holds the number of the row in effect where block base_block + i begins
 * (blocks of 1 KiB of code), so a search looks at the rows of one block. The last index
 * word is the number of the last row.
 *
 * A row says how to find the caller's frame from its offset on, until the next row's:
 *
 *     bits 0-31   file offset
 *     bits 32-47  signed: offset of the CFA / 8
 *     bits 48-55  signed: where the caller's rbp is, / 8 (0 and no MT_UNW_BP_AT_BP: unchanged)
 *     bits 56-59  kind, enum mt_unw
 *     bits 60-63  flags
 *
 * The CFA (canonical frame address) is the caller's stack pointer; the return address is the
 * word below it.
 */
#ifndef MT_UNWIND_H
#define MT_UNWIND_H

#ifndef MT_KERNEL_H /* the BPF side has its own, without headers */
#include <linux/types.h>
#endif

enum mt_unw {
	MT_UNW_NONE,		/* no information from here on */
	MT_UNW_RSP,		/* CFA = rsp + offset */
	MT_UNW_RBP,		/* CFA = rbp + offset */
	MT_UNW_RSP_DEREF,	/* CFA = *(rsp + offset), + 8 with MT_UNW_ADD8 */
	MT_UNW_RBP_DEREF,	/* CFA = *(rbp + offset), + 8 with MT_UNW_ADD8 */
	MT_UNW_PLT,		/* CFA = rsp + 8, + 8 in the last 5 bytes of each 16: a PLT entry */
	MT_UNW_SIGNAL,		/* the kernel's signal frame: rsp points to the ucontext */
	MT_UNW_BOTTOM,		/* there is no caller: a thread's or program's start */
	MT_UNW_UNSUPPORTED,	/* there is information, in a form that we do not follow */
	MT_UNW_FP,		/* not in tables: go by frame pointer */
	MT_UNW_RDI		/* CFA = rsp + offset, the return address is in rdi: where vfork() waits */
};
#define MT_UNW_ADD8 1		/* flags */
#define MT_UNW_BP_AT_BP 2	/* rbp's place counts from rbp, not from the CFA */

#define MT_ROW(off, info) ((__u64)(info) << 32 | (__u32)(off))
#define MT_ROW_OFF(row) ((__u32)(row))
#define MT_ROW_INFO(row) ((__u32)((row) >> 32))
#define MT_INFO(kind, flags, cfa8, bp8) \
	((__u32)(flags) << 28 | (__u32)(kind) << 24 | ((__u32)(bp8) & 0xff) << 16 | ((__u32)(cfa8) & 0xffff))
#define MT_INFO_KIND(info) (((info) >> 24) & 15)
#define MT_INFO_FLAGS(info) ((info) >> 28)
#define MT_INFO_CFA(info) ((__s64)(__s16)((info) & 0xffff) * 8)
#define MT_INFO_BP(info) ((__s64)(__s8)(((info) >> 16) & 0xff) * 8)

#define MT_BLOCK_SHIFT 10
#define MT_BLOCK_STEPS 11	/* halvings that always do: a block has 1024 offsets */

/* What a file's table is; also the BPF map's value (key: the inode's address). */
enum mt_file_state {
	MT_FILE_WANTED = 1,	/* seen in a stack, told to user space */
	MT_FILE_READY,
	MT_FILE_NONE		/* no table to be had: frame pointers */
};
struct mt_file_table {
	__u32 state;
	__u32 ino;		/* a hash of the inode's number, generation and size: an address may be reused */
	__u32 first;		/* the table's first word in the array of all tables */
	__u32 base_block, n_blocks, n_rows;
	__u32 used;		/* set by BPF: for choosing what to evict */
	__u32 pad;
};
#define MT_FILE_KEY_VDSO 1	/* in place of an inode's address */
#define MT_FILES_MAX 4096

#endif
