/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <string.h>

#include "cli/cli.h"

/* The process that a thread belongs to; 0 when there is no such thread. */
static uint32_t process_of(uint32_t tid)
{
	struct buf b = {};
	char path[32], *p;
	uint32_t pid = 0;

	snprintf(path, sizeof(path), "/proc/%u/status", tid);
	if (!read_file_at(AT_FDCWD, path, 1 << 16, &b) && b.p) {
		p = strstr((char *)b.p, "\nTgid:");
		if (p && sscanf(p, "\nTgid: %u", &pid) != 1)
			pid = 0;
	}
	buf_release(&b);
	return pid;
}

/* htop, ps -L and logs name threads: each stands for its process. What is not there is left for
 * collect() to complain about. */
void threads_to_processes(struct pid_list *list)
{
	size_t n = 0;

	for (size_t i = 0; i < list->pids.n; i++) {
		uint32_t tid = list->pids.v[i], pid = process_of(tid);
		size_t k = 0;

		pid = pid ? pid : tid;
		if (pid != tid)
			notice("%u is a thread of process %u, which is recorded with all its "
			       "threads",
			       tid, pid);
		while (k < n && list->pids.v[k] != pid)
			k++;
		list->pids.v[k] = pid;
		n += k == n;
	}
	list->pids.n = n;
}

int cmd_attach(const struct command *cmd, int argc, char **argv)
{
	struct record_settings set;
	int first, status;

	record_defaults(&set);
	status = begin_command(cmd, argc, argv, &set, &first);
	if (status < 0 && first < argc)
		status = fail_usage(cmd, "attach: \"%s\": processes are named with -p PID",
		                    argv[first]);
	if (status < 0 && !set.pids.pids.n)
		status = fail_usage(
		        cmd, "attach: which processes? For example: sudo mpvtrace attach -p 4711");
	if (status < 0) {
		threads_to_processes(&set.pids);
		set.collect.pids = set.pids.pids.v;
		set.collect.n_pids = set.pids.pids.n;
		status = record(&set);
	}
	vec_release(&set.pids.pids);
	return status;
}
