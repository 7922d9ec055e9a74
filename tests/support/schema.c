/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "schema.h"

struct findings {
	char *out;
	size_t n, used, count;
};

static void found(struct findings *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void found(struct findings *f, const char *fmt, ...)
{
	va_list args;
	int k;

	f->count++;
	if (f->used + 2 >= f->n)
		return;
	va_start(args, fmt);
	k = vsnprintf(f->out + f->used, f->n - f->used - 1, fmt, args);
	va_end(args);
	if (k < 0)
		return;
	f->used += (size_t)k < f->n - f->used - 2 ? (size_t)k : f->n - f->used - 2;
	f->out[f->used++] = '\n';
	f->out[f->used] = '\0';
}

/* --- keys and types -------------------------------------------------------------------------- */

/* Types: u not negative integer, r number in or above 0, q ratio in [0, 1], s text, b truth value,
 * o object, a array, f array of texts; a '?' before it: or null. "x[]": every element of x. */
static const struct {
	const char *path, *type;
} keys[] = {
        {"schema", "s"},
        {"workload", "o"},
        {"workload.argv", "?f"},
        {"workload.mode", "?s"},
        {"workload.wall_ns", "u"},
        {"workload.cpus", "?r"},
        {"workload.exit_status", "?u"},
        {"tasks", "a"},
        {"tasks[].tid", "?u"},
        {"tasks[].ns_tid", "?u"},
        {"tasks[].pid", "?u"},
        {"tasks[].ppid", "?u"},
        {"tasks[].comm", "?s"},
        {"tasks[].start_ns", "u"},
        {"tasks[].end_ns", "u"},
        {"tasks[].run_ns", "u"},
        {"tasks[].runnable_ns", "u"},
        {"tasks[].blocked_ns", "u"},
        {"tasks[].blocked", "o"},
        {"tasks[].blocked.futex", "u"},
        {"tasks[].blocked.join", "u"},
        {"tasks[].blocked.pipe", "u"},
        {"tasks[].blocked.socket", "u"},
        {"tasks[].blocked.poll", "u"},
        {"tasks[].blocked.file", "u"},
        {"tasks[].blocked.sleep", "u"},
        {"tasks[].blocked.child", "u"},
        {"tasks[].blocked.fault", "u"},
        {"tasks[].blocked.stopped", "u"},
        {"tasks[].blocked.other", "u"},
        {"tasks[].switches.voluntary", "u"},
        {"tasks[].switches.involuntary", "u"},
        {"tasks[].kernel.voluntary", "?u"},
        {"tasks[].kernel.involuntary", "?u"},
        {"tasks[].kernel.run_ns", "?u"},
        {"tasks[].kernel.runnable_ns", "?u"},
        {"tasks[].exit_status", "?u"},
        {"tasks[].faults.minor", "?u"},
        {"tasks[].faults.major", "?u"},
        {"tasks[].faults.cow", "?u"},
        {"tasks[].first_touch_bytes", "?u"},
        {"processes", "a"},
        {"processes[].pid", "u"},
        {"processes[].ppid", "?u"},
        {"processes[].start_method", "?s"},
        {"processes[].rss_peak_bytes", "?u"},
        {"processes[].pss_bytes", "?u"},
        {"processes[].uss_bytes", "?u"},
        {"processes[].shared_bytes", "?u"},
        {"processes[].cow_bytes", "?u"},
        {"processes[].spawn.fork_ns", "?u"},
        {"processes[].spawn.first_run_ns", "?u"},
        {"processes[].spawn.exec_ns", "?u"},
        {"processes[].spawn.ready_ns", "?u"},
        {"processes[].spawn.ready_uncertainty_ns", "?u"},
        {"processes[].samples", "a"},
        {"processes[].samples[].t_ns", "u"},
        {"processes[].samples[].rss_bytes", "?u"},
        {"processes[].samples[].pss_bytes", "?u"},
        {"processes[].samples[].uss_bytes", "?u"},
        {"locks", "a"},
        {"locks[].id", "u"},
        {"locks[].kind", "s"},
        {"locks[].name", "?s"},
        {"locks[].scope", "s"},
        {"locks[].waits", "u"},
        {"locks[].wait_ns", "u"},
        {"locks[].max_wait_ns", "u"},
        {"locks[].p50_wait_ns", "?u"},
        {"locks[].p99_wait_ns", "?u"},
        {"locks[].python_kind", "?s"},
        {"locks[].idle_cpu_ns", "?u"},
        {"locks[].waiters", "a"},
        {"locks[].waiters[].tid", "?u"},
        {"locks[].waiters[].waits", "u"},
        {"locks[].waiters[].wait_ns", "u"},
        {"locks[].blockers", "?a"},
        {"locks[].blockers[].tid", "?u"},
        {"locks[].blockers[].wait_ns", "u"},
        {"locks[].blockers[].evidence", "s"},
        {"locks[].sites", "a"},
        {"locks[].sites[].frames", "?f"},
        {"locks[].sites[].wait_ns", "u"},
        {"channels", "?a"},
        {"channels[].id", "u"},
        {"channels[].kind", "?s"},
        {"channels[].name", "?s"},
        {"channels[].wait_ns", "u"},
        {"channels[].idle_cpu_ns", "?u"},
        {"channels[].waiters", "a"},
        {"channels[].blockers", "a"},
        {"parallelism.histogram_ns", "a"},
        {"parallelism.average", "?r"},
        {"parallelism.tasks", "?a"},
        {"parallelism.tasks[].height_ns", "u"},
        {"serialization.verdict", "?s"},
        {"serialization.headline", "?s"},
        {"serialization.samples", "?u"},
        {"serialization.spinning_samples", "?u"},
        {"serialization.capacity_ns", "?u"},
        {"serialization.breakdown", "?a"},
        {"serialization.breakdown[].cause", "s"},
        {"serialization.breakdown[].id", "?u"},
        {"serialization.breakdown[].name", "?s"},
        {"serialization.breakdown[].ns", "u"},
        {"serialization.breakdown[].ratio", "?q"},
        {"serialization.breakdown[].uncertainty_ratio", "?q"},
        {"critical_path", "?a"},
        {"critical_path[].start_ns", "u"},
        {"critical_path[].end_ns", "u"},
        {"critical_path[].tid", "?u"},
        {"critical_path[].state", "s"},
        {"critical_path[].cause", "s"},
        {"critical_path[].lock", "?u"},
        {"deadlocks", "?a"},
        {"deadlocks[].tasks", "a"},
        {"deadlocks[].tasks[].tid", "?u"},
        {"deadlocks[].tasks[].holds", "?u"},
        {"deadlocks[].tasks[].waits_for", "?u"},
        {"deadlocks[].tasks[].site", "?f"},
        {"wait_graph", "?a"},
        {"wait_graph[].tid", "?u"},
        {"wait_graph[].state", "s"},
        {"wait_graph[].kind", "?s"},
        {"wait_graph[].lock", "?u"},
        {"wait_graph[].channel", "?u"},
        {"wait_graph[].waits_for", "?u"},
        {"wait_graph[].evidence", "?s"},
        {"wait_graph[].since_ns", "u"},
        {"wait_graph[].frames", "?f"},
        {"what_if", "?a"},
        {"what_if[].change", "s"},
        {"what_if[].id", "?u"},
        {"what_if[].speedup", "r"},
        {"what_if[].low", "?r"},
        {"what_if[].high", "?r"},
        {"what_if[].wall_ns", "u"},
        {"what_if[].wall_low_ns", "u"},
        {"what_if[].wall_high_ns", "u"},
        {"what_if[].free_ns", "?u"},
        {"what_if[].processes", "?u"},
        {"what_if[].memory_bytes", "?u"},
        {"what_if[].spawn_ns", "?u"},
        {"replay_ns", "?u"},
        {"others_cpu_ns", "?u"},
        {"recorder_cpu_ns", "?u"},
        {"gil", "?a"},
        {"gil[].hold_ns", "u"},
        {"gil[].hold_uncertainty_ns", "u"},
        {"gil[].cpu_ns", "u"},
        {"gil[].cpu_hold_ns", "?u"},
        {"gil[].samples", "u"},
        {"gil[].wait_ns", "u"},
        {"gil[].switches", "u"},
        {"gil[].tasks", "a"},
        {"gil[].tasks[].hold_ns", "u"},
        {"gil[].tasks[].hold_uncertainty_ns", "u"},
        {"gil[].tasks[].cpu_ns", "u"},
        {"gil[].tasks[].cpu_hold_ns", "?u"},
        {"gil[].tasks[].samples", "u"},
        {"gil[].tasks[].wait_ns", "u"},
        {"watch", "?a"},
        {"watch[].tid", "?u"},
        {"watch[].comm", "?s"},
        {"watch[].waits", "u"},
        {"watch[].p50_ns", "?u"},
        {"watch[].p99_ns", "?u"},
        {"watch[].max_ns", "?u"},
        {"watch[].by", "a"},
        {"watch[].by[].cause", "s"},
        {"watch[].by[].ns", "u"},
        {"quality.events", "u"},
        {"quality.lost", "u"},
        {"quality.lost_by", "o"},
        {"quality.checks", "a"},
        {"quality.checks[].name", "s"},
        {"quality.checks[].ok", "?b"},
        {"quality.overhead", "o"},
        {"quality.notes", "f"},
};

static bool is_texts(json_t *v)
{
	json_t *e;
	size_t i;

	if (!json_is_array(v))
		return false;
	json_array_foreach(v, i, e) if (!json_is_string(e)) return false;
	return true;
}

static bool is_type(json_t *v, const char *type)
{
	if (*type == '?' && json_is_null(v))
		return true;
	type += *type == '?';
	switch (*type) {
	case 'u':
		return json_is_integer(v) && json_integer_value(v) >= 0;
	case 'r':
		return json_is_number(v) && json_number_value(v) >= 0;
	case 'q':
		return json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= 1;
	case 's':
		return json_is_string(v);
	case 'b':
		return json_is_boolean(v);
	case 'o':
		return json_is_object(v);
	case 'a':
		return json_is_array(v);
	case 'f':
		return is_texts(v);
	default:
		return false;
	}
}

/* `rest` is what remains of keys[k].path below v. */
static void check_key(struct findings *f, json_t *v, const char *rest, size_t k)
{
	size_t n = strcspn(rest, ".["), i;
	char key[64];
	json_t *e;

	snprintf(key, sizeof(key), "%.*s", (int)n, rest);
	v = json_object_get(v, key);
	rest += n;
	if (!v) {
		found(f, "%s: no such key", keys[k].path);
	} else if (!*rest) {
		if (!is_type(v, keys[k].type))
			found(f, "%s is not of type %s", keys[k].path, keys[k].type);
	} else if (*rest == '.') {
		check_key(f, v, rest + 1, k);
	} else {
		json_array_foreach(v, i, e) check_key(f, e, rest + strlen("[]."), k);
	}
}

/* --- sums ------------------------------------------------------------------------------------- */

static uint64_t u64(json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

static json_t *member(json_t *doc, const char *object, const char *key)
{
	return json_object_get(json_object_get(doc, object), key);
}

static uint64_t sum_of(json_t *array, const char *key)
{
	uint64_t sum = 0;
	json_t *e;
	size_t i;

	json_array_foreach(array, i, e) sum += key ? u64(e, key) : (uint64_t)json_integer_value(e);
	return sum;
}

static void equal(struct findings *f, const char *what, uint64_t a, uint64_t b)
{
	if (a != b)
		found(f, "%s: %" PRIu64 " is not %" PRIu64, what, a, b);
}

static void check_task(struct findings *f, json_t *t)
{
	uint64_t sum = 0;
	const char *key;
	json_t *v;

	json_object_foreach(json_object_get(t, "blocked"), key, v) sum +=
	        (uint64_t)json_integer_value(v);
	equal(f, "blocked by cause = blocked", sum, u64(t, "blocked_ns"));
	equal(f, "the states tile the life",
	      u64(t, "run_ns") + u64(t, "runnable_ns") + u64(t, "blocked_ns"),
	      u64(t, "end_ns") - u64(t, "start_ns"));
}

/* Waits for locks are the time blocked in futexes, lock by lock and task by task. */
static void check_locks(struct findings *f, json_t *doc, bool lossy)
{
	uint64_t waits = 0, blocked = 0;
	json_t *e;
	size_t i;

	json_array_foreach(json_object_get(doc, "locks"), i, e)
	{
		equal(f, "waits by waiter = waits of the lock",
		      sum_of(json_object_get(e, "waiters"), "wait_ns"), u64(e, "wait_ns"));
		waits += u64(e, "wait_ns");
	}
	json_array_foreach(json_object_get(doc, "tasks"), i, e) blocked +=
	        u64(json_object_get(e, "blocked"), "futex") +
	        u64(json_object_get(e, "blocked"), "join");
	if (!lossy && waits > blocked)
		found(f, "locks were waited for %" PRIu64 " ns, tasks blocked in futexes %" PRIu64,
		      waits, blocked);
}

static void check_path(struct findings *f, json_t *doc, uint64_t wall_ns)
{
	json_t *path = json_object_get(doc, "critical_path"), *e;
	uint64_t at = 0, sum = 0;
	size_t i;

	json_array_foreach(path, i, e)
	{
		if (i)
			equal(f, "the critical path has no gaps", u64(e, "start_ns"), at);
		at = u64(e, "end_ns");
		sum += at - u64(e, "start_ns");
	}
	if (json_is_array(path))
		equal(f, "critical path = wall", sum, wall_ns);
}

size_t schema_check(json_t *doc, bool lossy, char *out, size_t n)
{
	struct findings f = {.out = out, .n = n};
	json_t *breakdown = member(doc, "serialization", "breakdown"), *e;
	uint64_t wall = u64(json_object_get(doc, "workload"), "wall_ns");
	size_t i;

	out[0] = '\0';
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
		check_key(&f, doc, keys[k].path, k);
	json_array_foreach(json_object_get(doc, "tasks"), i, e) check_task(&f, e);
	if (wall)
		equal(&f, "histogram = wall",
		      sum_of(member(doc, "parallelism", "histogram_ns"), NULL), wall);
	if (json_is_array(breakdown))
		equal(&f, "breakdown = capacity", sum_of(breakdown, "ns"),
		      u64(json_object_get(doc, "serialization"), "capacity_ns"));
	check_locks(&f, doc, lossy);
	check_path(&f, doc, wall);
	return f.count;
}
