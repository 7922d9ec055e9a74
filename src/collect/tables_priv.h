/* SPDX-License-Identifier: MIT */
/*
 * tables_priv.h: the unwinding tables in the kernel.
 *
 *     tables.c  files and their tables: asked for, made by another process, installed
 *     room.c    where a table is put, and which ones give way when there is no room
 */
#ifndef MT_TABLES_PRIV_H
#define MT_TABLES_PRIV_H

#include "builder_priv.h"
#include "mt_unwind.h"

/* key 0: the slot is free. */
struct table_file {
	uint64_t key;
	void *pin; /* our mapping of its first page */
	uint32_t ino;
	uint32_t first, n_words; /* its place, n_words 0 = none */
	uint32_t base_block, n_blocks;
	uint32_t made;     /* files that this slot has had: tells an id that is over */
	uint64_t since_ns; /* its table is there */
	bool answered;
	bool ahead; /* made before a stack led there */
};

struct tables {
	struct builder b;
	struct session_unwind k;
	uint64_t *words; /* the kernel's array, mapped */
	uint32_t n_words, used, peak;
	VEC(struct table_file) files; /* id - 1 */
	uint32_t hand;                /* where evicting goes on */
	struct hmap by_path;          /* hashes of paths that were looked at */
	struct hmap by_key;           /* -> id */
	struct hmap by_inode;         /* (device, inode) as /proc shows them -> made, id */
	size_t asked;                 /* requests that are not answered yet */
	struct table_totals totals;
	bool preloaded;
};

/* Drops the file: from the kernel's map, its table's place, its slot. */
void tables_forget(struct tables *t, uint32_t id);

/* A place of n words: 0 and *first, or -ENOSPC (larger than all there is). What was not used for
 * the longest time gives way; when this returns no walk in the kernel reads it any more. ahead: not
 * for a stack that led there; then what has come of late stays, and there may be no place. */
int room_take(struct tables *t, uint32_t n, bool ahead, uint32_t *first);
/* A free slot's id; 0 = none. */
uint32_t room_id(struct tables *t);

#endif
