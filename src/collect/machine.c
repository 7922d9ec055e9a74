/* SPDX-License-Identifier: MIT */
/* machine.c: facts about machine, recorder and workload, for whoever reads the trace elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <gnu/libc-version.h>

#include "collect_priv.h"

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int meta_write(struct trace_writer *w, const char *key, const char *value)
{
	struct rec_meta r = {.key = {(const uint8_t *)key, strlen(key)},
	                     .value = {(const uint8_t *)value, strlen(value)}};

	return trace_write(w, REC_K_META, 0, &r);
}

int meta_write_u64(struct trace_writer *w, const char *key, uint64_t value)
{
	char s[32];

	snprintf(s, sizeof(s), "%" PRIu64, value);
	return meta_write(w, key, s);
}

int note_write(struct drain *d, struct trace_writer *w, const char *text)
{
	struct rec_note r = {.text = drain_string(d, text)};

	return trace_write(w, REC_K_NOTE, 0, &r);
}

/* The first line of a file under /proc or /sys; "" when it cannot be read. */
static void first_line(const char *path, char *out, size_t n)
{
	struct buf b = {0};

	out[0] = 0;
	if (!read_file_at(AT_FDCWD, path, 65536, &b) && !buf_put(&b, "", 1))
		snprintf(out, n, "%.*s", (int)strcspn((char *)b.p, "\n"), (char *)b.p);
	buf_release(&b);
}

/* "always [madvise] never" -> "madvise" */
static void chosen(const char *path, char *out, size_t n)
{
	char line[128], *a, *b;

	first_line(path, line, sizeof(line));
	a = strchr(line, '[');
	b = a ? strchr(a, ']') : NULL;
	out[0] = 0;
	if (b)
		snprintf(out, n, "%.*s", (int)(b - a - 1), a + 1);
}

static void cpu_model(char *out, size_t n)
{
	struct buf b = {0};
	char *p;

	out[0] = 0;
	if (!read_file_at(AT_FDCWD, "/proc/cpuinfo", 16u << 20, &b) && !buf_put(&b, "", 1)) {
		p = strstr((char *)b.p, "model name");
		p = p ? strchr(p, ':') : NULL;
		if (p)
			snprintf(out, n, "%.*s", (int)strcspn(p + 2, "\n"), p + 2);
	}
	buf_release(&b);
}

/* How many CPUs the workload may use: affinity and quota. */
static double usable_cpus(uint32_t pid)
{
	size_t size = CPU_ALLOC_SIZE(8192);
	cpu_set_t *set = CPU_ALLOC(8192);
	struct cgroup_limits limits;
	double cpus = 0, quota;

	cgroup_limits(pid, &limits);
	quota = limits.cpus;

	if (set && !sched_getaffinity((pid_t)pid, size, set))
		cpus = CPU_COUNT_S(size, set);
	CPU_FREE(set);
	if (quota > 0 && (quota < cpus || cpus <= 0))
		cpus = quota;
	return cpus;
}

static int write_argv(struct trace_writer *w, char *const argv[])
{
	struct rec_meta r = {.key = {(const uint8_t *)META_ARGV, strlen(META_ARGV)}};
	struct buf b = {0};
	int rc = 0;

	for (size_t i = 0; argv[i] && !rc; i++)
		rc = buf_put(&b, argv[i], strlen(argv[i]) + 1);
	r.value = (struct rec_bytes){b.p, b.n};
	if (!rc)
		rc = trace_write(w, REC_K_META, 0, &r);
	buf_release(&b);
	return rc;
}

static int write_workload(struct trace_writer *w, const struct collect_opts *o,
                          const struct invoker *who)
{
	uint32_t pid = o->argv ? (uint32_t)getpid() : o->pids[0];
	char text[4096];
	int rc = meta_write(w, META_COMMAND, o->argv ? "run" : "attach");

	if (o->argv) {
		rc = rc ? rc : write_argv(w, o->argv);
		rc = rc ? rc : meta_write(w, META_USER, who->name);
		if (getcwd(text, sizeof(text)))
			rc = rc ? rc : meta_write(w, META_CWD, text);
	} else {
		struct buf b = {0};

		for (size_t i = 0; i < o->n_pids; i++)
			rc = rc ? rc : buf_printf(&b, "%s%u", i ? "," : "", o->pids[i]);
		rc = rc ? rc : meta_write(w, META_PIDS, (const char *)b.p);
		buf_release(&b);
	}
	snprintf(text, sizeof(text), "%.4g", usable_cpus(pid));
	return rc ? rc : meta_write(w, META_CPUS, text);
}

static int write_machine(struct trace_writer *w)
{
	struct utsname u;
	char text[256];
	int rc = 0;

	if (!uname(&u)) {
		rc = meta_write(w, META_RELEASE, u.release);
		rc = rc ? rc : meta_write(w, META_MACHINE, u.machine);
		rc = rc ? rc : meta_write(w, META_HOST, u.nodename);
	}
	rc = rc ? rc : meta_write_u64(w, META_NCPU, (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	rc = rc ? rc : meta_write_u64(w, META_PAGE_SIZE, (uint64_t)sysconf(_SC_PAGESIZE));
	rc = rc ? rc
	        : meta_write_u64(w, META_MEMORY,
	                         (uint64_t)sysconf(_SC_PHYS_PAGES) *
	                                 (uint64_t)sysconf(_SC_PAGESIZE));
	cpu_model(text, sizeof(text));
	rc = rc ? rc : meta_write(w, META_CPU_MODEL, text);
	chosen("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text));
	rc = rc ? rc : meta_write(w, META_THP, text);
	snprintf(text, sizeof(text), "glibc %s", gnu_get_libc_version());
	return rc ? rc : meta_write(w, META_LIBC, text);
}

int machine_write(struct trace_writer *w, const struct collect_opts *o, const struct invoker *who,
                  const char *features)
{
	static const char *const stacks[] = {
	        [STACKS_AUTO] = "auto", [STACKS_ALL] = "all", [STACKS_OFF] = "off"};
	struct timespec ts;
	int rc = meta_write(w, META_VERSION, MT_VERSION);

	clock_gettime(CLOCK_REALTIME, &ts);
	rc = rc ? rc
	        : meta_write_u64(w, META_WHEN,
	                         (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
	rc = rc ? rc : meta_write(w, META_STACKS, stacks[o->stacks]);
	rc = rc ? rc : meta_write_u64(w, META_FREQ, o->freq_hz);
	rc = rc ? rc : meta_write(w, META_FEATURES, features);
	rc = rc ? rc : write_workload(w, o, who);
	return rc ? rc : write_machine(w);
}
