/* SPDX-License-Identifier: MIT */
/* test_complete.c: stacks of programs as people run them: 99 % of the waits of each have their
 * whole stack. What is not installed is skipped, and said so. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "complete.h"
#include "mt_flags.h"
#include "live.h"

LIVE_SUITE(complete);

Test(complete, python)
{
	check_complete(NONE, ARGS("/usr/bin/python3", workload("cpu_threads.py")), 10);
}

Test(complete, each_python)
{
	static const char *const versions[] = {"3.8", "3.9", "3.10", "3.11", "3.12", "3.13"};
	unsigned found = 0;

	for (size_t i = 0; i < 6; i++) {
		struct proc p = run(
		        ARGS("/bin/sh", "-c",
		             fmt("ls -d \"$HOME\"/.pyenv/versions/%s.*/bin/python3", versions[i])));
		char *end = strchr(p.out, '\n');

		if (p.status || !end)
			continue;
		*end = 0;
		found++;
		check_complete(NONE, ARGS(p.out, workload("cpu_threads.py")), 10);
	}
	if (!found)
		cr_skip_test("no CPython but the system's");
}

/* From disk at the next use. */
static void forget_pages(const char *path)
{
	int fd = open(path, O_RDONLY);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fsync(fd), 0);
	cr_assert_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
}

/* Libraries that are loaded deep below main(), from disk: their first waits are in their .init, and
 * before there are tables of them. */
Test(complete, libraries_from_disk)
{
	enum { LIBS = 20 };
	static char names[LIBS][512];
	const char *cmd[LIBS + 2] = {workload("coldlibs")};
	/* Far from each other in the file, so that no page is read along with another. */
	const char *make = "echo 'void touch(void) {}' >l.c && "
	                   "cc -shared -fPIC -Wl,-z,max-page-size=0x1000000 -o l l.c && "
	                   "for i in $(seq 0 19); do cp --sparse=always l l$i.so || exit; done";
	struct uframes_count c = {0};
	struct model *m = NULL;
	struct proc p;

	if (!has_tables())
		cr_skip_test("no tables on this machine");
	if (!have_command("cc"))
		cr_skip_test("no C compiler");
	p = run(ARGS("/bin/sh", "-c", make));
	cr_assert_eq(p.status, 0, "%s", p.err);
	/* The kernel may keep pages that it was asked to forget; a tmpfs keeps all. */
	for (unsigned tries = 0; tries < 5 && c.deep < LIBS; tries++) {
		for (int i = 0; i < LIBS; i++) {
			snprintf(names[i], sizeof(names[i]), "%s/l%d.so", live_dir, i);
			cmd[i + 1] = names[i];
			forget_pages(names[i]);
		}
		if (m)
			pyframes_free(m);
		m = recorded(ARGS("--stacks=all"), cmd);
		c = uframes_count(m, 20);
	}
	pyframes_free(m);
	if (c.deep < LIBS)
		cr_skip_test("the files stay in memory here");
	cr_expect_geq(c.copied, 1, "no wait before the table was there");
	cr_expect_geq(c.complete * 100, c.waits * 90, "%lu of %lu waits have a whole stack",
	              (unsigned long)c.complete, (unsigned long)c.waits);
}

Test(complete, xz)
{
	if (!have_command("xz"))
		cr_skip_test("no xz");
	cr_assert_eq(run(ARGS("/bin/sh", "-c", "head -c 3000000 /dev/urandom > data")).status, 0);
	check_complete(NONE, ARGS("xz", "-T2", "-k", "-0", "--block-size=300000", "data"), 5);
}

Test(complete, sysbench)
{
	if (!have_command("sysbench"))
		cr_skip_test("no sysbench");
	check_complete(NONE, ARGS("sysbench", "--threads=4", "--time=1", "threads", "run"), 5);
}

/* Servers and what asks them, started and ended by the recorded script. */
Test(complete, redis)
{
	const char *script =
	        "redis-server --port 0 --unixsocket $PWD/r.sock --save '' --appendonly no "
	        ">/dev/null & "
	        "while ! redis-cli -s $PWD/r.sock ping >/dev/null 2>&1; do sleep 0.05; done; "
	        "redis-benchmark -s $PWD/r.sock -q -c 10 -n 3000 -t get >/dev/null; "
	        "redis-cli -s $PWD/r.sock shutdown nosave; wait";

	if (!have_command("redis-server") || !have_command("redis-benchmark"))
		cr_skip_test("no Redis");
	check_complete(NONE, ARGS("/bin/sh", "-c", script), 8);
}

Test(complete, postgresql)
{
	const char *script =
	        "for d in /usr/lib/postgresql/*/bin; do pg=$d; done; chown postgres . ; chmod 755 "
	        ".; "
	        "as='setpriv --reuid postgres --regid postgres --init-groups'; "
	        "o=\"-k $PWD -c listen_addresses= -c fsync=off\"; "
	        "$as $pg/initdb -N -D $PWD/data -A trust >/dev/null; "
	        "$as $pg/pg_ctl -D $PWD/data -l $PWD/log -w -o \"$o\" start >/dev/null; "
	        "$as $pg/pgbench -h $PWD -i -q postgres >/dev/null 2>&1; "
	        "$as $pg/pgbench -h $PWD -n -c 4 -T 1 postgres >/dev/null 2>&1; "
	        "$as $pg/pg_ctl -D $PWD/data -m fast stop >/dev/null";

	if (run(ARGS("/bin/sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb && id postgres")).status)
		cr_skip_test("no PostgreSQL of Debian's");
	if (slow_machine())
		cr_skip_test("no time for it");
	check_complete(ARGS("--user", "root"), ARGS("/bin/sh", "-c", script), 12);
}

Test(complete, stress_ng)
{
	if (!have_command("stress-ng"))
		cr_skip_test("no stress-ng");
	check_complete(
	        NONE,
	        ARGS("stress-ng", "-q", "--futex", "2", "--pipe", "1", "--switch", "1", "-t", "1"),
	        5);
}

/* C++ and Rust: threads that wait for a lock, for each other, and for an exception's handler. */
static void check_compiled(const char *const *compile, const char *source, const char *text)
{
	FILE *f = fopen(source, "w");
	struct proc p;

	cr_assert(f);
	fputs(text, f);
	fclose(f);
	p = run(compile);
	cr_assert_eq(p.status, 0, "%s", p.err);
	check_complete(NONE, ARGS(fmt("%s/compiled", live_dir)), 7);
}

Test(complete, cpp)
{
	if (!have_command("g++"))
		cr_skip_test("no g++");
	check_compiled(
	        ARGS("g++", "-O2", "-o", "compiled", "w.cc", "-lpthread"), "w.cc",
	        "#include <chrono>\n#include <condition_variable>\n#include <functional>\n"
	        "#include <mutex>\n#include <stdexcept>\n#include <thread>\n#include <vector>\n"
	        "std::mutex m; std::condition_variable c; int turn;\n"
	        "static void nap() { std::this_thread::sleep_for(std::chrono::milliseconds(3)); }\n"
	        "struct Guard { ~Guard() { nap(); } };\n"
	        "static void thrower(int i) { Guard g; if (i % 2) throw std::runtime_error(\"x\"); "
	        "}\n"
	        "static void work(int me) { for (int i = 0; i < 20; i++) {\n"
	        "  { std::unique_lock<std::mutex> l(m); c.wait(l, [&] { return turn % 3 == me; "
	        "});\n"
	        "    turn++; nap(); } c.notify_all();\n"
	        "  try { std::function<void(int)> f = thrower; f(i); } catch (std::exception &) { "
	        "nap(); } } }\n"
	        "int main() { std::vector<std::thread> t; for (int i = 0; i < 3; i++) "
	        "t.emplace_back(work, i);\n"
	        "  for (auto &x : t) x.join(); }\n");
}

Test(complete, rust)
{
	if (!have_command("rustc"))
		cr_skip_test("no rustc");
	check_compiled(
	        ARGS("rustc", "-O", "-o", "compiled", "w.rs"), "w.rs",
	        "use std::sync::{mpsc, Arc, Condvar, Mutex};\nuse std::{thread, time::Duration};\n"
	        "fn nap() { thread::sleep(Duration::from_millis(3)); }\n"
	        "fn main() { let s = Arc::new((Mutex::new(0usize), Condvar::new()));\n"
	        "  let (tx, rx) = mpsc::channel::<usize>();\n"
	        "  let t: Vec<_> = (0..3).map(|me| { let s = s.clone(); let tx = tx.clone();\n"
	        "    thread::spawn(move || for i in 0..20 {\n"
	        "      { let mut g = s.0.lock().unwrap(); while *g % 3 != me { g = "
	        "s.1.wait(g).unwrap(); }\n"
	        "        *g += 1; nap(); } s.1.notify_all(); tx.send(i).unwrap(); }) "
	        "}).collect();\n"
	        "  drop(tx); let n: usize = rx.iter().sum(); for x in t { x.join().unwrap(); }\n"
	        "  println!(\"{}\", n); }\n");
}

/* Go, stripped: by its own table of functions. Position-independent, with threads of C's. */
Test(complete, go)
{
	static const char *const how[][3] = {
	        {"CGO_ENABLED=0", "-ldflags=", "-buildmode=exe"},
	        {"CGO_ENABLED=0", "-ldflags=-s -w", "-buildmode=exe"},
	        {"CGO_ENABLED=1", "-ldflags=-s -w", "-buildmode=exe"},
	        {"CGO_ENABLED=1", "-ldflags=-s -w", "-buildmode=pie"},
	};

	if (!have_command("go"))
		cr_skip_test("no Go");
	for (size_t i = 0; i < 4; i++) {
		const char *env[] = {how[i][0], go_cache(), fmt("GOPATH=%s/go", live_dir),
		                     "GO111MODULE=off", NULL};
		struct proc_opts o = {.env = env, .timeout_s = 200};
		struct proc p = run_with(ARGS("go", "build", how[i][1], how[i][2], "-o", "waits",
		                              workload("waits.go")),
		                         &o);

		cr_assert_eq(p.status, 0, "%s", p.err);
		check_complete(NONE, ARGS(fmt("%s/waits", live_dir)), 3);
	}
}

/* The functions of the program itself, from inside out; of a stack in a wait of this kind. */
static void expect_chain(const struct model *m, uint32_t tid, const char *kind)
{
	const char *chain[] = {fmt("wait_%s", kind), "outer", "thread"};
	size_t n_chain = strcmp(kind, "join") != 0 ? 3 : 1;
	uint64_t frames[UFRAMES_MAX];
	unsigned end, flags;
	uint32_t stack;
	size_t found = 0;

	for (size_t i = 0; (stack = uframes_of_task(m, tid, i)); i++) {
		size_t n = uframes_get(m, stack, frames, &end, &flags), k = 0;

		for (size_t j = 0; j < n && k < n_chain; j++)
			k += !strcmp(uframes_name(m, stack, j), chain[k]);
		found += k == n_chain && end == STACK_END_BOTTOM;
	}
	cr_expect(found, "no stack leads to %s", chain[0]);
}

/* musl's C library, the one of Alpine: its code has neither unwinding information nor frame
 * pointers. */
Test(complete, musl)
{
	static const char *const how[][2] = {{"-O2", "-O2"}, {"-O2", "-static"}, {"-O3", "-g"}};

	if (!have_command("musl-gcc"))
		cr_skip_test("no musl-gcc");
	for (size_t i = 0; i < 3; i++) {
		struct proc p = run(ARGS("musl-gcc", "-D_GNU_SOURCE", how[i][0], how[i][1], "-o",
		                         "by-musl", workload("musl.c")));
		struct model *m;
		char *line, *save = NULL;
		unsigned kinds = 0;

		cr_assert_eq(p.status, 0, "%s", p.err);
		check_complete(NONE, ARGS("./by-musl", "1"), 5);
		p = run(ARGS(mpvtrace(), "run", "-q", "-f", "-o", "t.mpv", "--no-report", "--",
		             "./by-musl", "1"));
		cr_assert_eq(p.status, 0, "%s", p.err);
		m = pyframes_load("t.mpv");
		cr_assert(m);
		for (line = strtok_r(p.out, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save)) {
			char kind[32];
			unsigned tid;

			cr_assert_eq(sscanf(line, "%31s %u", kind, &tid), 2, "%s", line);
			expect_chain(m, tid, kind);
			kinds++;
		}
		cr_expect_eq(kinds, 15);
		pyframes_free(m);
	}
}
