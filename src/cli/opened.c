/* SPDX-License-Identifier: MIT */
/* A trace file opened for a command, and output files beside it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

/* --- output ----------------------------------------------------------------------- */

int out_open(struct out_file *of, const char *path, bool overwrite, struct err *err)
{
	struct stat st;
	bool exists;
	int fd;

	*of = (struct out_file){.path = path};
	if (!path || !strcmp(path, "-")) {
		of->path = "stdout";
		of->f = stdout;
		return 0;
	}
	if (!stat(path, &st) && S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, MT_EXIT_OUTPUT, "%s is a directory: name a file in it",
		               path);
	exists = !lstat(path, &st);
	/* /dev/null, a terminal or a FIFO holds nothing that could be lost. */
	if (exists && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
		overwrite = true;
	/* output_open() refuses as well, atomically, but cannot know which option named it. */
	if (exists && !overwrite)
		return err_set(err, -EEXIST, MT_EXIT_OUTPUT,
		               "%s exists already: choose another name, or replace it with -f",
		               path);
	fd = output_open(path, overwrite, err);
	if (fd < 0)
		return fd;
	of->created = !exists;
	of->f = fdopen(fd, "w");
	if (!of->f) {
		fd = -errno;
		out_discard(of);
		return err_set(err, fd, MT_EXIT_FAIL, "%s: %s", path, strerror(-fd));
	}
	return 0;
}

int out_spares(const char *path, const struct session *s, struct err *err)
{
	struct stat in, out;

	if (!path || !strcmp(path, "-") || fstat(s->fd, &in) || stat(path, &out) ||
	    in.st_dev != out.st_dev || in.st_ino != out.st_ino)
		return 0;
	return err_set(err, -EINVAL, MT_EXIT_USAGE,
	               "%s is the trace that is to be read: write to another file", path);
}

int out_close(struct out_file *of, struct err *err)
{
	bool bad;
	int code;

	if (!of->f || of->f == stdout) /* stdout is checked at the end, once for all */
		return 0;
	bad = ferror(of->f);
	errno = 0;
	bad |= fclose(of->f) != 0;
	code = errno ? errno : EIO;
	of->f = NULL;
	if (!bad) {
		of->created = false;
		return 0;
	}
	return err_set(err, -code, MT_EXIT_OUTPUT, "%s: cannot write: %s", of->path,
	               strerror(code));
}

void out_discard(struct out_file *of)
{
	if (of->f && of->f != stdout)
		fclose(of->f);
	/* As the user: in a directory of his the name may lead elsewhere by now. */
	if (of->created && !privileges_drop(NULL))
		unlink(of->path);
	*of = (struct out_file){};
}

int secret_name(char *out, size_t n, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return err_set(err, -errno, MT_EXIT_FAIL, "no random numbers: %s", strerror(errno));
	snprintf(out, n, "%s/mpvtrace-%016llx.mpv", dir && *dir == '/' ? dir : "/tmp",
	         (unsigned long long)random);
	return 0;
}

/* --- input ------------------------------------------------------------------------ */

static int open_input(const char *path, struct err *err)
{
	struct stat st;
	int fd;

	/* O_NONBLOCK: a FIFO without a writer must give the error below, not wait. */
	fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
	                       : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 && errno == ENOENT && !strcmp(path, DEFAULT_TRACE))
		return err_set(err, -ENOENT, MT_EXIT_TRACE_UNREADABLE,
		               "there is no " DEFAULT_TRACE
		               " in this directory: name a trace file, or "
		               "record one with `sudo mpvtrace run CMD`");
	if (fd < 0)
		return err_set(err, -errno, MT_EXIT_TRACE_UNREADABLE, "%s: %s", path,
		               strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, -EINVAL, MT_EXIT_TRACE_UNREADABLE,
		               "%s is %s: a trace is read in any order and must be a regular file; "
		               "save it "
		               "first",
		               strcmp(path, "-") ? path : "stdin",
		               S_ISDIR(st.st_mode) ? "a directory" : "a pipe, terminal or device");
	}
	return fd;
}

int session_open(struct session *s, const char *path, struct err *err)
{
	int fd;

	*s = (struct session){.path = path, .fd = -1};
	fd = open_input(path, err);
	if (fd < 0)
		return fd;
	s->fd = fd;
	return 0;
}

int session_open_fd(struct session *s, int fd, const char *path, struct err *err)
{
	*s = (struct session){.path = path, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)};
	if (s->fd < 0)
		return err_set(err, -errno, MT_EXIT_FAIL, "%s: %s", path, strerror(errno));
	return 0;
}

/* Does it mean exactly one task? A path leads to one; --task may mean many. */
static bool is_one_task(const struct model *m, const char *name)
{
	size_t n = 0;
	uint64_t tid;
	bool number;

	if (!name)
		return false;
	number = !parse_u64(name, 1, UINT32_MAX, &tid);
	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		n += number ? t->tid == tid : t->comm && !strcmp(t->comm, name);
	}
	return n == 1;
}

int session_load(struct session *s, const struct model_opts *opts, struct err *err)
{
	const char *name = strcmp(s->path, "-") ? s->path : "stdin";
	int rc;

	/* The file may come from anywhere, and `sudo mpvtrace report` is easily typed. */
	rc = privileges_drop(err);
	if (rc)
		return rc;
	s->reader = trace_reader_new(trace_source_fd(&s->fd), err);
	if (!s->reader)
		return err_wrap(err, -EINVAL, "%s", name);
	s->model = model_load(s->reader, opts, err);
	if (!s->model)
		return err_wrap(err, -EINVAL, "%s", name);
	if (!is_one_task(s->model, s->wanted.task))
		s->wanted.task = NULL;
	rc = report_build_opts(&s->report, s->model, &s->wanted, err);
	return rc ? err_wrap(err, rc, "%s", name) : 0;
}

void session_release(struct session *s)
{
	report_release(&s->report);
	model_free(s->model);
	trace_reader_free(s->reader);
	if (s->fd > 2)
		close(s->fd);
	*s = (struct session){.fd = -1};
}

int session_quality(const struct session *s)
{
	const struct trace_info *info = model_trace_info(s->model);
	char what[160];

	if (info->damaged_blocks || (info->complete && info->truncated)) {
		fprintf(stderr, "mpvtrace: %s is damaged: %s; what is whole was used\n", s->path,
		        report_damage(what, sizeof(what), info));
		return MT_EXIT_TRACE_DAMAGED;
	}
	if (!info->complete)
		notice("%s was not finished: mpvtrace is still recording, or was ended before it "
		       "could; "
		       "the report goes as far as the file does",
		       s->path);
	return MT_EXIT_OK;
}
