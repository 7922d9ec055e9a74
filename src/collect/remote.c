/* SPDX-License-Identifier: MIT */
/*
 * remote.c: the stack of a task that blocked before the recording began: no hook sees it, but it
 * stands still. Its registers come with the walk over tasks; its memory is read from outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "builder_priv.h"

#define MAPS_MAX (1u << 16) /* executable mappings of one process */

struct remote {
	struct tables *tables;
	VEC(struct proc_maps) procs;
	struct hmap by_pid;
};

static int parse_line(char *line, struct proc_map *m)
{
	unsigned maj, min;
	char perms[5];
	int name = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &m->start,
	           &m->end, perms, &m->offset, &maj, &min, &m->inode, &name) < 7 ||
	    perms[2] != 'x')
		return -ENOENT;
	m->dev = (uint64_t)maj << 32 | min;
	m->vdso = name && !strcmp(line + name, "[vdso]");
	return 0;
}

int proc_maps_read(struct proc_maps *out, uint32_t pid)
{
	struct buf b = {0};
	char path[32], *line, *save = NULL;
	int rc;

	out->pid = pid;
	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	rc = read_file_at(AT_FDCWD, path, 64u << 20, &b);
	if (!rc)
		rc = buf_put(&b, "", 1);
	for (line = rc ? NULL : strtok_r((char *)b.p, "\n", &save); line && out->n < MAPS_MAX;
	     line = strtok_r(NULL, "\n", &save)) {
		struct proc_map m = {0};

		if (!parse_line(line, &m) && vec_push(out, m)) {
			rc = -ENOMEM;
			break;
		}
	}
	buf_release(&b);
	return rc;
}

struct remote *remote_new(struct tables *t)
{
	struct remote *r = calloc(1, sizeof(*r));

	if (r)
		r->tables = t;
	return r;
}

void remote_free(struct remote *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->procs.n; i++)
		free(r->procs.v[i].v);
	vec_release(&r->procs);
	hmap_release(&r->by_pid);
	free(r);
}

int remote_process(struct remote *r, uint32_t pid)
{
	struct proc_maps maps = {0};
	uint64_t *slot;
	int rc;

	if (hmap_get(&r->by_pid, pid, 0))
		return 0;
	rc = proc_maps_read(&maps, pid);
	slot = rc ? NULL : hmap_put(&r->by_pid, pid, 0, NULL);
	if (!slot || vec_push(&r->procs, maps)) {
		free(maps.v);
		return rc ? rc : -ENOMEM;
	}
	*slot = r->procs.n - 1;
	tables_process(r->tables, &maps);
	return 0;
}

/* --- the walk's view of a process ----------------------------------------------------------- */

struct look {
	const struct tables *tables;
	const struct proc_maps *maps;
	struct unwind_view view;
};

static int look_read(void *ctx, uint64_t addr, void *out, size_t n)
{
	const struct look *l = ctx;

	return process_read(l->maps->pid, addr, out, n) ? 0 : -EFAULT;
}

const struct proc_map *proc_maps_find(const struct proc_maps *maps, uint64_t addr)
{
	size_t lo = 0, hi = maps->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (maps->v[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < maps->n && addr >= maps->v[lo].start ? &maps->v[lo] : NULL;
}

static int look_place(void *ctx, uint64_t addr, struct unwind_place *out)
{
	struct look *l = ctx;
	const struct proc_map *m = proc_maps_find(l->maps, addr);

	if (!m)
		return -ENOENT;
	out->file_offset = addr - m->start + m->offset;
	out->table = tables_view(l->tables, m, &l->view) ? &l->view : NULL;
	return 0;
}

bool remote_still_there(const struct mt_task *e)
{
	struct buf b = {0};
	char path[64], *p;
	uint64_t sp = 0, pc = 0;

	snprintf(path, sizeof(path), "/proc/%u/task/%u/syscall", e->tgid, e->tid);
	if (!read_file_at(AT_FDCWD, path, 4096, &b) && !buf_put(&b, "", 1)) {
		p = strrchr((char *)b.p, ' '); /* "… sp pc" */
		while (p && p > (char *)b.p && p[-1] != ' ')
			p--;
		if (p && sscanf(p, "%" SCNx64 " %" SCNx64, &sp, &pc) != 2)
			sp = 0;
	}
	buf_release(&b);
	return sp == e->sp && pc == e->ip;
}

size_t remote_stack(struct remote *r, const struct mt_task *e, uint64_t *frames, size_t max,
                    unsigned *end, unsigned *flags)
{
	const uint64_t *i = r ? hmap_get(&r->by_pid, e->tgid, 0) : NULL;
	struct unwind_regs regs = {.ip = e->ip, .sp = e->sp, .bp = e->bp, .exact = true};
	struct look l;
	const struct unwind_ops ops = {look_read, look_place, &l};
	size_t n;

	if (!i || !e->ip || !remote_still_there(e))
		return 0;
	l = (struct look){.tables = r->tables, .maps = &r->procs.v[*i]};
	n = unwind_remote(&ops, &regs, frames, max, end, flags);
	/* What moved meanwhile may have left anything there. */
	return remote_still_there(e) ? n : 0;
}
