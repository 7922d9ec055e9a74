/* SPDX-License-Identifier: MIT */
/* tb_priv.h: inside the trace builder: tb.c what tasks do, tb_file.c names and the file. */
#ifndef MT_TB_PRIV_H
#define MT_TB_PRIV_H

#include "tb.h"

#define CHECK(ok) ((ok) ? (void)0 : tb_fail(__FILE__, __LINE__, #ok))

/* Records of one moment are written in this order. */
enum rank { RANK_DEF, RANK_FIRST, RANK_OUT, RANK_WAKE, RANK_IN, RANK_LAST };

struct item {
	uint64_t ts, at; /* at: ts plus the skew of its CPU */
	uint32_t seq, cpu;
	uint8_t rank, kind;
	bool gone;
	union {
		struct rec_task task;
		struct rec_space space;
		struct rec_stack stack;
		struct rec_map map;
		struct rec_symbol symbol;
		struct rec_switch sw;
		struct rec_waking wk;
		struct rec_sample sample;
		struct rec_base base;
		struct rec_end end;
		struct rec_exit exit;
		struct rec_exec exec;
		struct rec_rename rename;
		struct rec_rss rss;
		struct rec_footprint footprint;
		struct rec_note note;
		struct rec_loss loss;
		struct rec_cost cost;
		struct rec_mark mark;
		struct rec_string string;
		struct rec_site site;
		struct rec_meta meta;
		struct rec_file file;
		struct rec_futex_key futex_key;
		struct rec_object object;
		struct rec_holds holds;
		struct rec_gil gil;
		struct rec_pythread pythread;
	};
};

struct btask {
	uint64_t call_flags; /* more SW_F_* of its calls */
	uint32_t id, proc, space, cpu, ustack, kstack;
	uint32_t owner, file, wake_site, wake_file, wake_flags;
	uint64_t park;
	struct {
		uint64_t id, state, holder, switches;
	} gil;
	uint64_t in, end, queued, steal, delay; /* queued TB_NEVER: cannot run before woken */
	struct rec_base base;
	struct rec_end c; /* counters so far */
	bool known, on, dead, no_end, attached;
};

struct drop {
	enum rec_kind kind;
	unsigned nth;
};

struct tb {
	VEC(struct item) items;
	VEC(struct btask) tasks; /* by id */
	VEC(uint64_t *) kept;    /* frames */
	VEC(struct drop) drops;
	VEC(uint64_t) skews; /* by CPU */
	struct strtab *strings;
	struct buf bytes;
	uint64_t stop, last;
	uint32_t n_sites, n_stacks, n_spaces, n_files;
	uint8_t stack_end;
	bool attach, killed, finished, have_root;
	uint64_t exit_status;
};

void tb_fail(const char *file, int line, const char *what);
struct btask *tb_get(struct tb *tb, uint32_t id); /* one that was begun */
void tb_note_time(struct tb *tb, uint64_t t);     /* the recording lasts as long */
struct item *tb_add(struct tb *tb, enum rec_kind kind, enum rank rank, uint64_t ts);
/* Adds the run that ends at b->end to the counters; *exec gets what the kernel counts of it. */
void tb_count_run(struct btask *b, uint64_t *exec);
void tb_end_task(struct tb *tb, struct btask *b, uint64_t t, uint64_t flags);
static inline uint64_t tb_absolute(uint64_t t)
{
	return TB_EPOCH + t;
}

#endif
