/* SPDX-License-Identifier: MIT */
/* drain_maps.c: executable mappings, each for the address space that it is of. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "drain_priv.h"

static void put_map(struct drain *d, uint32_t space, const struct map_event *e, const char *file,
                    uint64_t flags)
{
	static const char deleted[] = " (deleted)";
	size_t n = strlen(file);
	struct sym_map m = {.start = e->start,
	                    .end = e->end,
	                    .offset = e->offset,
	                    .file = file,
	                    .build_id = e->build_id,
	                    .build_id_n = e->build_id_n,
	                    .ts = e->ts};
	struct rec_map r = {.space = space,
	                    .start = e->start,
	                    .end = e->end,
	                    .offset = e->offset,
	                    .build_id = {e->build_id, e->build_id_n},
	                    .dev = e->dev,
	                    .inode = e->inode,
	                    .flags = flags};
	bool jit = false;
	const char *module = symbolizer_module(d->sym, space, &m, &jit);
	int known = module ? symbolizer_map(d->sym, space, &m) : -ENOMEM;

	pyspaces_map(d->pyspaces, space, e, file);
	if (!d->error)
		d->error = gils_space(&d->gils, d->w, d->pyspaces, space);
	if (known < 0)
		drain_check(d, -ENOMEM);
	if (known) /* compilers of generated code change the rights of theirs all the time */
		return;
	if (!jit) {
		tables_path(d->tables, file);
		mapped_keep(&d->mapped, d->sym, space, e->pid, &m);
	} else {
		r.offset = e->start;
	}
	r.file = drain_string(d, module);
	if (n >= sizeof(deleted) && !strcmp(file + n - (sizeof(deleted) - 1), deleted))
		r.flags |= MAP_F_DELETED;
	drain_put(d, REC_K_MAP, e->ts, &r);
}

/* The maps of the new image came before the event that tells its address space's id. */
void drain_flush_maps(struct drain *d, uint32_t tgid, uint32_t space)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->pending.n; i++) {
		struct pending_map *p = &d->pending.v[i];

		if (p->e.pid != tgid) {
			d->pending.v[kept++] = *p;
			continue;
		}
		if (space)
			put_map(d, space, &p->e, p->file, 0);
		free(p->file);
	}
	d->pending.n = kept;
}

void drain_map(struct drain *d, const struct map_event *e)
{
	const uint64_t *space = hmap_get(&d->by_tgid, e->pid, 0);
	struct pending_map p;

	if (!space)
		return; /* some other process of this machine */
	if (e->is_exec) {
		drain_flush_maps(d, e->pid, 0); /* of an exec that failed half-way */
		hmap_put(&d->execing, e->pid, 0, NULL);
	} else if (hmap_get(&d->execing, e->pid, 0)) {
		p = (struct pending_map){.e = *e, .file = strdup(e->file)};
		if (!p.file || vec_push(&d->pending, p))
			free(p.file);
	} else {
		put_map(d, (uint32_t)*space, e, e->file, 0);
	}
}

/* One line of /proc/PID/maps, when it is executable. */
static bool parse_maps_line(char *line, struct map_event *e, char **file)
{
	uint64_t inode;
	unsigned maj, min;
	char perms[5];
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &e->start,
	           &e->end, perms, &e->offset, &maj, &min, &inode, &at) < 7 ||
	    perms[2] != 'x')
		return false;
	e->dev = maj << 20 | min;
	e->inode = inode;
	*file = line + at;
	return true;
}

int drain_existing_maps(struct drain *d, uint32_t pid)
{
	const uint64_t *space = hmap_get(&d->by_tgid, pid, 0);
	struct buf b = {0};
	char path[32], *line, *save = NULL, *file;
	int rc;

	if (!space)
		return 0;
	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	rc = read_file_at(AT_FDCWD, path, 64u << 20, &b);
	if (!rc && !buf_put(&b, "", 1)) {
		for (line = strtok_r((char *)b.p, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save)) {
			struct map_event e = {.pid = pid};

			if (parse_maps_line(line, &e, &file))
				put_map(d, (uint32_t)*space, &e, file, MAP_F_SYNTHETIC);
		}
	}
	buf_release(&b);
	return rc;
}
