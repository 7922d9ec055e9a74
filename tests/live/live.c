/* SPDX-License-Identifier: MIT */
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char live_dir[128];
static char sources_dir[512], build_dir[1100];

/* What is freed at the end of a test. */
static char **keep;
static size_t n_keep, cap_keep;
static json_t *keep_json[64];
static size_t n_keep_json;

static char *keep_text(char *s)
{
	if (n_keep == cap_keep) {
		cap_keep = cap_keep ? 2 * cap_keep : 256;
		keep = realloc(keep, cap_keep * sizeof(*keep));
		cr_assert(keep);
	}
	cr_assert(s);
	return keep[n_keep++] = s;
}

static json_t *keep_json_value(json_t *j)
{
	cr_assert(j && n_keep_json < sizeof(keep_json) / sizeof(keep_json[0]));
	return keep_json[n_keep_json++] = j;
}

const char *fmt(const char *format, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, format);
	cr_assert(vasprintf(&s, format, ap) >= 0);
	va_end(ap);
	return keep_text(s);
}

bool slow_machine(void)
{
	return getenv("MT_SLOW_MACHINE");
}

const char *scaled(unsigned n)
{
	return fmt("%u", slow_machine() ? n / 10 : n);
}

bool kernel_before(unsigned major, unsigned minor)
{
	unsigned a = 0, b = 0;
	struct utsname u;

	uname(&u);
	sscanf(u.release, "%u.%u", &a, &b);
	return a < major || (a == major && b < minor);
}

const char *rounds(unsigned n)
{
	return fmt("%u", slow_machine() ? n / 50 : n);
}

const char *mpvtrace(void)
{
	return fmt("%s/mpvtrace", build_dir);
}

const char *workload(const char *name)
{
	if (strchr(name, '.'))
		return fmt("%s/tests/workloads/%s", sources_dir, name);
	return fmt("%s/tests/workloads/%s", build_dir, name);
}

const char *go_cache(void)
{
	struct stat st;

	/* Who builds as another user could not remove it. */
	if (stat(build_dir, &st) || st.st_uid != geteuid())
		return fmt("GOCACHE=%s/go-cache", live_dir);
	return fmt("GOCACHE=%s/go-cache", build_dir);
}

static void find_build(void)
{
	const char *b = getenv("MPVTRACE_BUILD");

	if (!b)
		b = "build";
	cr_assert(getcwd(sources_dir, sizeof(sources_dir)));
	snprintf(build_dir, sizeof(build_dir), "%s%s%s", b[0] == '/' ? "" : sources_dir,
	         b[0] == '/' ? "" : "/", b);
}

void live_init(void)
{
	if (geteuid())
		cr_skip_test("needs root");
	find_build();
	cr_assert(!access(mpvtrace(), X_OK), "no %s", mpvtrace());
	/* Started through sudo or not, a test says itself who is meant to have called sudo. */
	unsetenv("SUDO_UID");
	unsetenv("SUDO_GID");
	unsetenv("SUDO_USER");
	umask(022);
	snprintf(live_dir, 128, "%s/mpvtrace-live.XXXXXX",
	         getenv("TMPDIR") && strlen(getenv("TMPDIR")) < 80 ? getenv("TMPDIR") : "/tmp");
	cr_assert(mkdtemp(live_dir));
	cr_assert(!chmod(live_dir, 0755) && !chdir(live_dir));
	/* Daemons come back to us, so that none is left behind. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	remove(path);
	return 0;
}

static void kill_children(void)
{
	char *list = slurp(fmt("/proc/self/task/%d/children", (int)getpid()));

	for (char *save, *s = strtok_r(list, " \n", &save); s; s = strtok_r(NULL, " \n", &save))
		kill(atoi(s), SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

void live_fini(void)
{
	if (!live_dir[0])
		return;
	kill_children();
	(void)!chdir("/");
	nftw(live_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	while (n_keep)
		free(keep[--n_keep]);
	free(keep);
	keep = NULL;
	cap_keep = 0;
	while (n_keep_json)
		json_decref(keep_json[--n_keep_json]);
}

/* --- processes ------------------------------------------------------------------ */

uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SEC + (uint64_t)ts.tv_nsec;
}

void sleep_s(double seconds)
{
	struct timespec ts = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static bool is_python(const char *path, unsigned before)
{
	struct proc p = run(ARGS(
	        path, "-c",
	        fmt("import sys; sys.exit(not (3, 8) <= sys.version_info < (3, %u))", before)));

	return !p.status;
}

size_t live_pythons(char out[][256], size_t max, unsigned before)
{
	const char *home = getenv("HOME"), *more = getenv("MPVTRACE_PYTHONS");
	char *places = strdup(fmt("/usr/bin/python3 /usr/local/bin/python3 "
	                          "%s/.pyenv/versions/3.*/bin/python3 %s",
	                          home ? home : "/root", more ? more : ""));
	char *save = NULL;
	size_t n = 0;

	for (char *w = strtok_r(places, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		glob_t g = {0};

		if (!glob(w, 0, NULL, &g))
			for (size_t i = 0; i < g.gl_pathc && n < max; i++)
				if (is_python(g.gl_pathv[i], before))
					snprintf(out[n++], 256, "%s", g.gl_pathv[i]);
		globfree(&g);
	}
	free(places);
	return n;
}

char *slurp(const char *path)
{
	size_t n = 0, cap = 65536;
	char *s = malloc(cap);
	int fd = open(path, O_RDONLY);
	ssize_t got;

	cr_assert(s);
	while (fd >= 0 && (got = read(fd, s + n, cap - n - 1)) > 0) {
		n += (size_t)got;
		if (cap - n < 4096) {
			char *grown = realloc(s, cap *= 2);

			cr_assert(grown);
			s = grown;
		}
	}
	if (fd >= 0)
		close(fd);
	s[n] = 0;
	return keep_text(s);
}

bool file_holds(const char *path, const char *text, double seconds)
{
	uint64_t until = mono_ns() + (uint64_t)(seconds * 1e9);

	do {
		char *s = slurp(path);
		bool found = strstr(s, text);

		free(keep[--n_keep]);
		if (found)
			return true;
		sleep_s(0.02);
	} while (mono_ns() < until);
	return false;
}

static size_t count_tasks(pid_t pid)
{
	char path[64];
	glob_t g = {0};
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/*", (int)pid);
	n = glob(path, GLOB_NOSORT, NULL, &g) ? 0 : g.gl_pathc;
	globfree(&g);
	return n;
}

void await_tasks(pid_t pid, size_t n)
{
	uint64_t until = mono_ns() + 60 * SEC;

	while (count_tasks(pid) != n && mono_ns() < until)
		sleep_s(0.01);
	cr_assert_eq(count_tasks(pid), n, "process %d has %zu tasks, not %zu", (int)pid,
	             count_tasks(pid), n);
}

void await_recording(const struct proc *p)
{
	cr_assert(file_holds(p->err_path, "mpvtrace: recording (", 60), "it does not record:\n%s",
	          slurp(p->err_path));
}

bool have_command(const char *name)
{
	return run(ARGS("/bin/sh", "-c", fmt("PATH=$PATH:/usr/sbin:/sbin command -v %s", name)))
	               .status == 0;
}

static void child_side(const struct proc *p, const char *const *argv, const struct proc_opts *o)
{
	int in = open(o->input ? o->input : "/dev/null", O_RDONLY);
	int out = open(p->out_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	int err = open(p->err_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

	setpgid(0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	signal(SIGPIPE, SIG_DFL);
	if (in < 0 || out < 0 || err < 0 || chdir(o->cwd ? o->cwd : live_dir))
		_exit(99);
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	close_range(3, ~0u, 0);
	for (const char *const *e = o->env; e && *e; e++)
		putenv((char *)(uintptr_t)*e);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

void proc_start(struct proc *p, const char *const *argv, const struct proc_opts *o)
{
	static const struct proc_opts defaults;
	static unsigned serial;

	if (!o)
		o = &defaults;
	memset(p, 0, sizeof(*p));
	serial++;
	snprintf(p->out_path, sizeof(p->out_path), "%s/out.%u", live_dir, serial);
	snprintf(p->err_path, sizeof(p->err_path), "%s/err.%u", live_dir, serial);
	p->deadline_ns =
	        mono_ns() + (o->timeout_s ? o->timeout_s : 60) * SEC * (slow_machine() ? 5 : 1);
	p->pid = fork();
	cr_assert(p->pid >= 0, "fork");
	if (!p->pid)
		child_side(p, argv, o);
	setpgid(p->pid, p->pid);
}

void proc_wait(struct proc *p)
{
	struct rusage ru;
	bool killed = false;
	int status;
	pid_t got;

	while ((got = wait4(p->pid, &status, WNOHANG, &ru)) == 0) {
		if (mono_ns() > p->deadline_ns) {
			kill(-p->pid, SIGKILL);
			killed = true;
		}
		sleep_s(0.002);
	}
	cr_assert(got == p->pid, "wait4");
	p->status = killed                ? -1
	            : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
	                                  : WEXITSTATUS(status);
	p->maxrss_kb = ru.ru_maxrss;
	p->out = slurp(p->out_path);
	p->err = slurp(p->err_path);
}

struct proc run_with(const char *const *argv, const struct proc_opts *o)
{
	struct proc p;

	proc_start(&p, argv, o);
	proc_wait(&p);
	return p;
}

struct proc run(const char *const *argv)
{
	return run_with(argv, NULL);
}

/* --- a recording --------------------------------------------------------------------- */

json_t *load_json(const char *path)
{
	json_error_t e;
	json_t *j = json_load_file(path, 0, &e);

	cr_assert(j, "%s: line %d: %s", path, e.line, e.text);
	return keep_json_value(j);
}

json_t *load_truth(const char *path)
{
	json_t *all = keep_json_value(json_array());
	char *text = slurp(path);
	json_error_t e;

	for (char *save, *s = strtok_r(text, "\n", &save); s; s = strtok_r(NULL, "\n", &save)) {
		json_t *j = json_loads(s, 0, &e);

		cr_assert(j, "truth: %s in %s", e.text, s);
		json_array_append_new(all, j);
	}
	return all;
}

static size_t append(const char **argv, size_t n, const char *const *more)
{
	for (; *more; more++) {
		cr_assert(n < 60);
		argv[n++] = *more;
	}
	return n;
}

void record_start(struct recording *r, const char *const *opts, const char *const *cmd,
                  const struct proc_opts *o)
{
	static unsigned serial;
	const char *argv[72];
	bool placed = false;
	size_t n = 0, from;

	memset(r, 0, sizeof(*r));
	serial++;
	snprintf(r->trace, sizeof(r->trace), "%s/t%u.mpv", live_dir, serial);
	snprintf(r->json_path, sizeof(r->json_path), "%s/t%u.json", live_dir, serial);
	snprintf(r->truth_path, sizeof(r->truth_path), "%s/t%u.truth", live_dir, serial);
	n = append(argv, n, ARGS(mpvtrace(), "run", "-o", r->trace, "--json", r->json_path));
	n = append(argv, n, opts);
	argv[n++] = "--";
	from = n;
	n = append(argv, n, cmd);
	for (size_t i = from; i < n; i++)
		if (!strcmp(argv[i], "TRUTH")) {
			argv[i] = r->truth_path;
			placed = true;
		}
	if (!placed)
		n = append(argv, n, ARGS("--truth", r->truth_path));
	argv[n] = NULL;
	proc_start(&r->p, argv, o);
}

void record_finish(struct recording *r)
{
	proc_wait(&r->p);
	cr_assert(r->p.status >= 0, "mpvtrace did not end in time; stderr:\n%s", r->p.err);
	cr_assert(!access(r->json_path, R_OK), "no JSON report (status %d); stderr:\n%s",
	          r->p.status, r->p.err);
	r->json = load_json(r->json_path);
	r->truth = load_truth(r->truth_path);
}

struct recording record_with(const char *const *opts, const char *const *cmd,
                             const struct proc_opts *o)
{
	struct recording r;

	record_start(&r, opts, cmd, o);
	record_finish(&r);
	return r;
}

struct recording record(const char *const *opts, const char *const *cmd)
{
	return record_with(opts, cmd, NULL);
}
