/* SPDX-License-Identifier: MIT */
/*
 * drain_priv.h: how the parts of drain.c fit together.
 *
 *   drain.c        the stream itself: switches, wake-ups, what is interned
 *   drain_tasks.c  which tasks live, and in which address space
 *   drain_maps.c   executable mappings
 *   drain_stacks.c stacks, code objects
 *
 * A drain_on_x() is the handler of records of that kind; it is called with records of at least
 * that kind's size.
 */
#ifndef MT_DRAIN_PRIV_H
#define MT_DRAIN_PRIV_H

#include "collect_priv.h"
#include "late_priv.h"

struct pending_map {
	struct map_event e;
	char *file;
};

/* The stack of a task that blocked before the recording began. */
struct attached_stack {
	struct mt_task task;
	struct rec_stack stack;
	uint64_t frames[];
};
struct drain {
	struct trace_writer *w;
	struct symbolizer *sym;
	struct tables *tables;
	struct remote *remote;
	struct late *late; /* NULL = none */
	bool run_mode;
	bool following; /* the first attached task has come */
	int error;      /* of the trace file; sticky */
	struct strtab *strings;
	struct hmap sites, stacks, stacks_old, by_id, by_tgid, execing;
	uint32_t last_site, last_stack;
	VEC(struct live_task) tasks;
	VEC(struct pending_map) pending;
	struct mapped mapped;
	struct pyspaces *pyspaces;
	struct gils gils;
	struct pycodes *pycodes;
	VEC(struct mt_stack *) early_stacks;   /* their code objects are on their way */
	VEC(struct attached_stack *) attached; /* whose Python frames are still to be read */
	uint64_t written, exec_ts, last_exec_ts, last_birth_ts;
	struct ident *ident;
};

/* --- drain.c: writing. An error is kept, and the round ends. --------------------------------- */

void drain_put(struct drain *d, enum rec_kind kind, uint64_t ts, const void *rec);
void drain_check(struct drain *d, int rc);
uint32_t drain_comm(struct drain *d, const char comm[MT_COMM_LEN]); /* interned */
/* Id of a system call with its arguments; 0 = none. */
uint32_t drain_site(struct drain *d, int32_t nr, uint32_t arch, const struct mt_args *a);

/* --- drain_tasks.c ---------------------------------------------------------------------------- */

struct live_task *drain_task(struct drain *d, uint32_t id); /* NULL = none that lives */
void drain_on_task(struct drain *d, const struct mt_hdr *h);
void drain_on_base(struct drain *d, const struct mt_hdr *h);
void drain_on_end(struct drain *d, const struct mt_hdr *h);
void drain_on_exit(struct drain *d, const struct mt_hdr *h);
void drain_on_exec(struct drain *d, const struct mt_hdr *h);
void drain_on_rename(struct drain *d, const struct mt_hdr *h);
void drain_on_rss(struct drain *d, const struct mt_hdr *h);

/* --- drain_maps.c ----------------------------------------------------------------------------- */

void drain_map(struct drain *d, const struct map_event *e);
/* What the process has mapped since its exec began is the space's; 0 = nobody's. */
void drain_flush_maps(struct drain *d, uint32_t tgid, uint32_t space);

/* --- drain_stacks.c --------------------------------------------------------------------------- */

/* Id of the stack with that hash, which may come later; 0 for 0. */
uint64_t drain_stack_id(struct drain *d, uint64_t hash);
/* Of a task that blocked before the recording began; 0 = not known. */
uint64_t drain_attached_stack(struct drain *d, const struct mt_task *e);
void drain_on_stack(struct drain *d, const struct mt_hdr *h);
void drain_on_copy(struct drain *d, const struct mt_hdr *h);
void drain_on_pycode(struct drain *d, const struct mt_hdr *h);
/* Writes the stacks whose rest is known now; force: or never will be. */
void drain_late_stacks(struct drain *d, bool force);
/* Writes the first n of the stacks that waited for their code objects. */
void drain_early_stacks(struct drain *d, size_t n);

#endif
