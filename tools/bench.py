#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What recording costs, measured in pairs (A B A B ...), printed as medians of ratios beside the
peers that are installed. Needs root. --quick: fewer and shorter pairs, for a first look.

The workload is a pipe ping-pong pinned to CPU 0, the recorder is pinned to CPU 1."""
import argparse
import bisect
import contextlib
import glob
import json
import mmap
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import onoff

LIMITS = {"slow-down": 1.20, "python": 1.01, "programs": 1.03, "neighbour": 1.02, "bytes per event": 8.0, "start-up ms": 200,
          "memory on ping-pong": 1.03, "memory on processes": 1.01, "start-up of Python ms": 250, "recorder MiB": 64, "report s": 15.0, "report MiB": 1024}

# Four threads that compute for as long as they are let; each counts its work in the file.
PYTHON_THREADS = """
import mmap, sys, threading
f = open(sys.argv[1], "r+b")
done = memoryview(mmap.mmap(f.fileno(), 4096)).cast("Q")
def work(me):
    x = 0
    while True:
        for i in range(1000):
            x += i * i % 7
        done[me] += 1
for me in range(4):
    threading.Thread(target=work, args=(me,)).start()
"""

# Memory touched and given back, again and again; says the CPU time that it took.
FAULTS = """
import mmap, time
c0 = time.process_time()
for _ in range(%d):
    m = mmap.mmap(-1, 8 << 20)
    for at in range(0, 8 << 20, 4096):
        m[at] = 1
    m.close()
print(time.process_time() - c0)
"""


# Four processes with so many MB each that compute; says how long they took, and in CPU time of all.
PROCESSES = """
import os, resource, time
t0 = time.monotonic()
for i in range(4):
    if not os.fork():
        m = bytearray(%d << 20)
        for at in range(0, len(m), 4096):
            m[at] = 1
        x = 0
        for i in range(%d):
            x += i * i %% 7
        os._exit(0)
for i in range(4):
    os.wait()
r = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - t0, r.ru_utime + r.ru_stime)
"""

# What serves memory alone.
MEMORY_HOOKS = ("mt_fault_user", "mt_fault_kernel", "mt_fault_alloc", "mt_fault_rss", "mt_call")


def rate_within(path, start, end):
    """Transactions a second by pgbench's lines "progress: TIME s, N tps, ...", each about the time
    since the one before: of those that lie between two points of time."""
    done = spent = 0
    before = None
    with open(path) as f:
        for line in f:
            if not line.startswith("progress: "):
                continue
            at, tps = float(line.split()[1]), float(line.split()[3])
            if before is not None and before >= start and at <= end:
                done += tps * (at - before)
                spent += at - before
            before = at
    return done / spent


class Bench:
    def __init__(self, build, quick, tmp):
        self.build, self.quick, self.tmp = os.path.abspath(build), quick, tmp
        self.mpvtrace = os.path.join(self.build, "mpvtrace")
        self.pairs = 5 if quick else 15
        self.rounds = 100000 if quick else 300000
        self.rows = []
        self.serial = 0

    # --- running things ---------------------------------------------------------------

    def path(self, name):
        self.serial += 1
        return os.path.join(self.tmp, "%d.%s" % (self.serial, name))

    def workload(self, name):
        return os.path.join(self.build, "tests/workloads", name)

    def run(self, argv, **kw):
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
        if p.returncode:
            sys.exit("bench: %s: status %d\n%s" % (" ".join(argv), p.returncode,
                                                   p.stderr.decode(errors="replace")))
        return p

    def pingpong(self, prefix=(), extra=()):
        """(ns per round by the workload's own clock, the same in CPU time)."""
        truth = self.path("truth")
        self.run(list(prefix) + [self.workload("pingpong"), "--pin", "0", "--rounds",
                                 str(self.rounds), "--truth", truth] + list(extra))
        return self.pingpong_truth(truth)

    def pingpong_truth(self, truth):
        with open(truth) as f:
            for line in map(json.loads, f):
                if line["t"] == "pingpong":
                    return line["ns"] / line["rounds"], line["cpu_ns"] / line["rounds"]
        sys.exit("bench: the ping-pong stated no time")

    def recorder(self, trace, *options):
        return ["taskset", "-c", "1", self.mpvtrace, "run", "--no-report", "-q", "-f", "-o", trace,
                *options, "--", "taskset", "-c", "0"]

    def row(self, what, value, note="", limit=None):
        text = value if isinstance(value, str) else "%.3f" % value
        verdict = ""
        if limit is not None and not isinstance(value, str):
            verdict = "ok" if value <= limit else "OVER"
            note = ("limit %g" % limit) + ("; " + note if note else "")
        print("%-52s %12s  %-4s %s" % (what, text, verdict, note), flush=True)
        self.rows.append({"what": what, "value": value, "limit": limit})

    @contextlib.contextmanager
    def beside(self, command, *args, on=(), settle=0.8):
        """A recording that goes on meanwhile, and is ended. settle: s until it counts."""
        r = subprocess.Popen([*on, self.mpvtrace, command, "-q", "-f", "-o", self.path("mpv"), *args],
                             stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(settle)
        try:
            yield
        finally:
            os.killpg(r.pid, signal.SIGINT)
            r.wait()

    def paired(self, plain, traced):
        """Median of traced/plain over neighbouring runs, and the middle half."""
        wall, cpu, base = [], [], []
        for i in range(self.pairs):
            order = [plain, traced] if i % 2 == 0 else [traced, plain]
            got = {f: f() for f in order}
            base.append(got[plain][0])
            wall.append(got[traced][0] / got[plain][0])
            cpu.append(got[traced][1] / got[plain][1])
        quarter = statistics.quantiles(wall, n=4)
        # Other work on the machine disturbs the clock's ratio; that of CPU time hardly.
        return statistics.median(wall), "middle half %.2f to %.2f; in CPU time %.3f; untraced %.0f ns" % (
            quarter[0], quarter[2], statistics.median(cpu), statistics.median(base))

    # --- the measurements -------------------------------------------------------------

    def slow_down(self):
        def traced(*options):
            return lambda: self.pingpong(self.recorder(self.path("mpv"), *options))

        ratio, note = self.paired(self.pingpong, traced())
        self.row("ping-pong, mpvtrace, default", ratio, note, LIMITS["slow-down"])
        ratio, note = self.paired(self.pingpong, traced("--stacks", "off", "-F", "0"))
        self.row("ping-pong, mpvtrace, events only", ratio, note)
        if not self.quick:
            ratio, note = self.paired(self.pingpong, traced("--stacks", "all"))
            self.row("ping-pong, mpvtrace, --stacks all", ratio, note)

    def traced_all(self, argv, *options):
        return [self.mpvtrace, "run", "--no-report", "-q", "-f", "-o", self.path("mpv"), *options,
                "--", *argv]

    def python(self):
        """In turns within one process: a process is the same as itself, other than two runs of it
        that get their memory and their CPUs by chance."""
        python = "/usr/bin/python3"
        if not os.path.exists(python):
            self.row("four Python threads", "no python3")
            return
        counts = self.path("counts")
        with open(counts, "wb") as f:
            f.truncate(4096)
        seconds, turns = (0.7, 6) if self.quick else (1.5, 20)
        with open(counts, "rb") as f, mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ) as m:
            done = memoryview(m).cast("Q")
            p = subprocess.Popen([python, "-c", PYTHON_THREADS, counts])
            try:
                ratios, bpf = self.turns(p.pid, lambda: sum(done[:4]), seconds, turns)
                with self.beside("attach", "--no-report", "-p", str(p.pid), settle=2):
                    said = onoff.windows(self.pairs * 20, 0.1,
                                         lambda: (time.monotonic(), sum(done[:4])))
            finally:
                p.kill()
                p.wait()
                done.release()
        quarter = statistics.quantiles(ratios, n=4)
        self.row("four CPU-bound Python threads", statistics.median(ratios),
                 "middle half %.3f to %.3f of %d; BPF's own run time %.2f %% of a CPU, with other programs' events" %
                 (quarter[0], quarter[2], len(ratios), 100 * statistics.median(bpf)), LIMITS["python"])
        self.on_off("four CPU-bound Python threads", onoff.ratios(
            said, lambda begin, end: (end[1] - begin[1]) / (end[0] - begin[0])))

    def on_off(self, what, ratios):
        value, error = onoff.mean(ratios)
        self.row(what + ", hooks on over off", value, "+- %.4f, %d pairs within one recording" %
                 (error, len(ratios)))

    def turns(self, pid, count, seconds, turns):
        """Work done in a window that is not recorded over that in one that is, each recorded one
        between two others; and BPF's run time as a share of the recording."""
        def rate():
            t, c = time.monotonic(), count()
            time.sleep(seconds)
            return (count() - c) / (time.monotonic() - t)

        def recorded():
            out = self.path("json")
            with self.beside("attach", "--json", out, "-p", str(pid)):
                return rate(), out

        time.sleep(1)
        ratios, bpf, before = [], [], rate()
        for _ in range(turns):
            within, out = recorded()
            time.sleep(0.2)
            after = rate()
            ratios.append((before + after) / 2 / within)
            before = after
            bpf.append(self.bpf_share(out))
        return ratios, bpf

    def bpf_share(self, path):
        """Of a CPU, what the kernel measured of our programs, by a report as JSON."""
        with open(path) as f:
            report = json.load(f)
        return report["quality"]["overhead"]["bpf_ns"] / report["workload"]["wall_ns"]

    def sysbench(self):
        if not shutil.which("sysbench"):
            self.row("sysbench mutex", "not here")
            return
        argv = ["sysbench", "mutex", "--threads=4", "--mutex-num=16", "--mutex-loops=2000",
                "--mutex-locks=%d" % (200000 if self.quick else 600000), "run"]

        def take(argv):
            out = self.run(argv).stdout.decode()
            seconds = float(out.split("total time:")[1].split("s")[0])
            return seconds * 1e9, seconds * 1e9

        ratio, note = self.paired(lambda: take(argv), lambda: take(self.traced_all(argv)))
        self.row("sysbench mutex", ratio, note, LIMITS["programs"])

    def pgbench(self):
        """Transactions a second of a server in a directory of its own, not recorded and recorded."""
        bins = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not bins:
            self.row("pgbench", "no PostgreSQL")
            return
        data, seconds = self.path("pg"), 2 if self.quick else 5
        os.mkdir(data)
        os.chmod(self.tmp, 0o755)
        shutil.chown(data, "postgres")

        def as_postgres(*argv):
            return self.run(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                             os.path.join(bins[-1], argv[0]), *argv[1:]], cwd="/")

        as_postgres("initdb", "-D", data, "-A", "trust")
        pgbench = os.path.join(bins[-1], "pgbench")

        @contextlib.contextmanager
        def server(options):
            as_postgres("pg_ctl", "-w", "-D", data, "-l", data + "/log", "-o",
                        "-c listen_addresses= -k %s %s" % (data, options), "start")
            try:
                yield
            finally:
                as_postgres("pg_ctl", "-w", "-D", data, "-m", "fast", "stop")

        with server("-c fsync=off"):
            as_postgres("pgbench", "-h", data, "-i", "-q", "postgres")
            self.pgbench_turns(pgbench, data)
            self.pgbench_on_off(pgbench, data, "-S", "-c", "4")
        with server(""):
            self.pgbench_on_off(pgbench, data)
            self.pgbench_on_off(pgbench, data, "-c", "4")

    def pgbench_on_off(self, pgbench, data, *options):
        """By the times of single transactions, which it writes down."""
        for path in glob.glob(data + "/times*"):
            os.unlink(path)
        with open(data + "/postmaster.pid") as f:
            pid = f.readline().strip()
        p = subprocess.Popen(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                              pgbench, "-h", data, *options, "-T", "3600", "-l",
                              "--log-prefix=" + data + "/times", "postgres"], cwd="/",
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with self.beside("attach", "--no-report", "-p", pid, settle=4):
                said = onoff.windows(self.pairs * 20, 0.2)
        finally:
            p.terminate()
            p.wait()
        ends = []
        for path in glob.glob(data + "/times*"):
            with open(path) as f:
                words = [line.split() for line in f]
            ends += [int(w[4]) + int(w[5]) / 1e6 for w in words if len(w) >= 6]
        ends.sort()
        # What was begun before the switch is left out.
        self.on_off(" ".join(["pgbench", *options]), onoff.ratios(said, lambda begin, end: (
            bisect.bisect(ends, end) - bisect.bisect(ends, begin + 0.05)) / (end - begin - 0.05)))

    def pgbench_turns(self, pgbench, data):
        """One run of it, not recorded and recorded in turns: two runs differ by more than we cost.
        What it says each second is counted where all of the second was of one kind. A recording
        counts from when the unwinding tables are there, which on busy CPUs takes some seconds."""
        seconds, turns = 3, 5 if self.quick else 25
        with open(data + "/postmaster.pid") as f:
            pid = f.readline().strip()
        said = self.path("progress")
        with open(said, "wb") as f:
            p = subprocess.Popen(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                                  pgbench, "-h", data, "-S", "-c", "4", "-T", "3600", "-P", "1",
                                  "--progress-timestamp", "postgres"], cwd="/",
                                 stdout=subprocess.DEVNULL, stderr=f)
        windows, shares = [], []

        def window():
            t = time.time()
            time.sleep(seconds)
            windows.append((t, time.time()))

        try:
            time.sleep(2)
            window()
            for _ in range(turns):
                out = self.path("json")
                with self.beside("attach", "--no-report", "--json", out, "-p", pid, settle=2.5):
                    window()
                shares.append(self.bpf_share(out))
                window()
        finally:
            p.kill()
            p.wait()
        rates = [rate_within(said, *w) for w in windows]
        ratios = [(rates[i - 1] + rates[i + 1]) / 2 / rates[i] for i in range(1, len(rates), 2)]
        quarter = statistics.quantiles(ratios, n=4)
        self.row("pgbench -S, time of a transaction", statistics.median(ratios),
                 "middle half %.3f to %.3f of %d; %.0f a second; BPF's own run time %.1f %% of the CPUs" %
                 (quarter[0], quarter[2], len(ratios), statistics.median(rates[::2]),
                  100 * statistics.median(shares) / len(os.sched_getaffinity(0))), LIMITS["programs"])

    def perf_data(self):
        return ["taskset", "-c", "1", "perf", "sched", "record", "-q", "-o", self.path("perf"),
                "taskset", "-c", "0"]

    def peers(self):
        if shutil.which("perf"):
            ratio, note = self.paired(self.pingpong, lambda: self.pingpong(self.perf_data()))
            self.row("ping-pong, perf sched record", ratio, note)
            ratio, note = self.paired(self.pingpong, lambda: self.pingpong(
                ["taskset", "-c", "1", "perf", "trace", "-s", "-o", self.path("perf"), "taskset",
                 "-c", "0"]))
            self.row("ping-pong, perf trace -s", ratio, note)
        else:
            self.row("ping-pong, perf", "not here")
        if not shutil.which("offcputime-bpfcc"):
            self.row("ping-pong, offcputime", "not here")
        elif not self.offcputime_works():
            self.row("ping-pong, offcputime", "cannot run", "it needs kprobes and kernel headers")
        else:
            ratio, note = self.paired(self.pingpong, self.under_offcputime)
            self.row("ping-pong, offcputime", ratio, note)

    @staticmethod
    def offcputime_works():
        return subprocess.run(["offcputime-bpfcc", "-f", "1"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def under_offcputime(self):
        """It attaches to a process: the workload first waits for a line on its stdin."""
        truth = self.path("truth")
        go = "read x; exec taskset -c 0 %s --pin 0 --rounds %d --truth %s" % (
            self.workload("pingpong"), self.rounds, truth)
        w = subprocess.Popen(["sh", "-c", go], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        o = subprocess.Popen(["taskset", "-c", "1", "offcputime-bpfcc", "-f"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3)   # it compiles its program first
        w.communicate(b"go\n")
        o.send_signal(signal.SIGINT)
        o.wait()
        return self.pingpong_truth(truth)

    def neighbour(self):
        """A system-call loop that is not traced, alone and while a recording runs."""
        calls = 2000000 if self.quick else 4000000

        def calls_loop():
            p = self.run([self.workload("syscall_loop"), "--pin", "0", "--calls", str(calls)])
            return float(p.stdout), float(p.stdout)     # is CPU time already

        def faults_loop():
            p = self.run(["taskset", "-c", "0", "/usr/bin/python3", "-c",
                          FAULTS % (20 if self.quick else 60)])
            return float(p.stdout) * 1e9, float(p.stdout) * 1e9

        def beside(loop):
            # The recorded workload sleeps: only what the hooks cost others is left.
            with self.beside("run", "--no-report", "--", "sleep", "60", on=("taskset", "-c", "1")):
                return loop()

        ratio, note = self.paired(calls_loop, lambda: beside(calls_loop))
        self.row("system-call loop beside a recording", ratio, note.replace("untraced", "alone"),
                 LIMITS["neighbour"])
        if os.path.exists("/usr/bin/python3"):
            ratio, note = self.paired(faults_loop, lambda: beside(faults_loop))
            self.row("page faults (and Python) beside a recording", ratio,
                     note.replace("untraced", "alone"))

    def report_of(self, trace):
        out = self.path("json")
        self.run([self.mpvtrace, "report", trace, "--json", out])
        with open(out) as f:
            return json.load(f)

    def watched(self, argv):
        """Runs argv; returns its peak resident set in MiB and its standard error."""
        p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        err = p.stderr.read()
        _, status, ru = os.wait4(p.pid, 0)
        p.returncode = status
        if status:
            sys.exit("bench: %s: status %d\n%s" % (" ".join(argv), status, err.decode()))
        return ru.ru_maxrss / 1024

    def size_and_memory(self):
        trace = self.path("mpv")
        mib = self.watched(self.recorder(trace) + [self.workload("pingpong"), "--pin", "0",
                                                   "--rounds", str(self.rounds)])
        report = self.report_of(trace)
        events = report["quality"]["events"]
        self.row("trace bytes per event", os.path.getsize(trace) / events,
                 "%d events, %d lost" % (events, report["quality"]["lost"]),
                 LIMITS["bytes per event"])
        self.row("recorder's peak RSS, MiB", mib, "", LIMITS["recorder MiB"])

    def start_up(self):
        for what, argv, limit in (("true's, ms", ["true"], "start-up ms"),
                                  ("python3's, ms", ["/usr/bin/python3", "-c", "0"],
                                   "start-up of Python ms")):
            times = []
            for _ in range(5 if self.quick else 11):
                trace = self.path("mpv")
                self.run([self.mpvtrace, "run", "--no-report", "-q", "-o", trace, "--", *argv])
                times.append(self.report_of(trace)["quality"]["overhead"]["startup_ns"] / 1e6)
            self.row("start to the first instruction, " + what, statistics.median(times),
                     "worst %.0f" % max(times), LIMITS[limit])

    # --- memory, channels

    def parts_of(self, trace):
        return {p["name"]: p for p in self.report_of(trace)["quality"]["overhead"]["parts"]}

    def memory_cost(self, what, argv, cpu_ns):
        """What noise does not touch: the kernel's own time of the programs that serve memory alone, and
        the recorder's CPU time for reading PSS, during which the process's memory map is locked."""
        trace = self.path("mpv")
        self.run([self.mpvtrace, "run", "--no-report", "-q", "-f", "-o", trace, "--", *argv])
        parts = self.parts_of(trace)
        runs = sum(parts[p]["count"] for p in MEMORY_HOOKS if p in parts)
        ns = sum(parts[p]["ns"] for p in MEMORY_HOOKS if p in parts)
        self.row("  memory hooks, share of its CPU time, " + what, ns / cpu_ns,
                 "%d runs, %.0f ns each, on all of the machine" % (runs, ns / max(runs, 1)))
        reads = parts.get("footprint", {"count": 0, "ns": 0})
        samples = [s["rss_bytes"] for p in self.report_of(trace)["processes"] for s in p["samples"]
                   if s["pss_bytes"] is not None]
        self.row("  readings of PSS, ms of CPU each, " + what, reads["ns"] / max(reads["count"], 1) / 1e6,
                 "%d readings, of %.0f MB on average" % (
                     reads["count"], sum(samples) / max(len(samples), 1) / 2**20))

    def footprint(self):
        """Recording with and without all of it: readings of PSS and USS, hooks on page faults."""
        off = ("--footprint-budget", "0", "--no-pages")

        def recorded(*options):
            return lambda: self.pingpong(self.recorder(self.path("mpv"), *options))

        ratio, note = self.paired(recorded(*off), recorded())
        self.row("ping-pong, memory recorded and not", ratio, note.replace("untraced", "without"),
                 LIMITS["memory on ping-pong"])
        ping = [self.workload("pingpong"), "--pin", "0", "--rounds", str(self.rounds)]
        self.memory_cost("ping-pong", ping, self.pingpong()[1] * self.rounds)
        if not os.path.exists("/usr/bin/python3"):
            self.row("four processes of 200 MB", "no python3")
            return
        argv = ["/usr/bin/python3", "-c", PROCESSES % (200, 2000000 if self.quick else 10000000)]

        def take(argv):
            wall, cpu = map(float, self.run(argv).stdout.split())
            return wall * 1e9, cpu * 1e9

        ratio, note = self.paired(lambda: take(self.traced_all(argv, *off)),
                                  lambda: take(self.traced_all(argv)))
        self.row("four processes of 200 MB, memory recorded and not", ratio,
                 note.replace("untraced", "without"), LIMITS["memory on processes"])
        self.memory_cost("processes", argv, take(argv)[1])

    def messages(self):
        """A system-call loop of a program that is not recorded, and the calls of one that is."""
        trace = self.path("mpv")
        self.run([self.mpvtrace, "run", "--no-report", "-q", "-f", "-o", trace, "--messages", "--",
                  self.workload("pingpong"), "--pin", "0", "--rounds", str(self.rounds)])
        part = self.parts_of(trace).get("mt_traffic")
        if part:
            self.row("--messages, ns a system call, ping-pong", part["ns"] / max(part["count"], 1),
                     "the kernel's own time, %d calls, of which %d moved data" % (
                         part["count"], 4 * self.rounds))
        trace = self.path("mpv")
        loop = [self.workload("syscall_loop"), "--pin", "0", "--calls", "1000000"]
        self.run([self.mpvtrace, "run", "--no-report", "-q", "-f", "-o", trace, "--messages", "--", *loop])
        part = self.parts_of(trace).get("mt_traffic")
        if part:
            self.row("--messages, ns a call that moves nothing", part["ns"] / max(part["count"], 1),
                     "%d calls" % part["count"])

        def with_it():
            with self.beside("run", "--no-report", "--messages", "--", "taskset", "-c", "1", "sleep", "60"):
                return alone()

        def alone():
            p = self.run(loop)
            return float(p.stdout), float(p.stdout)

        ratio, note = self.paired(alone, with_it)
        self.row("system-call loop beside --messages", ratio, note.replace("untraced", "alone"))

    @staticmethod
    def peak_of(quality):
        """By the recorder's own word: what wait4() says of it includes us, where we began it."""
        for part in quality["overhead"]["parts"]:
            if part["name"] == "recorder memory peak bytes":
                return part["count"] / 2**20
        return 0

    def flood(self):
        """Default settings, as many switches and wakes as two CPUs give, none may be lost."""
        seconds = 3 if self.quick else 10
        trace = self.path("mpv")
        t0 = time.monotonic()
        self.run([self.mpvtrace, "run", "--no-report", "-q", "-o", trace, "--",
                  self.workload("pingpong"), "--pin", "0", "--seconds", str(seconds)])
        elapsed = time.monotonic() - t0
        q = self.report_of(trace)["quality"]
        mib = self.peak_of(q)
        rate = q["events"] / seconds
        self.row("events lost, one CPU for %d s" % seconds, float(q["lost"]),
                 "%.0f events/s, %.0f MiB recorder, %.1f s in all" % (rate, mib, elapsed), 0)
        trace = self.path("mpv")
        self.run([self.mpvtrace, "run", "--no-report", "-q", "-o", trace, "--",
                  self.workload("pingpong"), "--pairs", "4", "--seconds", str(seconds)])
        q = self.report_of(trace)["quality"]
        mib = self.peak_of(q)
        self.row("events lost, all CPUs busy for %d s" % seconds, float(q["lost"]),
                 "%.0f events/s, %.0f MiB recorder" % (q["events"] / seconds, mib), 0)
        trace = self.path("mpv")
        self.run([self.mpvtrace, "run", "--no-report", "-q", "-o", trace, "--",
                  self.workload("yields"), "--seconds", str(seconds)])
        q = self.report_of(trace)["quality"]
        mib = self.peak_of(q)
        self.row("events lost, all CPUs yield for %d s" % seconds, float(q["lost"]),
                 "%.0f events/s, %.0f MiB recorder" % (q["events"] / seconds, mib), 0)

    def big_report(self):
        gen = os.path.join(self.build, "tools/gen_trace")
        if not os.path.exists(gen):
            self.row("report on 10 million events, s", "no gen_trace")
            return
        trace = self.path("big.mpv")
        millions = 1 if self.quick else 10
        self.run([gen, trace, str(millions)])
        t0 = time.monotonic()
        mib = self.watched([self.mpvtrace, "report", trace])
        seconds = time.monotonic() - t0
        if self.quick:
            self.row("report on 1 million events, s", seconds)
            return
        self.row("report on 10 million events, s", seconds, "", LIMITS["report s"])
        self.row("report on 10 million events, MiB", mib, "", LIMITS["report MiB"])


PARTS = ["slow_down", "python", "sysbench", "pgbench", "peers", "neighbour", "footprint", "messages", "size_and_memory", "start_up", "flood", "big_report"]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default="build")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", choices=PARTS, action="append")
    p.add_argument("--json", metavar="FILE", help="write the figures there too")
    a = p.parse_args()
    # A shell starts what it leaves in the background with SIGINT ignored; recordings end by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() != 0:
        sys.exit("bench: recording needs root: sudo make bench")
    if os.cpu_count() < 2:
        sys.exit("bench: needs two CPUs, one for the workload and one for the recorder")
    with tempfile.TemporaryDirectory(prefix="mpvtrace-bench.") as tmp:
        b = Bench(a.build, a.quick, tmp)
        for part in PARTS:
            if not a.only or part in a.only:
                getattr(b, part)()
    if a.json:
        with open(a.json, "w") as f:
            json.dump(b.rows, f, indent=1)
    over = [r["what"] for r in b.rows
            if r["limit"] is not None and not isinstance(r["value"], str) and r["value"] > r["limit"]]
    print("%d of %d figures with a limit are over it%s" % (
        len(over), sum(r["limit"] is not None for r in b.rows),
        ": " + ", ".join(over) if over else ""))


if __name__ == "__main__":
    main()
