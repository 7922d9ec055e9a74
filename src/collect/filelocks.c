/* SPDX-License-Identifier: MIT */
/*
 * Who has the locks on files when the recording stops, from /proc/locks: who took one without
 * waiting was seen by nobody. A line of a holder, and one of a waiter, which is passed over:
 *	1: FLOCK  ADVISORY  WRITE 4711 fe:00:10970890 0 EOF
 *	1: -> FLOCK  ADVISORY  WRITE 4712 fe:00:10970890 0 EOF
 * Those of open file descriptions (OFDLCK) have no process; nor has one whose taker has ended and
 * left it to a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "holds_priv.h"

#define LOCKS_MAX (1u << 20) /* bytes read */
#define MINORBITS 20         /* of the kernel's own dev_t */

/* The process's first thread, if it is one of those that are followed. */
static uint32_t followed(const struct holds *h, uint32_t pid)
{
	for (size_t i = 0; i < h->tasks.n; i++)
		if (h->tasks.v[i].tid == pid)
			return h->tasks.v[i].id;
	return 0;
}

static int put_line(struct holds *h, const char *line)
{
	unsigned major, minor, pid;
	unsigned long long inode;
	struct rec_holds r = {0};
	char kind[16];

	if (sscanf(line, "%*u: %15s %*15s %*15s %u %x:%x:%llu", kind, &pid, &major, &minor,
	           &inode) != 5)
		return 0;
	r.task = followed(h, pid);
	r.space = (uint64_t)major << MINORBITS | minor;
	r.addr = inode;
	r.evidence = !strcmp(kind, "FLOCK")   ? HOLD_FLOCK
	             : !strcmp(kind, "POSIX") ? HOLD_RECORD_LOCK
	                                      : 0;
	return r.task && r.evidence ? trace_write(h->w, REC_K_HOLDS, h->ts, &r) : 0;
}

int filelocks_write(struct holds *h)
{
	struct buf b = {0};
	int rc = 0;

	/* What cannot be read tells nothing; it is no error of the recording. */
	if (!read_file_at(AT_FDCWD, "/proc/locks", LOCKS_MAX, &b) && !buf_put(&b, "", 1))
		for (char *line = (char *)b.p, *end; line && *line && !rc; line = end) {
			end = strchr(line, '\n');
			if (end)
				*end++ = '\0';
			rc = put_line(h, line);
		}
	buf_release(&b);
	return rc;
}
