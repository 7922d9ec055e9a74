/* SPDX-License-Identifier: MIT */
/*
 * builder.c: a process without privilege that reads the workload's ELF files and makes
 * unwinding tables of them. Such a file may be made to break its reader: then what breaks
 * is this process, which can do nothing that the workload's user could not do anyway. Files
 * come in as descriptors, tables go out as descriptors of memory; what is in them is trusted by
 * nobody.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builder_priv.h"

struct request {
	uint32_t op, id;
};
enum { OP_PRELOAD = 1, OP_BUILD };

/* --- messages with descriptors --------------------------------------------- */

static int send_msg(int sock, const void *msg, size_t n, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec io = {.iov_base = (void *)(uintptr_t)msg, .iov_len = n};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
	ssize_t sent;

	if (n_fds) {
		m.msg_control = control.space;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.h), fds, n_fds * sizeof(int));
	}
	do
		sent = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* 1 and *msg, 0 = nothing now (flags MSG_DONTWAIT), -EPIPE = the other side has gone. */
static int recv_msg(int sock, void *msg, size_t n, int fds[2], int flags)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec io = {.iov_base = msg, .iov_len = n};
	struct msghdr m = {.msg_iov = &io,
	                   .msg_iovlen = 1,
	                   .msg_control = control.space,
	                   .msg_controllen = sizeof(control.space)};
	struct cmsghdr *c;
	ssize_t got;

	fds[0] = fds[1] = -1;
	do
		got = recvmsg(sock, &m, flags | MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	c = got ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		memcpy(fds, CMSG_DATA(c), (n_fds < 2 ? n_fds : 2) * sizeof(int));
	}
	return (size_t)got == n ? 1 : -EPIPE;
}

static void close_pair(const int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* --- in the process -------------------------------------------------------- */

struct worker {
	int sock;
	struct hmap seen; /* (device, inode) of what was preloaded */
	unsigned left;    /* files that may still be */
};

/* Builds the table of fd's file and sends it; with_file: and the file. */
static int answer(const struct worker *w, uint32_t id, int fd, bool with_file)
{
	struct unwind_table t;
	struct built msg = {.id = id, .status = unwind_table_build(&t, fd)};
	int fds[2] = {-1, -1}, rc;
	size_t n = 0;

	if (!msg.status) {
		fds[n] = memfd_create("mpvtrace-table", MFD_CLOEXEC);
		if (fds[n] < 0 || write_full(fds[n], t.words.v, t.words.n * sizeof(t.words.v[0])))
			msg.status = -ENOMEM;
		msg.base_block = t.base_block;
		msg.n_blocks = t.n_blocks;
		msg.n_rows = t.n_rows;
		msg.n_words = (uint32_t)t.words.n;
		if (fds[n] >= 0)
			n++;
	}
	if (msg.status) {
		close_pair(fds);
		n = 0;
	}
	msg.has_table = n > 0;
	if (with_file)
		fds[n++] = fd;
	msg.has_file = with_file;
	rc = send_msg(w->sock, &msg, sizeof(msg), fds, n);
	if (msg.has_table)
		close(fds[0]);
	unwind_table_release(&t);
	return rc;
}

static int open_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int preload(struct worker *w, const char *path, const char *run_path);

/* A library's name as the dynamic linker looks for it, nearly: without its cache, and the
 * usual directories of this machine. What this does not find is loaded when it is seen. */
static void preload_library(struct worker *w, const char *name, const char *run_path,
                            const char *origin)
{
	static const char *const usual[] = {"/lib/x86_64-linux-gnu",
	                                    "/usr/lib/x86_64-linux-gnu",
	                                    "/lib64",
	                                    "/usr/lib64",
	                                    "/lib",
	                                    "/usr/lib",
	                                    "/usr/local/lib",
	                                    "/usr/local/lib64"};
	const char *lists[] = {getenv("LD_LIBRARY_PATH"), run_path};
	char path[4096];

	if (strchr(name, '/')) {
		preload(w, name, run_path);
		return;
	}
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		const char *p = lists[l];

		while (p && *p) {
			int n = (int)strcspn(p, ":"), len;

			if (n >= 7 && !strncmp(p, "$ORIGIN", 7))
				len = snprintf(path, sizeof(path), "%s%.*s/%s", origin, n - 7,
				               p + 7, name);
			else
				len = snprintf(path, sizeof(path), "%.*s/%s", n, p, name);
			if (n && len < (int)sizeof(path) && !preload(w, path, run_path))
				return;
			p += p[n] ? n + 1 : n;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
		if (snprintf(path, sizeof(path), "%s/%s", usual[i], name) < (int)sizeof(path) &&
		    !preload(w, path, run_path))
			return;
	}
}

static void preload_needed(struct worker *w, int fd, const char *path, const char *run_path)
{
	struct buf names = {0};
	const char *s, *end, *slash = strrchr(path, '/');
	char origin[4096], *where = NULL;

	snprintf(origin, sizeof(origin), "%.*s", slash ? (int)(slash - path) : 1,
	         slash ? path : ".");
	if (!unwind_needed(fd, &names) && names.n) {
		s = (const char *)names.p;
		end = s + names.n;
		if (*s)
			preload(w, s, NULL); /* the dynamic linker */
		s += strlen(s) + 1;
		if (s < end && *s)
			where = strdup(s); /* … of the file itself, not of who needs it */
		for (s += s < end ? strlen(s) + 1 : 0; s < end; s += strlen(s) + 1)
			preload_library(w, s, where ? where : run_path, origin);
	}
	free(where);
	buf_release(&names);
}

/* 0: the file is there (now or before). */
static int preload(struct worker *w, const char *path, const char *run_path)
{
	int fd = open_regular(path), rc = 0;
	struct stat st;
	bool added = false;

	if (fd < 0)
		return -ENOENT;
	if (!fstat(fd, &st))
		hmap_put(&w->seen, st.st_dev, st.st_ino, &added);
	if (added && w->left) {
		w->left--;
		rc = answer(w, 0, fd, true);
		preload_needed(w, fd, path, run_path);
	}
	close(fd);
	return rc;
}

/* Where the shell or execvp() would find it. */
static bool find_command(const char *name, char path[4096])
{
	const char *p = getenv("PATH");

	if (strchr(name, '/')) {
		snprintf(path, 4096, "%s", name);
		return true;
	}
	for (p = p ? p : "/bin:/usr/bin"; *p;) {
		int n = (int)strcspn(p, ":");

		snprintf(path, 4096, "%.*s%s%s", n, p, n ? "/" : "", name);
		if (!access(path, X_OK))
			return true;
		p += p[n] ? n + 1 : n;
	}
	return false;
}

/* The command, or the interpreter that its first line names. depth: of scripts whose interpreter is
 * a script. The kernel allows five, and a file may name itself. */
static void preload_command(struct worker *w, const char *name, unsigned depth)
{
	char path[4096], line[256], *word, *save = NULL;

	for (; depth < 5 && name && find_command(name, path); depth++) {
		int fd = open_regular(path);
		ssize_t n = fd >= 0 ? pread_full(fd, line, sizeof(line) - 1, 0) : -1;

		if (fd >= 0)
			close(fd);
		if (n < 2)
			return;
		if (memcmp(line, "#!", 2) != 0) {
			preload(w, path, NULL);
			return;
		}
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
		name = word = strtok_r(line + 2, " \t", &save);
		if (!word)
			return;
		preload_command(w, word, depth + 1);
		if (!strcmp(word, "/usr/bin/env"))
			name = strtok_r(NULL, " \t", &save);
		else
			return;
	}
}

/* Our own kernel's vDSO: everybody's. */
static void answer_vdso(const struct worker *w)
{
	const ElfW(Ehdr) *h = (const void *)getauxval(AT_SYSINFO_EHDR);
	int fd = h ? memfd_create("vdso", MFD_CLOEXEC) : -1;
	size_t size;

	if (fd < 0)
		return;
	size = h->e_shoff + (size_t)h->e_shnum * h->e_shentsize;
	if (!write_full(fd, h, size))
		answer(w, BUILD_ID_VDSO, fd, false);
	close(fd);
}

static void serve(struct worker *w, char *const argv[])
{
	const struct built done = {.id = BUILD_ID_DONE};
	struct request req;
	int fds[2];

	while (recv_msg(w->sock, &req, sizeof(req), fds, 0) == 1) {
		if (req.op == OP_PRELOAD) {
			answer_vdso(w);
			if (argv)
				preload_command(w, argv[0], 0);
			send_msg(w->sock, &done, sizeof(done), NULL, 0);
		} else if (req.op == OP_BUILD && fds[0] >= 0) {
			answer(w, req.id, fds[0], false);
		}
		close_pair(fds);
	}
}

static void run_worker(int sock, char *const argv[], const struct invoker *who)
{
	static const int not_mine[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct rlimit none = {0, 0};
	struct worker w = {.sock = sock, .left = 256};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "mpvtrace-tables");
	for (size_t i = 0; i < ARRAY_LEN(not_mine); i++)
		signal(not_mine[i], SIG_IGN);
	setrlimit(RLIMIT_CORE, &none);
	/* Nothing of the recorder's but the socket, and stderr. */
	if (dup2(sock, 3) != 3 || syscall(SYS_close_range, 4, ~0u, 0))
		_exit(1);
	w.sock = 3;
	close(0);
	close(1);
	if (invoker_become(who) || privileges_drop(NULL))
		_exit(1);
	serve(&w, argv);
	_exit(0);
}

/* --- the recorder's side --------------------------------------------------- */

int builder_start(struct builder *b, char *const argv[], const struct invoker *who)
{
	const struct request req = {.op = OP_PRELOAD};
	int pair[2];

	*b = (struct builder){.sock = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	b->pid = fork();
	if (!b->pid) {
		close(pair[0]);
		run_worker(pair[1], argv, who);
	}
	close(pair[1]);
	b->sock = pair[0];
	if (b->pid < 0) {
		builder_stop(b);
		return -EAGAIN;
	}
	return send_msg(b->sock, &req, sizeof(req), NULL, 0);
}

void builder_stop(struct builder *b)
{
	/* It would end by itself, but may be in the middle of a large file. */
	helper_end(&b->pid, &b->sock);
}

int builder_request(struct builder *b, uint32_t id, int fd)
{
	const struct request req = {.op = OP_BUILD, .id = id};

	return b->sock < 0 ? -EPIPE : send_msg(b->sock, &req, sizeof(req), &fd, 1);
}

int builder_receive(struct builder *b, struct built *out, int *table_fd, int *file_fd)
{
	int fds[2], rc;

	*table_fd = *file_fd = -1;
	if (b->sock < 0)
		return -EPIPE;
	rc = recv_msg(b->sock, out, sizeof(*out), fds, MSG_DONTWAIT);
	if (rc != 1) {
		close_pair(fds);
		return rc;
	}
	/* As many as it says, or what it says is not to be trusted. */
	if ((unsigned)out->has_table + out->has_file !=
	    (unsigned)(fds[0] >= 0) + (unsigned)(fds[1] >= 0)) {
		close_pair(fds);
		return -EPIPE;
	}
	if (out->has_table)
		*table_fd = fds[0];
	if (out->has_file)
		*file_fd = fds[out->has_table ? 1 : 0];
	return 1;
}
