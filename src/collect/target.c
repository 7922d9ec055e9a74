/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collect_priv.h"

/* The child's side: waits for the word, then becomes the command. Never returns. The signal mask
 * is our caller's, as it would be without us. */
static void run_command(char *const argv[], const struct invoker *who, int go_fd, int status_fd)
{
	int failed;
	char byte;

	for (int sig = 1; sig < NSIG; sig++) {
		struct sigaction sa;

		/* What mpvtrace's caller ignores (nohup) stays ignored; our own handlers go. */
		if (!sigaction(sig, NULL, &sa) && sa.sa_handler != SIG_IGN &&
		    sa.sa_handler != SIG_DFL)
			signal(sig, SIG_DFL);
	}
	failed = -invoker_become(who);
	/* Ready: from here it only waits. */
	if (!failed && write(status_fd, &failed, sizeof(failed)) < 0)
		_exit(126);
	while (!failed) {
		ssize_t n = read(go_fd, &byte, 1);

		if (n == 1)
			break;
		if (n == 0)
			_exit(1); /* the recorder died or changed its mind */
		if (errno != EINTR)
			failed = errno;
	}
	if (!failed) {
		execvp(argv[0], argv);
		failed = errno;
	}
	if (write(status_fd, &failed, sizeof(failed)) < 0)
		_exit(126);
	_exit(failed == ENOENT ? 127 : 126);
}

/* The state letter of /proc/PID/stat, 0 = gone. */
static char state_of(pid_t pid)
{
	struct buf b = {0};
	char path[32], state = 0, *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!read_file_at(AT_FDCWD, path, 4096, &b) && b.n) {
		p = memrchr(b.p, ')', b.n);
		if (p && sscanf(p + 1, " %c", &state) != 1)
			state = 0;
	}
	buf_release(&b);
	return state;
}

int target_await_held(struct target *t, struct err *err)
{
	const struct timespec nap = {.tv_nsec = 100000};
	int failed = 0;
	char state = 0;
	ssize_t n;

	do
		n = read(t->status_fd, &failed, sizeof(failed));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(failed))
		return err_set(err, -ECHILD, MT_EXIT_FAIL,
		               "the command's process died before it could start");
	if (failed)
		return err_set(err, -failed, MT_EXIT_FAIL,
		               "cannot become the user to run the command as: %s",
		               strerror(failed));
	/* It said so just before it blocks; its counters are exact once it has. */
	for (int i = 0; i < 10000; i++) {
		state = state_of(t->pid);
		if (state == 'S' || state == 'Z' || !state)
			break;
		nanosleep(&nap, NULL);
	}
	/* Ctrl-C while the programs were being verified: nothing of ours is in its way yet. */
	if (state == 'Z' || !state)
		return err_set(err, -ECHILD, MT_EXIT_FAIL,
		               "the command's process was killed before it could start");
	return 0;
}

int target_launch(struct target *t, char *const argv[], const struct invoker *who, struct err *err)
{
	int go[2] = {-1, -1}, status[2] = {-1, -1};
	void (*old_chld)(int);

	memset(t, 0, sizeof(*t));
	t->go_fd = t->status_fd = t->pidfd = -1;
	if (pipe2(go, O_CLOEXEC) || pipe2(status, O_CLOEXEC))
		goto fail;
	/* Where our caller ignores SIGCHLD the kernel would reap the command itself, and nobody
	 * would learn its status. The command gets what the caller chose. */
	old_chld = signal(SIGCHLD, SIG_DFL);
	t->pid = fork();
	if (t->pid < 0)
		goto fail;
	if (!t->pid) {
		signal(SIGCHLD, old_chld == SIG_IGN ? SIG_IGN : SIG_DFL);
		close(go[1]);
		close(status[0]);
		run_command(argv, who, go[0], status[1]);
	}
	close(go[0]);
	close(status[1]);
	t->go_fd = go[1];
	t->status_fd = status[0];
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	if (t->pidfd < 0)
		return err_set(err, -errno, MT_EXIT_FAIL, "cannot watch the command: %s",
		               strerror(errno));
	return 0;
fail:
	err_set(err, -errno, MT_EXIT_FAIL, "cannot start %s: %s", argv[0], strerror(errno));
	for (int i = 0; i < 2; i++) {
		if (go[i] >= 0)
			close(go[i]);
		if (status[i] >= 0)
			close(status[i]);
	}
	return -1;
}

int target_release(struct target *t, const char *name, struct err *err)
{
	int failed = 0;
	ssize_t n;

	if (write_full(t->go_fd, "g", 1))
		return err_set(err, -EPIPE, MT_EXIT_FAIL,
		               "the command's process died before it could start");
	do
		n = read(t->status_fd, &failed, sizeof(failed));
	while (n < 0 && errno == EINTR);
	close(t->status_fd);
	t->status_fd = -1;
	if (n != sizeof(failed))
		return 0;
	if (failed == ENOENT && !strchr(name, '/'))
		return err_set(err, -failed, MT_EXIT_NOT_FOUND, "%s: command not found", name);
	if (failed == ENOENT)
		return err_set(err, -failed, MT_EXIT_NOT_FOUND,
		               "%s: no such file (or its interpreter is missing)", name);
	return err_set(err, -failed, MT_EXIT_NOT_EXECUTABLE, "%s: cannot be executed: %s", name,
	               strerror(failed));
}

void target_close(struct target *t)
{
	if (t->go_fd >= 0)
		close(t->go_fd); /* a command that was never let go ends here */
	if (t->status_fd >= 0)
		close(t->status_fd);
	if (t->pidfd >= 0)
		close(t->pidfd);
	t->go_fd = t->status_fd = t->pidfd = -1;
}

bool target_exists(uint32_t tid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u", tid);
	return !access(path, F_OK);
}

/* Parent of a process as /proc tells, 0 = gone. */
static uint32_t parent_of(uint32_t pid)
{
	struct buf b = {0};
	char path[32], *p;
	uint32_t ppid = 0;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	if (!read_file_at(AT_FDCWD, path, 4096, &b) && b.n) {
		/* The name in parentheses may hold anything, parentheses too: look from the end. */
		p = memrchr(b.p, ')', b.n);
		if (p && sscanf(p + 1, " %*c %u", &ppid) != 1)
			ppid = 0;
	}
	buf_release(&b);
	return ppid;
}

struct pid_pair {
	uint32_t pid, ppid;
};

int target_descendants(uint32_t **pids, size_t *n)
{
	VEC(struct pid_pair) all = {0};
	struct hmap in = {0};
	struct dirent *e;
	DIR *proc = opendir("/proc");
	bool grew = true;
	int rc = 0;

	if (!proc)
		return -errno;
	while ((e = readdir(proc))) {
		uint64_t pid;

		if (!parse_u64(e->d_name, 1, UINT32_MAX, &pid)) {
			struct pid_pair p = {(uint32_t)pid, parent_of((uint32_t)pid)};

			rc = rc ? rc : vec_push(&all, p);
		}
	}
	closedir(proc);
	for (size_t i = 0; i < *n; i++)
		hmap_put(&in, (*pids)[i], 0, NULL);
	while (grew && !rc) {
		grew = false;
		for (size_t i = 0; i < all.n; i++) {
			uint32_t *more;

			if (!hmap_get(&in, all.v[i].ppid, 0) || hmap_get(&in, all.v[i].pid, 0) ||
			    all.v[i].pid == (uint32_t)getpid())
				continue; /* not ourselves, when it is our shell that we look at */
			more = reallocarray(*pids, *n + 1, sizeof(**pids));
			if (!more || !hmap_put(&in, all.v[i].pid, 0, NULL)) {
				*pids = more ? more : *pids;
				rc = -ENOMEM;
				break;
			}
			*pids = more;
			(*pids)[(*n)++] = all.v[i].pid;
			grew = true;
		}
	}
	hmap_release(&in);
	vec_release(&all);
	return rc;
}

bool process_read(uint32_t pid, uint64_t addr, void *p, size_t n)
{
	struct iovec here = {p, n}, there = {(void *)(uintptr_t)addr, n};

	return pid && process_vm_readv((pid_t)pid, &here, 1, &there, 1, 0) == (ssize_t)n;
}

void helper_end(pid_t *pid, int *sock)
{
	if (*sock >= 0)
		close(*sock);
	*sock = -1;
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	*pid = 0;
}
