/* SPDX-License-Identifier: MIT */
/*
 * footprint.c: PSS and USS of each process from smaps_rollup. The kernel walks the page
 * tables for it (about 11 ns a page) and holds the process's mmap lock meanwhile, so all of
 * it together stays below a share of the elapsed time.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "collect_priv.h"

#define FIRST_NS        50000000ull   /* short programs shall be seen too … */
#define INTERVAL_MAX_NS 1000000000ull /* … long ones once a second */

void footprint_init(struct footprint *f, unsigned permille, uint64_t start_ns)
{
	memset(f, 0, sizeof(*f));
	f->permille = permille;
	f->start_ns = start_ns;
	f->interval_ns = FIRST_NS;
	f->next_ns = start_ns + FIRST_NS;
}

static uint64_t field_bytes(const char *text, const char *name)
{
	const char *p = strstr(text, name);
	uint64_t kb = 0;

	return p && sscanf(p + strlen(name), " %" SCNu64, &kb) == 1 ? kb * 1024 : 0;
}

/* 0 and *r filled, or -errno (the process may have gone). */
static int read_rollup(uint32_t pid, struct rec_footprint *r)
{
	struct buf b = {0};
	char path[48];
	const char *s;
	int rc;

	snprintf(path, sizeof(path), "/proc/%u/smaps_rollup", pid);
	rc = read_file_at(AT_FDCWD, path, 65536, &b);
	if (!rc)
		rc = buf_put(&b, "", 1);
	s = (const char *)b.p;
	if (!rc && !strstr(s, "\nPss:"))
		rc = -ESRCH; /* no memory (a zombie) */
	if (!rc) {
		r->rss_bytes = field_bytes(s, "\nRss:");
		r->pss_bytes = field_bytes(s, "\nPss:");
		r->uss_bytes =
		        field_bytes(s, "\nPrivate_Clean:") + field_bytes(s, "\nPrivate_Dirty:");
		r->shared_bytes =
		        field_bytes(s, "\nShared_Clean:") + field_bytes(s, "\nShared_Dirty:");
		r->swap_bytes = field_bytes(s, "\nSwap:");
	}
	buf_release(&b);
	return rc;
}

int footprint_round(struct footprint *f, struct drain *d, struct trace_writer *w, uint64_t now)
{
	struct live_task *t;
	int rc = 0;

	if (!f->permille || now < f->next_ns)
		return 0;
	while (!rc && (t = drain_next_alive(d, &f->pos))) {
		struct rec_footprint r = {.task = t->id};
		uint64_t before, after;

		if (t->id != t->proc)
			continue; /* once per process: its leader */
		before = now_ns();
		if (f->spent_ns > (before - f->start_ns) / 1000 * f->permille + 1000000) {
			f->skipped++;
			continue;
		}
		rc = read_rollup(t->tgid, &r);
		after = now_ns();
		f->spent_ns += after - before;
		r.cost_ns = after - before;
		if (rc) {
			rc = 0;
			continue;
		}
		f->reads++;
		rc = trace_write(w, REC_K_FOOTPRINT, before, &r);
		if (after - now > 20000000)
			return rc; /* the rings want attention: go on in the next round */
	}
	f->pos = 0;
	f->interval_ns =
	        f->interval_ns * 2 > INTERVAL_MAX_NS ? INTERVAL_MAX_NS : f->interval_ns * 2;
	f->next_ns = now + f->interval_ns;
	return rc;
}
