/* SPDX-License-Identifier: MIT */
/* Looking into reports, truths and traces; what holds for every recording. */
#include "live.h"
#include "schema.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace.h"

/* --- JSON -------------------------------------------------------------------------- */

static json_t *step(json_t *j, const char **path)
{
	const char *p = *path;

	if (*p == '[') {
		char *end;
		size_t i = strtoul(p + 1, &end, 10);

		*path = end + 1;
		return json_array_get(j, i);
	}
	if (*p == '.')
		p++;
	size_t n = strcspn(p, ".[");
	char key[64];

	cr_assert(n < sizeof(key));
	memcpy(key, p, n);
	key[n] = 0;
	*path = p + n;
	return json_object_get(j, key);
}

json_t *at(json_t *root, const char *path)
{
	const char *p = path;
	json_t *j = root;

	while (*p) {
		j = step(j, &p);
		cr_assert(j, "no %s in the JSON", path);
	}
	return j;
}

uint64_t u64_at(json_t *root, const char *path)
{
	json_t *j = at(root, path);

	cr_assert(json_is_integer(j) && json_integer_value(j) >= 0, "%s is not a count but %s",
	          path, json_is_null(j) ? "null" : "something else");
	return (uint64_t)json_integer_value(j);
}

double real_at(json_t *root, const char *path)
{
	json_t *j = at(root, path);

	cr_assert(json_is_number(j), "%s is not a number", path);
	return json_number_value(j);
}

const char *str_at(json_t *root, const char *path)
{
	json_t *j = at(root, path);

	cr_assert(json_is_string(j), "%s is not a string", path);
	return json_string_value(j);
}

bool null_at(json_t *root, const char *path)
{
	return json_is_null(at(root, path));
}

json_t *truth_line(json_t *truth, const char *type, const char *name, int64_t value)
{
	size_t i;
	json_t *l;

	json_array_foreach(truth, i, l)
	{
		if (strcmp(json_string_value(json_object_get(l, "t")), type))
			continue;
		if (!name || json_integer_value(json_object_get(l, name)) == value)
			return l;
	}
	return NULL;
}

/* The numbers of the report last asked about, by task and process: thousands of truths look for
 * theirs among thousands of rows. */
struct row {
	uint64_t tid, pid, ppid, voluntary, involuntary, minor, major;
	json_t *json;
};
struct peak {
	uint64_t pid, bytes;
	bool from_kernel;
};
static struct {
	json_t *report;
	struct row *tasks;
	struct peak *peaks;
	size_t n_tasks, n_peaks;
} rows;

static struct row row_of(json_t *t)
{
	return (struct row){
	        .tid = u64_at(t, "tid"),
	        .pid = u64_at(t, "pid"),
	        .ppid = u64_at(t, "ppid"),
	        .voluntary = u64_at(t, "switches.voluntary"),
	        .involuntary = u64_at(t, "switches.involuntary"),
	        .minor = u64_at(t, "faults.minor"),
	        .major = u64_at(t, "faults.major"),
	        .json = t,
	};
}

static void index_report(json_t *report)
{
	json_t *tasks = at(report, "tasks"), *procs = at(report, "processes"), *v;
	size_t i;

	if (rows.report == report)
		return;
	free(rows.tasks);
	free(rows.peaks);
	rows.report = report;
	rows.n_tasks = json_array_size(tasks);
	rows.n_peaks = json_array_size(procs);
	rows.tasks = calloc(rows.n_tasks + 1, sizeof(*rows.tasks));
	rows.peaks = calloc(rows.n_peaks + 1, sizeof(*rows.peaks));
	cr_assert(rows.tasks && rows.peaks);
	json_array_foreach(tasks, i, v) rows.tasks[i] = row_of(v);
	json_array_foreach(procs, i, v) rows.peaks[i] = (struct peak){
	        u64_at(v, "pid"),
	        null_at(v, "rss_peak_bytes") ? 0 : u64_at(v, "rss_peak_bytes"),
	        json_is_true(at(v, "rss_peak_from_kernel")),
	};
}

uint64_t part_count(json_t *report, const char *name)
{
	json_t *parts = at(report, "quality.overhead.parts"), *part;
	size_t i;

	json_array_foreach(parts, i, part)
	{
		if (!strcmp(json_string_value(json_object_get(part, "name")), name))
			return (uint64_t)json_integer_value(json_object_get(part, "count"));
	}
	return 0;
}

json_t *task_by_tid(json_t *report, uint64_t tid)
{
	index_report(report);
	for (size_t i = 0; i < rows.n_tasks; i++)
		if (rows.tasks[i].tid == tid)
			return rows.tasks[i].json;
	return NULL;
}

/* --- what holds for every recording -------------------------------------------------------- */

/* Collects what is wrong, so that a failure of one among 5,000 tasks names it. */
struct faulty {
	size_t n;
	char text[2048];
};

static void __attribute__((format(printf, 2, 3))) wrong(struct faulty *f, const char *format, ...)
{
	size_t at_ = strlen(f->text);
	va_list ap;

	f->n++;
	if (f->n > 10 || at_ + 200 > sizeof(f->text))
		return;
	va_start(ap, format);
	vsnprintf(f->text + at_, sizeof(f->text) - at_, format, ap);
	va_end(ap);
	strcat(f->text, "\n");
}

/* What the hypervisor took away while a task was on a CPU is no waiting to the kernel, and it is
 * known as an upper bound only: so a range is compared. */
static bool near_range(uint64_t low, uint64_t high, uint64_t kernel, double ratio, uint64_t ns)
{
	uint64_t diff = kernel < low ? low - kernel : kernel > high ? kernel - high : 0;

	return diff <= ns || (double)diff <= ratio * (double)kernel;
}

static void check_tiling(json_t *t, struct faulty *f)
{
	uint64_t run_ns = u64_at(t, "run_ns"), runnable = u64_at(t, "runnable_ns");
	uint64_t blocked = u64_at(t, "blocked_ns"), sum = 0;
	uint64_t life = u64_at(t, "end_ns") - u64_at(t, "start_ns");
	const char *cause;
	json_t *v;

	if (run_ns + runnable + blocked != life)
		wrong(f, "task %llu: %llu + %llu + %llu ns is not its life of %llu ns",
		      (unsigned long long)u64_at(t, "tid"), (unsigned long long)run_ns,
		      (unsigned long long)runnable, (unsigned long long)blocked,
		      (unsigned long long)life);
	json_object_foreach(at(t, "blocked"), cause, v) sum += (uint64_t)json_integer_value(v);
	if (sum != blocked)
		wrong(f, "task %llu: causes add up to %llu of %llu ns",
		      (unsigned long long)u64_at(t, "tid"), (unsigned long long)sum,
		      (unsigned long long)blocked);
}

static void check_switches(json_t *t, const char *kind, struct faulty *f)
{
	json_t *ours = json_object_get(at(t, "switches"), kind);
	json_t *kernel = json_object_get(at(t, "kernel"), kind);
	unsigned long long tid = u64_at(t, "tid");

	if (!json_is_integer(kernel) || !json_is_integer(ours))
		wrong(f, "task %llu: %s switches are unknown", tid, kind);
	else if (json_integer_value(ours) != json_integer_value(kernel))
		wrong(f, "task %llu: %lld %s switches, the kernel counted %lld", tid,
		      (long long)json_integer_value(ours), kind,
		      (long long)json_integer_value(kernel));
}

static void check_time(json_t *t, const char *key, double ratio, uint64_t ns, unsigned lenient,
                       struct faulty *f)
{
	uint64_t ours = u64_at(t, key);
	json_t *kernel = json_object_get(at(t, "kernel"), key);
	unsigned long long tid = u64_at(t, "tid");
	uint64_t stolen = strcmp(key, "runnable_ns") ? 0 : u64_at(t, "steal_ns");

	if (json_is_integer(kernel)) {
		if (!near_range(ours - (stolen < ours ? stolen : ours), ours,
		                (uint64_t)json_integer_value(kernel), ratio, ns))
			wrong(f, "task %llu: %s is %llu, the kernel says %lld", tid, key,
			      (unsigned long long)ours, (long long)json_integer_value(kernel));
	} else if (!(lenient & LENIENT_ALIVE)) {
		wrong(f, "task %llu: the kernel's %s is unknown", tid, key);
	}
}

static void check_counters(json_t *t, unsigned lenient, struct faulty *f)
{
	bool play = lenient & LENIENT_ALIVE || slow_machine();

	check_switches(t, "voluntary", f);
	check_switches(t, "involuntary", f);
	check_time(t, "run_ns", slow_machine() ? 0.1 : 0.001, play ? 5 * MS : 50000, lenient, f);
	check_time(t, "runnable_ns", slow_machine() ? 0.1 : 0.01, play ? 5 * MS : 100000, lenient,
	           f);
}

static void check_whole(json_t *report, unsigned lenient)
{
	char what[4000];
	uint64_t sum = 0;
	size_t wrong;
	json_t *v;
	size_t i;

	cr_assert_str_eq(str_at(report, "schema"), "mpvtrace.report/1");
	json_array_foreach(at(report, "parallelism.histogram_ns"), i, v) sum +=
	        (uint64_t)json_integer_value(v);
	cr_expect_eq(sum, u64_at(report, "workload.wall_ns"),
	             "the histogram adds up to %llu of %llu ns", (unsigned long long)sum,
	             (unsigned long long)u64_at(report, "workload.wall_ns"));
	wrong = schema_check(report, lenient & LENIENT_LOSS, what, sizeof(what));
	cr_expect_eq(wrong, 0, "the report is not what the schema says:\n%s", what);
	if (lenient & LENIENT_LOSS)
		return;
	cr_expect_eq(u64_at(report, "quality.lost"), 0, "%llu events lost",
	             (unsigned long long)u64_at(report, "quality.lost"));
	json_array_foreach(at(report, "quality.checks"), i, v)
	        cr_expect((slow_machine() && strstr(str_at(v, "name"), "_ns")) ||
	                          json_is_true(at(v, "ok")) || null_at(v, "ok"),
	                  "quality check %s is not ok", str_at(v, "name"));
}

void check_recording(json_t *report, unsigned lenient)
{
	struct faulty f = {0};
	json_t *t;
	size_t i;

	check_whole(report, lenient);
	json_array_foreach(at(report, "tasks"), i, t)
	{
		check_tiling(t, &f);
		if (!(lenient & LENIENT_LOSS))
			check_counters(t, lenient, &f);
	}
	cr_assert_eq(f.n, 0, "%zu of %zu tasks' checks failed:\n%s", f.n, i, f.text);
}

/* --- the workload's truth --------------------------------------------------------------------- */

struct process_sum {
	uint64_t voluntary, involuntary, minor, major, tasks, children;
};

static struct process_sum sum_process(json_t *report, uint64_t pid)
{
	struct process_sum s = {0};

	index_report(report);
	for (size_t i = 0; i < rows.n_tasks; i++) {
		const struct row *t = &rows.tasks[i];

		s.children += t->ppid == pid && t->pid != pid;
		if (t->pid != pid)
			continue;
		s.tasks++;
		s.voluntary += t->voluntary;
		s.involuntary += t->involuntary;
		s.minor += t->minor;
		s.major += t->major;
	}
	return s;
}

/* The largest of a process's address spaces. */
static struct peak peak_of(json_t *report, uint64_t pid)
{
	struct peak peak = {.pid = pid};

	index_report(report);
	for (size_t i = 0; i < rows.n_peaks; i++)
		if (rows.peaks[i].pid == pid && rows.peaks[i].bytes >= peak.bytes)
			peak = rows.peaks[i];
	return peak;
}

/* What the kernel says of a program is the most that it had or its starter, before the exec; by
 * counters that are behind what is read of the pages. */
static bool right_peak(const struct peak *p, unsigned long long kernel)
{
	return p->from_kernel ? p->bytes == kernel : p->bytes <= kernel + (1 << 20);
}

/* The parent's wait4() says it exactly, for a process without children of its own (theirs are
 * added to it). A thread's very last switch comes after it was counted. */
static void check_reaped(json_t *report, json_t *l, struct faulty *f)
{
	unsigned long long pid = u64_at(l, "pid"), kernel_minor = u64_at(l, "minflt");
	struct process_sum s = sum_process(report, pid);
	unsigned long long nvcsw = u64_at(l, "nvcsw"), peak = u64_at(l, "maxrss_kb") * 1024;
	struct peak told = peak_of(report, pid);

	if (!s.tasks) {
		wrong(f, "process %llu is not in the report", pid);
		return;
	}
	if (s.children)
		return;
	if (s.minor != kernel_minor || s.major != u64_at(l, "majflt"))
		wrong(f,
		      "process %llu: %llu minor and %llu major faults, the kernel says %llu and "
		      "%llu",
		      pid, (unsigned long long)s.minor, (unsigned long long)s.major, kernel_minor,
		      (unsigned long long)u64_at(l, "majflt"));
	if (s.voluntary < nvcsw || s.voluntary > nvcsw + s.tasks)
		wrong(f, "process %llu: %llu voluntary switches, the kernel says %llu (+ %llu)",
		      pid, (unsigned long long)s.voluntary, nvcsw, (unsigned long long)s.tasks);
	if (peak && !right_peak(&told, peak))
		wrong(f, "process %llu: peak of %llu bytes, the kernel says %llu", pid,
		      (unsigned long long)told.bytes, peak);
	json_t *t = task_by_tid(report, pid);
	if (t && !null_at(t, "exit_status") && s.tasks == 1 &&
	    u64_at(t, "exit_status") != u64_at(l, "status"))
		wrong(f, "process %llu: ended with %llu, the kernel says %llu", pid,
		      (unsigned long long)u64_at(t, "exit_status"),
		      (unsigned long long)u64_at(l, "status"));
}

/* A task that exec'ed, as the command itself, had counted something before; its "start" line says
 * how much. */
static uint64_t counted(json_t *l, json_t *start, const char *key)
{
	uint64_t before = start ? u64_at(start, key) : 0;

	return u64_at(l, key) > before ? u64_at(l, key) - before : 0;
}

static void check_own_look(const struct recording *r, json_t *l, struct faulty *f)
{
	unsigned long long tid = u64_at(l, "tid"), run_ns;
	json_t *start = truth_line(r->truth, "start", "tid", (int64_t)tid);
	json_t *t = task_by_tid(r->json, tid);

	if (!t) {
		wrong(f, "task %llu is not in the report", tid);
		return;
	}
	if (u64_at(t, "switches.voluntary") < counted(l, start, "nvcsw") ||
	    u64_at(t, "switches.involuntary") < counted(l, start, "nivcsw") ||
	    u64_at(t, "faults.minor") < counted(l, start, "minflt") ||
	    u64_at(t, "faults.major") < counted(l, start, "majflt"))
		wrong(f, "task %llu counted more itself than the report has", tid);
	/* schedstat is a tick old at most while it runs, and never ahead. */
	/* What schedstat says at the start is up to a tick old, so nothing can be taken off. */
	run_ns = start ? 0 : u64_at(l, "run_ns");
	if (u64_at(t, "run_ns") + u64_at(t, "run_ns") / 1000 + 50000 < run_ns)
		wrong(f, "task %llu ran %llu ns, but had %llu on its own clock before its end", tid,
		      (unsigned long long)u64_at(t, "run_ns"), run_ns);
}

void check_truth(const struct recording *r)
{
	json_t *total = truth_line(r->truth, "total", NULL, 0), *l;
	size_t i, n = json_array_size(at(r->json, "tasks"));
	struct faulty f = {0};

	cr_assert(total, "the workload stated no total; stderr:\n%s", r->p.err);
	if (json_object_get(total, "tasks"))
		cr_expect_eq(n, u64_at(total, "tasks"), "%zu tasks in the report, %llu were there",
		             n, (unsigned long long)u64_at(total, "tasks"));
	else
		cr_expect_geq(n, u64_at(total, "at_least"));
	json_array_foreach(r->truth, i, l)
	{
		if (!strcmp(str_at(l, "t"), "task"))
			check_own_look(r, l, &f);
		if (!strcmp(str_at(l, "t"), "reaped"))
			check_reaped(r->json, l, &f);
	}
	cr_assert_eq(f.n, 0, "%zu truths are not met:\n%s", f.n, f.text);
}

/* --- the trace file itself ------------------------------------------------------------------- */

static uint64_t meta_u64(const struct rec_meta *m, const char *key, uint64_t old)
{
	char text[32];

	if (m->key.n != strlen(key) || memcmp(m->key.p, key, m->key.n))
		return old;
	cr_assert(m->value.n < sizeof(text));
	memcpy(text, m->value.p, m->value.n);
	text[m->value.n] = 0;
	return strtoull(text, NULL, 10);
}

static void take_loss(const struct rec_loss *l, uint64_t last[4096])
{
	/* Cumulative per cause: the last one counts. */
	cr_assert_lt(l->cause, 4096);
	last[l->cause] = l->count;
}

struct trace_facts trace_facts(const char *path)
{
	struct trace_facts f = {0};
	struct err err = {0};
	struct trace_record rec;
	uint64_t last[4096] = {0};
	int fd = open(path, O_RDONLY), got;
	struct trace_reader *r;

	cr_assert(fd >= 0, "%s", path);
	r = trace_reader_new(trace_source_fd(&fd), &err);
	cr_assert(r, "%s: %s", path, err.msg);
	while ((got = trace_read(r, &rec)) > 0) {
		if (rec.kind == REC_K_META) {
			f.seen = meta_u64(rec.rec, META_SEEN, f.seen);
			f.written = meta_u64(rec.rec, META_WRITTEN, f.written);
			f.startup_ns = meta_u64(rec.rec, META_START_NS, f.startup_ns);
		}
		if (rec.kind == REC_K_LOSS)
			take_loss(rec.rec, last);
		if (rec.kind == REC_K_MARK &&
		    ((const struct rec_mark *)rec.rec)->what == MARK_START)
			f.start_ts = rec.ts;
		f.samples += rec.kind == REC_K_SAMPLE;
		f.events += rec.kind >= REC_K_SWITCH && rec.kind != REC_K_NOTE;
	}
	cr_assert_eq(got, 0, "reading %s: %d", path, got);
	for (size_t i = 0; i < 4096; i++)
		f.lost += last[i];
	f.complete = trace_reader_info(r)->complete;
	f.truncated = trace_reader_info(r)->truncated;
	f.damaged = trace_reader_info(r)->damaged_blocks;
	trace_reader_free(r);
	close(fd);
	return f;
}
