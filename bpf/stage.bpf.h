/* SPDX-License-Identifier: MIT */
/*
 * stage.bpf.h: the way of the records that come all the time, switches and wake-ups, into the
 * ring: by the CPU's page (struct mt_stage). For programs that run with interrupts off only.
 * Where CPUs share rings they go there directly (cfg.staged), as pages of several CPUs in one
 * ring would not be in order. A CPU that was plugged in later and shares one sends its page with
 * each record.
 */
#ifndef MT_STAGE_BPF_H
#define MT_STAGE_BPF_H

#include "core.bpf.h"

#define STAGE_ROOM sizeof(((struct mt_stage *)0)->data)

/* Room for a record of that many bytes (a multiple of 8), its header filled in; NULL (and counted)
 * when there is none, here and in the ring. */
static __always_inline void *stage_open(u32 bytes, u64 ts, u32 kind, u32 task)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct mt_stage *st = bpf_map_lookup_elem(&stages, &cpu);
	struct mt_hdr *h;
	u64 at;

	if (!st)
		return NULL;
	at = MT_STAGE_USED(*(volatile u64 *)&st->where);
	asm volatile("" : "+r"(at));
	if (at > STAGE_ROOM - bytes) {
		stage_flush(cpu);
		at = MT_STAGE_USED(*(volatile u64 *)&st->where);
		asm volatile("" : "+r"(at));
	}
	st->seen++;
	if (at > STAGE_ROOM - bytes) {
		st->lost++;
		return NULL;
	}
	st->open = at;
	h = (void *)(st->data + at);
	h->ts = ts;
	h->kind = kind;
	h->cpu = cpu;
	h->task = task;
	return h;
}

/* Towards the page's beginning, word by word, as the two may overlap. */
static __always_inline void stage_move(volatile u64 *to, const volatile u64 *from, u32 words)
{
#pragma unroll
	for (u32 i = 0; i < words; i++)
		to[i] = from[i];
}

/* The record is whole. What was gathered before it may have gone into the ring since, in front of
 * a stack or the like: then it begins the page. */
static __always_inline void stage_close(const void *e, u32 bytes)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct mt_stage *st = bpf_map_lookup_elem(&stages, &cpu);
	u64 where, at;

	if (!st)
		return;
	where = *(volatile u64 *)&st->where;
	at = MT_STAGE_USED(where);
	if (at != st->open) {
		asm volatile("" : "+r"(at));
		if (at > STAGE_ROOM - bytes) {
			st->lost++;
			return;
		}
		stage_move((void *)(st->data + at), e, bytes / 8);
	}
	asm volatile("" ::: "memory");
#if defined(__TARGET_ARCH_x86)
	*(volatile u64 *)&st->where = where + bytes; /* stores stay in order */
#else
	__sync_fetch_and_add(&st->where, bytes);
#endif
	if (cpu > cfg.ring_mask)
		stage_flush(cpu);
}

#define stage_reserve(type, ts, kind, task)                                              \
	({                                                                               \
		struct type *staged_;                                                    \
		_Static_assert(sizeof(struct type) % 8 == 0, "the next one is not aligned"); \
		if (cfg.staged)                                                          \
			staged_ = stage_open(sizeof(struct type), ts, kind, task);       \
		else                                                                     \
			staged_ = ring_reserve(type, ts, kind, task);                    \
		staged_;                                                                 \
	})

#define stage_submit(e)                                                                  \
	({                                                                               \
		if (cfg.staged)                                                          \
			stage_close(e, sizeof(*(e)));                                    \
		else                                                                     \
			ring_submit(e);                                                  \
	})

#endif
