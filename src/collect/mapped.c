/* SPDX-License-Identifier: MIT */
/*
 * mapped.c: the workload's files are opened while that is possible: before they are deleted,
 * their process ends, its mount namespace goes, or our privilege does. They are only read at the
 * end (symbols.c), without privilege.
 *
 * A descriptor that we hold keeps a file system from being unmounted, and the workload may well
 * want to do that. So descriptors are kept only of files on the root file system, which nobody
 * unmounts; other files are copied into memory, when they are likely to be gone by the end or
 * small.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "collect_priv.h"

#define COPY_ALWAYS (1u << 20)
#define COPY_MAX    (32u << 20) /* what will be out of reach by the end */
#define COPY_TOTAL  (256u << 20)
#define SLACK_NS    50000000 /* file times are those of the last timer tick */

static int open_regular(const char *path, int flags)
{
	struct stat st;
	int fd;

	if (stat(path, &st) || !S_ISREG(st.st_mode))
		return -ENOENT;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | flags);
	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		return -ENOENT;
	}
	return fd < 0 ? -errno : fd;
}

/* May the user for whom we record read it? We can read more than he. */
static bool is_his(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return !access(path, R_OK);
}

static uint64_t mount_of(int dirfd, const char *path)
{
#ifdef STATX_MNT_ID
	struct statx sx;

	if (!statx(dirfd, path, AT_EMPTY_PATH, STATX_MNT_ID, &sx) && (sx.stx_mask & STATX_MNT_ID))
		return sx.stx_mnt_id;
#else
	(void)dirfd, (void)path;
#endif
	return 0;
}

bool mapped_on_root(int fd)
{
	uint64_t root = mount_of(AT_FDCWD, "/");

	return root && mount_of(fd, "") == root;
}

/* 0 when the process is gone. */
static uint64_t mount_namespace(const char *pid)
{
	char path[48];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

/* The file itself if the kernel lets us at it, else by its name as the process sees it. */
static int open_mapped(uint32_t pid, const struct sym_map *m)
{
	char path[PATH_MAX];
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%u/map_files/%" PRIx64 "-%" PRIx64, pid, m->start,
	         m->end);
	fd = open_regular(path, 0);
	if (fd >= 0)
		return fd;
	n = snprintf(path, sizeof(path), "/proc/%u/root%s", pid, m->file);
	if (n < (int)sizeof(path))
		fd = open_regular(path, 0);
	return fd;
}

static int copy(struct mapped *c, int fd, uint64_t size)
{
	int mem = memfd_create("mpvtrace-copy", MFD_CLOEXEC);
	off_t off = 0;
	ssize_t n = 1;

	while (mem >= 0 && n > 0 && (uint64_t)off < size)
		n = sendfile(mem, fd, &off, (size_t)(size - (uint64_t)off));
	c->copied += (uint64_t)off;
	if (mem >= 0 && (uint64_t)off < size) {
		close(mem);
		return -EIO;
	}
	return mem < 0 ? -errno : mem;
}

/* What is kept of an open file: itself, a copy, or nothing (-1). */
static int keep(struct mapped *c, uint32_t pid, int fd, const char *file)
{
	static const char tail[] = " (deleted)";
	size_t len = strlen(file);
	char own[16];
	struct stat st;
	bool leaves;
	int kept = -1;

	if (!c->root_mount) {
		c->root_mount = mount_of(AT_FDCWD, "/");
		c->namespace = mount_namespace("self");
	}
	if (c->root_mount && mount_of(fd, "") == c->root_mount)
		return fd;
	snprintf(own, sizeof(own), "%u", pid);
	leaves = mount_namespace(own) != c->namespace ||
	         (len >= sizeof(tail) && !strcmp(file + len - (sizeof(tail) - 1), tail));
	if (!fstat(fd, &st) && st.st_size > 0 &&
	    st.st_size <= (off_t)(leaves ? COPY_MAX : COPY_ALWAYS) &&
	    c->copied + (uint64_t)st.st_size <= COPY_TOTAL)
		kept = copy(c, fd, (uint64_t)st.st_size);
	close(fd);
	return kept;
}

static bool is_jitdump(const char *file)
{
	const char *base = strrchr(file, '/');
	int end = 0;

	return base && sscanf(base, "/jit-%*u.dump%n", &end) == 0 && end && !base[end];
}

void mapped_keep(struct mapped *c, struct symbolizer *sym, uint32_t space, uint32_t pid,
                 const struct sym_map *m)
{
	bool dump = is_jitdump(m->file);
	int fd;

	if (!dump && !symbolizer_wants_file(sym, m))
		return;
	fd = open_mapped(pid, m);
	if (fd < 0)
		return;
	if (!is_his(fd)) {
		close(fd);
		return;
	}
	if (dump) {
		symbolizer_jit(sym, space, fd, true);
		return;
	}
	fd = keep(c, pid, fd, m->file);
	if (fd >= 0)
		symbolizer_file(sym, m, fd);
}

/* --- perf maps ------------------------------------------------------------------------------- */

static uint64_t real_ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

/* Anybody may leave a file of that name: it must be the process's own, and of its own time, not of
 * an earlier process with this number. image_ns: when its program began, 0 = before us. */
static bool is_its_own(int fd, uint32_t pid, uint64_t image_ns)
{
	struct timespec mono, real;
	struct stat st, proc;
	char path[24];
	bool alive;

	snprintf(path, sizeof(path), "/proc/%u", pid);
	alive = !stat(path, &proc);
	if (fstat(fd, &st) ||
	    (st.st_uid && st.st_uid != getuid() && (!alive || st.st_uid != proc.st_uid)))
		return false;
	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &real);
	return !image_ns ||
	       real_ns(&st.st_mtim) + SLACK_NS >= real_ns(&real) - (real_ns(&mono) - image_ns);
}

void mapped_perf_map(struct symbolizer *sym, const struct live_task *t, uint32_t space)
{
	uint32_t ns_pid = t->ns_tgid ? t->ns_tgid : t->tgid;
	char path[64];
	int fd;

	if (!symbolizer_wants_jit(sym, space))
		return;
	snprintf(path, sizeof(path), "/proc/%u/root/tmp/perf-%u.map", t->tgid, ns_pid);
	fd = open_regular(path, O_NOFOLLOW);
	if (fd < 0 && ns_pid == t->tgid) {
		snprintf(path, sizeof(path), "/tmp/perf-%u.map", ns_pid);
		fd = open_regular(path, O_NOFOLLOW);
	}
	if (fd < 0)
		return;
	if (is_his(fd) && is_its_own(fd, t->tgid, t->image_ns))
		symbolizer_jit(sym, space, fd, false);
	else
		close(fd);
}
