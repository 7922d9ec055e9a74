/* SPDX-License-Identifier: MIT */
/*
 * faults: a child touches pages in known ways, so that its page faults are known.
 *   --write N (1000)  new anonymous pages, first touched by a write
 *   --read N (700)    new anonymous pages, read first (the zero page), then written
 *   --cow N (500)     pages that the parent wrote before the fork, written by the child
 *   --file FILE       read through a mapping after asking for its pages to be dropped (major
 *                     faults, best effort)
 * Huge pages are refused for all of it. Truth: "phase" {tid, name, pages, minflt, majflt} as
 * the child counted them, "task" and "reaped" of the child, "total" {tasks}.
 */
#include "truth.h"

static size_t page;

static struct rusage usage(void)
{
	struct rusage ru;

	must(!getrusage(RUSAGE_THREAD, &ru), "getrusage");
	return ru;
}

static void phase_end(const char *name, uint64_t pages, const struct rusage *before)
{
	struct rusage now = usage();

	truth("{\"t\":\"phase\",\"tid\":%d,\"name\":\"%s\",\"pages\":%llu,\"minflt\":%ld,"
	      "\"majflt\":%ld}",
	      gettid_(), name, (unsigned long long)pages, now.ru_minflt - before->ru_minflt,
	      now.ru_majflt - before->ru_majflt);
}

static char *fresh(uint64_t pages)
{
	char *p = mmap(NULL, pages * page + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	               -1, 0);

	must(p != MAP_FAILED, "mmap");
	madvise(p, pages * page, MADV_NOHUGEPAGE);
	return p;
}

static void write_all(volatile char *p, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		p[i * page] = 1;
}

static unsigned read_all(const volatile char *p, uint64_t pages)
{
	unsigned sum = 0;

	for (uint64_t i = 0; i < pages; i++)
		sum += (unsigned char)p[i * page];
	return sum;
}

static void read_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct rusage before;
	uint64_t pages;
	off_t size;
	char *p;

	must(fd >= 0, path);
	size = lseek(fd, 0, SEEK_END);
	must(size > 0, path);
	pages = ((uint64_t)size + page - 1) / page;
	p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	must(p != MAP_FAILED, "mmap");
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	madvise(p, (size_t)size, MADV_RANDOM);
	before = usage();
	read_all(p, pages);
	phase_end("file", pages, &before);
	munmap(p, (size_t)size);
	close(fd);
}

static void child(int argc, char **argv, char *inherited, uint64_t cow)
{
	uint64_t w = arg_u64(argc, argv, "--write", 1000), r = arg_u64(argc, argv, "--read", 700);
	const char *file = arg(argc, argv, "--file");
	struct rusage before;
	char *p;

	usage(); /* the child's own stack and library pages break away here, not in a phase */
	truth("{\"t\":\"begin\",\"tid\":%d}", gettid_());
	before = usage();
	write_all(inherited, cow);
	phase_end("cow", cow, &before);
	p = fresh(w);
	before = usage();
	write_all(p, w);
	phase_end("first_write", w, &before);
	p = fresh(r);
	before = usage();
	read_all(p, r);
	phase_end("first_read", r, &before);
	before = usage();
	write_all(p, r);
	phase_end("write_after_read", r, &before);
	if (file)
		read_file(file);
	truth_task("child");
	_exit(0);
}

int main(int argc, char **argv)
{
	uint64_t cow = arg_u64(argc, argv, "--cow", 500);
	char *inherited;
	pid_t pid;

	truth_open(argc, argv);
	page = (size_t)sysconf(_SC_PAGESIZE);
	inherited = fresh(cow);
	write_all(inherited, cow);
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid)
		child(argc, argv, inherited, cow);
	truth_reap(pid);
	truth("{\"t\":\"total\",\"tasks\":2}");
	truth_task("main");
	return 0;
}
