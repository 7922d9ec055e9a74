/* SPDX-License-Identifier: MIT */
/*
 * jit: code in places where its names are not to be had in the usual way.
 *
 *   --spin-ms N     uses a CPU for N ms in spin_in_file()
 *   --generated N   … in code generated at run time, named "generated_spin" by a perf map
 *   --nameless N    … in such code without a perf map
 *   --unlink        deletes its own program first
 *   --fork          the work is done by a child that has ended before this ends
 *   --perf-map F    the perf map's path instead of /tmp/perf-PID.map
 */
#include "truth.h"
#include <sys/mman.h>

/* Counts its argument down to 0. */
#if defined(__x86_64__)
static const unsigned char code[] = {0x48, 0xff, 0xcf, 0x75, 0xfb, 0xc3};
#elif defined(__aarch64__)
static const unsigned char code[] = {0x00, 0x04, 0x00, 0xf1, 0xe1, 0xff,
                                     0xff, 0x54, 0xc0, 0x03, 0x5f, 0xd6};
#else
static const unsigned char code[] = {0};
#endif

__attribute__((noinline)) static void spin_in_file(uint64_t ns)
{
	uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		for (volatile int i = 0; i < 100000; i++)
			;
}

static void spin_generated(uint64_t ns, const char *map)
{
	uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void (*count)(uint64_t);
	FILE *f;

	must(page != MAP_FAILED, "mmap");
	memcpy(page + 64, code, sizeof(code));
	must(!mprotect(page, 4096, PROT_READ | PROT_EXEC), "mprotect");
	__builtin___clear_cache(page, page + 4096);
	if (map) {
		f = fopen(map, "w");
		must(f, map);
		fprintf(f, "%lx 20 before\n%lx %zx generated_spin\n%lx 20 behind\n",
		        (unsigned long)page, (unsigned long)page + 64, sizeof(code),
		        (unsigned long)page + 64 + sizeof(code));
		fclose(f);
	}
	page += 64;
	memcpy(&count, &page, sizeof(count));
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		count(1000000);
}

static void work(int argc, char **argv)
{
	char own[64];
	const char *map = arg(argc, argv, "--perf-map");

	snprintf(own, sizeof(own), "/tmp/perf-%d.map", (int)getpid());
	spin_in_file(arg_u64(argc, argv, "--spin-ms", 0) * MS);
	if (arg(argc, argv, "--generated"))
		spin_generated(arg_u64(argc, argv, "--generated", 0) * MS, map ? map : own);
	if (arg(argc, argv, "--nameless"))
		spin_generated(arg_u64(argc, argv, "--nameless", 0) * MS, NULL);
}

int main(int argc, char **argv)
{
	pid_t pid;

	truth_open(argc, argv);
	if (flag(argc, argv, "--unlink"))
		must(!unlink(argv[0]), "unlink");
	if (flag(argc, argv, "--fork")) {
		pid = fork();
		must(pid >= 0, "fork");
		if (!pid) {
			work(argc, argv);
			_exit(0);
		}
		truth_reap(pid);
		sleep_ns(1500 * MS); /* the child is gone for long when the recording ends */
	} else {
		work(argc, argv);
	}
	truth_task("main");
	return 0;
}
