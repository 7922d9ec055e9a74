/* SPDX-License-Identifier: MIT */
/*
 * What locks and channels are, as the trace file tells it, against the workload's own record.
 */
#include "live.h"
#include "pyframes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "trace.h"

LIVE_SUITE(identity);

/* --- the trace, as far as it is about this ------------------------------------------------- */

#define MAX_TASKS 256
#define MAX_FILES 1024
#define MAX_KEYS  64

struct wait { /* a switch of that task into a wait that has something of ours */
	uint32_t task;
	uint64_t addr, park, file, flags, word, owner;
};
struct wake {
	uint32_t task, waker;
	uint64_t file, flags;
};
struct facts {
	struct rec_task tasks[MAX_TASKS];
	struct rec_file files[MAX_FILES];
	struct {
		uint8_t l[4], r[4];
	} ends[MAX_FILES];
	struct rec_futex_key keys[MAX_KEYS];
	struct rec_object objects[MAX_KEYS];
	struct rec_holds holds[MAX_KEYS];
	size_t n_keys, n_objects, n_holds, n_waits, n_wakes;
	struct wait waits[4096];
	struct wake wakes[4096];
	struct {
		uint64_t id;
		char text[128];
	} strings[1024];
	size_t n_strings;
};

static void take_definition(struct facts *f, const struct trace_record *rec)
{
	const struct rec_task *t = rec->rec;
	const struct rec_exec *exec = rec->rec;
	const struct rec_file *file = rec->rec;
	const struct rec_string *s = rec->rec;

	if (rec->kind == REC_K_TASK && t->id < MAX_TASKS)
		f->tasks[t->id] = *t;
	if (rec->kind == REC_K_EXEC && exec->task < MAX_TASKS)
		f->tasks[exec->task].space = exec->space;
	if (rec->kind == REC_K_FILE && file->id < MAX_FILES) {
		f->files[file->id] = *file;
		if (file->laddr.n == 4 && file->raddr.n == 4) {
			memcpy(f->ends[file->id].l, file->laddr.p, 4);
			memcpy(f->ends[file->id].r, file->raddr.p, 4);
		}
	}
	if (rec->kind == REC_K_FUTEX_KEY && f->n_keys < MAX_KEYS)
		f->keys[f->n_keys++] = *(const struct rec_futex_key *)rec->rec;
	if (rec->kind == REC_K_OBJECT && f->n_objects < MAX_KEYS)
		f->objects[f->n_objects++] = *(const struct rec_object *)rec->rec;
	if (rec->kind == REC_K_HOLDS && f->n_holds < MAX_KEYS)
		f->holds[f->n_holds++] = *(const struct rec_holds *)rec->rec;
	if (rec->kind == REC_K_STRING && f->n_strings < 1024) {
		f->strings[f->n_strings].id = s->id;
		snprintf(f->strings[f->n_strings++].text, sizeof(f->strings[0].text), "%.*s",
		         (int)s->text.n, (const char *)s->text.p);
	}
}

static struct facts *read_facts(const char *path)
{
	struct facts *f = calloc(1, sizeof(*f));
	int fd = open(path, O_RDONLY);
	struct trace_record rec;
	struct err err = {0};
	struct trace_reader *r = trace_reader_new(trace_source_fd(&fd), &err);

	cr_assert(r && f, "%s", err.msg);
	while (trace_read(r, &rec) > 0) {
		const struct rec_switch *s = rec.rec;
		const struct rec_waking *w = rec.rec;

		take_definition(f, &rec);
		if (rec.kind == REC_K_SWITCH && !(s->flags & SW_F_RUNNABLE) &&
		    (s->file || s->addr) && f->n_waits < 4096)
			f->waits[f->n_waits++] =
			        (struct wait){(uint32_t)s->prev, s->addr, s->park, s->file,
			                      s->flags,          s->word, s->owner};
		if (rec.kind == REC_K_WAKING && f->n_wakes < 4096)
			f->wakes[f->n_wakes++] = (struct wake){
			        (uint32_t)w->task, (uint32_t)w->waker, w->file, w->flags};
	}
	trace_reader_free(r);
	close(fd);
	return f;
}

static const char *text(const struct facts *f, uint64_t id)
{
	for (size_t i = 0; i < f->n_strings; i++)
		if (f->strings[i].id == id)
			return f->strings[i].text;
	return "";
}

static uint32_t task_of(const struct facts *f, uint64_t tid)
{
	for (uint32_t i = 1; i < MAX_TASKS; i++)
		if (f->tasks[i].tid == tid)
			return i;
	cr_assert_fail("task %llu is not in the trace", (unsigned long long)tid);
	return 0;
}

/* The file of the task's wait number n on files, 0 = there is none. */
static uint64_t waited_file(const struct facts *f, uint32_t task, size_t n)
{
	for (size_t i = 0; i < f->n_waits; i++)
		if (f->waits[i].task == task && f->waits[i].file && !n--)
			return f->waits[i].file;
	return 0;
}

/* The file that the waker had when it woke the task. */
static uint64_t waking_file(const struct facts *f, uint32_t task, uint32_t waker)
{
	for (size_t i = 0; i < f->n_wakes; i++)
		if (f->wakes[i].task == task && f->wakes[i].waker == waker && f->wakes[i].file)
			return f->wakes[i].file;
	return 0;
}

/* --- channels -------------------------------------------------------------------------------- */

static bool meet(const struct facts *f, uint64_t a, uint64_t b, const char *kind)
{
	const struct rec_file *x = &f->files[a], *y = &f->files[b];

	if (!strcmp(kind, "socketpair"))
		return x->peer == y->inode && y->peer == x->inode && x->inode;
	if (!strcmp(kind, "tcp"))
		return x->lport == y->rport && x->rport == y->lport && x->lport &&
		       !memcmp(f->ends[a].l, f->ends[b].r, 4) &&
		       !memcmp(f->ends[a].r, f->ends[b].l, 4);
	return a == b;
}

static void check_channel(const struct facts *f, json_t *l)
{
	const char *kind = str_at(l, "kind"), *how = str_at(l, "how");
	const char *what = fmt("%s, %s", kind, how);
	uint32_t reader = task_of(f, u64_at(l, "reader")), writer = task_of(f, u64_at(l, "writer"));
	uint64_t in = waited_file(f, reader, 0), out = waking_file(f, reader, writer);

	cr_assert(out, "%s: the wake does not say what was written to", what);
	cr_expect_eq(f->files[out].inode, u64_at(l, "other"), "%s: the writer's inode", what);
	if (!strcmp(how, "epoll"))
		return;
	cr_assert(in, "%s: the wait does not say for what", what);
	cr_expect_eq(f->files[in].inode, u64_at(l, "inode"), "%s: the reader's inode", what);
	cr_expect(meet(f, in, out, kind), "%s: the ends do not meet: %llu and %llu", what,
	          (unsigned long long)in, (unsigned long long)out);
	if (!strcmp(kind, "tcp")) {
		cr_expect_eq(f->files[in].lport, u64_at(l, "lport"));
		cr_expect_eq(f->files[in].rport, u64_at(l, "rport"));
		cr_expect_eq(f->files[in].family, AF_INET);
	}
}

static uint64_t kind_of(const char *kind)
{
	if (!strncmp(kind, "eventfd", 7))
		return FD_ANON;
	return !strcmp(kind, "tcp") || !strcmp(kind, "socketpair") ? FD_SOCKET : FD_PIPE;
}

/* Both ends of each are found, by the waiter's descriptor and by the waker's. */
Test(identity, channels)
{
	struct recording r = record(NONE, ARGS(workload("identity")));
	struct facts *f = read_facts(r.trace);
	uint64_t eventfds[2] = {0};
	size_t i, cases = 0;
	json_t *l;

	check_recording(r.json, 0);
	json_array_foreach(r.truth, i, l)
	{
		uint64_t file;

		if (strcmp(str_at(l, "t"), "channel"))
			continue;
		check_channel(f, l);
		cases++;
		if (strcmp(str_at(l, "how"), "read"))
			continue;
		file = waited_file(f, task_of(f, u64_at(l, "reader")), 0);
		cr_expect_eq(f->files[file].kind, kind_of(str_at(l, "kind")), "%s",
		             str_at(l, "kind"));
		if (!strcmp(str_at(l, "kind"), "eventfd 1"))
			eventfds[0] = file;
		if (!strcmp(str_at(l, "kind"), "eventfd 2"))
			eventfds[1] = file;
	}
	cr_expect_eq(cases, 6 * 3);
	cr_expect_neq(eventfds[0], eventfds[1], "they share an inode, and are two");
	cr_expect_str_eq(text(f, f->files[eventfds[0]].name), "[eventfd]");
	free(f);
}

/* The kernel gives the number and the memory of a closed pipe to the next one. */
Test(identity, descriptors_used_again)
{
	struct recording r = record(NONE, ARGS(workload("identity")));
	struct facts *f = read_facts(r.trace);
	json_t *l = truth_line(r.truth, "reuse", NULL, 0), *inode;
	uint32_t reader;
	size_t i;

	cr_assert(l);
	reader = task_of(f, u64_at(l, "reader"));
	json_array_foreach(at(l, "inodes"), i, inode)
	{
		uint64_t file = waited_file(f, reader, i);

		cr_expect_eq(f->files[file].inode, (uint64_t)json_integer_value(inode),
		             "pipe %zu: inode %llu, not %llu", i,
		             (unsigned long long)f->files[file].inode,
		             (unsigned long long)json_integer_value(inode));
	}
	cr_expect_eq(i, 16);
	free(f);
}

Test(identity, message_queues)
{
	struct recording r = record(NONE, ARGS(workload("identity")));
	struct facts *f = read_facts(r.trace);
	json_t *l = truth_line(r.truth, "sysv", NULL, 0);
	uint64_t file;

	if (l) {
		file = waited_file(f, task_of(f, u64_at(l, "reader")), 0);
		cr_expect_eq(f->files[file].kind, FD_SYSV);
		cr_expect_eq(f->files[file].dev, 1);
		cr_expect_eq(f->files[file].inode, u64_at(l, "id"));
	}
	l = truth_line(r.truth, "mqueue", NULL, 0);
	if (l) {
		file = waited_file(f, task_of(f, u64_at(l, "reader")), 0);
		cr_expect_eq(f->files[file].kind, FD_MQUEUE);
		cr_expect_str_eq(text(f, f->files[file].name), str_at(l, "name"));
	}
	free(f);
}

/* --- futexes
 * --------------------------------------------------------------------------------------- */

static const struct rec_futex_key *key_of(const struct facts *f, uint64_t space, uint64_t addr)
{
	for (size_t i = 0; i < f->n_keys; i++)
		if (f->keys[i].space == space && f->keys[i].addr == addr)
			return &f->keys[i];
	return NULL;
}

/* One mutex, two processes, two addresses. */
Test(identity, shared_mutex)
{
	struct recording r = record(NONE, ARGS(workload("identity")));
	struct facts *f = read_facts(r.trace);
	json_t *l = truth_line(r.truth, "shared", NULL, 0);

	cr_assert(l);
	for (int side = 0; side < 2; side++) {
		uint32_t task = task_of(f, u64_at(l, fmt("tids[%d]", side)));
		uint64_t addr = u64_at(l, fmt("addrs[%d]", side));
		const struct rec_futex_key *k = key_of(f, f->tasks[task].space, addr);

		cr_assert(k, "side %d: no key", side);
		cr_expect_eq(k->dev, u64_at(l, "dev"));
		cr_expect_eq(k->inode, u64_at(l, "inode"));
		cr_expect_eq(k->offset, u64_at(l, "offset"));
		cr_expect(strstr(text(f, k->file), "memfd:identity"), "%s", text(f, k->file));
	}
	free(f);
}

/* What is mapped at an address later is another object, and private memory is none. */
Test(identity, mapped_anew)
{
	struct recording r = record(NONE, ARGS(workload("identity")));
	struct facts *f = read_facts(r.trace);
	json_t *l = truth_line(r.truth, "remap", NULL, 0);
	size_t n = 0;

	cr_assert(l);
	for (size_t i = 0; i < f->n_keys; i++)
		if (f->keys[i].addr == u64_at(l, "addr")) {
			cr_expect_eq(f->keys[i].inode, u64_at(l, fmt("inodes[%zu]", n)), "%zu", n);
			n++;
		}
	cr_expect_eq(n, 3);
	free(f);
}

Test(identity, private_words)
{
	struct recording r = record(NONE, ARGS(workload("identity")));
	struct facts *f = read_facts(r.trace);
	json_t *park = truth_line(r.truth, "park", NULL, 0),
	       *join = truth_line(r.truth, "join", NULL, 0),
	       *named = truth_line(r.truth, "named", NULL, 0);
	uint32_t parked, joiner, joined;
	size_t parks = 0, joins = 0, names = 0;

	cr_assert(park && join && named);
	parked = task_of(f, u64_at(park, "tid"));
	joiner = task_of(f, u64_at(join, "joiner"));
	joined = task_of(f, u64_at(join, "tid"));
	cr_assert_neq(f->tasks[joined].ctid, 0);
	for (size_t i = 0; i < f->n_waits; i++) {
		const struct wait *w = &f->waits[i];

		parks += w->task == parked && w->park == u64_at(park, "lock");
		joins += w->task == joiner && w->addr == f->tasks[joined].ctid;
		if (w->task != parked)
			cr_expect_eq(w->park, 0, "only that one lies on its waiter's stack");
	}
	for (size_t i = 0; i < f->n_objects; i++)
		if (f->objects[i].addr == u64_at(named, "addr")) {
			cr_expect_str_eq(text(f, f->objects[i].name), str_at(named, "name"));
			cr_expect_eq(f->objects[i].off, 0);
			cr_expect(strstr(text(f, f->objects[i].module), "/identity"));
			names++;
		}
	cr_expect_eq(parks, 1);
	cr_expect_geq(joins, 1);
	cr_expect_eq(names, 1);
	free(f);
}

/* --- who holds what at the end --------------------------------------------------------------- */

/* The cycle's two tasks, and who holds what they and the third wait for. */
static void check_cycle(const char *trace, json_t *report, json_t *truth, const char *what)
{
	json_t *cycle = truth_line(truth, "cycle", NULL, 0);
	uint64_t f = u64_at(cycle, "tids[0]"), g = u64_at(cycle, "tids[1]"), seen = 0;
	struct facts *facts = read_facts(trace);
	size_t of_f = 0, of_g = 0;

	for (size_t i = 0; i < facts->n_holds; i++) {
		of_f += facts->holds[i].task == task_of(facts, f);
		of_g += facts->holds[i].task == task_of(facts, g);
	}
	/* Two wait for what f holds, one for what g holds. */
	cr_expect_eq(of_f, 2, "%s: %zu of f", what, of_f);
	cr_expect_eq(of_g, 1, "%s: %zu of g", what, of_g);
	cr_expect_eq(facts->n_holds, 3, "%s: %zu holds", what, facts->n_holds);
	cr_assert_eq(json_array_size(at(report, "deadlocks")), 1, "%s", what);
	for (size_t i = 0; i < json_array_size(at(report, "deadlocks[0].tasks")); i++) {
		uint64_t tid = u64_at(report, fmt("deadlocks[0].tasks[%zu].tid", i));

		seen += tid == f ? 1 : tid == g ? 2 : 100;
	}
	cr_expect_eq(seen, 3, "%s: %llu", what, (unsigned long long)seen);
	free(facts);
}

/* Python's locks do not say who holds them: its frames do. Recorded from its start. */
Test(identity, deadlock_of_python_threads)
{
	char python[16][256];
	size_t n = live_pythons(python, 16, 15);

	if (!n)
		cr_skip_test("no CPython");
	for (size_t i = 0; i < n; i++) {
		struct recording r = record(ARGS("-d", slow_machine() ? "25" : "2"),
		                            ARGS(python[i], workload("deadlock.py"), "--kind",
		                                 i % 2 ? "RLock" : "Lock", "--life",
		                                 slow_machine() ? "60" : "8"));

		check_cycle(r.trace, r.json, r.truth, python[i]);
	}
}

/* Functions and lines of who was blocked before the recording began, innermost first. */
static void check_lines(const char *trace, json_t *truth, const char *what)
{
	static const char *const lines[] = {"take@", "deadlock.py:13 < nested@",
	                                    "deadlock.py:21 < body@", "deadlock.py:33 < ", "run@"};
	json_t *cycle = truth_line(truth, "cycle", NULL, 0);
	struct model *m = pyframes_load(trace);
	char text[PYTEXT_MAX];

	cr_assert(m, "%s", what);
	for (size_t i = 0; i < 2; i++) {
		uint32_t tid = (uint32_t)u64_at(cycle, fmt("tids[%zu]", i));
		size_t n = pyframes_text(m, pyframes_longest(m, tid), text);
		const char *p = text;

		cr_expect_eq(n, 6, "%s: %zu frames: %s", what, n, text);
		for (size_t k = 0; k < 5 && p; k++)
			p = strstr(p, lines[k]);
		cr_expect(p, "%s: %s", what, text);
	}
	pyframes_free(m);
}

/* The same of programs that hang already. */
Test(identity, deadlock_of_python_threads_attached)
{
	char python[16][256];
	const char *truth[16];
	struct proc victim[16], p;
	size_t n = live_pythons(python, 16, 15);

	if (!n)
		cr_skip_test("no CPython");
	for (size_t i = 0; i < n; i++) {
		truth[i] = fmt("%s/%zu.truth", live_dir, i);
		proc_start(&victim[i],
		           ARGS(python[i], workload("deadlock.py"), "--truth", truth[i], "--kind",
		                i % 2 ? "Lock" : "RLock", "--life", "300"),
		           NULL);
	}
	for (size_t i = 0; i < n; i++) {
		const char *path = fmt("%s/%zu.mpv", live_dir, i),
		           *json = fmt("%s/%zu.json", live_dir, i);

		cr_assert(file_holds(truth[i], "waiter", 60), "%s", python[i]);
		p = run(ARGS(mpvtrace(), "attach", "-p", fmt("%d", victim[i].pid), "-d", "0.3",
		             "-o", path, "--json", json));
		kill(victim[i].pid, SIGKILL);
		proc_wait(&victim[i]);
		cr_assert_eq(p.status, 0, "%s", p.err);
		check_cycle(path, load_json(json), load_truth(truth[i]), python[i]);
		check_lines(path, load_truth(truth[i]), python[i]);
	}
}
