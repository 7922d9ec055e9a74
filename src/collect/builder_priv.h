/* SPDX-License-Identifier: MIT */
/* builder_priv.h: the process that makes unwinding tables, see builder.c. */
#ifndef MT_BUILDER_PRIV_H
#define MT_BUILDER_PRIV_H

#include "collect_priv.h"
#include "unwind.h"

struct builder {
	pid_t pid;
	int sock; /* readable: an answer, or it has gone */
};
/* An answer. */
struct built {
	uint32_t id;    /* of the request; 0 = a file of the command (preloaded); BUILD_ID_* */
	int32_t status; /* 0, or -errno: no table */
	uint32_t base_block, n_blocks, n_rows, n_words;
	uint32_t has_table, has_file;
};
#define BUILD_ID_VDSO 0xfffffffe
#define BUILD_ID_DONE 0xffffffff /* the command's files are all there */

/* An executable mapping of a process, from /proc. */
struct proc_map {
	uint64_t start, end, offset, dev, inode;
	uint64_t file; /* by tables_ahead(); 0 = not known */
	bool vdso;
};
struct proc_maps {
	uint32_t pid;
	struct proc_map *v; /* by address */
	size_t n, cap;
};
/* Reads a process's; the caller frees out->v. 0 or -errno. */
int proc_maps_read(struct proc_maps *out, uint32_t pid);
/* The mapping that addr lies in, or NULL. */
const struct proc_map *proc_maps_find(const struct proc_maps *maps, uint64_t addr);
/* What is known of the file that is mapped there: -ENOENT nothing, -EAGAIN its table is being
 * made, 0 it has been, or there is none. */
int tables_state(const struct tables *t, const struct proc_map *m);
/* Finds the mapping's file, as it is now, and asks for its table when that is not known yet: a
 * stack may lead there. */
void tables_ahead(struct tables *t, uint32_t pid, struct proc_map *m);
/* The same where one does. */
void tables_need(struct tables *t, uint32_t pid, struct proc_map *m);
/* The table of the file that is mapped there. */
bool tables_view(const struct tables *t, const struct proc_map *m, struct unwind_view *out);

/* Starts it, as `who`; it begins with the vDSO and what argv (may be NULL) will load. 0 or
 * -errno. */
int builder_start(struct builder *b, char *const argv[], const struct invoker *who);
void builder_stop(struct builder *b);
/* Asks for the table of fd's file. 0 or -errno. */
int builder_request(struct builder *b, uint32_t id, int fd);
/* 1 and an answer, its descriptors the caller's (-1 = none); 0 = none yet; -errno = it has gone. */
int builder_receive(struct builder *b, struct built *out, int *table_fd, int *file_fd);

#endif
