#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is what `mpvtrace compare` recommends borne out? Seven things that tutorials claim of threads and
processes (tests/workloads/tutorials.py), each measured here without mpvtrace (wall clock in turn
A B A B, peak memory as the largest sum of PSS) and then judged by mpvtrace.

Needs root; case db also PostgreSQL, psycopg2 and numpy (tools/setup.sh tutorials). Prints a
Markdown table; the exit status is 1 when a recommendation is not borne out."""
import argparse
import contextlib
import glob
import json
import os
import pwd
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "../tests/workloads/tutorials.py")
MODES = ("threads", "processes")
CASES = {"cpu": "CPU-bound, pure Python",
         "io": "I/O-bound: 8 clients of a server that answers after 20 ms",
         "release": "SHA-256 and zlib on large buffers (release the GIL)",
         "shared": "parts of one large structure",
         "tiny": "6,000 tasks that add 1",
         "ipc": "600 messages of 1 MB",
         "db": "six PostgreSQL connections and a matrix computation"}
SETTLED = 0.05      # wall times closer than this are equal
NOTABLE = 1.10      # so many times the memory counts
LITTLE, MUCH = 1.20, 2.0    # a gain below LITTLE for MUCH times the memory: depends


def die(text):
    sys.exit("tutorials: " + text)


def prefer(level):
    """With autogroup, levels count within a session only; the session has one of its own."""
    os.setpriority(os.PRIO_PROCESS, 0, level)
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as f:
        f.write(str(level))


# --- the servers ---------------------------------------------------------------------------------


@contextlib.contextmanager
def delay_server(python):
    p = subprocess.Popen([python, PROGRAM, "serve", "20"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
    try:
        yield "127.0.0.1:%d" % int(p.stdout.readline())
    finally:
        p.stdin.close()
        p.wait()


def unprivileged():
    """Whom the database runs as: PostgreSQL refuses root."""
    if os.geteuid():
        return None
    for name in (os.environ.get("SUDO_USER"), "postgres", "nobody"):
        with contextlib.suppress(KeyError, TypeError):
            if pwd.getpwnam(name).pw_uid:
                return pwd.getpwnam(name)
    die("nobody to run PostgreSQL as")


def postgres_tool(name):
    found = shutil.which(name) or max(glob.glob("/usr/lib/postgresql/*/bin/" + name), default=None)
    return found or die("%s is missing: tools/setup.sh tutorials, or leave out case db" % name)


@contextlib.contextmanager
def database(tmp):
    data, user = os.path.join(tmp, "db"), unprivileged()
    os.mkdir(data, 0o700)
    who = {}
    if user:
        os.chmod(tmp, 0o755)
        os.chown(data, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(*argv):
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=data, **who)
        if p.returncode:
            die("%s: %s" % (argv[0], p.stdout.decode(errors="replace")))

    run(postgres_tool("initdb"), "-A", "trust", "-U", "tutorials", "-N", "-D", data + "/data")
    control = [postgres_tool("pg_ctl"), "-w", "-D", data + "/data"]
    run(*control, "-l", data + "/log", "-o",
        "-c listen_addresses= -c unix_socket_directories=%s -c fsync=off" % data, "start")
    try:
        yield "host=%s user=tutorials dbname=postgres" % data
    finally:
        run(*control, "-m", "fast", "stop")


# --- measured without mpvtrace ---------------------------------------------------------------------


def tree(pid):
    found = [pid]
    for p in found:
        for path in glob.glob("/proc/%d/task/*/children" % p):
            with contextlib.suppress(OSError), open(path) as f:
                found += map(int, f.read().split())
    return found


def pss(pid):
    with contextlib.suppress(OSError), open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f:
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


class Subject:
    def __init__(self, python, case, mode):
        self.argv = [python, PROGRAM, case, mode]
        self.walls, self.peaks = [], []

    def command(self):
        return "exec " + " ".join(self.argv)

    def check(self, status):
        if status:
            die("%s: exit status %d" % (" ".join(self.argv), status))

    def time(self):
        start = time.monotonic()
        status = subprocess.run(self.argv, stdin=subprocess.DEVNULL).returncode
        self.walls.append(time.monotonic() - start)
        self.check(status)

    def weigh(self):
        """Reading takes time, so this is a run of its own."""
        p, peak = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL), 0
        while p.poll() is None:
            peak = max(peak, sum(map(pss, tree(p.pid))))
            time.sleep(0.01)
        self.check(p.returncode)
        self.peaks.append(peak)

    def wall(self):
        return statistics.median(self.walls)

    def memory(self):
        return statistics.median(self.peaks)


def told(a, b):
    """Is one side less than the other in nine of ten pairings of their values?"""
    less = sum((x < y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))
    return max(less, 1 - less) >= 0.9


def gain(a, b):
    return max(a.wall(), b.wall()) / min(a.wall(), b.wall())


def blurred(a, b):
    return gain(a, b) - 1 >= SETTLED and not told(a.walls, b.walls)


def borne_out(a, b):
    """The index of the mode that wall clock and memory bear out; None: they leave it open."""
    fast = int(b.wall() < a.wall())
    small = int(b.memory() < a.memory())
    faster = gain(a, b)
    price = max(a.memory(), b.memory()) / min(a.memory(), b.memory())
    if faster - 1 < SETTLED or (faster < LITTLE and blurred(a, b)):
        return small if price >= NOTABLE and told(a.peaks, b.peaks) else None
    if blurred(a, b) or (faster < LITTLE and fast != small and price >= MUCH):
        return None
    return fast


def measure(python, case, pairs):
    """As many pairs as asked for; where other load blurs the times, up to four times as many."""
    sides = [Subject(python, case, mode) for mode in MODES]
    for s in sides:
        s.time()
        s.walls.clear()     # the first run only filled the caches
        for _ in range(2):
            s.weigh()
    while len(sides[0].walls) < pairs or (len(sides[0].walls) < 4 * pairs and blurred(*sides)):
        for s in sides:
            s.time()
    return sides


# --- and what mpvtrace says of it ------------------------------------------------------------------


def recommendation(mpvtrace, sides, runs, log):
    p = subprocess.run([mpvtrace, "compare", "--user", "root", "--a", sides[0].command(), "--b",
                        sides[1].command(), "-n", str(runs), "--json", "-"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode:
        die("compare: status %d\n%s" % (p.returncode, p.stderr.decode(errors="replace")))
    doc = json.loads(p.stdout)
    if log:
        os.makedirs(log, exist_ok=True)
        with open(os.path.join(log, os.path.basename(sides[0].argv[2]) + ".json"), "wb") as f:
            f.write(p.stdout)
    return doc


def mb(n):
    return "%.0f MB" % (n / 1e6)


def cpus_free(doc):
    taken = doc["capacity_ratio"]["cpu-shortage"]
    return ", ".join("%.0f %% of the CPUs taken by others" % (100 * taken[side]["median"])
                     for side in "ab" if taken[side])


def row(case, sides, doc):
    choice = {"a": 0, "b": 1, None: None}[doc["recommendation"]["choice"]]
    right = borne_out(*sides)
    names = MODES + ("not settled",)
    cells = [CASES[case]]
    cells += ["%.2f s, %s" % (s.wall(), mb(s.memory())) for s in sides]
    cells += ["%.2f" % (sides[0].wall() / sides[1].wall()),
              names[2 if choice is None else choice], names[2 if right is None else right],
              "yes" if choice == right else "**no**"]
    print("| " + " | ".join(cells) + " |", flush=True)
    print("%s: %s; recorded with %s" % (case, "; ".join(
        "%s %s s" % (s.argv[3], " ".join("%.2f" % w for w in sorted(s.walls))) for s in sides),
        cpus_free(doc)), file=sys.stderr)
    say = doc["recommendation"]
    for text in [say["text"]] + say["reasons"] + say["notes"]:
        print("%s: %s" % (case, text), file=sys.stderr)
    return choice == right


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--build", default="build")
    ap.add_argument("--python", default="/usr/bin/python3")
    ap.add_argument("-n", type=int, default=3, help="pairs of runs, with and without mpvtrace")
    ap.add_argument("--nice", type=int, metavar="N",
                    help="run at this nice level, the session too: where other load blurs the times")
    ap.add_argument("--log", help="directory for the JSON of each comparison")
    ap.add_argument("case", nargs="*", default=list(CASES), help=", ".join(CASES))
    o = ap.parse_args()
    unknown = [c for c in o.case if c not in CASES]
    if unknown:
        die("no such case: " + ", ".join(unknown))
    if os.geteuid():
        die("recording needs root")
    # Servers must not outlive this: be interrupted by SIGTERM as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if o.nice is not None:
        prefer(o.nice)
    mpvtrace, good = os.path.join(os.path.abspath(o.build), "mpvtrace"), True
    with contextlib.ExitStack() as stack:
        tmp = stack.enter_context(tempfile.TemporaryDirectory(prefix="mpvtrace-tutorials."))
        os.environ["TUTORIALS_SERVER"] = stack.enter_context(delay_server(o.python))
        if "db" in o.case:
            os.environ["TUTORIALS_DB"] = stack.enter_context(database(tmp))
        print("| case | threads | processes | processes' speed-up | mpvtrace says | "
              "wall clock and memory say | borne out |\n|---|---|---|---|---|---|---|", flush=True)
        for case in o.case:
            sides = measure(o.python, case, o.n)
            good &= row(case, sides, recommendation(mpvtrace, sides, o.n, o.log))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
