/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

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
		set.collect.pids = set.pids.pids.v;
		set.collect.n_pids = set.pids.pids.n;
		status = record(&set);
	}
	vec_release(&set.pids.pids);
	return status;
}
