/* SPDX-License-Identifier: MIT */
/* features.c: what this machine can record, found by trying. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <bpf/btf.h>

#include "collect_priv.h"
#include "probe_priv.h"

struct rows {
	struct feature_status *v;
	size_t n, max;
};

static struct feature_status *row(struct rows *r, const char *name, bool required, bool ok)
{
	static struct feature_status beyond; /* more rows than the caller has room for */
	struct feature_status *f = r->n < r->max ? &r->v[r->n++] : &beyond;

	memset(f, 0, sizeof(*f));
	f->name = name;
	f->required = required;
	f->ok = ok;
	return f;
}

/* Cut where it is too long. */
static void MT_PRINTF(2, 3) say(char out[200], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, 200, fmt, ap);
	va_end(ap);
}

#define detail(f, ...) say((f)->detail, __VA_ARGS__)
#define remedy(f, ...) say((f)->remedy, __VA_ARGS__)

static bool check_kernel(struct rows *r)
{
	struct feature_status *f;
	struct utsname u;
	unsigned major = 0, minor = 0;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		memset(&u, 0, sizeof(u));
	f = row(r, "kernel", true, major > 5 || (major == 5 && minor >= 15));
	detail(f, "Linux %s %s", u.release, u.machine);
	if (!f->ok)
		remedy(f, "mpvtrace needs Linux 5.15 or later");
	return f->ok;
}

static bool check_root(struct rows *r)
{
	const char *missing = privileges_missing();
	bool confined = !missing && privileges_confined();
	struct feature_status *f = row(r, "privileges", true, !missing && !confined);

	if (confined) {
		detail(f, "those of a user namespace only");
		remedy(f, "this root is not the machine's: run outside the container");
		return false;
	}
	if (!missing) {
		detail(f, "BPF, performance events and /proc of other processes");
		return true;
	}
	detail(f, "%s is missing", missing);
	if (geteuid())
		remedy(f, "run it with sudo");
	else
		remedy(f, "this root lacks it: run outside the container, or give the container %s",
		       missing);
	return false;
}

int kernel_types_error(void)
{
	struct btf *btf;
	int err = access(KERNEL_TYPES, F_OK) ? -errno : 0;

	if (err)
		return err;
	btf = btf__parse(KERNEL_TYPES, NULL);
	err = btf ? -EAGAIN : -errno; /* this time it went well */
	btf__free(btf);
	return err;
}

static struct btf *check_btf(struct rows *r)
{
	struct btf *btf = btf__load_vmlinux_btf();
	struct feature_status *f = row(r, "kernel types (BTF)", true, btf);
	int err = btf ? 0 : kernel_types_error();

	detail(f, KERNEL_TYPES "%s", err == -ENOENT ? " is not there" : "");
	if (err && err != -ENOENT)
		detail(f, KERNEL_TYPES " cannot be read: %s", strerror(-err));
	if (err == -ENOENT)
		remedy(f, "a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current "
		          "distribution's is)");
	return btf;
}

/* One row for a group of tracepoints; `lacking` says what the recording is without. */
static void check_tracepoints(struct rows *r, const struct btf *btf, const char *name,
                              bool required, const char *const *points, const char *lacking)
{
	struct feature_status *f = row(r, name, required, true);

	for (size_t i = 0; points[i]; i++) {
		if (btf && btf_tracepoint_args(btf, points[i])) {
			size_t n = strlen(f->detail);

			snprintf(f->detail + n, sizeof(f->detail) - n, "%s%s",
			         n ? ", " : "tracepoints ", points[i]);
			continue;
		}
		f->ok = false;
		detail(f, "this kernel has no tracepoint %s", points[i]);
		remedy(f, "%s", lacking);
		return;
	}
}

static void check_all_tracepoints(struct rows *r, const struct btf *btf)
{
	static const char *const sched[] = {"sched_switch", "sched_waking", NULL};
	static const char *const life[] = {"task_newtask", "sched_process_exec", "task_rename",
	                                   "sched_process_exit", NULL};
	static const char *const faults[] = {"page_fault_user", "page_fault_kernel", NULL};
	static const char *const pages[] = {"mm_page_alloc", "rss_stat", NULL};
	static const char *const calls[] = {"sys_exit", NULL};
	static const char *const tcp[] = {"inet_sock_set_state", NULL};
	static const char *const irqs[] = {"hrtimer_expire_entry", "irq_handler_entry",
	                                   "softirq_entry", NULL};

	check_tracepoints(r, btf, "switches and wake-ups", true, sched,
	                  "nothing can be recorded without");
	check_tracepoints(r, btf, "tasks: creation, exec, exit", true, life,
	                  "nothing can be recorded without");
	check_tracepoints(r, btf, "first touch, copy-on-write", false, faults,
	                  "reported as null; minor and major faults are counted all the same");
	check_tracepoints(r, btf, "pages behind the faults", false, pages,
	                  "copies and huge pages cannot be told: first-touch bytes are a lower "
	                  "bound, copied ones null");
	check_tracepoints(r, btf, "--messages", false, calls,
	                  "messages and bytes of channels cannot be counted: recording with "
	                  "--messages is refused");
	check_tracepoints(r, btf, "bytes of TCP connections", false, tcp,
	                  "those of connections that are closed while recording are null");
	check_tracepoints(r, btf, "wakes by timers and devices", false, irqs,
	                  "a timer's wake may be charged to the task that it interrupted");
}

static void check_session(struct rows *r, bool able)
{
	struct collect_opts o = {.freq_hz = 99, .stacks = STACKS_AUTO};
	enum log_level level = log_level;
	struct session *s = NULL;
	struct err err = {0};
	struct feature_status *f;
	int rc = -EPERM;

	if (level < LOG_DEBUG)
		log_level = LOG_QUIET;
	if (able)
		rc = session_new(&s, &o, &err);
	log_level = level;
	f = row(r, "BPF programs load and attach", true, !rc);
	if (rc) {
		detail(f, "%s", able ? err.msg : "not tried: see above");
		remedy(f, "%s", able ? "mpvtrace check -vv shows the kernel's own words" : "");
	} else {
		detail(f, "all of them, with ring buffers, task storage and task iterator");
	}
	f = row(r, "on-CPU samples", false, s && strstr(session_features(s), "samples"));
	if (f->ok)
		detail(f, "software CPU clock, one event per CPU");
	else
		detail(f, "%s",
		       s ? "perf_event_open refuses the software clock" : "not tried: see above");
	session_free(s);
}

static void check_maps(struct rows *r, bool able)
{
	struct err err = {0};
	struct perfmaps *p = able ? perfmaps_new(&err) : NULL;
	struct feature_status *f = row(r, "executable mappings", true, p);

	if (p)
		detail(f, "perf MMAP2 records: symbols also for processes that end at once");
	else
		detail(f, "%s", able ? err.msg : "not tried: see above");
	perfmaps_free(p);
}

static void check_kallsyms(struct rows *r)
{
	struct err err = {0};
	int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	struct kallsyms *k = fd >= 0 ? kallsyms_read(fd, &err) : NULL;
	struct feature_status *f = row(r, "kernel symbols", false, k);
	const char *said = strchr(err.msg, ':'); /* after the subject, which the row has already */

	if (k) {
		detail(f, "/proc/kallsyms");
	} else {
		detail(f, "%s", fd < 0 ? strerror(errno) : said ? said + 2 : err.msg);
		remedy(f, "kernel frames stay numbers; sysctl kernel.kptr_restrict=1 shows them to "
		          "root");
	}
	kallsyms_free(k);
	if (fd >= 0)
		close(fd);
}

/* What newer kernels tell, and what follows where this one does not. */
static void check_newer(struct rows *r, const struct btf *btf)
{
	struct feature_status *f;
	bool ok;

	ok = btf && btf_tracepoint_args(btf, "sched_switch") >= 4;
	f = row(r, "state at a switch", false, ok);
	detail(f, "%s", ok ? "an argument of sched_switch" : "this kernel is before 5.18");
	if (!ok)
		remedy(f, "read from the task a moment later: one that is woken right then may "
		          "seem to have slept in another state (D, S)");
	ok = btf && btf_has_helper(btf, "BPF_FUNC_find_vma");
	f = row(r, "locks between processes", false, ok);
	detail(f, "%s",
	       ok ? "the mapping is found as they are waited for (bpf_find_vma)"
	          : "this kernel is before 5.17 (bpf_find_vma)");
	if (!ok)
		remedy(f, "the mapping is looked up in /proc/PID/maps a little later: what a "
		          "process unmaps at once, or dies with, stays an address of its own");
	ok = btf && btf__find_by_name_kind(btf, "mm_rss_stat", BTF_KIND_STRUCT) < 0;
	f = row(r, "copied pages, exactly", false, ok);
	detail(f, "%s", ok ? "faults tell of each change of the RSS" : "this kernel is before 6.2");
	if (!ok)
		remedy(f, "the first write to a page of a file or to the zero page counts as a "
		          "copy, not as first touch");
	ok = btf && btf_tells_of_forks(btf);
	f = row(r, "beginning of forks", false, ok);
	detail(f, "%s",
	       ok ? "tracepoint percpu_alloc_percpu" : "this kernel is before 6.2, or hides it");
	if (!ok)
		remedy(f, "how long fork() copied page tables is null; times of forked processes "
		          "count from when they exist");
}

static void check_kernel_counters(struct rows *r, const struct btf *btf)
{
	struct feature_status *f =
	        row(r, "run-queue delay counters", false, btf && btf_counts_run_delay(btf));

	if (f->ok) {
		detail(f, "sched_info.run_delay of each task");
	} else {
		detail(f, "the kernel was built without CONFIG_SCHED_INFO");
		remedy(f, "runnable time is taken from wake-ups alone");
	}
	f = row(r, "footprint (PSS, USS)", false, !access("/proc/self/smaps_rollup", R_OK));
	detail(f, "%s",
	       f->ok ? "/proc/PID/smaps_rollup, within --footprint-budget"
	             : "this kernel has no /proc/PID/smaps_rollup");
}

size_t collect_features(struct feature_status *out, size_t max)
{
	struct rows r = {out, 0, max};
	bool able = check_kernel(&r);
	struct btf *btf;

	able &= check_root(&r);
	btf = check_btf(&r);
	able &= btf != NULL;
	check_all_tracepoints(&r, btf);
	check_newer(&r, btf);
	check_session(&r, able);
	check_maps(&r, able);
	check_kernel_counters(&r, btf);
	check_kallsyms(&r);
	btf__free(btf);
	return r.n;
}
