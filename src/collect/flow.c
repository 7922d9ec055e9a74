/* SPDX-License-Identifier: MIT */
/*
 * flow.c: what went through the TCP connections that are open when a recording begins or ends, by
 * the kernel's own counters. Those that close meanwhile: bpf/flow.bpf.c. A descriptor of the
 * process is copied for that, as only the socket itself can be asked.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>

#include "collect_priv.h"

#define DESCRIPTORS_MAX 65536 /* looked at, of all processes: 0.1 s */
#define SOCKETS_MAX     4096  /* asked */

enum { STATE_TIME_WAIT = 6, STATE_CLOSE_WAIT = 8, STATE_LAST_ACK = 9, STATE_CLOSING = 11 };

struct walk {
	struct trace_writer *w;
	struct hmap seen; /* inodes: processes share sockets */
	uint64_t flags;
	size_t descriptors, sockets;
};

/* The other end has closed: that counts as a byte. */
static bool has_ended(unsigned state)
{
	return state == STATE_CLOSE_WAIT || state == STATE_LAST_ACK || state == STATE_CLOSING ||
	       state == STATE_TIME_WAIT;
}

/* false: no TCP connection. */
static bool ask(int fd, struct rec_flow *r)
{
	struct tcp_info info;
	socklen_t n = sizeof(info);
	int queued = 0, protocol = 0;
	socklen_t pn = sizeof(protocol);

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &pn) || protocol != IPPROTO_TCP ||
	    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) ||
	    n < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans))
		return false;
	if (ioctl(fd, SIOCINQ, &queued) || queued < 0) /* one that listens */
		return false;
	r->sent_bytes = info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
	r->received_bytes =
	        info.tcpi_bytes_received - has_ended(info.tcpi_state) - (uint64_t)queued;
	return true;
}

static int one_socket(struct walk *k, int pidfd, int number, uint64_t inode)
{
	struct rec_flow r = {.inode = inode, .flags = k->flags};
	bool added = false, known;
	int fd;

	if (!hmap_put(&k->seen, inode, 0, &added))
		return -ENOMEM;
	if (!added || k->sockets >= SOCKETS_MAX)
		return 0;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0)
		return 0; /* closed meanwhile */
	k->sockets++;
	known = ask(fd, &r);
	close(fd);
	return known ? trace_write(k->w, REC_K_FLOW, now_ns(), &r) : 0;
}

static int one_process(struct walk *k, uint32_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), rc = 0;
	const struct dirent *e;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = pidfd >= 0 ? opendir(path) : NULL;
	while (dir && !rc && k->descriptors < DESCRIPTORS_MAX && (e = readdir(dir))) {
		char to[64];
		uint64_t inode;
		ssize_t n = readlinkat(dirfd(dir), e->d_name, to, sizeof(to) - 1);

		if (n <= 0)
			continue;
		k->descriptors++;
		to[n] = '\0';
		if (sscanf(to, "socket:[%" SCNu64 "]", &inode) == 1)
			rc = one_socket(k, pidfd, atoi(e->d_name), inode);
	}
	if (dir)
		closedir(dir);
	if (pidfd >= 0)
		close(pidfd);
	return rc;
}

int flow_first(struct trace_writer *w, const uint32_t *pids, size_t n)
{
	struct walk k = {.w = w, .flags = FLOW_F_FIRST};
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++)
		rc = one_process(&k, pids[i]);
	hmap_release(&k.seen);
	return rc;
}

int flow_last(struct trace_writer *w, struct drain *d)
{
	struct walk k = {.w = w};
	const struct live_task *t;
	size_t pos = 0;
	int rc = 0;

	while (!rc && (t = drain_next_alive(d, &pos)))
		if (t->tid == t->tgid)
			rc = one_process(&k, t->tgid);
	hmap_release(&k.seen);
	return rc;
}
