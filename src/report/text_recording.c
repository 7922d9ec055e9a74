/* SPDX-License-Identifier: MIT */
/* How far the recording can be trusted, what it cost, what is not known, what to do next. */
#include <errno.h>
#include <string.h>

#include "report/text_priv.h"

#define MAX_NOTES 20

/* --- checks against the kernel's counters ---------------------------------- */

static const struct {
	const char *check, *words;
} check_words[] = {
        {"voluntary", "voluntary switches"}, {"involuntary", "involuntary switches"},
        {"run_ns", "running time"},          {"runnable_ns", "time ready"},
        {"minor_faults", "minor faults"},    {"major_faults", "major faults"},
};

static const char *words_of(const struct report_check *c, char *out, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(check_words); i++) {
		if (!strcmp(check_words[i].check, c->name))
			return check_words[i].words;
	}
	fmt_safe(out, n, c->name);
	for (char *p = out; *p; p++)
		*p = *p == '_' ? ' ' : *p;
	return out;
}

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && !strcmp(s + n - k, suffix);
}

static char *value_of(const struct report_check *c, uint64_t value, char *out, size_t n)
{
	if (has_suffix(c->name, "_ns"))
		return fmt_ns(out, n, value);
	if (has_suffix(c->name, "_bytes"))
		return fmt_bytes(out, n, value);
	return fmt_count(out, n, value);
}

static const struct report_check *find_check(const struct report *r, const char *name)
{
	for (size_t i = 0; i < r->checks.n; i++) {
		if (!strcmp(r->checks.v[i].name, name))
			return &r->checks.v[i];
	}
	return NULL;
}

static bool passed(const struct report_check *c)
{
	return c && c->known && c->ok && c->tasks;
}

static void put_tasks(struct buf *b, uint64_t compared, uint64_t all)
{
	char n[48], of[48];

	if (compared < all)
		buf_printf(b, " for the %s that it is known for",
		           fmt_n(n, sizeof(n), compared, "task", "tasks"));
	else if (all == 1)
		buf_printf(b, " for the task");
	else
		buf_printf(b, " for all %s", fmt_n(of, sizeof(of), all, "task", "tasks"));
}

/* What agrees, in one line: switches as a number, the rest by name. false: nothing printed. */
static bool print_agreement(struct tx *t)
{
	const struct report *r = t->r;
	const struct report_check *vol = find_check(r, "voluntary");
	const struct report_check *invol = find_check(r, "involuntary");
	bool switches = passed(vol) && passed(invol), any;
	struct buf b = {0}, rest = {0};
	char v[48], words[64];

	if (switches) {
		buf_printf(&b, "%s = the kernel's count",
		           fmt_n(v, sizeof(v), sat_add(vol->recorded, invol->recorded), "switch",
		                 "switches"));
		put_tasks(&b, vol->tasks, model_n_tasks(r->m));
	}
	for (size_t i = 0; i < r->checks.n; i++) {
		const struct report_check *c = &r->checks.v[i];

		if (passed(c) && !(switches && (c == vol || c == invol)))
			buf_printf(&rest, "%s%s", rest.n ? ", " : "",
			           words_of(c, words, sizeof(words)));
	}
	if (rest.p)
		buf_printf(&b, "%s%s %s too", b.n ? "\n" : "", (const char *)rest.p,
		           strchr((const char *)rest.p, ',') ? "agree" : "agrees");
	if (find_check(r, "events") && find_check(r, "events")->ok)
		buf_printf(&b, "\nevery event seen was written%s",
		           model_recording(r->m)->lost ? " or counted as lost" : "");
	if (b.p)
		tx_items(t, TX_PLAIN, "recording", (const char *)b.p);
	any = b.p != NULL;
	buf_release(&b);
	buf_release(&rest);
	return any;
}

/* The difference as such: it may be small beside the sums. */
static void put_difference(char *line, size_t n, const struct report_check *c)
{
	uint64_t more = c->recorded > c->kernel ? c->recorded - c->kernel : 0;
	uint64_t less = c->kernel > c->recorded ? c->kernel - c->recorded : 0;
	char words[64], sum[32], diff[32], ok[32], all[48];
	int k;

	k = snprintf(line, n, "%s DIFFER: %s %s, %s %s than the %s",
	             words_of(c, words, sizeof(words)), value_of(c, c->recorded, sum, sizeof(sum)),
	             c->tasks ? "recorded" : "written or lost",
	             value_of(c, more ? more : less, diff, sizeof(diff)), more ? "more" : "less",
	             c->tasks ? "kernel's count" : "hooks saw");
	if (c->tasks && k > 0 && (size_t)k < n)
		snprintf(line + k, n - (size_t)k, "; right for %s of %s",
		         fmt_count(ok, sizeof(ok), c->tasks_ok),
		         fmt_n(all, sizeof(all), c->tasks, "task", "tasks"));
}

static bool print_differences(struct tx *t, bool any)
{
	for (size_t i = 0; i < t->r->checks.n; i++) {
		const struct report_check *c = &t->r->checks.v[i];
		char line[300];

		if (!c->known || c->ok)
			continue;
		put_difference(line, sizeof(line), c);
		tx_items(t, TX_BAD, any ? "" : "recording", line);
		any = true;
	}
	return any;
}

/* --- cost ------------------------------------------------------------------------------------ */

static const char *file_name(const struct tx *t)
{
	const char *path = t->o->trace_path, *base = path ? strrchr(path, '/') : NULL;

	return base ? base + 1 : path;
}

static void put_cost(struct buf *b, const struct report *r)
{
	char v[32], share[16], runs[48];

	if (!r->costs_known)
		return;
	buf_printf(b, "\nmpvtrace used %s of CPU", fmt_ns(v, sizeof(v), r->self_cpu_ns));
	/* Of a part of the run, or of one as short as the recorder's start, a share says nothing.
	 */
	if (!model_recording(r->m)->windowed && r->self_cpu_ns <= r->wall_ns)
		buf_printf(b, " (%s of one)",
		           fmt_share(share, sizeof(share), r->self_cpu_ns, r->wall_ns));
	if (r->bpf_runs)
		buf_printf(b, "\nits BPF programs %s in %s", fmt_ns(v, sizeof(v), r->bpf_ns),
		           fmt_n(runs, sizeof(runs), r->bpf_runs, "run", "runs"));
}

static void print_cost(struct tx *t, bool any)
{
	const struct recording *rec = model_recording(t->r->m);
	const struct trace_info *info = model_trace_info(t->r->m);
	char v[32], events[48], name[128];
	struct buf b = {0};

	if (!rec->lost && rec->complete && !rec->damaged)
		buf_printf(&b, "nothing lost");
	put_cost(&b, t->r);
	buf_printf(&b, "\n%s", fmt_bytes(v, sizeof(v), info->file_bytes));
	if (file_name(t))
		buf_printf(&b, " in %s", fmt_safe(name, sizeof(name), file_name(t)));
	buf_printf(&b, " for %s", fmt_n(events, sizeof(events), rec->events, "event", "events"));
	if (b.p)
		tx_items(t, TX_PLAIN, any ? "" : "recording", (const char *)b.p);
	buf_release(&b);
}

/* --- notes, next ----------------------------------------------------------- */

static void print_notes(struct tx *t)
{
	size_t n = t->r->notes.n;
	char safe[1024];

	for (size_t i = 0; i < n && i < MAX_NOTES; i++)
		tx_items(t, TX_PLAIN, i ? "" : "notes",
		         fmt_safe(safe, sizeof(safe), t->r->notes.v[i]));
	if (n > MAX_NOTES)
		tx_line(t, TX_PLAIN, "%*s… and %zu more in --json", TX_LABEL, "", n - MAX_NOTES);
}

/* The picture that shows most of what the verdict says. */
static const char *best_view(const struct report *r)
{
	const struct cause_row *top = NULL;
	const struct stack_row *rows;

	if ((r->verdict == VERDICT_CPU_BOUND || r->verdict == VERDICT_PARALLEL) &&
	    model_on_cpu(r->m, &rows))
		return "on-cpu";
	for (size_t i = 0; i < r->breakdown.n && !top; i++)
		top = r->breakdown.v[i].cause == CAUSE_WORK ? NULL : &r->breakdown.v[i];
	if (top && r->w && (top->cause == CAUSE_LOCK || top->cause == CAUSE_GIL))
		return "futex";
	if (top && top->cause == CAUSE_SERIAL && r->serial.n)
		return "serial";
	return model_off_cpu(r->m, &rows) ? "off-cpu" : NULL;
}

static void print_next(struct tx *t)
{
	const char *path = t->o->trace_path, *view = best_view(t->r);
	struct buf line = {0};
	char safe[1024];
	int err;

	if (!path || !view)
		return;
	err = buf_printf(&line, "mpvtrace export ");
	err = err ? err : put_shell_word(&line, fmt_safe(safe, sizeof(safe), path));
	err = err ? err : buf_printf(&line, " --view %s -o %s.svg", view, view);
	if (err)
		t->err = err;
	else
		tx_items(t, TX_PLAIN, "next", (const char *)line.p);
	buf_release(&line);
}

void text_recording(struct tx *t)
{
	tx_section(t);
	print_cost(t, print_differences(t, print_agreement(t)));
	print_notes(t);
	print_next(t);
}
