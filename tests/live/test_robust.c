/* SPDX-License-Identifier: MIT */
/*
 * When things go wrong: lost events, full disks, a killed recorder, traces read elsewhere.
 */
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

LIVE_SUITE(robust);

static const char *file(const char *name)
{
	return fmt("%s/%s", live_dir, name);
}

/* --- losses ------------------------------------------------------------------------------- */

/* The recorder is stopped for half a second while 64 KiB must hold what happens. */
Test(robust, forced_loss_is_counted_exactly)
{
	struct trace_facts f;
	struct recording r;

	record_start(&r, ARGS("--buffer", "64K"), ARGS(workload("pingpong"), "--seconds", "2"),
	             NULL);
	cr_assert(file_holds(r.truth_path, "start", 60), "the workload did not start");
	sleep_s(0.8);
	kill(r.p.pid, SIGSTOP);
	sleep_s(0.5);
	kill(r.p.pid, SIGCONT);
	record_finish(&r);
	cr_expect_eq(r.p.status, 0, "stderr:\n%s", r.p.err);
	check_recording(r.json, LENIENT_LOSS);
	f = trace_facts(r.trace);
	cr_expect_gt(f.lost, 0, "nothing was lost: the test has not tested");
	cr_expect_eq(f.seen, f.written + f.lost, "seen %llu = written %llu + lost %llu?",
	             (unsigned long long)f.seen, (unsigned long long)f.written,
	             (unsigned long long)f.lost);
	cr_expect_eq(u64_at(r.json, "quality.lost"), f.lost);
	cr_expect(strstr(r.p.out, "lost"), "the report does not speak of the loss:\n%s", r.p.out);
}

Test(robust, seen_is_written_without_loss)
{
	struct recording r = record(NONE, ARGS(workload("pingpong"), "--rounds", rounds(50000)));
	struct trace_facts f = trace_facts(r.trace);

	cr_expect_eq(f.lost, 0);
	cr_expect_eq(f.seen, f.written, "seen %llu, written %llu", (unsigned long long)f.seen,
	             (unsigned long long)f.written);
	cr_expect(f.complete && !f.truncated && !f.damaged);
	/* `make bench` measures it; here the machine may be full. */
	cr_expect(f.startup_ns > 0 && f.startup_ns < 20 * SEC,
	          "%llu ns from start to the first instruction", (unsigned long long)f.startup_ns);
}

Test(robust, recorder_stays_small)
{
	struct proc p = run(ARGS(mpvtrace(), "run", "--no-report", "-o", "t.mpv", "--",
	                         workload("pingpong"), "--rounds", rounds(300000)));

	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect_leq(p.maxrss_kb, 64 << 10, "the recorder needed %ld KB", p.maxrss_kb);
}

/* --- a full disk ----------------------------------------------------------------------------- */

Test(robust, full_disk)
{
	struct proc p, check;

	cr_assert(!mkdir("small", 0777));
	if (mount("none", "small", "tmpfs", 0, slow_machine() ? "size=96k" : "size=256k"))
		cr_skip_test("cannot mount a small file system: %s", strerror(errno));
	p = run(ARGS(mpvtrace(), "run", "-o", "small/t.mpv", "--", workload("pingpong"), "--rounds",
	             rounds(400000), "--truth", file("truth")));
	check = run(ARGS(mpvtrace(), "report", "small/t.mpv"));
	umount2("small", MNT_DETACH);
	cr_expect_eq(p.status, 11, "status %d; stderr:\n%s", p.status, p.err);
	cr_expect(strstr(p.err, "disk"), "stderr:\n%s", p.err);
	cr_expect(truth_line(load_truth(file("truth")), "total", NULL, 0),
	          "the workload did not go on to its end");
	cr_expect(check.status == 0 || check.status == 9, "report: status %d; stderr:\n%s",
	          check.status, check.err);
	cr_expect(strstr(check.out, "pingpong"), "what is whole is not shown:\n%s", check.out);
}

static void write_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "w");

	cr_assert(f && fwrite(p, 1, n, f) == n && !fclose(f));
}

/* A JSON file that cannot be written does not cost the text, which is there only once. */
Test(robust, text_without_json)
{
	struct proc p = run(ARGS(mpvtrace(), "run", "-o", file("t.mpv"), "--json", "/dev/full",
	                         "--", "sleep", "0.05"));

	cr_expect_eq(p.status, 10, "%s", p.err);
	cr_expect(strstr(p.err, "cannot write the JSON report: No space left"), "%s", p.err);
	cr_expect(strstr(p.out, "critical path"), "%s", p.out);
	p = run(ARGS(mpvtrace(), "report", file("t.mpv"), "--json", "/dev/full"));
	cr_expect_eq(p.status, 10, "%s", p.err);
	cr_expect(strstr(p.out, "critical path"), "%s", p.out);
	p = run(ARGS(mpvtrace(), "compare", "--a", "true", "--b", "true", "--json", "/dev/full"));
	cr_expect_eq(p.status, 10, "%s", p.err);
	cr_expect(strstr(p.out, "wall time"), "%s", p.out);
	p = run(ARGS(mpvtrace(), "snapshot", "-p", fmt("%d", getpid()), "--json", "/dev/full"));
	cr_expect_eq(p.status, 10, "%s", p.err);
	cr_expect(strstr(p.out, "waits for"), "%s", p.out);
}

/* A trace and its JSON are two files, whatever names are given to them. */
Test(robust, one_name_for_two_files)
{
	static const char *const names[] = {"t.mpv", "./t.mpv", "link.mpv"};
	struct proc p;

	cr_assert(!symlink("t.mpv", "link.mpv"));
	for (unsigned there = 0; there < 2; there++) {
		if (there)
			write_file("t.mpv", "keep", 4);
		for (unsigned i = 0; i < (there ? 3 : 2); i++) {
			p = run(ARGS(mpvtrace(), "run", "-f", "-o", "t.mpv", "--json", names[i],
			             "--", "true"));
			cr_expect_eq(p.status, 2, "%s: %s", names[i], p.err);
			cr_expect(strstr(p.err, "cannot be both"), "%s", p.err);
			cr_expect(there ? file_holds("t.mpv", "keep", 0.1) : access("t.mpv", F_OK),
			          "%s: not as it was", names[i]);
		}
	}
}

/* --- kill -9 --------------------------------------------------------------------------------- */

/* Ids of the programs (or links) on the machine, one a line. */
static char *loaded(const char *what)
{
	return run(ARGS("/bin/sh", "-c",
	                fmt("PATH=$PATH:/usr/sbin:/sbin; bpftool %s show | sed -n "
	                    "'s/^\\([0-9]*\\): .*/\\1/p'",
	                    what)))
	        .out;
}

static bool back_to(const char *what, const char *before)
{
	for (int i = 0; i < 100; i++) {
		if (!strcmp(loaded(what), before))
			return true;
		sleep_s(0.05);
	}
	return false;
}

Test(robust, killed_recorder)
{
	char *progs = loaded("prog"), *links = loaded("link");
	struct proc p, report;
	bool bpftool = have_command("bpftool");

	proc_start(&p,
	           ARGS(mpvtrace(), "run", "-o", file("t.mpv"), "--", workload("pingpong"),
	                "--seconds", slow_machine() ? "15" : "3", "--truth", file("truth")),
	           NULL);
	cr_assert(file_holds(file("truth"), "start", 60), "the workload did not start");
	sleep_s(1.5);
	if (bpftool)
		cr_expect_str_neq(loaded("prog"), progs, "nothing was loaded: not tested");
	kill(p.pid, SIGKILL);
	proc_wait(&p);
	if (bpftool) {
		cr_expect(back_to("prog", progs), "programs stay loaded");
		cr_expect(back_to("link", links), "links stay");
	}
	cr_expect(!truth_line(load_truth(file("truth")), "total", NULL, 0),
	          "ended too early: not tested");
	cr_expect(file_holds(file("truth"), "\"total\"", 30),
	          "the workload did not go on to its end");
	report = run(ARGS(mpvtrace(), "report", "--json", file("r.json"), file("t.mpv")));
	cr_expect(report.status == 0 || report.status == 9, "status %d; stderr:\n%s", report.status,
	          report.err);
	check_recording(load_json(file("r.json")), LENIENT_ALIVE | LENIENT_LOSS);
	cr_expect_geq(json_array_size(at(load_json(file("r.json")), "tasks")), 2);
	/* All but the last moments are there: 3 s were planned, 1.5 passed. */
	cr_expect_geq(trace_facts(file("t.mpv")).events, slow_machine() ? 1000 : 50000);
	cr_expect(!trace_facts(file("t.mpv")).complete);
}

/* Nothing stays after an ordinary end either. */
Test(robust, nothing_stays_loaded)
{
	char *progs, *links;

	if (!have_command("bpftool"))
		cr_skip_test("no bpftool");
	progs = loaded("prog");
	links = loaded("link");
	cr_assert_eq(run(ARGS(mpvtrace(), "run", "-o", "t.mpv", "--", "/bin/true")).status, 0);
	cr_expect(back_to("prog", progs), "programs stay loaded");
	cr_expect(back_to("link", links), "links stay");
}

/* --- traces read later, elsewhere, by others
 * ------------------------------------------------------- */

static struct proc as_nobody(const char *const *args)
{
	const char *argv[24] = {"setpriv",        "--reuid=65534",   "--regid=65534",
	                        "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
	                        mpvtrace()};
	size_t n = 7;

	for (; *args; args++)
		argv[n++] = *args;
	return run(argv);
}

Test(robust, report_without_root)
{
	struct recording r;
	struct proc p;

	if (!have_command("setpriv"))
		cr_skip_test("no setpriv");
	r = record(NONE, ARGS(workload("threads"), "--rounds", "60"));
	cr_assert(!chmod(live_dir, 0777) && !chmod(r.trace, 0644));
	p = as_nobody(ARGS("report", r.trace, "--json", file("again.json")));
	if (p.status == 127)
		cr_skip_test("another user may not execute %s", mpvtrace());
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	cr_expect_str_eq(p.out, r.p.out, "the report differs:\n%s\n--- from the first ---\n%s",
	                 p.out, r.p.out);
	cr_expect(json_equal(load_json(file("again.json")), r.json), "the JSON differs");
}

Test(robust, report_options)
{
	struct recording r = record(NONE, ARGS(workload("threads"), "--rounds", "100"));
	struct proc p;

	p = run(ARGS(mpvtrace(), "report", r.trace, "--sort", "blocked", "--top", "3"));
	cr_expect_eq(p.status, 0, "%s", p.err);
	p = run(ARGS(mpvtrace(), "report", r.trace, "--task", "worker-1"));
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.out, "worker-1"));
	p = run(ARGS(mpvtrace(), "report", r.trace, "--task", "nobody", "--json", file("n.json")));
	cr_expect_eq(p.status, 2, "status %d", p.status);
	cr_expect(strstr(p.err, "no task has the id or name \"nobody\""), "%s", p.err);
	cr_expect(access(file("n.json"), F_OK), "nothing to write");
	p = run(ARGS(mpvtrace(), "report", r.trace, "--since", "20ms", "--until", "60ms", "--json",
	             file("w.json")));
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect_leq(u64_at(load_json(file("w.json")), "workload.wall_ns"), 41 * MS);
}

/* "frames weight", with at least one frame; adds up the weights. */
static uint64_t folded_sum(char *text, size_t *lines)
{
	uint64_t sum = 0;

	*lines = 0;
	for (char *save, *s = strtok_r(text, "\n", &save); s; s = strtok_r(NULL, "\n", &save)) {
		char *space = strrchr(s, ' '), *end = NULL;
		uint64_t w = space ? strtoull(space + 1, &end, 10) : 0;

		cr_expect(space && space > s && end > space + 1 && !*end && !strchr(s, '\t'),
		          "not a folded line: %s", s);
		sum += w;
		++*lines;
	}
	return sum;
}

Test(robust, folded_stacks)
{
	struct recording r =
	        record(ARGS("--stacks", "all"), ARGS(workload("threads"), "--rounds", "150"));
	uint64_t blocked = 0, sum;
	struct proc p;
	json_t *t;
	size_t i, lines;

	json_array_foreach(at(r.json, "tasks"), i, t) blocked += u64_at(t, "blocked_ns");
	p = run(ARGS(mpvtrace(), "export", r.trace, "--format", "folded", "--view", "off-cpu"));
	cr_expect_eq(p.status, 0, "%s", p.err);
	sum = folded_sum(p.out, &lines);
	cr_expect_geq(lines, 3);
	cr_expect(sum * 1000 > blocked / 2 && sum * 1000 <= blocked + lines * 1000,
	          "%llu us in the flame graph of %llu ns blocked", (unsigned long long)sum,
	          (unsigned long long)blocked);
	p = run(ARGS(mpvtrace(), "export", r.trace, "--format", "folded", "--view", "on-cpu", "-o",
	             file("on.folded")));
	cr_expect_eq(p.status, 0, "%s", p.err);
	sum = folded_sum(slurp(file("on.folded")), &lines);
	/* A sample or two may be from before the program's first instruction. */
	cr_expect(sum <= trace_facts(r.trace).samples && sum + 2 >= trace_facts(r.trace).samples,
	          "%llu of %llu samples", (unsigned long long)sum,
	          (unsigned long long)trace_facts(r.trace).samples);
	cr_expect_geq(sum, 1);
	/* The workload's own function is in there by name. */
	cr_expect(strstr(slurp(file("on.folded")), "compute_ns"), "%s", slurp(file("on.folded")));
	cr_expect_eq(run(ARGS(mpvtrace(), "export", r.trace, "--format", "nope")).status, 2);
}

/* The name of the output chooses the format; one that says nothing is no reason to guess. */
Test(robust, export_formats_by_name)
{
	struct recording r = record(NONE, ARGS(workload("threads"), "--rounds", "20"));
	static const char *const unknown[] = {"x.html", "x.json", "x.svg.gz"};
	struct proc p;

	cr_expect_eq(run(ARGS(mpvtrace(), "export", r.trace, "-o", file("x.svg"))).status, 0);
	cr_expect(strstr(slurp(file("x.svg")), "<svg"));
	cr_expect_eq(run(ARGS(mpvtrace(), "export", r.trace, "-o", file("x.txt"))).status, 0);
	cr_expect(!strchr(slurp(file("x.txt")), '<'));
	cr_expect_eq(run(ARGS(mpvtrace(), "export", r.trace, "-o", file("plain"))).status, 0);
	cr_expect_str_eq(slurp(file("plain")), slurp(file("x.txt")));
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		p = run(ARGS(mpvtrace(), "export", r.trace, "-o", file(unknown[i])));
		cr_expect_eq(p.status, 2, "%s: status %d", unknown[i], p.status);
		cr_expect(strstr(p.err, "--format"), "%s", p.err);
		cr_expect(access(file(unknown[i]), F_OK), "%s was made", unknown[i]);
	}
	p = run(ARGS(mpvtrace(), "export", r.trace, "--format", "svg", "-o", file("x.html")));
	cr_expect_eq(p.status, 0, "asked for: %s", p.err);
}

/* --- check
 * ------------------------------------------------------------------------------------------- */

static size_t size_of(const char *path)
{
	struct stat st;

	cr_assert(!stat(path, &st));
	return (size_t)st.st_size;
}

Test(robust, check_this_machine)
{
	struct proc p = run(ARGS(mpvtrace(), "check"));

	/* The trial's times are compared more closely than emulation allows. */
	cr_expect(p.status == 0 || (slow_machine() && p.status == 4), "status %d:\n%s%s", p.status,
	          p.out, p.err);
}

/* C says that the terminal shows no UTF-8; and no name drives it, whatever it shows. */
Test(robust, check_in_ascii)
{
	struct recording r = record(NONE, ARGS("sh", "-c", "true", "a→b"));
	struct proc p;

	setenv("LC_ALL", "C", 1);
	p = run(ARGS(mpvtrace(), "check", r.trace));
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.out, "a>b"), "%s", p.out);
	for (const char *c = p.out; *c; c++)
		cr_assert(!(*c & 0x80), "%s", p.out);
	cr_assert(!rename(r.trace, "\x1b[31mred"));
	p = run(ARGS(mpvtrace(), "check", "\x1b[31mred"));
	cr_expect(!strchr(p.out, 0x1b) && strstr(p.out, "\\x1b[31mred"), "%s", p.out);
	p = run(ARGS(mpvtrace(), "report", "\x1b[31mgone"));
	cr_expect(!strchr(p.err, 0x1b) && strstr(p.err, "\\x1b[31mgone"), "%s", p.err);
}

Test(robust, check_trace_files)
{
	struct recording r = record(NONE, ARGS(workload("threads")));
	struct proc p = run(ARGS(mpvtrace(), "check", r.trace));

	cr_expect_eq(p.status, 0, "%s%s", p.out, p.err);
	cr_expect(strstr(p.out, "threads"), "does not say what was recorded:\n%s", p.out);

	cr_assert(!truncate(r.trace, (off_t)(size_of(r.trace) * 2 / 3)));
	p = run(ARGS(mpvtrace(), "report", r.trace));
	cr_expect(p.status == 0 || p.status == 9, "status %d", p.status);
	cr_expect(strstr(p.out, "threads"), "what is whole is not shown:\n%s", p.out);

	write_file("garbage", "this is no trace file, but it is long enough to look like one....",
	           64);
	cr_expect_eq(run(ARGS(mpvtrace(), "check", "garbage")).status, 7);
	cr_expect_eq(run(ARGS(mpvtrace(), "report", "garbage")).status, 7);
	write_file("empty", "", 0);
	p = run(ARGS(mpvtrace(), "report", "empty"));
	cr_expect(p.status == 7 || p.status == 9, "status %d", p.status);
	cr_expect_eq(run(ARGS(mpvtrace(), "report", "missing.mpv")).status, 6);
	cr_expect_eq(run(ARGS(mpvtrace(), "report", "/")).status, 6);
}

/* Ctrl-C while the programs are being verified ends both, at once, and leaves nothing behind. */
Test(robust, interrupted_before_it_began)
{
	uint64_t least_ns = UINT64_MAX;
	unsigned early = 0;

	if (slow_machine())
		cr_skip_test("its start takes seconds");
	for (unsigned i = 0; i < 8; i++) {
		struct proc p;
		uint64_t t;

		proc_start(&p, ARGS(mpvtrace(), "run", "-o", "t.mpv", "--", "sleep", "9"), NULL);
		sleep_s(0.02 + 0.01 * i);
		t = mono_ns();
		kill(-p.pid, SIGINT);
		proc_wait(&p);
		cr_expect_eq(p.status, 130, "%d: %s", p.status, p.err);
		if (access("t.mpv", F_OK)) {
			early++;
			least_ns = mono_ns() - t < least_ns ? mono_ns() - t : least_ns;
		}
		unlink("t.mpv");
	}
	cr_expect(!early || least_ns < SEC, "%u times, at least %.3f s", early,
	          (double)least_ns / 1e9);
}

/* The recorder needs more open files than a careful user's limit; the workload keeps the limit. */
Test(robust, few_open_files)
{
	struct proc p =
	        run(ARGS("sh", "-c", "ulimit -Sn 40; exec \"$0\" run -o t.mpv -- sh -c 'ulimit -n'",
	                 mpvtrace()));

	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(!strncmp(p.out, "40\n", 3), "%s", p.out);
	p = run(ARGS("sh", "-c", "ulimit -n 40; exec \"$0\" run -o u.mpv -- true", mpvtrace()));
	cr_expect_eq(p.status, 1, "%d: %s", p.status, p.err);
	cr_expect(strstr(p.err, "ulimit -Hn"), "%s", p.err);
}

/* What fails for want of memory is not said to be the kernel's fault. */
Test(robust, little_memory)
{
	struct proc p = run(
	        ARGS("sh", "-c", "ulimit -v 22000; exec \"$0\" run -o t.mpv -- true", mpvtrace()));

	cr_expect_eq(p.status, 1, "%d: %s", p.status, p.err);
	cr_expect(strstr(p.err, "annot allocate memory"), "%s", p.err);
}
