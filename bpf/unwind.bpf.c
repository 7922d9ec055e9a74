/* SPDX-License-Identifier: MIT */
/*
 * unwind.bpf.c: the user stack of the current task by tables made of .eh_frame (mt_unwind.h),
 * by frame pointers where there are none.
 *
 * Which table belongs to an address is found here, too: in the kernel's own tree of the
 * process's mappings, read without its lock. The mapped file's inode is the key of its table,
 * so a process that runs known files needs nothing from user space; a file not seen before is
 * told once (WANT), and its table is there a moment later. What was found for a place in
 * the code is kept in a small cache per CPU.
 *
 * All that is read (registers, stack, tables, mappings that change meanwhile) may be wrong: it is
 * only ever used as an address for a checked read, or as an index that is bounded.
 */
#include "core.bpf.h"
#include "regs.bpf.h"
#include "mt_unwind.h"

#if defined(__TARGET_ARCH_x86)

#define FRAME_SLOTS  1024
#define MAPLE_LEVELS 8
#define RB_LEVELS    40
#define FP_SPAN      (1u << 20)
#define USER_CS32    0x23
#define VM_EXEC      4
#define PRINT_PLACES 7
#define PLACES_LAST  56 /* the bits of the last place are there once more */
#define PRINT_WORDS  63

/* What was found for a place in the code. tag: of the address space, as its mappings were. */
struct frame_slot {
	u64 pc;
	u32 tag, info;
};

struct unwind_cpu {
	u64 ip, sp, bp, di;     /* di: that of the innermost frame */
	u64 start, end, offset; /* the mapping found last, and its offset in the file */
	u32 first, base_block, n_blocks;
	u32 state; /* of its file: enum mt_file_state */
	u32 tag, flags, space, task;
	u32 n;     /* frames so far */
	u32 exact; /* ip is the interrupted instruction, not a return address */
	u64 words[15];
	u64 sp0, places; /* see unwind_places() */
	u32 n_places, pad;
	u64 print[PRINT_WORDS + 1]; /* word 1 is at the stack pointer */
	struct frame_slot slots[FRAME_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct unwind_cpu);
} unwind_scratch SEC(".maps");

/* All tables, one behind the other. Written by user space through its mapping. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} unwind_words SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MT_FILES_MAX);
	__type(key, u64);
	__type(value, struct mt_file_table);
} unwind_files SEC(".maps");

/* --- which mapping --------------------------------------------------------- */

/*
 * One step down a maple tree (lib/maple_tree.c): from a node's entry to that of the slot that
 * covers addr. Slot i holds what lies in (pivot[i - 1], pivot[i]]; the last slot in use may
 * have no pivot. Not static, as all that are so here: the verifier looks at them once, and not
 * again on every path that leads there.
 */
__noinline u64 maple_step(struct unwind_cpu *u, u64 entry, u64 addr)
{
	u64 node = entry & ~0xffULL, pivots, slots, next = 0;
	u32 type = (entry >> 3) & 15, n, i;

	/* Before 6.1 (763ecb035029) there is none: but the verifier looks at all global functions.
	 */
	if (!u || !bpf_core_type_exists(struct maple_range_64))
		return 0;
	if (type == 3) {
		pivots = bpf_core_field_offset(struct maple_arange_64, pivot);
		slots = bpf_core_field_offset(struct maple_arange_64, slot);
		n = bpf_core_field_size(((struct maple_arange_64 *)0)->pivot) / 8;
	} else {
		pivots = bpf_core_field_offset(struct maple_range_64, pivot);
		slots = bpf_core_field_offset(struct maple_range_64, slot);
		n = bpf_core_field_size(((struct maple_range_64 *)0)->pivot) / 8;
	}
	if (bpf_probe_read_kernel(u->words, sizeof(u->words), (void *)(node + pivots)))
		return 0;
	for (i = 0; i < 15; i++) {
		if (i >= n || u->words[i] >= addr || (i && !u->words[i]))
			break;
	}
	bpf_probe_read_kernel(&next, sizeof(next), (void *)(node + slots + i * 8));
	return next;
}

/* The mapping that addr lies in, or one beside it; 0 = none. */
static __always_inline u64 maple_find(struct unwind_cpu *u, struct mm_struct *mm, u64 addr)
{
	u64 entry = (u64)BPF_CORE_READ(mm, mm_mt.ma_root);
	bool leaf;

	if (!entry || (entry & 3) != 2 || entry < 4096)
		return entry;
	for (u32 level = 0; level < MAPLE_LEVELS; level++) {
		leaf = ((entry >> 3) & 15) < 2;
		entry = maple_step(u, entry, addr);
		if (leaf)
			return entry;
		if (!entry)
			break;
	}
	return 0;
}

/* Before 6.1: a red-black tree of mappings by address. */
static __always_inline u64 rb_find(struct mm_struct *mm, u64 addr)
{
	struct mm_struct___rb *old = (void *)mm;
	u64 node = (u64)BPF_CORE_READ(old, mm_rb.rb_node), start = 0, end = 0;

	for (u32 level = 0; level < RB_LEVELS && node; level++) {
		struct vm_area_struct___rb *vma =
		        (void *)(node - bpf_core_field_offset(struct vm_area_struct___rb, vm_rb));
		struct rb_node *at = (void *)node;

		if (bpf_core_read(&start, sizeof(start), &vma->vm_start) ||
		    bpf_core_read(&end, sizeof(end), &vma->vm_end))
			return 0;
		if (addr >= start && addr < end)
			return (u64)vma;
		if (addr < start)
			node = (u64)BPF_CORE_READ(at, rb_left);
		else
			node = (u64)BPF_CORE_READ(at, rb_right);
	}
	return 0;
}

/* The current task's mapping at pc, with these VM_ flags, into u->start … u->offset. Its inode, 0 =
 * a mapping of no file, 1 (MT_FILE_KEY_VDSO); *found false: no such mapping. */
static __always_inline u64 mapping_at(struct unwind_cpu *u, struct mm_struct *mm, u64 pc, u64 need,
                                      u32 *ino, bool *found)
{
	struct vm_area_struct *vma;
	struct file *file;
	u64 inode;

	if (bpf_core_field_exists(mm->mm_mt))
		vma = (void *)maple_find(u, mm, pc);
	else
		vma = (void *)rb_find(mm, pc);
	*found = false;
	u->start = u->end = 0;
	if (!vma)
		return 0;
	u->start = BPF_CORE_READ(vma, vm_start);
	u->end = BPF_CORE_READ(vma, vm_end);
	if (pc < u->start || pc >= u->end || (BPF_CORE_READ(vma, vm_flags) & need) != need) {
		u->start = u->end = 0;
		return 0;
	}
	*found = true;
	file = BPF_CORE_READ(vma, vm_file);
	if (!file) {
		u->offset = 0;
		return (u64)BPF_CORE_READ(mm, context.vdso) == u->start ? MT_FILE_KEY_VDSO : 0;
	}
	u->offset = (u64)BPF_CORE_READ(vma, vm_pgoff) << cfg.page_shift;
	inode = (u64)BPF_CORE_READ(file, f_inode);
	/* An address, and then a number, too, may be another file's soon; and a file may be written
	 * anew. */
	*ino = (u32)BPF_CORE_READ((struct inode *)inode, i_ino) +
	       BPF_CORE_READ((struct inode *)inode, i_generation) * 0x9e3779b1 +
	       (u32)BPF_CORE_READ((struct inode *)inode, i_size) * 0x85ebca6b;
	return inode;
}

/* --- which row ------------------------------------------------------------- */

static __always_inline void send_want(struct unwind_cpu *u, u64 key, u32 ino)
{
	struct mt_want *e = ring_reserve(mt_want, bpf_ktime_get_ns(), MT_EV_WANT, u->task);

	if (!e)
		return;
	e->key = key;
	e->start = u->start;
	e->end = u->end;
	e->offset = u->offset;
	e->ino = ino;
	e->space = u->space;
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP); /* stacks are short until it is here */
}

static __always_inline void table_of(struct unwind_cpu *u, u64 key, u32 ino)
{
	struct mt_file_table *t = bpf_map_lookup_elem(&unwind_files, &key);
	struct mt_file_table new = {.state = MT_FILE_WANTED, .ino = ino};

	if (t && key != MT_FILE_KEY_VDSO && t->ino != ino) {
		bpf_map_delete_elem(&unwind_files, &key); /* the inode has gone, another is there */
		t = NULL;
	}
	if (t) {
		u->state = t->state;
		u->first = t->first;
		u->base_block = t->base_block;
		u->n_blocks = t->n_blocks;
		t->used = 1;
		return;
	}
	u->state = MT_FILE_NONE;
	if (key == MT_FILE_KEY_VDSO || bpf_map_update_elem(&unwind_files, &key, &new, BPF_NOEXIST))
		return;
	u->state = MT_FILE_WANTED;
	send_want(u, key, ino);
}

static __always_inline u64 word_at(u32 i)
{
	u64 *w = bpf_map_lookup_elem(&unwind_words, &i);

	return w ? *w : 0;
}

__noinline u32 unwind_row(struct unwind_cpu *u, u64 offset)
{
	u32 block, rows, lo, hi;
	u64 row;

	if (!u)
		return 0;
	block = (u32)(offset >> MT_BLOCK_SHIFT) - u->base_block;
	rows = u->first + u->n_blocks + 1;
	if (block >= u->n_blocks || offset >> 32)
		return 0;
	lo = (u32)word_at(u->first + block);
	hi = (u32)word_at(u->first + block + 1);
	for (u32 i = 0; i < MT_BLOCK_STEPS && lo < hi; i++) {
		u32 mid = lo + (hi - lo + 1) / 2;

		if (MT_ROW_OFF(word_at(rows + mid)) <= (u32)offset)
			lo = mid;
		else
			hi = mid - 1;
	}
	row = word_at(rows + lo);
	return MT_ROW_OFF(row) <= (u32)offset ? MT_ROW_INFO(row) : 0;
}

/* Not a row's: no mapping there, or a table that is on its way. */
enum { INFO_NO_MAPPING = MT_INFO(14, 0, 0, 0), INFO_WANTED = MT_INFO(15, 0, 0, 0) };

/* The slow way to a row. */
__noinline u32 unwind_look(struct unwind_cpu *u, u64 pc)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct mm_struct *mm = (void *)pointer_value(t, mm);
	u32 info, ino = 0;
	bool found;
	u64 key;

	if (!u || !mm)
		return INFO_NO_MAPPING;
	if (pc < u->start || pc >= u->end) {
		key = mapping_at(u, mm, pc, VM_EXEC, &ino, &found);
		if (!found)
			return INFO_NO_MAPPING;
		if (key)
			table_of(u, key, ino);
		else
			u->state = MT_FILE_NONE;
	}
	if (u->state == MT_FILE_WANTED)
		return INFO_WANTED;
	if (u->state == MT_FILE_NONE)
		return MT_INFO(MT_UNW_FP, 0, 0, 0);
	info = unwind_row(u, pc - u->start + u->offset);
	return info ? info : MT_INFO(MT_UNW_NONE, 0, 0, 0);
}

static __always_inline u32 info_at(struct unwind_cpu *u, u64 pc)
{
	u32 i = (u32)((pc * 0x9e3779b97f4a7c15ULL) >> 54) & (FRAME_SLOTS - 1);
	struct frame_slot *slot = &u->slots[i];
	u32 info;

	if (slot->pc == pc && slot->tag == u->tag)
		return slot->info;
	info = unwind_look(u, pc);
	if (info < INFO_NO_MAPPING) {
		slot->pc = pc;
		slot->tag = u->tag;
		slot->info = info;
	}
	return info;
}

/* --- one frame outwards: STACK_END_UNKNOWN = go on ------------------------- */

static __always_inline u32 step_signal(struct unwind_cpu *u)
{
	/* rsp points to the ucontext: general registers from byte 40, rbp the 11th of them,
	 * rsp the 16th, rip the 17th. */
	if (bpf_probe_read_user(u->words, 7 * sizeof(u64), (void *)(u->sp + 120)))
		return STACK_END_BAD_READ;
	u->bp = u->words[0];
	u->sp = u->words[5];
	u->ip = u->words[6];
	return STACK_END_UNKNOWN;
}

static __always_inline u32 step_fp(struct unwind_cpu *u)
{
	u->flags |= STACK_F_FP;
	if (!u->bp)
		return STACK_END_BOTTOM;
	if ((u->bp & 7) || u->bp < u->sp || u->bp - u->sp > FP_SPAN)
		return STACK_END_NO_TABLE;
	if (bpf_probe_read_user(u->words, 16, (void *)u->bp))
		return STACK_END_BAD_READ;
	u->sp = u->bp + 16;
	u->bp = u->words[0];
	u->ip = u->words[1];
	return u->ip ? STACK_END_UNKNOWN : STACK_END_BOTTOM;
}

static __always_inline u32 step_row(struct unwind_cpu *u, u32 info, u32 kind)
{
	bool of_bp = kind == MT_UNW_RBP || kind == MT_UNW_RBP_DEREF;
	u32 flags = MT_INFO_FLAGS(info);
	s64 bp_off = MT_INFO_BP(info);
	u64 cfa = (of_bp ? u->bp : u->sp) + MT_INFO_CFA(info), at;

	if (kind == MT_UNW_PLT)
		cfa = u->sp + 8 + ((u->ip & 15) >= 11 ? 8 : 0);
	if (kind == MT_UNW_RSP_DEREF || kind == MT_UNW_RBP_DEREF) {
		if (bpf_probe_read_user(u->words, 8, (void *)cfa))
			return STACK_END_BAD_READ;
		cfa = u->words[0] + (flags & MT_UNW_ADD8 ? 8 : 0);
	}
	if (cfa <= u->sp)
		return STACK_END_BAD_ROW;
	if (bp_off == -16 && !(flags & MT_UNW_BP_AT_BP)) {
		/* The usual place: beside the return address. */
		if (bpf_probe_read_user(u->words, 16, (void *)(cfa - 16)))
			return STACK_END_BAD_READ;
		u->bp = u->words[0];
		u->ip = u->words[1];
	} else {
		if (bpf_probe_read_user(&u->words[1], 8, (void *)(cfa - 8)))
			return STACK_END_BAD_READ;
		if (bp_off || (flags & MT_UNW_BP_AT_BP)) {
			at = (flags & MT_UNW_BP_AT_BP ? u->bp : cfa) + bp_off;
			if (bpf_probe_read_user(u->words, 8, (void *)at))
				return STACK_END_BAD_READ;
			u->bp = u->words[0];
		}
		u->ip = u->words[1];
	}
	u->sp = cfa;
	return u->ip ? STACK_END_UNKNOWN : STACK_END_BOTTOM;
}

__noinline u32 unwind_step(struct unwind_cpu *u)
{
	u32 info, kind;

	if (!u)
		return STACK_END_BAD_ROW;
	info = info_at(u, u->ip - !u->exact);
	kind = MT_INFO_KIND(info);
	u->exact = 0;
	if (kind >= MT_UNW_RSP && kind <= MT_UNW_PLT) {
		u->flags |= STACK_F_TABLE;
		return step_row(u, info, kind);
	}
	if (kind == MT_UNW_BOTTOM) {
		u->flags |= STACK_F_TABLE;
		return STACK_END_BOTTOM;
	}
	if (kind == MT_UNW_SIGNAL) {
		u->flags |= STACK_F_TABLE;
		u->exact = 1;
		return step_signal(u);
	}
	if (kind == MT_UNW_RDI) {
		u->flags |= STACK_F_TABLE;
		if (u->n != 1)
			return STACK_END_BAD_ROW;
		u->ip = u->di;
		u->sp += MT_INFO_CFA(info);
		return u->ip ? STACK_END_UNKNOWN : STACK_END_BOTTOM;
	}
	if (info == INFO_NO_MAPPING)
		return STACK_END_NO_MAPPING;
	if (info == INFO_WANTED)
		return STACK_END_NO_TABLE;
	return step_fp(u);
}

/* The return address just read was the word below the new stack pointer, but for signals'. */
__noinline u32 unwind_place(struct unwind_cpu *u)
{
	u64 off;

	if (!u)
		return 0;
	off = u->sp - 8 - u->sp0;
	if (off >= PRINT_WORDS * 8 || off & 7 || u->n_places >= PRINT_PLACES)
		return 0;
	off = (off >> 3) + 1;
	u->places = (u->places & ((1ull << PLACES_LAST) - 1)) | off << (u->n_places * 8 & 63) |
	            off << PLACES_LAST;
	u->n_places++;
	return 0;
}

__noinline u32 unwind_some(struct unwind_cpu *u, struct mt_stack *sc)
{
	u32 end = STACK_END_UNKNOWN;

	if (!u || !sc)
		return STACK_END_DEPTH;
	for (u32 i = 0; i < LOOP_STEPS && end == STACK_END_UNKNOWN; i++) {
		if (u->n >= MT_MAX_USER_FRAMES)
			return STACK_END_DEPTH;
		sc->frames[u->n++ & MT_MAX_USER_FRAMES] = u->ip;
		end = unwind_step(u);
		if (end == STACK_END_UNKNOWN)
			unwind_place(u);
	}
	return end;
}

u64 unwind_places(void)
{
	u32 zero = 0;
	struct unwind_cpu *u = bpf_map_lookup_elem(&unwind_scratch, &zero);

	return u ? u->places : 0;
}

u32 unwind_print(u64 sp, u64 places)
{
	u32 zero = 0;
	struct unwind_cpu *u = bpf_map_lookup_elem(&unwind_scratch, &zero);
	u64 h = 0;

	if (!u || bpf_probe_read_user(&u->print[1], (places >> PLACES_LAST & 63) * 8, (void *)sp))
		return 0;
	for (u32 i = 0; i < PRINT_PLACES; i++) {
		u32 at = (places >> i * 8) & 63;

		if (!at)
			break;
		h = (h ^ u->print[at]) * 0x9e3779b97f4a7c15ULL;
	}
	return h >> 32;
}

/* Of what it goes on with where the table is missing. */
struct copy_cpu {
	u64 next_ns; /* … at the pace of one in MT_COPY_EVERY */
	struct mt_copy copy;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct copy_cpu);
} unwind_copies SEC(".maps");

/* The stack from sp on, page by page, as it may end anywhere. How many bytes. */
__noinline u32 copy_pages(struct mt_copy *e, u64 sp)
{
	u64 at = 0, n = 4096 - (sp & 4095);

	if (!e)
		return 0;
	for (u32 i = 0; i < MT_COPY_PAGES; i++) {
		asm volatile("" : "+r"(at));
		if (at > MT_COPY_BYTES - 4096 || n > 4096 ||
		    bpf_probe_read_user(e->data + at, n, (void *)(sp + at)))
			break;
		at += n;
		n = 4096;
	}
	return at;
}

/* The stack from its last frame on. mt_stack.wanted: the copy's id, or 1 = not this time. */
__noinline u32 unwind_copy(struct unwind_cpu *u, u32 frames)
{
	u32 zero = 0, cpu = bpf_get_smp_processor_id(), bytes;
	struct copy_cpu *c = bpf_map_lookup_elem(&unwind_copies, &zero);
	u64 now = bpf_ktime_get_ns();
	struct mt_copy *e;
	void *ring;

	if (!u || !c || (s64)(c->next_ns - now) > 0)
		return 1;
	/* Not in the way of events: where the recorder is behind, there is no room for copies. */
	ring = my_ring_now(cpu);
	if (!ring || bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > cfg.wake_bytes)
		return 1;
	e = &c->copy;
	bytes = copy_pages(e, u->sp);
	if (!bytes || bytes > MT_COPY_BYTES)
		return 1;
	e->h.ts = now;
	e->h.kind = MT_EV_COPY;
	e->h.cpu = cpu;
	e->h.task = u->task;
	e->ip = u->ip;
	e->sp = u->sp;
	e->bp = u->bp;
	e->id = (u32)(now >> 8) | MT_COPY_FIRST;
	e->space = u->space;
	e->exact = frames == 1;
	e->bytes = bytes;
	count_one(my_stats()->seen);
	if (bpf_ringbuf_output(ring, e, __builtin_offsetof(struct mt_copy, data) + bytes,
	                       ring_flags())) {
		count_one(my_stats()->lost_ring);
		return 1;
	}
	if ((s64)(now - c->next_ns) > (MT_COPY_BURST - 1) * MT_COPY_EVERY)
		c->next_ns = now - (MT_COPY_BURST - 1) * MT_COPY_EVERY;
	c->next_ns += MT_COPY_EVERY;
	return e->id;
}

u32 unwind_user(struct mt_stack *sc, u32 space, u32 task)
{
	struct task_struct *t = bpf_get_current_task_btf();
	const struct pt_regs *regs = (void *)bpf_task_pt_regs(t);
	struct mm_struct *mm = (void *)pointer_value(t, mm);
	u32 zero = 0, end = STACK_END_DEPTH, i;
	struct unwind_cpu *u = bpf_map_lookup_elem(&unwind_scratch, &zero);

	if (!u || !sc || !mm || regs->cs == USER_CS32)
		return 0;
	u->ip = regs->ip;
	u->sp = regs->sp;
	u->bp = regs->bp;
	u->di = regs->di;
	u->sp0 = regs->sp;
	u->places = 0;
	u->n_places = 0;
	u->start = u->end = 0;
	u->flags = 0;
	u->exact = 1;
	u->space = space;
	u->task = task;
	/* Every executable mapping that comes or goes changes exec_vm. */
	u->tag = space * 0x9e3779b1 + (u32)BPF_CORE_READ(mm, exec_vm);
	u->n = 0;
	for (i = 0; i < MT_MAX_USER_FRAMES; i += LOOP_STEPS) {
		end = unwind_some(u, sc);
		if (end != STACK_END_UNKNOWN)
			break;
	}
	if (end == STACK_END_UNKNOWN)
		end = STACK_END_DEPTH;
	sc->end = end;
	sc->flags = u->flags | (end == STACK_END_DEPTH ? STACK_F_TRUNCATED : 0);
	sc->wanted = 0;
	if (end == STACK_END_NO_TABLE && u->state == MT_FILE_WANTED)
		sc->wanted = unwind_copy(u, u->n);
	return u->n;
}

/* For user space (BPF_PROG_TEST_RUN): the inode behind one of its own mappings. */
__u64 file_key = 0;
__u32 file_ino = 0;

SEC("?raw_tp/sched_switch")
int mt_file_key(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct mm_struct *mm = (void *)pointer_value(t, mm);
	u32 zero = 0, ino = 0;
	struct unwind_cpu *u = bpf_map_lookup_elem(&unwind_scratch, &zero);
	bool found = false;

	file_key = 0;
	if (!u || !mm)
		return 0;
	file_key = mapping_at(u, mm, ctx->args[0], 0, &ino, &found);
	file_ino = ino;
	return 0;
}

#else /* frame pointers are what the ABI of arm64 asks for */

u32 unwind_user(struct mt_stack *sc, u32 space, u32 task)
{
	return 0;
}

u64 unwind_places(void)
{
	return 0;
}

u32 unwind_print(u64 sp, u64 places)
{
	return 0;
}

#endif
