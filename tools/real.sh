#!/bin/sh
# SPDX-License-Identifier: MIT
#
# real.sh [-b BUILD] [-o DIR] [-r] [CASE...] - record real programs for some seconds each and
# print what mpvtrace says of them: the verdict, the causes, the locks and channels. To be read
# by a person beside what an expert would say, which is printed, too.
#
#   -b BUILD  where mpvtrace is (default: build)
#   -o DIR    keep traces and JSON there (default: a directory that is removed)
#   -r        the whole report of each as well
#   -l        list the cases
#
# Needs root, python3, and the programs themselves: a case whose program is not installed is
# skipped, said so, and counted. Debian: xz-utils sysbench redis-server postgresql
# default-jdk-headless nodejs stress-ng make gcc.
# shellcheck disable=SC2034,SC2154,SC2086  # expect_X is read by name; one word per case
set -eu

say() { echo "real: $*" >&2; }

build=build out='' whole='' list=''
while getopts b:o:rl opt; do
	case $opt in
	b) build=$OPTARG ;;
	o) out=$OPTARG ;;
	r) whole=1 ;;
	l) list=1 ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))

# --- cases: expect_X says what is true of X, run_X records it ------------------------------------

expect_xz='two workers compress, one reads: parallel, or CPU-bound if the file has one block'
run_xz() {
	need xz || return 1
	head -c 3000000 /dev/urandom | od -An -tx1 | head -c 8000000 >"$tmp/xz.in"
	record xz -T2 --block-size=1MiB -2 -k -c "$tmp/xz.in"
}

expect_xz_block='one block: one worker has all the work, main waits for it (CPU-bound in one thread)'
run_xz_block() {
	need xz || return 1
	head -c 1000000 /dev/urandom | od -An -tx1 | head -c 3000000 >"$tmp/xz.in"
	record xz -T2 -2 -k -c "$tmp/xz.in"
}

expect_mutex='20 threads, each with its loop and one mutex for all: parallel if the loop is long'
run_mutex() {
	need sysbench || return 1
	record sysbench mutex --threads=20 --mutex-num=1 --mutex-locks=20000 --mutex-loops=2000 run
}

expect_threads='20 threads take turns at one mutex and yield while they have it: serialized by it'
run_threads() {
	need sysbench || return 1
	record sysbench threads --threads=20 --thread-locks=1 --time=2 run
}

# Attaches to the server; with an argument, to its client, too.
redis() {
	redis_up || return 1
	redis-benchmark -p "$port" -q -c 20 -n 100000000 -t get >/dev/null 2>&1 &
	client=$!
	sleep 0.5
	attach 2 "$server${1:+,$client}"
	finish "$client" "$server"
}

expect_redis='one thread serves; what is idle waits for clients: CPU-bound in one thread, or idle'
run_redis() {
	redis
}

expect_redis_both='server and benchmark, one thread each, linked by TCP: each waits for the other'
run_redis_both() {
	redis with_client
}

expect_pg='8 clients update one row: backends wait for the one that has it (a semaphore)'
run_pg() {
	pg_up || return 1
	cat >"$tmp/hot.sql" <<-'SQL'
		BEGIN;
		UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = 1;
		SELECT count(*) FROM pgbench_tellers;
		END;
	SQL
	chmod 644 "$tmp/hot.sql"
	as_postgres "$pg/pgbench" -h "$tmp/pg" -p "$port" -n -M prepared -c 8 -j 2 -T 30 -f "$tmp/hot.sql" \
		postgres >/dev/null 2>&1 &
	client=$!
	sleep 1
	attach 2 "$(head -1 "$tmp/pg/data/postmaster.pid")"
	finish "$client"
	as_postgres "$pg/pg_ctl" -D "$tmp/pg/data" -m immediate stop >/dev/null
}

expect_make='compilers two at a time, then one linker: parallel, with a serial end'
run_make() {
	need make cc || return 1
	mkdir "$tmp/make"
	for i in 1 2 3 4 5 6 7 8; do
		for k in $(seq 300); do
			echo "int f${i}_$k(int a, int b) { for (int i = 0; i < b; i++) a += i * $k ^ a >> 3; return a; }"
		done >"$tmp/make/m$i.c"
	done
	echo 'int main(void) { return 0; }' >"$tmp/make/m0.c"
	{
		printf 'prog: m0.o m1.o m2.o m3.o m4.o m5.o m6.o m7.o m8.o\n\tcc -o $@ $^\n'
		printf '%%.o: %%.c\n\tcc -O2 -c -o $@ $<\n'
	} >"$tmp/make/Makefile"
	record make -s -j2 -C "$tmp/make"
}

expect_java='four threads, one synchronized method that does nearly all: serialized by its monitor'
run_java() {
	need java javac || return 1
	cat >"$tmp/Mon.java" <<-'JAVA'
		public class Mon {
			static long sum;
			static synchronized void work() { for (int i = 0; i < 2000000; i++) sum += i ^ (sum >> 3); }
			public static void main(String[] a) throws Exception {
				Thread[] t = new Thread[4];
				for (int k = 0; k < 4; k++) {
					t[k] = new Thread(() -> { for (int i = 0; i < 150; i++) work(); }, "mon-" + k);
					t[k].start();
				}
				for (Thread x : t) x.join();
				System.out.println(sum);
			}
		}
	JAVA
	javac -d "$tmp" "$tmp/Mon.java"
	record java -cp "$tmp" Mon
}

expect_node='two workers that only compute: parallel'
run_node() {
	need node || return 1
	cat >"$tmp/w.js" <<-'JS'
		const { Worker, isMainThread } = require('worker_threads');
		if (isMainThread) { for (let i = 0; i < 2; i++) new Worker(__filename); }
		else { let s = 0; for (let i = 0; i < 1e9; i++) s += i % 7; }
	JS
	record node "$tmp/w.js"
}

expect_futex='two pairs of waiter and waker that spin on futexes: much work, short waits'
run_futex() {
	need stress-ng || return 1
	record stress-ng -q --futex 2 -t 2
}

expect_pool='two worker processes with equal tasks behind one queue: parallel after start-up'
run_pool() {
	cat >"$tmp/pool.py" <<-'PY'
		import multiprocessing
		def work(n):
		    s = 0
		    for i in range(1500000):
		        s += i * n
		    return s
		if __name__ == "__main__":
		    with multiprocessing.get_context("fork").Pool(2) as p:
		        print(sum(p.map(work, range(16), chunksize=1)))
	PY
	record "$python" "$tmp/pool.py"
}

expect_pool_data='workers that send back 8 MB each: the one thread that unpickles in main holds them up'
run_pool_data() {
	cat >"$tmp/data.py" <<-'PY'
		import multiprocessing
		def work(n):
		    return [i + n for i in range(1000000)]
		if __name__ == "__main__":
		    with multiprocessing.get_context("fork").Pool(2) as p:
		        print(sum(map(len, p.imap_unordered(work, range(16)))))
	PY
	record "$python" "$tmp/data.py"
}

cases='xz xz_block mutex threads redis redis_both pg make java node futex pool pool_data'
[ ! "$list" ] || { echo "$cases" | tr ' ' '\n'; exit 0; }

# --- machinery --------------------------------------------------------------------------------------

need() {
	for cmd; do
		command -v "$cmd" >/dev/null 2>&1 || { missing=$cmd; return 1; }
	done
}

record() { # CMD...
	"$build/mpvtrace" run -q -f -d 20 --no-report -o "$out/$name.mpv" --json "$out/$name.json" -- "$@" \
		>"$out/$name.out" 2>"$out/$name.err" || say "$name: exit status $?: $(tail -1 "$out/$name.err")"
}

attach() { # SECONDS PID[,PID]
	"$build/mpvtrace" attach -q -f -d "$1" --no-report -o "$out/$name.mpv" --json "$out/$name.json" -p "$2" \
		>"$out/$name.out" 2>"$out/$name.err" || say "$name: exit status $?: $(tail -1 "$out/$name.err")"
}

finish() { # PID...
	for pid; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
}

redis_up() {
	need redis-server redis-benchmark || return 1
	redis-server --port "$port" --save '' --appendonly no --daemonize no >/dev/null 2>&1 &
	server=$!
	sleep 0.5
}

as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
pg_up() {
	need setpriv || return 1
	pg=''
	for dir in /usr/lib/postgresql/*/bin; do [ -x "$dir/initdb" ] && pg=$dir; done
	[ "$pg" ] || { missing=postgresql; return 1; }
	mkdir "$tmp/pg"
	chown postgres "$tmp/pg"
	chmod 755 "$tmp"
	as_postgres "$pg/initdb" -D "$tmp/pg/data" -A trust >/dev/null
	as_postgres "$pg/pg_ctl" -D "$tmp/pg/data" -l "$tmp/pg/log" -w \
		-o "-p $port -k $tmp/pg -c listen_addresses='' -c fsync=off" start >/dev/null
	as_postgres "$pg/pgbench" -h "$tmp/pg" -p "$port" -i -q -s 1 postgres >/dev/null 2>&1
}

summary() { # FILE.json
	"$python" - "$1" <<-'PY'
		import json, sys
		r = json.load(open(sys.argv[1]))
		s = r["serialization"]
		ms = lambda ns: f"{ns / 1e6:,.1f} ms" if ns < 1e9 else f"{ns / 1e9:.2f} s"
		print("  says     ", s["headline"])
		print("  causes   ", " · ".join(f"{b['cause']} {b['name'] or ''} {100 * b['ratio']:.1f} %".replace("  ", " ")
		                                for b in s["breakdown"][:6]))
		names = {t["tid"]: t["comm"] for t in r["tasks"]}
		for what in "locks", "channels":
		    for x in sorted(r[what], key=lambda x: -x["wait_ns"])[:3]:
		        by = ", ".join(f"{names.get(b['tid'], b['tid'])} {ms(b['wait_ns'])} ({b['evidence']})"
		                       for b in x.get("blockers", [])[:2])
		        print(f"  {what[:-1]:9} {x['kind']} {x['name']}: {x['waits']} waits, {ms(x['wait_ns'])}"
		              + (f"; by {by}" if by else ""))
		q = r["quality"]
		print("  recording", ms(r["workload"]["wall_ns"]), "·", len(r["tasks"]), "tasks ·", q["events"], "events ·",
		      q["lost"], "lost")
	PY
}

[ "$(id -u)" = 0 ] || { say 'needs root'; exit 3; }
[ -x "$build/mpvtrace" ] || { say "no $build/mpvtrace"; exit 2; }
build=$(realpath "$build")
# The interpreter itself: python3 may be a script that looks for it.
python=$(python3 -c 'import sys; print(sys.executable)')
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mpvtrace-real.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
[ "$out" ] || out=$tmp
mkdir -p "$out"
out=$(realpath "$out")
port=$((20000 + $$ % 20000))
skipped=''
[ $# -gt 0 ] || set -- $cases
for name; do
	case " $cases " in *" $name "*) ;; *) say "no case '$name' (-l lists them)"; exit 2 ;; esac
	eval "expect=\$expect_$name"
	missing=''
	if ! "run_$name"; then
		say "SKIPPED $name: $missing is not installed"
		skipped="$skipped $name"
		continue
	fi
	printf '%s\n  is        %s\n' "$name" "$expect"
	summary "$out/$name.json"
	[ ! "$whole" ] || "$build/mpvtrace" report "$out/$name.mpv"
	echo
done
[ ! "$skipped" ] || say "SKIPPED:$skipped"
