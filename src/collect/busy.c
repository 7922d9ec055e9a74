/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collect_priv.h"

static const char *skip_line(const char *p)
{
	while (*p && *p != '\n')
		p++;
	return *p ? p + 1 : p;
}

/* "cpu3 user nice system idle iowait …", in ticks. */
int busy_idle(const char *stat, const cpu_set_t *set, size_t size, uint64_t *ticks, unsigned *cpus)
{
	unsigned long long idle, iowait;
	unsigned cpu;

	*ticks = 0;
	*cpus = 0;
	for (const char *p = stat; *p; p = skip_line(p)) {
		/* After "cpu" alone come the ticks of all of them. */
		if (strncmp(p, "cpu", 3) != 0 || !isdigit((unsigned char)p[3]))
			continue;
		if (sscanf(p, "cpu%u %*u %*u %*u %llu %llu", &cpu, &idle, &iowait) != 3)
			continue;
		if (cpu >= 8 * size || !CPU_ISSET_S(cpu, size, set))
			continue;
		*ticks += idle + iowait;
		++*cpus;
	}
	return *cpus ? 0 : -ENODATA;
}

static uint64_t clock_of(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Of this process and its helper. */
static uint64_t own_ns(pid_t helper)
{
	clockid_t id;
	uint64_t ns = clock_of(CLOCK_PROCESS_CPUTIME_ID);

	if (helper > 0 && !clock_getcpuclockid(helper, &id))
		ns += clock_of(id);
	return ns;
}

static int look(const struct busy *b, pid_t helper, struct busy_look *out)
{
	uint64_t ticks, hz = (uint64_t)sysconf(_SC_CLK_TCK);
	struct buf text = {0};
	int rc = read_file_at(AT_FDCWD, "/proc/stat", 16u << 20, &text);

	out->at_ns = now_ns();
	out->own_ns = own_ns(helper);
	rc = rc ? rc : buf_put(&text, "", 1);
	rc = rc ? rc : busy_idle((char *)text.p, b->set, sizeof(b->set), &ticks, &out->cpus);
	buf_release(&text);
	if (!rc && !hz)
		rc = -ENODATA;
	if (!rc)
		out->idle_ns = ticks * (1000000000 / hz);
	return rc;
}

void busy_begin(struct busy *b, pid_t workload, pid_t helper)
{
	b->known =
	        !sched_getaffinity(workload, sizeof(b->set), b->set) && !look(b, helper, &b->begin);
}

int busy_write(const struct busy *b, pid_t helper, struct trace_writer *w)
{
	struct busy_look end;
	uint64_t capacity, idle, used, own;
	int rc;

	/* A CPU that came or went meanwhile: nobody knows how much there was. */
	if (!b->known || look(b, helper, &end) || end.cpus != b->begin.cpus)
		return 0;
	capacity = (end.at_ns - b->begin.at_ns) * end.cpus;
	idle = end.idle_ns > b->begin.idle_ns ? end.idle_ns - b->begin.idle_ns : 0;
	own = end.own_ns > b->begin.own_ns ? end.own_ns - b->begin.own_ns : 0;
	used = capacity > idle + own ? capacity - idle - own : 0;
	rc = meta_write_u64(w, META_BUSY, used);
	rc = rc ? rc : meta_write_u64(w, META_RECORDER, own);
	rc = rc ? rc : meta_write_u64(w, META_CAPACITY, capacity);
	return rc ? rc : meta_write_u64(w, META_CAPACITY_CPUS, end.cpus);
}
