/* SPDX-License-Identifier: MIT */
/* The commands and their options: the one place where either is listed. */
#include <limits.h>
#include <string.h>

#include "cli/cli.h"

#define DAY_NS  (24 * 3600 * 1000000000ull)
#define STR_(x) #x
#define STR(x)  STR_(x)

static const char *stacks_choice(size_t i)
{
	static const char *const words[] = {
	        [STACKS_AUTO] = "auto", [STACKS_ALL] = "all", [STACKS_OFF] = "off"};

	return i < ARRAY_LEN(words) ? words[i] : NULL;
}

static const char *color_choice(size_t i)
{
	static const char *const words[] = {
	        [COLOR_AUTO] = "auto", [COLOR_ALWAYS] = "always", [COLOR_NEVER] = "never"};

	return i < ARRAY_LEN(words) ? words[i] : NULL;
}

/* The report's own list ("run, runnable, …") as words. */
static const char *sort_choice(size_t i)
{
	static char words[16][24];
	const char *p = report_sort_keys();

	if (i >= ARRAY_LEN(words))
		return NULL;
	for (size_t k = 0; k < i && *p; k++) {
		p += strcspn(p, ",");
		p += strspn(p, ", ");
	}
	if (!*p)
		return NULL;
	snprintf(words[i], sizeof(words[i]), "%.*s", (int)strcspn(p, ","), p);
	return words[i];
}

static const char *format_choice(size_t i)
{
	return i < n_exporters ? exporters[i].name : NULL;
}

static const char *by_choice(size_t i)
{
	static const char *const words[] = {
	        [EXPORT_BY_NAME] = "name",
	        [EXPORT_BY_TASK] = "task",
	        [EXPORT_BY_PROCESS] = "process",
	        [EXPORT_BY_LOCK] = "lock",
	};

	return i < ARRAY_LEN(words) ? words[i] : NULL;
}

/* Every view of any format, each once. */
static const char *view_choice(size_t i)
{
	size_t found = 0;

	for (size_t f = 0; f < n_exporters; f++) {
		for (size_t v = 0; exporters[f].views[v]; v++) {
			bool earlier = false;

			for (size_t g = 0; g < f && !earlier; g++)
				for (size_t w = 0; exporters[g].views[w]; w++)
					earlier |= !strcmp(exporters[g].views[w],
					                   exporters[f].views[v]);
			if (!earlier && found++ == i)
				return exporters[f].views[v];
		}
	}
	return NULL;
}

/* clang-format off */
static const struct opt record_opts[] = {
#define TO(member) .offset = offsetof(struct record_settings, member)
	{ 'o', "output", "FILE", OPT_STRING, COMPLETE_FILE, TO(collect.output),
	  .help = "write the trace to FILE (default " DEFAULT_TRACE ", or the next free name)" },
	{ 'd', "duration", "TIME", OPT_DURATION, TO(collect.duration_ns), .min = 1000000, .max = 365 * DAY_NS,
	  .help = "stop recording after TIME; the workload goes on" },
	{ 'F', "freq", "HZ", OPT_UINT, TO(collect.freq_hz), .max = 10000,
	  .help = "on-CPU samples per second and CPU (default " STR(DEFAULT_FREQ_HZ) "); 0 = none" },
	{ 0, "stacks", "WHICH", OPT_ENUM, TO(collect.stacks), .choice = stacks_choice,
	  .help = "call stacks of waits: auto takes them where blocked time is (default), all at every "
		  "wait, which costs more" },
	{ 0, "wake-stacks", NULL, OPT_FLAG, TO(collect.wake_stacks),
	  .help = "the waker's call stack at every wake-up, too, for the wake view; costs more" },
	{ 0, "messages", NULL, OPT_FLAG, TO(collect.messages),
	  .help = "count messages and bytes through each pipe, socket and queue; slows every system call of "
		  "the machine a little" },
	{ 0, "buffer", "SIZE", OPT_BYTES, TO(collect.buffer_bytes), .min = 4096, .max = 4ull << 30,
	  .help = "all ring buffers together (default 16M for each CPU, at most 128M)" },
	{ 0, "footprint-budget", "PERMILLE", OPT_UINT, TO(collect.footprint_permille), .max = 1000,
	  .help = "share of wall time for reading PSS and USS, in thousandths (default "
		  STR(DEFAULT_FOOTPRINT_PERMILLE) "); 0 = do not read them" },
	{ 0, "no-pages", NULL, OPT_FLAG, TO(collect.no_pages),
	  .help = "do not look at page faults: what tasks touch first and copy stays unknown; a program "
		  "that does little but touch fresh memory, or start others, runs faster" },
	{ 0, "no-symbols", NULL, OPT_FLAG, TO(collect.no_symbols),
	  .help = "do not look up function names at the end" },
	{ 0, "no-report", NULL, OPT_FLAG, TO(no_report),
	  .help = "only write the trace (and --json)" },
#undef TO
};

static const struct opt user_opts[] = {
	{ 0, "user", "NAME", OPT_STRING, COMPLETE_USER, offsetof(struct record_settings, collect.user),
	  .help = "run the workload as NAME (default: the user who called sudo); root is possible" },
};

static const struct opt attach_opts[] = {
	{ 'p', "pid", "PID[,PID…]", OPT_PIDS, .offset = offsetof(struct record_settings, pids),
	  .help = "the processes, with all threads and descendants; may be given several times" },
};

static const struct opt snapshot_opts[] = {
#define TO(member) .offset = offsetof(struct record_settings, member)
	{ 'd', "duration", "TIME", OPT_DURATION, TO(collect.duration_ns), .min = 1000000, .max = 60000000000ull,
	  .help = "how long to watch (default 0.5s)" },
	{ 0, "json", "FILE", OPT_STRING, COMPLETE_FILE, TO(view.json),
	  .help = "write what was seen as JSON to FILE (wait_graph, deadlocks); - = to stdout instead of the text" },
#undef TO
};

static const struct opt view_opts[] = {
#define TO(member) .offset = offsetof(struct view_settings, member)
	{ 0, "json", "FILE", OPT_STRING, COMPLETE_FILE, TO(json),
	  .help = "write the report as JSON to FILE as well; - = to stdout instead of the text" },
	{ 0, "sort", "COLUMN", OPT_WORD, TO(sort), .choice = sort_choice,
	  .help = "order of the tasks" },
	{ 0, "top", "N", OPT_UINT, TO(top), .min = 1, .max = 1000000,
	  .help = "at most N rows in each table (default 10)" },
	{ 0, "task", "TID|NAME", OPT_STRING, TO(task),
	  .help = "only the tasks with this thread id or name; worker-* = names that begin so; the "
		  "critical path is that of the task, if it is one" },
	{ 0, "watch", "TID|NAME", OPT_STRING, TO(watch),
	  .help = "how long this task, when what it waited for had come (a timer, data), was ready or kept by "
		  "a lock before it ran; main = the first process's main thread" },
	{ 0, "since", "TIME", OPT_DURATION, TO(since_ns), .max = 365 * DAY_NS,
	  .help = "leave out what was before TIME, counted from the start of the workload" },
	{ 0, "until", "TIME", OPT_DURATION, TO(until_ns), .min = 1, .max = 365 * DAY_NS,
	  .help = "leave out what was after TIME" },
	{ 0, "color", "WHEN", OPT_ENUM, TO(color), .choice = color_choice,
	  .help = "mark what is wrong; auto = on a terminal" },
#undef TO
};

static const struct opt export_opts[] = {
#define TO(member) .offset = offsetof(struct export_settings, member)
	{ 0, "format", "FORMAT", OPT_WORD, TO(format), .choice = format_choice,
	  .help = "what to write (default: as the name of --output ends: .svg; .folded, .txt or nothing: folded)" },
	{ 0, "view", "VIEW", OPT_WORD, TO(view), .choice = view_choice,
	  .help = "which times (default: the first that the format has)" },
	{ 'o', "output", "FILE", OPT_STRING, COMPLETE_FILE, TO(output),
	  .help = "write to FILE (default stdout)" },
	{ 0, "base", "FILE", OPT_STRING, COMPLETE_TRACE, TO(base),
	  .help = "show the difference from this trace: folded lines have two weights, first the one of FILE; "
		  "svg is red where there is more than in FILE, blue where there is less. Python's threads and "
		  "processes ([workers]) begin with the program's own function, so that they can be compared" },
	{ 0, "task", "TID|NAME", OPT_STRING, TO(task),
	  .help = "only the tasks with this thread id or name; worker-* = names that begin so" },
	{ 0, "by", "WHOM", OPT_ENUM, TO(by), .choice = by_choice,
	  .help = "what stacks begin with: process and thread by name (default), each task, each process, "
		  "or the lock waited for" },
	{ 0, "reverse", NULL, OPT_FLAG, TO(reverse),
	  .help = "innermost frame first: who calls what all the time is spent in" },
	{ 0, "min", "SHARE", OPT_STRING, TO(min),
	  .help = "sum up what is smaller: percent of all (0.5%) or pixels of a page of 1200 (2px); "
		  "default 0.5px for svg, nothing for folded" },
	{ 0, "no-marks", NULL, OPT_FLAG, TO(no_marks),
	  .help = "folded: no _[k], _[i], _[p] behind names" },
	{ 0, "since", "TIME", OPT_DURATION, TO(since_ns), .max = 365 * DAY_NS,
	  .help = "leave out what was before TIME, counted from the start of the workload" },
	{ 0, "until", "TIME", OPT_DURATION, TO(until_ns), .min = 1, .max = 365 * DAY_NS,
	  .help = "leave out what was after TIME" },
#undef TO
};

static const struct opt compare_opts[] = {
#define TO(member) .offset = offsetof(struct compare_settings, member)
	{ 0, "json", "FILE", OPT_STRING, COMPLETE_FILE, TO(view.json),
	  .help = "write the comparison as JSON to FILE as well; - = to stdout instead of the text" },
	{ 0, "watch", "TID|NAME", OPT_STRING, TO(view.watch),
	  .help = "compare how long this task, when what it waited for had come, was ready or kept by a lock "
		  "before it ran; main = the first process's main thread" },
	{ 0, "color", "WHEN", OPT_ENUM, TO(view.color), .choice = color_choice,
	  .help = "mark what is wrong; auto = on a terminal" },
#undef TO
}, commands_opts[] = {
#define TO(member) .offset = offsetof(struct compare_settings, member)
	{ 0, "a", "CMD", OPT_STRING, TO(command[0]),
	  .help = "run this shell command as A …" },
	{ 0, "b", "CMD", OPT_STRING, TO(command[1]),
	  .help = "… and this one as B, in turn" },
	{ 'n', "runs", "RUNS", OPT_UINT, TO(runs), .min = 1, .max = 1000,
	  .help = "how often each (default " STR(DEFAULT_RUNS) ")" },
	{ 'w', "warmup", "RUNS", OPT_UINT, TO(warmup), .max = 1000,
	  .help = "run each so often before, and count that for nothing (default 0)" },
	{ 'o', "output", "PREFIX", OPT_STRING, COMPLETE_FILE, TO(keep),
	  .help = "keep the traces, as PREFIX.a1.mpv, PREFIX.b1.mpv …" },
	{ 0, "user", "NAME", OPT_STRING, COMPLETE_USER, TO(user),
	  .help = "run the commands as NAME (default: the user who called sudo); root is possible" },
#undef TO
};

static const struct opt output_opts[] = {
	{ 'f', "overwrite", NULL, OPT_FLAG, .offset = offsetof(struct output_settings, overwrite),
	  .help = "replace output files that exist" },
};

static const struct opt general_opts[] = {
	{ 'q', "quiet", NULL, OPT_FLAG, .offset = offsetof(struct general, quiet),
	  .help = "say nothing on stderr but errors" },
	{ 'v', "verbose", NULL, OPT_COUNT, .offset = offsetof(struct general, verbose),
	  .help = "say more; -vv still more" },
	{ 'h', "help", NULL, OPT_HELP,
	  .help = "show this help" },
};

const struct opt_group
	record_group = { "Recording", record_opts, ARRAY_LEN(record_opts) },
	user_group = { "Running the command", user_opts, ARRAY_LEN(user_opts) },
	attach_group = { "Processes", attach_opts, ARRAY_LEN(attach_opts) },
	snapshot_group = { "Snapshot", snapshot_opts, ARRAY_LEN(snapshot_opts) },
	view_group = { "Report", view_opts, ARRAY_LEN(view_opts) },
	export_group = { "Export", export_opts, ARRAY_LEN(export_opts) },
	compare_group = { "Comparison", compare_opts, ARRAY_LEN(compare_opts) },
	commands_group = { "Commands run now", commands_opts, ARRAY_LEN(commands_opts) },
	output_group = { "Output files", output_opts, ARRAY_LEN(output_opts) },
	general_group = { "General", general_opts, ARRAY_LEN(general_opts) };

static const struct opt_use run_uses[] = {
	{ &record_group, 0 },
	{ &user_group, 0 },
	{ &view_group, offsetof(struct record_settings, view) },
	{ &output_group, offsetof(struct record_settings, out) },
	{ &general_group, offsetof(struct record_settings, general) },
}, attach_uses[] = {
	{ &attach_group, 0 },
	{ &record_group, 0 },
	{ &view_group, offsetof(struct record_settings, view) },
	{ &output_group, offsetof(struct record_settings, out) },
	{ &general_group, offsetof(struct record_settings, general) },
}, snapshot_uses[] = {
	{ &attach_group, 0 },
	{ &snapshot_group, 0 },
	{ &output_group, offsetof(struct record_settings, out) },
	{ &general_group, offsetof(struct record_settings, general) },
}, report_uses[] = {
	{ &view_group, offsetof(struct report_settings, view) },
	{ &output_group, offsetof(struct report_settings, out) },
	{ &general_group, offsetof(struct report_settings, general) },
}, export_uses[] = {
	{ &export_group, 0 },
	{ &output_group, offsetof(struct export_settings, out) },
	{ &general_group, offsetof(struct export_settings, general) },
}, compare_uses[] = {
	{ &commands_group, 0 },
	{ &compare_group, 0 },
	{ &output_group, offsetof(struct compare_settings, out) },
	{ &general_group, offsetof(struct compare_settings, general) },
}, plain_uses[] = {
	{ &general_group, offsetof(struct plain_settings, general) },
};

/* Ends the list by itself, however long it gets. */
#define EXAMPLES(...) ((const struct example[]){ __VA_ARGS__, { NULL, NULL } })

const struct command commands[] = {
	{ .name = "run", .operands = "[--] CMD [ARG…]", .run = cmd_run, .complete = COMPLETE_COMMAND,
	  .opts = { run_uses, ARRAY_LEN(run_uses), .stop_at_operand = true },
	  .summary = "start a program, record it to its end, print the report",
	  .about =
	  "Starts CMD, records it with all its threads and descendants until the last one has gone "
	  "(or --duration, or Ctrl-C), writes the trace file and prints the report. Needs root; CMD runs "
	  "as the user who called sudo, with that user's groups, HOME, terminal, environment and working "
	  "directory. Options of mpvtrace come before CMD; what follows CMD is CMD's.\n"
	  "The exit status is that of CMD, 128 + the signal's number when a signal ended it.\n",
	  .examples = EXAMPLES(
		{ "sudo mpvtrace run ./program input.txt", "Record the program, print the report." },
		{ "sudo mpvtrace run -d 10 --json out.json -- python3 server.py --port 8000",
		  "The first ten seconds of a server, the report as JSON beside the text. The server runs on." },
		{ "sudo mpvtrace run -o build.mpv make -j8", "A whole build with all its processes, kept in build.mpv." }
	  ) },
	{ .name = "attach", .operands = "-p PID[,PID…]", .run = cmd_attach,
	  .opts = { attach_uses, ARRAY_LEN(attach_uses), false },
	  .summary = "record processes that are running already",
	  .about =
	  "Records running processes from now on, with all their threads and descendants, until they have "
	  "ended (or --duration, or Ctrl-C, which leaves them alone). Then as run: trace file and report. "
	  "Needs root.\n",
	  .examples = EXAMPLES(
		{ "sudo mpvtrace attach -p 4711 -d 10", "Ten seconds of process 4711." },
		{ "sudo mpvtrace attach -p \"$(pgrep -d, -x gunicorn)\" -d 30", "All processes of a name." }
	  ) },
	{ .name = "snapshot", .operands = "-p PID[,PID…]", .run = cmd_snapshot,
	  .opts = { snapshot_uses, ARRAY_LEN(snapshot_uses), false },
	  .summary = "who waits for whom in a running program, now; finds deadlocks",
	  .about =
	  "Watches running processes for half a second, with what their tasks have been waiting for since "
	  "before, and prints who waits for whom: deadlocks first, then each task that others wait for and "
	  "those below it. The processes go on; no file is kept. Needs root. The exit status is 0 also when "
	  "there is a deadlock.\n",
	  .examples = EXAMPLES(
		{ "sudo mpvtrace snapshot -p 4711", "Why does process 4711 hang?" },
		{ "sudo mpvtrace snapshot -p 4711 --json - | jq .deadlocks", "The same for a script." }
	  ) },
	{ .name = "report", .operands = "[FILE]", .run = cmd_report, .complete = COMPLETE_TRACE,
	  .opts = { report_uses, ARRAY_LEN(report_uses), false },
	  .summary = "print the report of a trace file again",
	  .about =
	  "Prints the report of the trace FILE (default " DEFAULT_TRACE "; - = stdin, which must be a file). "
	  "Needs no root, and not the machine on which it was recorded. A file that is still being written, "
	  "or was cut, is reported as far as it goes.\n",
	  .examples = EXAMPLES(
		{ "mpvtrace report", "The report of " DEFAULT_TRACE " in this directory." },
		{ "mpvtrace report build.mpv --task cc1 --sort blocked --top 20",
		  "Only the compilers, the most blocked first." },
		{ "mpvtrace report build.mpv --json - | jq .parallelism.average", "A number for a script." }
	  ) },
	{ .name = "export", .operands = "[FILE]", .run = cmd_export, .complete = COMPLETE_TRACE,
	  .opts = { export_uses, ARRAY_LEN(export_uses), false },
	  .summary = "write a trace file's data for other tools",
	  .about =
	  "Writes what the trace FILE (default " DEFAULT_TRACE ") holds in a form that other tools read, "
	  "to stdout or to --output. Needs no root.\n",
	  .examples = EXAMPLES(
		{ "mpvtrace export --format svg --view off-cpu -o off.svg", "A flame graph of the waits." },
		{ "mpvtrace export --view on-cpu --by task --task 'worker-*' -o workers.svg",
		  "Each worker's running code." },
		{ "mpvtrace export after.mpv --base before.mpv --view off-cpu -o diff.svg",
		  "What waits longer than before (red), what less (blue)." },
		{ "mpvtrace export build.mpv --format folded --view on-cpu -o build.folded",
		  "Samples of the running code, for any viewer of folded stacks." }
	  ) },
	{ .name = "compare", .operands = "[A B]", .run = cmd_compare, .complete = COMPLETE_TRACE,
	  .opts = { compare_uses, ARRAY_LEN(compare_uses), false },
	  .summary = "two traces, or two commands, next to each other, and which to choose",
	  .about =
	  "Prints one table for the trace files A and B: time, CPUs used and what kept them idle, GIL, locks, "
	  "channels, start of tasks, memory, switches; then what the difference of the wall times is made of, "
	  "and a recommendation, or that the numbers do not settle it. Threads or processes? Before or after a "
	  "fix? Needs no root.\n"
	  "With --a and --b it runs these two shell commands in turn, A B A B …, records each run, and shows "
	  "medians with the least and the largest. What they print on stdout is thrown away, and stdin is "
	  "empty. Ctrl-C ends it and shows the runs that are complete. Needs root; the commands run as the user "
	  "who called sudo.\n",
	  .examples = EXAMPLES(
		{ "mpvtrace compare threads.mpv processes.mpv", "Two recordings." },
		{ "sudo mpvtrace compare --a 'python3 job.py --threads' --b 'python3 job.py --processes' -n 5",
		  "Five runs of each, recorded now." },
		{ "mpvtrace compare before.mpv after.mpv --json - | jq .speedup_ratio", "A number for a script." }
	  ) },
	{ .name = "check", .operands = "[FILE]", .run = cmd_check, .complete = COMPLETE_TRACE,
	  .opts = { plain_uses, ARRAY_LEN(plain_uses), false },
	  .summary = "what this machine can record; or is this trace file whole",
	  .about =
	  "Without FILE: tells for each feature whether this machine can record it, why not, and what to "
	  "do; then records a small program whose numbers are known and compares. Needs root.\n"
	  "With FILE: tells whether the trace is whole, who wrote it, what is in it, what was lost, and "
	  "whether its totals are the kernel's. Needs no root.\n",
	  .examples = EXAMPLES(
		{ "sudo mpvtrace check", "Can this machine record?" },
		{ "mpvtrace check build.mpv", "Is this file whole, and what is in it?" }
	  ) },
	{ .name = "help", .operands = "[COMMAND|exit-status]", .run = cmd_help, .complete = COMPLETE_TOPIC,
	  .summary = "explain a command, or the exit statuses",
	  .about = "Explains a command and its options, or lists the exit statuses.\n",
	  .examples = EXAMPLES({ "mpvtrace help run", "All about run." },
			{ "mpvtrace help exit-status", "What the exit statuses mean." }) },
	{ .name = "man", .operands = "", .run = cmd_man, .hidden = true,
	  .summary = "print the man page (roff)", .about = "Prints the man page.\n" },
	{ .name = "completion", .operands = "", .run = cmd_completion, .hidden = true,
	  .summary = "print the bash completion", .about = "Prints the bash completion.\n" },
	{ .name = "selftest-workload", .operands = "", .run = cmd_selftest_workload, .hidden = true,
	  .summary = "the program that check records", .about = "The program that check records.\n" },
};
/* clang-format on */

const size_t n_commands = ARRAY_LEN(commands);

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < n_commands; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}
