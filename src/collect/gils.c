/* SPDX-License-Identifier: MIT */
/*
 * gils.c: GILs that BPF found, with what is known of the interpreter that they are in: its version,
 * and whether it is the main one's. Either may come first; what was not known is written later.
 */
#include <errno.h>

#include "collect_priv.h"

#define WAITING_MAX 65536

void gils_release(struct gils *g)
{
	vec_release(&g->unnamed);
}

/* Only a sub-interpreter's own GIL lies outside of _PyRuntime. */
static bool is_main(const struct py_build *b, uint64_t runtime, uint64_t addr)
{
	return b->off.runtime_gil != PY_NONE || !b->runtime_size ||
	       addr - runtime < b->runtime_size;
}

static const struct py_build *build_of(const struct pyspaces *p, uint32_t space, uint64_t *runtime)
{
	return p ? pyspaces_at(p, space, runtime) : NULL;
}

int gils_found(struct gils *g, struct trace_writer *w, const struct pyspaces *p,
               const struct mt_gil_ev *e)
{
	struct rec_gil r = {.id = e->id, .space = e->space, .addr = e->addr};
	uint64_t runtime = 0;
	const struct py_build *b = build_of(p, e->space, &runtime);

	if (b) {
		r.main = is_main(b, runtime, e->addr);
		r.version = b->version;
	} else if (g->unnamed.n < WAITING_MAX && vec_push(&g->unnamed, *e)) {
		return -ENOMEM;
	}
	return trace_write(w, REC_K_GIL, e->h.ts, &r);
}

int gils_space(struct gils *g, struct trace_writer *w, const struct pyspaces *p, uint32_t space)
{
	size_t kept = 0;
	uint64_t runtime;
	int rc = 0;

	if (!g->unnamed.n || !build_of(p, space, &runtime))
		return 0;
	for (size_t i = 0; i < g->unnamed.n; i++) {
		struct mt_gil_ev e = g->unnamed.v[i];

		if (e.space == space)
			rc = rc ? rc : gils_found(g, w, p, &e);
		else
			g->unnamed.v[kept++] = e;
	}
	g->unnamed.n = kept;
	return rc;
}
