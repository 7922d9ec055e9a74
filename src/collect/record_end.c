/* SPDX-License-Identifier: MIT */
/* record_end.c: from the last event to the finished file (steps 5 and 6 in record.c). */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "record_priv.h"

#define SETTLE_NS 20000000 /* at the end: tasks that switch in this time end exactly there */

void record_stop(struct recording_run *r)
{
	struct timespec settle = {.tv_nsec = SETTLE_NS};
	int rc = busy_write(&r->busy, tables_helper(r->tables), r->w);

	if (rc)
		log_debug("what else the CPUs did: %s", strerror(-rc));
	if (drain_alive(r->d)) {
		record_mark(r, MARK_STOPPING, now_ns(), 0);
		session_stopping(r->session);
		nanosleep(&settle, NULL);
	}
	rc = session_stop(r->session);
	if (rc)
		log_warn("the counters of tasks that live on could not be read: %s", strerror(-rc));
	rc = drain_round(r->d, session_rings(r->session), r->maps, UINT64_MAX);
	if (!rc)
		rc = holds_write(r->d, r->w, r->pyspaces);
	if (rc)
		log_debug("last round: %s", strerror(-rc));
	behind_stop(r->behind);                /* its error comes back from the next write */
	setpriority(PRIO_PROCESS, 0, r->nice); /* what follows can wait */
	r->res->still_running = r->o->argv && !r->root_gone;
}

static void write_loss(struct recording_run *r, const char *cause, uint64_t count)
{
	struct rec_loss l = {.cause = drain_string(r->d, cause), .count = count};

	if (!count)
		return;
	r->res->lost += count;
	trace_write(r->w, REC_K_LOSS, now_ns(), &l);
}

static void write_cost(struct recording_run *r, const char *name, uint64_t count, uint64_t ns)
{
	struct rec_cost c = {.name = drain_string(r->d, name), .count = count, .ns = ns};

	trace_write(r->w, REC_K_COST, now_ns(), &c);
}

static void write_python_notes(struct recording_run *r)
{
	char *const *notes;
	size_t n = pyspaces_notes(r->pyspaces, &notes);

	for (size_t i = 0; i < n; i++)
		note_write(r->d, r->w, notes[i]);
}

static void write_traffic(struct recording_run *r)
{
	struct session_traffic t = session_traffic(r->session);
	int rc = t.fd >= 0 ? traffic_write(&t, r->w) : 0;

	if (!rc && strstr(session_features(r->session), FEATURE_TCP))
		rc = flow_last(r->w, r->d);
	if (rc)
		log_debug("messages of channels: %s", strerror(-rc));
}

static void write_quality(struct recording_run *r)
{
	struct session_cost costs[32];
	struct session_totals t;
	struct table_totals tables;
	struct rusage ru;
	uint64_t total_ns = 0, total_runs = 0;
	size_t n;

	session_totals(r->session, &t);
	write_loss(r, "ring-full", t.lost_ring);
	write_loss(r, "task-state", t.lost_task);
	write_loss(r, "program-missed", t.lost_missed);
	write_loss(r, "mapping", perfmaps_lost(r->maps));
	meta_write_u64(r->w, META_SEEN, t.seen);
	meta_write_u64(r->w, META_WRITTEN, drain_written(r->d));
	n = session_costs(r->session, costs, ARRAY_LEN(costs));
	for (size_t i = 0; i < n; i++) {
		write_cost(r, costs[i].name, costs[i].runs, costs[i].ns);
		total_ns += costs[i].ns;
		total_runs += costs[i].runs;
	}
	if (n) /* else the kernel did not let us measure: unknown, not 0 */
		write_cost(r, "bpf total", total_runs, total_ns);
	getrusage(RUSAGE_SELF, &ru);
	write_cost(r, "recorder cpu", 1,
	           ((uint64_t)ru.ru_utime.tv_sec + (uint64_t)ru.ru_stime.tv_sec) * 1000000000 +
	                   ((uint64_t)ru.ru_utime.tv_usec + (uint64_t)ru.ru_stime.tv_usec) * 1000);
	write_cost(r, "recorder memory peak bytes", (uint64_t)ru.ru_maxrss * 1024, 0);
	tables = tables_totals(r->tables);
	write_cost(r, "unwinding tables bytes", tables.bytes, 0);
	write_cost(r, "unwinding tables", tables.files, 0);
	if (tables.evicted) {
		write_cost(r, "unwinding tables evicted", tables.evicted, 0);
		note_write(r->d, r->w,
		           "more files than there is room for their unwinding tables: those not "
		           "used for long gave way, and a stack that led there again may be short");
	}
	if (tables.no_room)
		note_write(r->d, r->w,
		           "the unwinding tables of some files found no room: their frames were "
		           "walked by frame pointers");
	write_cost(r, "footprint", r->fp.reads, r->fp.spent_ns);
	if (r->fp.late)
		note_write(r->d, r->w,
		           "some processes' PSS and USS were read late or never, to stay within "
		           "the budget "
		           "(--footprint-budget)");
	if (t.no_stack)
		write_cost(r, "waits without stack", t.no_stack, 0);
	write_cost(r, "stacks", t.stacks, 0);
	write_python_notes(r);
	if (drain_exec_ts(r->d))
		meta_write_u64(r->w, META_START_NS, drain_exec_ts(r->d) - r->begin_ns);
}

void record_close(struct recording_run *r)
{
	drain_tables(r->d, NULL);
	tables_free(r->tables);
	r->tables = NULL;
	session_free(r->session);
	perfmaps_free(r->maps);
	r->session = NULL;
	r->maps = NULL;
}

int record_finish(struct recording_run *r, int rc, struct err *err)
{
	struct stat st;
	int drop;

	record_stop(r);
	if (!rc) {
		record_mark(r, MARK_STOP, now_ns(), 0);
		write_traffic(r);
		write_quality(r);
	}
	r->res->events = trace_writer_stats(r->w)->events;
	drain_jit_maps(r->d);
	record_close(r);
	drop = privileges_drop(err);
	if (drop)
		return drop;
	if (!rc && !r->o->no_symbols)
		rc = symbols_write(r->sym, r->kallsyms_fd, r->d, r->w, r->o->progress);
	if (!rc && !r->o->no_symbols)
		rc = ident_objects(drain_ident(r->d), r->sym);
	if (!rc)
		rc = record_mark(r, MARK_END, now_ns(), (uint64_t)(r->res->exit_status + 1));
	if (!rc)
		rc = trace_writer_finish(r->w);
	if (!fstat(r->out_fd, &st)) /* of a full disk, what found room */
		r->res->trace_bytes = (uint64_t)st.st_size;
	if (rc == -ENOSPC || rc == -EDQUOT) {
		r->res->disk_full = true;
		return 0;
	}
	if (rc)
		return err_set(err, rc, MT_EXIT_OUTPUT,
		               "writing %s failed: %s (what was written before is readable)",
		               r->o->output, strerror(-rc));
	return 0;
}
