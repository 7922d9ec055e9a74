/* SPDX-License-Identifier: MIT */
/* The text report: its sections in order, the headline and how parallel the run was. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/text_priv.h"
#include "report/utf8_priv.h"

#define DEFAULT_TOP   10
#define DEFAULT_WIDTH 100
#define MAX_WIDTH     10000
#define MAX_COMMAND   4096 /* bytes shown; a command line can have megabytes */

static void (*const sections[])(struct tx *t) = {
        text_headline, text_deadlocks, text_verdict,   text_account,  text_parallelism,
        text_serial,   text_locks,     text_gil,       text_channels, text_traffic,
        text_pickling, text_path,      text_watch,     text_tasks,    text_spawn,
        text_memory,   text_stacks,    text_recording,
};

int report_text(const struct report *r, const struct report_opts *o, FILE *out, struct err *err)
{
	static const struct report_opts none;
	struct tx t = {.r = r, .o = o ? o : &none, .out = out};

	t.top = t.o->top ? t.o->top : DEFAULT_TOP;
	t.width = t.o->width ? t.o->width : DEFAULT_WIDTH;
	t.width = t.width < TX_MIN_WIDTH ? TX_MIN_WIDTH : t.width;
	t.width = t.width > MAX_WIDTH ? MAX_WIDTH : t.width;
	t.colour = t.o->colour;
	t.ascii = t.o->ascii;
	t.err = jobs_init(&t.jobs, r->m);
	for (size_t i = 0; i < ARRAY_LEN(sections) && !t.err; i++)
		sections[i](&t);
	jobs_release(&t.jobs);
	if (t.err)
		return err_set(err, t.err, MT_EXIT_FAIL, "cannot make the report: %s",
		               strerror(-t.err));
	return stream_end(out, "the report", err);
}

/* --- headline -------------------------------------------------------------- */

int put_shell_word(struct buf *b, const char *s)
{
	bool quote = !*s || strpbrk(s, " \t'\"$&*();<>?[]{}`|\\!#~");
	int err = buf_printf(b, "%s", quote ? "'" : "");

	while (*s && !err) {
		size_t n = strcspn(s, "'");

		err = buf_printf(b, "%.*s%s", (int)n, s, s[n] ? "'\\''" : "");
		s += n + (s[n] != '\0');
	}
	return err ? err : buf_printf(b, "%s", quote ? "'" : "");
}

static int put_arg(struct buf *b, const char *arg, size_t n)
{
	char *copy = strndup(arg, n < MAX_COMMAND ? n : MAX_COMMAND), safe[MAX_COMMAND];
	int err;

	if (!copy)
		return -ENOMEM;
	fmt_safe(safe, sizeof(safe), copy);
	free(copy);
	err = buf_printf(b, "%s", b->n ? " " : "");
	return err ? err : put_shell_word(b, safe);
}

/* The command as a shell takes it. brief: without the directory of the program. */
static int put_command(struct buf *b, const struct model *m, bool brief)
{
	const uint8_t *p = NULL;
	size_t n = model_meta_bytes(m, META_ARGV, &p), at = 0;
	int err = 0;

	while (at < n && b->n < MAX_COMMAND && !err) {
		const char *arg = (const char *)p + at;
		size_t len = strnlen(arg, n - at);
		const char *slash = brief && !at ? memrchr(arg, '/', len) : NULL;

		at += len + 1;
		if (slash && slash + 1 < arg + len) {
			len -= (size_t)(slash + 1 - arg);
			arg = slash + 1;
		}
		err = put_arg(b, arg, len);
	}
	return err;
}

static const struct proc *proc_of_pid(const struct model *m, const char *pid)
{
	uint64_t number;

	if (parse_u64(pid, 1, UINT32_MAX, &number))
		return NULL;
	for (size_t i = 0; i < model_n_procs(m); i++)
		if (model_proc_at(m, i)->pid == number)
			return model_proc_at(m, i);
	return NULL;
}

/* "attached to redis-server (4853)". pids: with commas between. */
static int put_attached(struct buf *b, const struct model *m, const char *pids)
{
	const char *between = "attached to ";
	int err = 0;

	while (*pids && !err) {
		size_t n = strcspn(pids, ",");
		char pid[32], safe[64], name[64];
		const struct proc *p;

		snprintf(pid, sizeof(pid), "%.*s", n < sizeof(pid) ? (int)n : 0, pids);
		p = proc_of_pid(m, pid);
		fmt_safe(safe, sizeof(safe), pid);
		if (p && p->comm && p->comm[0])
			err = buf_printf(b, "%s%s (%s)", between,
			                 fmt_safe(name, sizeof(name), p->comm), safe);
		else
			err = buf_printf(b, "%s%s", between, safe);
		between = ", ";
		pids += n + (pids[n] != '\0');
	}
	return err;
}

static int put_subject(struct buf *b, const struct tx *t, bool brief)
{
	const struct recording *rec = model_recording(t->r->m);
	const char *pids = model_meta(t->r->m, META_PIDS);
	int err;

	if (rec->attached && pids && *pids)
		return put_attached(b, t->r->m, pids);
	err = put_command(b, t->r->m, brief);
	if (!err && !b->n)
		err = buf_printf(b, "%s", rec->attached ? "attached" : "unknown command");
	return err;
}

static void put_counts(struct buf *b, const struct report *r)
{
	char tasks[48], procs[48], ns[32];
	size_t n_tasks = model_n_tasks(r->m) - r->launcher_tasks,
	       n_procs = model_n_procs(r->m) - r->launcher_procs;

	fmt_n(tasks, sizeof(tasks), n_tasks, "thread", "threads");
	fmt_n(procs, sizeof(procs), n_procs, "process", "processes");
	if (!n_tasks)
		buf_printf(b, "\nno tasks");
	else if (n_tasks == 1)
		buf_printf(b, "\nsingle-threaded");
	else if (n_tasks == n_procs)
		buf_printf(b, "\n%s: %s", r->mode ? r->mode : "mode unknown", procs);
	else
		buf_printf(b, "\n%s: %s in %s", r->mode ? r->mode : "mode unknown", tasks, procs);
	if (r->launcher_procs)
		buf_printf(b, "\nafter %s of its launcher (%s)",
		           fmt_n(procs, sizeof(procs), r->launcher_procs, "process", "processes"),
		           fmt_ns(ns, sizeof(ns), r->launcher_ns));
}

static void put_exit(struct buf *b, const struct recording *rec)
{
	int status = rec->exit_status;
	const char *name = status > 128 && status < 193 ? sigabbrev_np(status - 128) : NULL;

	if (rec->attached)
		return;
	if (status < 0)
		buf_printf(b, "\nstill running at the end");
	else if (name)
		buf_printf(b, "\nexit %d (128 + SIG%s)", status, name);
	else
		buf_printf(b, "\nexit %d", status);
}

/* Processes of the workload that a signal has ended with which nobody ends what is done: a worker
 * that crashed, or for which there was no memory. What became of the command is said in the line
 * above. */
static void print_killed(struct tx *t, const struct recording *rec)
{
	static const struct {
		int number;
		const char *name;
	} signals[] = {{SIGKILL, "KILL"}, {SIGSEGV, "SEGV"}, {SIGBUS, "BUS"}, {SIGABRT, "ABRT"},
	               {SIGILL, "ILL"},   {SIGFPE, "FPE"},   {SIGSYS, "SYS"}};
	size_t n = model_n_procs(t->r->m);

	for (size_t k = 0; k < ARRAY_LEN(signals); k++) {
		const struct proc *first = NULL;
		size_t others = 0;
		char who[64], more[64] = "", text[256];

		for (size_t i = !rec->attached; i < n; i++) {
			const struct proc *p = model_proc_at(t->r->m, i);

			if (p->exit_status != 128 + signals[k].number)
				continue;
			others += first != NULL;
			first = first ? first : p;
		}
		if (!first)
			continue;
		if (others)
			snprintf(more, sizeof(more), ", and so did %zu other%s", others,
			         others == 1 ? "" : "s");
		snprintf(text, sizeof(text),
		         "%s (%" PRIu32 ") ended with status %d (128 + SIG%s)%s.",
		         task_label(who, sizeof(who), t->r->m, first->id), first->pid,
		         first->exit_status, signals[k].name, more);
		tx_items(t, TX_BAD, NULL, text);
	}
}

static void print_loss(struct tx *t, const struct recording *rec)
{
	uint64_t seen = sat_add(rec->lost, rec->events);
	char lost[32], all[32], share[16], text[256];

	snprintf(text, sizeof(text),
	         "LOSSY: %s of %s events were lost (%s): counts are too low, and waits around the "
	         "gaps wrong.",
	         fmt_count(lost, sizeof(lost), rec->lost), fmt_count(all, sizeof(all), seen),
	         fmt_share(share, sizeof(share), rec->lost, seen));
	tx_items(t, TX_BAD, NULL, text);
}

const char *report_damage(char *out, size_t n, const struct trace_info *info)
{
	char blocks[48], bad[32], bytes[32];

	fmt_bytes(bytes, sizeof(bytes), info->skipped_bytes);
	if (info->damaged_blocks)
		snprintf(out, n, "%s of %s (%s) could not be read%s",
		         fmt_count(bad, sizeof(bad), info->damaged_blocks),
		         fmt_n(blocks, sizeof(blocks), sat_add(info->blocks, info->damaged_blocks),
		               "block", "blocks"),
		         bytes, info->truncated ? ", and the end is missing" : "");
	else
		snprintf(out, n, "%s (%s cannot be used)",
		         info->truncated ? "the end is missing" : "a part could not be read",
		         bytes);
	return out;
}

static void print_damage(struct tx *t, const struct recording *rec)
{
	char what[160], text[256];

	if (!rec->damaged)
		return;
	snprintf(text, sizeof(text), "DAMAGED: of the trace file %s; this report shows the rest.",
	         report_damage(what, sizeof(what), model_trace_info(t->r->m)));
	tx_items(t, TX_BAD, NULL, text);
}

/* Wall time, CPUs, tasks, exit: one item each. */
static void put_facts(struct buf *b, const struct tx *t)
{
	const struct recording *rec = model_recording(t->r->m);
	char wall[32], since[32];

	buf_printf(b, "\n%s", fmt_ns(wall, sizeof(wall), t->r->wall_ns));
	if (t->r->cpus > 0)
		buf_printf(b, " on %.3g CPU%s", t->r->cpus, t->r->cpus == 1 ? "" : "s");
	if (rec->windowed) {
		buf_printf(b, " (of %s", fmt_ns(wall, sizeof(wall), rec->whole_ns));
		if (rec->since_ns)
			buf_printf(b, ", from %s on", fmt_ns(since, sizeof(since), rec->since_ns));
		buf_printf(b, ")");
	}
	put_counts(b, t->r);
	put_exit(b, rec);
}

static bool fits(const struct tx *t, const struct buf *subject, const struct buf *facts)
{
	/* Between n items stand n - 1 times " · ", where the text has '\n' of no width. */
	size_t joints = 0;

	for (size_t i = 0; i < facts->n; i++)
		joints += facts->p[i] == '\n';
	return utf8_width((const char *)subject->p) + utf8_width((const char *)facts->p) +
	               2 * joints <=
	       t->width;
}

/* A command that does not share a line with the facts may fill almost two of its own. */
static void print_headline(struct tx *t, const struct buf *subject, const struct buf *facts)
{
	size_t size = subject->n + facts->n + 8;
	char *line = malloc(size);

	if (!line) {
		t->err = -ENOMEM;
		return;
	}
	utf8_shorten(line, size, (const char *)subject->p, 2 * t->width - t->width / 8);
	strcat(line, (const char *)facts->p);
	tx_items(t, TX_PLAIN, NULL, line);
	free(line);
}

void text_headline(struct tx *t)
{
	const struct recording *rec = model_recording(t->r->m);
	struct buf subject = {0}, facts = {0};

	put_facts(&facts, t);
	t->err = put_subject(&subject, t, false);
	if (!t->err && subject.p && facts.p && !fits(t, &subject, &facts)) {
		subject.n = 0;
		t->err = put_subject(&subject, t, true);
	}
	if (!t->err && subject.p && facts.p)
		print_headline(t, &subject, &facts);
	else
		t->err = -ENOMEM;
	buf_release(&subject);
	buf_release(&facts);
	print_killed(t, rec);
	if (rec->lost)
		print_loss(t, rec);
	print_damage(t, rec);
	if (!rec->complete)
		tx_items(t, TX_BAD, NULL,
		         "INCOMPLETE: the recording was not finished; this report shows what had "
		         "been written.");
}

/* --- how parallel the run was ---------------------------------------------------------------- */

#define MAX_RANGES  4
#define BAR_COLUMNS 60

/* Wall time with [low, high] tasks running. */
struct range {
	size_t low, high;
	uint64_t ns;
	const char *shade;
};

/* None, then up to four ranges of equal size; darker is more. Returns how many. */
static size_t make_ranges(const uint64_t *hist, size_t n, struct range out[MAX_RANGES + 1])
{
	static const char *const shades[] = {"─", "░", "▒", "▓", "█"};
	size_t highest = 0, ranges, k = 0;

	for (size_t i = 0; i < n; i++)
		highest = hist[i] ? i : highest;
	ranges = highest < MAX_RANGES ? highest : MAX_RANGES;
	out[0] = (struct range){.ns = n ? hist[0] : 0, .shade = shades[0]};
	for (size_t i = 1; i <= highest; i++) {
		size_t want = 1 + (i - 1) * ranges / highest;

		if (want != k) {
			k = want;
			out[k] = (struct range){.low = i, .shade = shades[4 * k / ranges]};
		}
		out[k].high = i;
		out[k].ns = sat_add(out[k].ns, hist[i]);
	}
	return ranges + 1;
}

static int put_bar(struct buf *b, const struct range *r, size_t n, unsigned columns)
{
	double total = 0, sum = 0;
	unsigned at = 0;
	int err = 0;

	for (size_t i = 0; i < n; i++)
		total += (double)r[i].ns;
	for (size_t i = 0; i < n && total > 0 && !err; i++) {
		sum += (double)r[i].ns;
		for (; at < (unsigned)(sum / total * columns + 0.5) && !err; at++)
			err = buf_printf(b, "%s", r[i].shade);
	}
	return err;
}

/* shades: with what each is in the bar. */
static int put_legend(struct buf *b, const struct range *r, size_t n, bool shades)
{
	uint64_t total = 0;
	char share[16];
	int err = 0;

	for (size_t i = 0; i < n; i++)
		total = sat_add(total, r[i].ns);
	for (size_t i = 0; i < n && !err; i++) {
		if (!r[i].ns)
			continue;
		err = buf_printf(b, "%s%s%s", b->n ? "\n" : "", shades ? r[i].shade : "",
		                 shades ? " " : "");
		if (err)
			break;
		fmt_share(share, sizeof(share), r[i].ns, total);
		if (r[i].low != r[i].high)
			err = buf_printf(b, "%zu to %zu running %s", r[i].low, r[i].high, share);
		else if (r[i].low)
			err = buf_printf(b, "%zu running %s", r[i].low, share);
		else
			err = buf_printf(b, "none running %s", share);
	}
	return err;
}

void text_parallelism(struct tx *t)
{
	struct range ranges[MAX_RANGES + 1];
	struct buf bar = {0}, legend = {0};
	size_t n = 0;
	const uint64_t *hist = model_running_histogram(t->r->m, &n);
	unsigned columns = t->width - TX_LABEL;
	bool account = t->r->capacity_ns && t->r->breakdown.n;

	if (!t->r->wall_ns || !n)
		return;
	tx_section(t);
	t->err = buf_printf(
	        &legend, t->r->cpus > 0 ? "%.2f of %.3g CPUs on average" : "%.2f CPUs on average",
	        t->r->avg_parallelism, t->r->cpus);
	n = make_ranges(hist, n, ranges);
	/* Two bars one below the other would be compared, and do not show the same. */
	if (account) {
		t->err = t->err ? t->err : put_legend(&legend, ranges, n, false);
		if (!t->err)
			tx_items(t, TX_PLAIN, "parallelism", (const char *)legend.p);
	} else if (!t->err) {
		tx_items(t, TX_PLAIN, "parallelism", (const char *)legend.p);
		legend.n = 0;
		t->err = put_bar(&bar, ranges, n, columns < BAR_COLUMNS ? columns : BAR_COLUMNS);
		t->err = t->err ? t->err : put_legend(&legend, ranges, n, true);
		if (!t->err && bar.p) {
			tx_items(t, TX_PLAIN, "", (const char *)bar.p);
			tx_items(t, TX_PLAIN, "", (const char *)legend.p);
		}
	}
	buf_release(&bar);
	buf_release(&legend);
}
