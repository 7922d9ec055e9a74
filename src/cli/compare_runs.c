/* SPDX-License-Identifier: MIT */
/*
 * Two commands run in turn. Each run is recorded and read by a process of its own, as recording
 * ends with giving up all privileges; what comes back are figures, in shared memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

/* What a run's process leaves behind. */
struct outcome {
	int rc;
	bool done;
	struct err err;
	struct compare_run run;
};

static volatile sig_atomic_t stop_signal;

static void on_signal(int sig)
{
	stop_signal = sig;
}

/* --- in the run's own process -------------------------------------------------------------- */

/* What the commands print would be mixed with the table; and none may eat another's input. */
static int silence(struct err *err)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		return err_set(err, -errno, MT_EXIT_FAIL, "/dev/null: %s", strerror(errno));
	close(fd);
	return 0;
}

static int read_back(const struct compare_settings *set, int fd, struct compare_run *run,
                     struct err *err)
{
	struct session s = {.fd = -1};
	struct model_opts opts;
	int rc;

	view_model_opts(&set->view, &opts);
	rc = session_open_fd(&s, fd, "the recording", err);
	s.wanted.watch = set->view.watch;
	if (!rc)
		rc = session_load(&s, &opts, err);
	if (!rc)
		compare_run_of(run, &s.report);
	session_release(&s);
	return rc;
}

static int record_one(const struct compare_settings *set, const char *command, const char *path,
                      struct out_file *trace, struct compare_run *run, struct err *err)
{
	char *argv[] = {"/bin/sh", "-c", (char *)command, NULL}, self[40];
	struct collect_result res = {.exit_status = -1};
	struct record_settings rec;
	int rc, fd;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(trace->f));
	fd = open(self, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, MT_EXIT_OUTPUT, "%s cannot be read back: %s", path,
		               strerror(errno));
	record_defaults(&rec);
	rec.collect.argv = argv;
	rec.collect.user = set->user;
	rec.collect.output = path;
	rec.collect.overwrite = true;
	rc = silence(err);
	if (!rc)
		rc = collect(&rec.collect, &res, err);
	if (set->keep && !rc)
		trace->created = false; /* stays, whatever happens now */
	else if (!rc)
		out_discard(trace); /* the open descriptor is enough */
	if (!rc && res.disk_full)
		rc = err_set(err, -ENOSPC, MT_EXIT_DISK_FULL, "the disk filled up while recording");
	if (!rc)
		rc = read_back(set, fd, run, err);
	close(fd);
	return rc;
}

static void run_child(const struct compare_settings *set, const char *command, const char *path,
                      struct outcome *o)
{
	struct out_file trace = {};

	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	o->rc = out_open(&trace, path, set->out.overwrite, &o->err);
	if (!o->rc)
		o->rc = record_one(set, command, path, &trace, &o->run, &o->err);
	out_discard(&trace);
	o->done = true;
	_exit(0);
}

/* --- in ours ---------------------------------------------------------------------------------- */

static void wait_child(pid_t pid)
{
	bool told = false;

	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
		/* Ctrl-C reaches both of us; a signal to this process does not. */
		if (stop_signal == SIGTERM && !told)
			kill(pid, SIGTERM);
		told |= stop_signal == SIGTERM;
	}
}

static int one_run(const struct compare_settings *set, const char *command, const char *path,
                   struct outcome *o, struct err *err)
{
	pid_t pid;

	memset(o, 0, sizeof(*o));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_set(err, -errno, MT_EXIT_FAIL, "no new process: %s", strerror(errno));
	if (!pid)
		run_child(set, command, path, o);
	wait_child(pid);
	if (stop_signal)
		return 0;
	if (!o->done)
		return err_set(err, -ECHILD, MT_EXIT_FAIL,
		               "the process that recorded ended before it was done");
	if (o->rc)
		*err = o->err;
	return o->rc;
}

static int trace_name(const struct compare_settings *set, unsigned side, unsigned run, char *out,
                      size_t n, struct err *err)
{
	if (!set->keep)
		return secret_name(out, n, err);
	if ((size_t)snprintf(out, n, "%s.%c%u.mpv", set->keep, side ? 'b' : 'a', run + 1) >= n)
		return err_set(err, -ENAMETOOLONG, MT_EXIT_USAGE, "%s: %s", set->keep,
		               strerror(ENAMETOOLONG));
	return 0;
}

/* What the commands need is in memory then, for both alike. */
static int warm_up(const struct compare_settings *set, struct outcome *o, struct err *err)
{
	struct compare_settings plain = *set;
	char path[4096];
	int rc = 0;

	plain.keep = NULL;
	for (unsigned i = 0; i < 2 * set->warmup && !stop_signal && !rc; i++) {
		notice("warm-up %u of %u: %c", i / 2 + 1, set->warmup, i % 2 ? 'B' : 'A');
		rc = trace_name(&plain, i % 2, i / 2, path, sizeof(path), err);
		if (!rc)
			rc = one_run(&plain, set->command[i % 2], path, o, err);
	}
	return rc;
}

static int run_all(const struct compare_settings *set, struct compare *c, struct outcome *o,
                   struct err *err)
{
	unsigned runs = set->runs ? set->runs : DEFAULT_RUNS;
	char path[4096];
	int rc;

	for (unsigned i = 0; i < 2 * runs && !stop_signal; i++) {
		unsigned side = i % 2;

		notice("run %u of %u: %c", i / 2 + 1, runs, side ? 'B' : 'A');
		rc = trace_name(set, side, i / 2, path, sizeof(path), err);
		if (!rc)
			rc = one_run(set, set->command[side], path, o, err);
		if (!rc && !stop_signal && vec_push(&c->side[side].runs, o->run))
			rc = err_set(err, -ENOMEM, MT_EXIT_FAIL, "%s", strerror(ENOMEM));
		if (rc)
			return rc;
	}
	return 0;
}

int compare_record(const struct compare_settings *set, struct compare *c, struct err *err)
{
	struct sigaction act = {.sa_handler = on_signal}, old_int, old_term;
	struct outcome *o =
	        mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (o == MAP_FAILED)
		return err_set(err, -ENOMEM, MT_EXIT_FAIL, "%s", strerror(errno));
	rc = collect_allowed(err);
	for (unsigned side = 0; side < 2; side++)
		fmt_safe(c->side[side].name, sizeof(c->side[side].name), set->command[side]);
	sigaction(SIGINT, &act, &old_int);
	sigaction(SIGTERM, &act, &old_term);
	rc = rc ? rc : warm_up(set, o, err);
	rc = rc ? rc : run_all(set, c, o, err);
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	munmap(o, sizeof(*o));
	if (!rc && (!c->side[0].runs.n || !c->side[1].runs.n))
		rc = err_set(err, -EINTR, MT_EXIT_FAIL,
		             "interrupted before both commands had run once");
	return rc;
}
