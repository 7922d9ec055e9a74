/* SPDX-License-Identifier: MIT */
/*
 * What happened is told as it was: futex waits, faults, memory, causes of blocking, ends, names.
 */
#include "live.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace.h"

LIVE_SUITE(truth);

/* --- futex waits, as the trace file holds them ------------------------------------------ */

#define MAX_TASKS 64

struct futex_waits {
	uint64_t tid;
	uint64_t waits[16]; /* the address of each voluntary switch inside a futex wait */
	uint64_t more[16];  /* the other addresses of futex_waitv waits */
	size_t n_waits, n_more;
};

static void add_addr(uint64_t v[16], size_t *n, uint64_t addr)
{
	if (*n < 16)
		v[(*n)++] = addr;
}

static size_t count_addr(const uint64_t *v, size_t n, uint64_t addr)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += v[i] == addr;
	return found;
}

static void take(const struct trace_record *rec, struct futex_waits w[MAX_TASKS])
{
	const struct rec_switch *s = rec->rec;
	const struct rec_waitv *v = rec->rec;
	const struct rec_task *t = rec->rec;

	if (rec->kind == REC_K_TASK && t->id < MAX_TASKS)
		w[t->id].tid = t->tid;
	if (rec->kind == REC_K_WAITV && v->task < MAX_TASKS)
		for (uint64_t i = 0; i < v->addrs.n; i++)
			add_addr(w[v->task].more, &w[v->task].n_more, v->addrs.v[i]);
	if (rec->kind == REC_K_SWITCH && s->prev < MAX_TASKS && (s->flags & SW_F_FUTEX) &&
	    !(s->flags & (SW_F_RUNNABLE | SW_F_DEAD)))
		add_addr(w[s->prev].waits, &w[s->prev].n_waits, s->addr);
}

static void read_waits(const char *path, struct futex_waits w[MAX_TASKS])
{
	int fd = open(path, O_RDONLY);
	struct trace_record rec;
	struct err err = {0};
	struct trace_reader *r = trace_reader_new(trace_source_fd(&fd), &err);

	cr_assert(r, "%s", err.msg);
	while (trace_read(r, &rec) > 0)
		take(&rec, w);
	trace_reader_free(r);
	close(fd);
}

static void check_case(json_t *l, const struct futex_waits w[MAX_TASKS])
{
	const char *what = fmt("%s, %s", str_at(l, "kind"), str_at(l, "variant"));
	const struct futex_waits *mine = NULL;
	json_t *addr;
	size_t i;

	for (i = 0; i < MAX_TASKS; i++)
		if (w[i].tid == u64_at(l, "tid"))
			mine = &w[i];
	cr_assert(mine, "%s: task not recorded", what);
	cr_expect_geq(u64_at(l, "blocks"), 1, "%s: the workload itself did not block", what);
	/* The C library waits for locks of its own too, at other addresses. */
	cr_expect_eq(count_addr(mine->waits, mine->n_waits, u64_at(l, "addr")), u64_at(l, "blocks"),
	             "%s: %zu waits recorded of %llu", what,
	             count_addr(mine->waits, mine->n_waits, u64_at(l, "addr")),
	             (unsigned long long)u64_at(l, "blocks"));
	json_array_foreach(at(l, "addrs"), i, addr) cr_expect(
	        count_addr(mine->waits, mine->n_waits, (uint64_t)json_integer_value(addr)) +
	                count_addr(mine->more, mine->n_more, (uint64_t)json_integer_value(addr)),
	        "%s: address %zu is not in the trace", what, i);
}

Test(truth, every_futex_wait)
{
	struct recording r = record(NONE, ARGS(workload("futexes")));
	struct futex_waits w[MAX_TASKS] = {0};
	size_t i, cases = 0;
	json_t *l;

	check_recording(r.json, 0);
	check_truth(&r);
	read_waits(r.trace, w);
	json_array_foreach(r.truth, i, l)
	{
		if (strcmp(str_at(l, "t"), "futex"))
			continue;
		check_case(l, w);
		cases++;
	}
	cr_expect_geq(cases, 6 * 3, "only %zu cases ran", cases);
}

/* The report's list of locks has a wait for each block; but those that ended by a timeout, on a
 * word that nobody ever posted to, are sleeps. */
Test(truth, futexes_in_the_report)
{
	struct recording r = record(NONE, ARGS(workload("futexes")));
	uint64_t blocks = 0, timeouts = 0, waits = 0;
	size_t i;
	json_t *l;

	json_array_foreach(r.truth, i, l)
	{
		if (strcmp(str_at(l, "t"), "futex"))
			continue;
		blocks += u64_at(l, "blocks");
		timeouts += strcmp(str_at(l, "variant"), "timeout") ? 0 : u64_at(l, "blocks");
	}
	json_array_foreach(at(r.json, "locks"), i, l)
	{
		uint64_t of_waiters = 0;
		json_t *v;
		size_t j;

		json_array_foreach(at(l, "waiters"), j, v) of_waiters += u64_at(v, "waits");
		cr_expect_eq(of_waiters, u64_at(l, "waits"));
		waits += u64_at(l, "waits");
	}
	/* The main thread's joins may be among them, and nothing else. */
	cr_expect(waits + timeouts >= blocks && waits <= blocks + 30,
	          "%llu waits in the report, %llu were", (unsigned long long)waits,
	          (unsigned long long)blocks);
}

/* --- faults and memory ----------------------------------------------------------------------- */

Test(truth, faults)
{
	struct recording r = record(NONE, ARGS(workload("faults"), "--file", "/usr/bin/python3"));
	json_t *child = truth_line(r.truth, "begin", NULL, 0), *t;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), cow, touched, most;

	check_recording(r.json, 0);
	check_truth(&r); /* minor and major equal wait4()'s */
	cr_assert(child);
	t = task_by_tid(r.json, u64_at(child, "tid"));
	cr_assert(t);
	/* 500 inherited pages; the stack and libc's data add a few. Before 6.2 the zero page's
	 * successors cannot be told from copies. */
	most = kernel_before(6, 2) ? 2000 : 40;
	cow = u64_at(t, "faults.cow");
	cr_expect(cow >= 500 && cow <= 500 + most, "%llu pages copied on write",
	          (unsigned long long)cow);
	/* 1000 pages by a first write, 700 that held the zero page until they were written. */
	touched = u64_at(t, "first_touch_bytes") / page;
	cr_expect(touched >= (kernel_before(6, 2) ? 1000 : 1700) && touched <= 1700 + most,
	          "%llu pages first touched", (unsigned long long)touched);
}

/* What was not looked at is not known, and not none. */
Test(truth, no_pages)
{
	static const char *const unknown[] = {"faults.cow", "faults.write_protect",
	                                      "faults.first_read", "faults.first_write",
	                                      "first_touch_bytes"};
	struct recording r =
	        record(ARGS("--no-pages"), ARGS(workload("faults"), "--file", "/usr/bin/python3"));
	json_t *child = truth_line(r.truth, "begin", NULL, 0), *t;

	check_recording(r.json, 0);
	check_truth(&r);
	cr_assert(child);
	t = task_by_tid(r.json, u64_at(child, "tid"));
	cr_assert(t);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		cr_expect(null_at(t, unknown[i]), "%s", unknown[i]);
	cr_expect(null_at(r.json, "processes[0].cow_faults"));
	cr_expect_geq(u64_at(t, "faults.minor"), 2200);
	cr_expect_eq(part_count(r.json, "mt_fault_user"), 0);
	cr_expect(strstr(r.p.out, "page faults were not looked at (--no-pages"), "%s", r.p.out);
}

#define HUGE_BYTES (2u << 20)

static bool huge_pages_always(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	char line[64] = "";
	bool always = f && fgets(line, sizeof(line), f) && strstr(line, "[always]");

	if (f)
		fclose(f);
	return always;
}

/* Small and huge pages, copies and re-use: what else a task does (stacks, libc's data) is some
 * pages. */
Test(truth, touched_and_copied)
{
	struct recording r =
	        record(NONE, ARGS(workload("touch"), "--mb", slow_machine() ? "8" : "64"));
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	/* libc's own data may come as huge pages, too. */
	uint64_t others = huge_pages_always() ? 40 + 2 * HUGE_BYTES / page : 40;
	/* Before 6.2 the first write to a page of a library's data is told from no copy. */
	uint64_t most = kernel_before(6, 2) ? 60 : 20;
	size_t i, n = 0;
	json_t *l;

	check_recording(r.json, 0);
	json_array_foreach(r.truth, i, l)
	{
		uint64_t touched, copied, want, cow;
		json_t *t;

		if (strcmp(str_at(l, "t"), "touch"))
			continue;
		t = task_by_tid(r.json, u64_at(l, "tid"));
		cr_assert(t);
		touched = u64_at(t, "first_touch_bytes") / page;
		cow = u64_at(t, "faults.cow");
		want = u64_at(l, "touched") / page;
		copied = u64_at(l, "copied") / page;
		cr_expect(touched >= want && touched <= want + others,
		          "%s: %llu pages first touched, %llu were", str_at(l, "name"),
		          (unsigned long long)touched, (unsigned long long)want);
		cr_expect(cow >= copied && cow <= copied + most, "%s: %llu pages copied, %llu were",
		          str_at(l, "name"), (unsigned long long)cow, (unsigned long long)copied);
		n++;
	}
	cr_expect_eq(n, 8);
}

struct mono_window {
	uint64_t from, to, pss_kb, rss_kb, uss_kb;
};

static struct mono_window hold_of(const struct recording *r, uint64_t pid)
{
	struct mono_window w = {0};
	size_t i;
	json_t *l;

	json_array_foreach(r->truth, i, l)
	{
		if (strcmp(str_at(l, "t"), "smaps") || u64_at(l, "pid") != pid)
			continue;
		if (!strcmp(str_at(l, "moment"), "begin"))
			w.from = u64_at(l, "mono_ns");
		if (!strcmp(str_at(l, "moment"), "end")) {
			w.to = u64_at(l, "mono_ns");
			w.pss_kb = u64_at(l, "pss_kb");
			w.rss_kb = u64_at(l, "rss_kb");
			w.uss_kb = u64_at(l, "uss_kb");
		}
	}
	cr_assert(w.from && w.to > w.from);
	return w;
}

/* Samples taken while nothing changed must say what the process itself read: within 1 %. */
static size_t check_samples(const struct recording *r, json_t *process, uint64_t start_ts)
{
	struct mono_window w = hold_of(r, u64_at(process, "pid"));
	size_t i, n = 0;
	json_t *s;

	json_array_foreach(at(process, "samples"), i, s)
	{
		uint64_t t = start_ts + u64_at(s, "t_ns");
		double pss;

		if (t < w.from || t > w.to || null_at(s, "pss_bytes"))
			continue;
		pss = real_at(s, "pss_bytes") / 1024.0 / (double)w.pss_kb;
		cr_expect(pss > 0.99 && pss < 1.01, "PSS of %f KB, it was %llu",
		          real_at(s, "pss_bytes") / 1024, (unsigned long long)w.pss_kb);
		n++;
	}
	return n;
}

Test(truth, memory)
{
	struct recording r =
	        record(ARGS("--footprint-budget", "50"), ARGS(workload("rss"), "--hold", "1500"));
	uint64_t start_ts = trace_facts(r.trace).start_ts;
	size_t i, samples = 0;
	json_t *p;

	check_recording(r.json, 0);
	check_truth(&r); /* peaks equal wait4()'s */
	json_array_foreach(at(r.json, "processes"), i,
	                   p) if (truth_line(r.truth, "smaps", "pid", (int64_t)u64_at(p, "pid")))
	        samples += check_samples(&r, p, start_ts);
	cr_expect_geq(samples, 2, "only %zu PSS samples while memory was held", samples);
}

/* The line of that moment. */
static json_t *family_line(json_t *truth, const char *moment)
{
	json_t *l;
	size_t i;

	json_array_foreach(truth, i, l) if (!strcmp(str_at(l, "t"), "family") &&
	                                    !strcmp(str_at(l, "moment"), moment)) return l;
	cr_assert_fail("no line of %s", moment);
	return NULL;
}

/* Memory of a parent and its forked children together, before and after each was read anew:
 * what they share counts once. */
Test(truth, memory_of_a_family)
{
	struct recording r = record(ARGS("--footprint-budget", "100"),
	                            ARGS("/usr/bin/python3", workload("family.py"), "--hold", "3"));
	uint64_t start_ts = trace_facts(r.trace).start_ts, n = 0;
	json_t *begin, *end, *s;
	double pss, peak;
	size_t i;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	begin = family_line(r.truth, "begin");
	end = family_line(r.truth, "end");
	pss = real_at(end, "pss_kb") * 1024;
	peak = real_at(r.json, "memory.pss_peak_bytes");
	json_array_foreach(at(r.json, "memory.samples"), i, s)
	{
		uint64_t t = start_ts + u64_at(s, "t_ns");

		/* Readings may be a second apart. */
		if (t < u64_at(begin, "mono_ns") + 1100 * MS || t > u64_at(end, "mono_ns") ||
		    u64_at(s, "unread"))
			continue;
		n++;
		cr_expect(real_at(s, "pss_bytes") > 0.99 * pss &&
		                  real_at(s, "pss_bytes") < 1.01 * pss,
		          "PSS of all %.0f KB, it was %.0f", real_at(s, "pss_bytes") / 1024,
		          pss / 1024);
	}
	cr_expect_geq(n, 1, "no sample while memory was held");
	cr_expect(peak > 0.99 * pss && peak < 1.01 * pss, "peak %.0f KB, it was %.0f", peak / 1024,
	          pss / 1024);
}

/* Children copy what they share, by counting references, and end before anybody reads them again:
 * their RSS tells nothing of it, what they copied does. */
Test(truth, peak_of_a_short_family)
{
	static const char script[] = "import os, sys\n"
	                             "data = [{'a': i} for i in range(400000)]\n"
	                             "def pss(pid):\n"
	                             "  for l in open('/proc/%d/smaps_rollup' % pid):\n"
	                             "    if l.startswith('Pss:'): return int(l.split()[1])\n"
	                             "r, w = os.pipe()\n"
	                             "stop, go_on = os.pipe()\n"
	                             "pids = [os.getpid()]\n"
	                             "for k in range(3):\n"
	                             "  pids.append(os.fork())\n"
	                             "  if not pids[-1]:\n"
	                             "    os.close(go_on)\n"
	                             "    for d in data: d['a']\n"
	                             "    os.write(w, b'x'); os.read(stop, 1); os._exit(0)\n"
	                             "for p in pids[1:]: os.read(r, 1)\n"
	                             "print(sum(pss(p) for p in pids))\n"
	                             "os.close(go_on)\n"
	                             "for p in pids[1:]: os.waitpid(p, 0)\n"; /* its end copies */
	struct recording r = record(NONE, ARGS("/usr/bin/python3", "-c", script));
	double pss = strtod(r.p.out, NULL) * 1024, peak, own = 0;
	size_t i;
	json_t *p;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	peak = real_at(r.json, "memory.pss_peak_bytes");
	cr_expect(peak > 0.78 * pss && peak < 1.05 * pss, "peak %.0f KB, it was %.0f", peak / 1024,
	          pss / 1024);
	json_array_foreach(at(r.json, "processes"), i, p)
	{
		double uss = real_at(p, "uss_bytes");

		own += uss;
		cr_expect_geq(uss, 0.98 * real_at(p, "cow_bytes"));
	}
	cr_expect_geq(own, 0.75 * pss, "private memory %.0f KB", own / 1024);
}

/* Readings that forks fall into, as one waits for the other: none of them counts half of the
 * parent's memory as shared with a child of which it does not know. */
Test(truth, peak_of_a_family_read_meanwhile)
{
	static const char script[] = "import os, time\n"
	                             "def fill(n):\n"
	                             "  x = bytearray(n)\n"
	                             "  for i in range(0, n, 4096): x[i] = 1\n"
	                             "  return x\n"
	                             "def pss(pid):\n"
	                             "  for l in open('/proc/%d/smaps_rollup' % pid):\n"
	                             "    if l.startswith('Pss:'): return int(l.split()[1])\n"
	                             "x = fill(80 << 20)\n"
	                             "stop, go_on = os.pipe()\n"
	                             "pids = [os.getpid()]\n"
	                             "for n in range(6):\n"
	                             "  pids.append(os.fork())\n"
	                             "  if not pids[-1]:\n"
	                             "    os.close(go_on)\n"
	                             "    y = fill(2 << 20)\n"
	                             "    os.read(stop, 1)\n"
	                             "    os._exit(0)\n"
	                             "  time.sleep(0.013)\n"
	                             "time.sleep(0.1)\n"
	                             "print(sum(pss(p) for p in pids))\n"
	                             "os.close(go_on)\n"
	                             "for p in pids[1:]: os.waitpid(p, 0)\n";

	for (int i = 0; i < 3; i++) {
		struct recording r = record(NONE, ARGS("/usr/bin/python3", "-c", script));
		double pss = strtod(r.p.out, NULL) * 1024, peak;

		cr_assert_eq(r.p.status, 0, "%s", r.p.err);
		peak = real_at(r.json, "memory.pss_peak_bytes");
		/* Of children that were never read it is known how much they touched, but not when.
		 */
		cr_expect(peak > 0.86 * pss && peak < 1.07 * pss, "peak %.1f MB, it was %.1f",
		          peak / 1e6, pss / 1e6);
	}
}

/* Memory that stays as it is costs its program's caches when it is read, and is hardly read again.
 * One that copies what it shares, so that its RSS stays the same, is: within a second. */
Test(truth, memory_is_read_when_it_changes)
{
	static const char script[] = "import os, sys, time\n"
	                             "memory = bytearray(b'x') * (32 << 20)\n"
	                             "if os.fork(): os.wait(); sys.exit()\n"
	                             "open(sys.argv[1]).read()\n"
	                             "for at in range(0, len(memory), 4096): memory[at] = 1\n"
	                             "time.sleep(2)\n";
	const char *fifo = fmt("%s/fifo", live_dir);
	double first = -1, last = -1;
	size_t i, j, n = 0, read;
	struct proc w, p;
	json_t *json, *proc, *s;
	int fd;

	cr_assert(!mkfifo(fifo, 0600));
	proc_start(&w, ARGS("/usr/bin/python3", "-c", script, fifo), NULL);
	fd = open(fifo, O_WRONLY | O_CLOEXEC); /* the child is there */
	cr_assert(fd >= 0);
	proc_start(&p,
	           ARGS(mpvtrace(), "attach", "-v", "-p", fmt("%d", w.pid), "-o",
	                fmt("%s/a.mpv", live_dir), "--json", fmt("%s/a.json", live_dir)),
	           NULL);
	await_recording(&p);
	sleep_s(3);
	close(fd);
	proc_wait(&w);
	proc_wait(&p);
	cr_assert_eq(p.status, 0, "%s", p.err);
	json = load_json(fmt("%s/a.json", live_dir));
	json_array_foreach(at(json, "processes"), i, proc)
	{
		read = 0;
		json_array_foreach(at(proc, "samples"), j, s)
		{
			if (null_at(s, "uss_bytes"))
				continue;
			read++;
			if (u64_at(proc, "pid") == (uint64_t)w.pid)
				continue;
			last = real_at(s, "uss_bytes");
			first = first < 0 ? last : first;
		}
		n += read;
		cr_expect(read >= 1 && read <= 4, "process %zu was read %zu times in 5 s", i, read);
	}
	cr_expect_geq(n, 3);
	cr_expect_lt(first, 8e6);
	cr_expect_gt(last, 32e6);
}

/* --- why tasks were blocked ------------------------------------------------------------------ */

Test(truth, causes_of_blocking)
{
	struct recording r =
	        record(NONE, ARGS(workload("blocked"), "--ms", slow_machine() ? "400" : "60"));
	size_t i, n = 0;
	json_t *l;

	check_recording(r.json, 0);
	check_truth(&r);
	json_array_foreach(r.truth, i, l)
	{
		json_t *t;
		uint64_t ns, most, there;

		if (strcmp(str_at(l, "t"), "blocked"))
			continue;
		t = task_by_tid(r.json, u64_at(l, "tid"));
		cr_assert(t, "%s", str_at(l, "how"));
		ns = u64_at(l, "ns");
		most = json_object_get(l, "most") ? u64_at(l, "most") : ns;
		there = u64_at(t, fmt("blocked.%s", str_at(l, "cause")));
		/* On a full machine what it waits for may be there before it comes. */
		cr_expect(there + MS > ns * (slow_machine() ? 5 : 8) / 10 &&
		                  there < most * 13 / 10 + 5 * MS,
		          "%s: %llu ns blocked by %s, it was %llu", str_at(l, "how"),
		          (unsigned long long)there, str_at(l, "cause"), (unsigned long long)ns);
		n++;
	}
	cr_expect_eq(n, 14);
}

/* --- how tasks end and what they are called
 * ------------------------------------------------------- */

/* A thread that execs takes over the leader's id, so that there are two tasks of it. */
static bool ended_with(json_t *report, uint64_t pid, uint64_t status)
{
	size_t i;
	json_t *t;

	json_array_foreach(at(report, "tasks"), i,
	                   t) if (u64_at(t, "pid") == pid &&
	                          u64_at(t, "exit_status") == status) return true;
	return false;
}

Test(truth, ends_and_names)
{
	struct recording r = record(NONE, ARGS(workload("exits"), "--status", "3"));
	json_t *l, *t;
	size_t i;

	cr_expect_eq(r.p.status, 3, "status %d; stderr:\n%s", r.p.status, r.p.err);
	cr_expect_eq(u64_at(r.json, "workload.exit_status"), 3);
	check_recording(r.json, 0);
	check_truth(&r);
	json_array_foreach(r.truth, i, l)
	{
		if (!strcmp(str_at(l, "t"), "exit") && strcmp(str_at(l, "how"), "leader first")) {
			cr_expect(ended_with(r.json, u64_at(l, "pid"), u64_at(l, "status")),
			          "%s: no task of it ended with %llu", str_at(l, "how"),
			          (unsigned long long)u64_at(l, "status"));
		}
		if (!strcmp(str_at(l, "t"), "name")) {
			t = task_by_tid(r.json, u64_at(l, "tid"));
			cr_assert(t);
			cr_expect_str_eq(str_at(t, "comm"), str_at(l, "comm"));
		}
	}
	/* The hostile name reaches neither the terminal nor the JSON's structure. */
	cr_expect(!strchr(r.p.out, '\033'), "an escape sequence in the report");
}

Test(truth, daemon_is_followed)
{
	struct recording r = record(NONE, ARGS(workload("daemon"), "--ms", "400"));
	json_t *d = truth_line(r.truth, "daemon", NULL, 0), *t;

	check_recording(r.json, 0);
	check_truth(&r);
	cr_assert(d, "the recording did not wait for the daemon");
	t = task_by_tid(r.json, u64_at(d, "pid"));
	cr_assert(t);
	cr_expect_eq(u64_at(t, "exit_status"), 5);
	cr_expect_eq(r.p.status, 0, "the status is that of the command, not of the daemon");
	cr_expect_geq(u64_at(r.json, "workload.wall_ns"), 350 * MS);
}
