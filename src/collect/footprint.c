/* SPDX-License-Identifier: MIT */
/*
 * footprint.c: PSS and USS of each process from smaps_rollup. The kernel walks the page
 * tables for it (about 11 ns a page, and 64 bytes of cache) and holds the process's mmap lock
 * meanwhile, so all of it together stays below a share of the elapsed time. Memory that stays as it
 * is is hardly read again, as reading costs a program more than the CPU time: little of what it had
 * in the caches is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "collect_priv.h"

#define FIRST_NS      50000000ull    /* short programs shall be seen too … */
#define TICK_NS       1000000000ull  /* … long ones once a second where anything changes, … */
#define CALM_NS       16000000000ull /* … else so often; and at their peaks */
#define TICK_SHARE    1000           /* seeing that may take so much less time than passes */
#define CHANGE_FAULTS 64 /* page faults of all of them that are a change: so many pages, … */
#define CHANGE_SHIFT  20 /* … or a 256th of their memory: 1 MiB are 256 */
#define CHANGE_BYTES  (1ull << 20)
#define LOOK_NS       20000000ull
#define LATE_NS       500000000ull /* from here on it is worth telling */
#define CREDIT_NS     5000000ull   /* to begin with */
#define GROWTH_BYTES  (4ull << 20)

void footprint_init(struct footprint *f, unsigned permille, uint64_t start_ns)
{
	memset(f, 0, sizeof(*f));
	f->permille = permille;
	f->start_ns = start_ns;
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

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* May it be read now? Who never was may use up twice the credit. */
static bool affordable(const struct footprint *f, const struct live_task *t, uint64_t now)
{
	uint64_t credit = t->reads_known ? CREDIT_NS : 2 * CREDIT_NS;

	return f->spent_ns <= (now - f->start_ns) / 1000 * f->permille + credit;
}

/* Readings of all processes fall together, so that their sum is that of a moment. A program that
 * was there before us is not about to build up its memory: a tick will tell if it does. */
static void schedule(const struct footprint *f, struct live_task *t, uint64_t now)
{
	uint64_t since = now - f->start_ns;

	if (!t->interval_ns)
		t->interval_ns = FIRST_NS;
	else if (!t->image_ns || t->interval_ns > CALM_NS / 2)
		t->interval_ns = CALM_NS;
	else
		t->interval_ns *= 2;
	t->due_ns = f->start_ns + (since / t->interval_ns + 1) * t->interval_ns;
}

/* Page faults of the process so far; 0 = unknown, it may have gone. */
static uint64_t faults_of(uint32_t pid)
{
	uint64_t minor = 0, major = 0;
	struct buf b = {0};
	const char *p = NULL;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	if (!read_file_at(AT_FDCWD, path, 4096, &b) && !buf_put(&b, "", 1))
		p = strrchr((const char *)b.p, ')'); /* behind the name, which may be anything */
	if (p && sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %" SCNu64 " %*u %" SCNu64, &minor,
	                &major) != 2)
		minor = major = 0;
	buf_release(&b);
	return minor + major;
}

/* What may have changed since the last tick. What a process shares changes with the others, too:
 * when one copies a page, when one comes or goes. */
static void tick(struct footprint *f, struct drain *d, uint64_t now)
{
	uint64_t who = 0, pss = 0, cpu = cpu_ns(), cost;
	struct live_task *t;
	size_t pos = 0;

	while ((t = drain_next_alive(d, &pos))) {
		uint64_t faults;

		if (t->id != t->proc)
			continue;
		pss += t->read_pss_bytes;
		who += hash_bytes(&t->id, sizeof(t->id), 0);
		faults = faults_of(t->tgid);
		if (t->faults && faults > t->faults)
			f->changes += faults - t->faults;
		if (faults)
			t->faults = faults;
	}
	f->change = pss >> CHANGE_SHIFT > CHANGE_FAULTS ? pss >> CHANGE_SHIFT : CHANGE_FAULTS;
	if (who != f->who)
		f->changes += f->change;
	f->who = who;
	cost = cpu_ns() - cpu;
	f->spent_ns += cost;
	f->tick_ns = now + TICK_NS + cost * TICK_SHARE; /* of many processes less often */
}

/* Huge pages are many bytes for a fault: the kernel's counter tells of them. */
static bool changed(const struct footprint *f, const struct live_task *t)
{
	return f->changes - t->read_changes >= f->change ||
	       t->rss_bytes > t->read_rss_bytes + t->read_rss_bytes / 32 + CHANGE_BYTES;
}

static bool due(const struct footprint *f, struct live_task *t, uint64_t now)
{
	if (t->id != t->proc)
		return false; /* once per process: its leader */
	if (!t->due_ns)
		schedule(f, t, now);
	if (now >= t->due_ns)
		return true;
	if (t->reads_known && now > t->read_ns + TICK_NS / 2 && changed(f, t))
		return true;
	return t->reads_known && now > t->read_ns + FIRST_NS &&
	       t->rss_bytes > t->read_rss_bytes + t->read_rss_bytes / 4 + GROWTH_BYTES;
}

static int read_one(struct footprint *f, struct live_task *t, struct trace_writer *w)
{
	struct rec_footprint r = {.task = t->id};
	uint64_t before = now_ns(), cpu = cpu_ns(), after;
	int rc = read_rollup(t->tgid, &r);

	after = now_ns();
	r.cost_ns = cpu_ns() - cpu;
	r.took_ns = after - before;
	f->spent_ns += r.cost_ns;
	if (after >= t->due_ns)
		schedule(f, t, after);
	t->read_ns = after;
	t->reads_known = true;
	/* An attached one's counter is not known before it runs. */
	t->read_rss_bytes = t->rss_bytes > r.rss_bytes ? t->rss_bytes : r.rss_bytes;
	t->read_changes = f->changes;
	t->read_pss_bytes = r.pss_bytes;
	if (rc)
		return 0;
	f->reads++;
	return trace_write(w, REC_K_FOOTPRINT, before, &r);
}

int footprint_round(struct footprint *f, struct drain *d, struct trace_writer *w, uint64_t now)
{
	struct live_task *t;
	size_t pos = 0;
	int rc = 0;

	if (!f->permille || now < f->look_ns)
		return 0;
	f->look_ns = now + LOOK_NS;
	if (now >= f->tick_ns)
		tick(f, d, now);
	while (!rc && (t = drain_next_alive(d, &pos))) {
		if (!due(f, t, now))
			continue;
		if (!affordable(f, t, now)) {
			/* It stays due, until there is budget again. */
			f->late |= !t->reads_known || now > t->due_ns + LATE_NS ||
			           (changed(f, t) && now > t->read_ns + TICK_NS + LATE_NS);
			continue;
		}
		rc = read_one(f, t, w);
		if (now_ns() - now > LOOK_NS)
			break; /* the rings want attention */
	}
	return rc;
}
