/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "jit_priv.h"
#include "resolve_priv.h"

static int read_source(struct resolve *r, const struct sym_file *f, struct jit_names *j, bool dump)
{
	int err = dump ? jit_read_dump(j, f->dump_fd) : jit_read_perf_map(j, f->fd);
	char line[256];

	if (!err || err == -ENOMEM)
		return err;
	snprintf(line, sizeof(line), "%s: its %s %s", f->path, dump ? "jitdump" : "perf map",
	         err == -E2BIG     ? "is very large and was read in part"
	         : err == -ENOEXEC ? "is damaged"
	                           : "cannot be read");
	return resolve_file_note(r, line);
}

static int no_source(struct resolve *r, const struct sym_file *f)
{
	char line[360];

	r->st->files_failed++;
	snprintf(line, sizeof(line),
	         "%s: generated code without names, as the program wrote no perf map or jitdump "
	         "(node --perf-basic-prof, python3 -X perf from 3.12 on, java "
	         "-XX:+UnlockDiagnosticVMOptions -XX:+DumpPerfMapAtExit from 17 on)",
	         f->path);
	return resolve_file_note(r, line);
}

int resolve_jit(struct resolve *r, const struct sym_file *f, const struct unit *u)
{
	struct jit_names j = {.n = u->to - u->from};
	int err = 0;

	j.v = calloc(j.n, sizeof(*j.v));
	j.names = strtab_new();
	if (!j.v || !j.names)
		err = -ENOMEM;
	for (size_t i = 0; i < j.n && !err; i++) {
		const struct sym_frame *fr = &r->frames.v[u->from + i];

		/* What was seen both ways is taken as it is; see choose() for files. */
		j.v[i].at = fr->offset - (fr->flags == FRAME_RETURN && fr->offset);
	}
	if (!err && f->fd < 0 && f->dump_fd < 0)
		err = no_source(r, f);
	/* What was told with times is more exact: it has the last word. */
	if (!err && f->fd >= 0)
		err = read_source(r, f, &j, false);
	if (!err && f->dump_fd >= 0)
		err = read_source(r, f, &j, true);
	for (size_t i = 0; i < j.n && !err; i++) {
		const struct jit_want *w = &j.v[i];
		struct sym sym = {.name = w->name ? strtab_get(j.names, w->name) : NULL,
		                  .name_off = r->frames.v[u->from + i].offset - w->start,
		                  .size = w->size};

		err = r->put(r, u->from + i, &sym, w->name != 0);
	}
	strtab_free(j.names);
	free(j.v);
	return err;
}
