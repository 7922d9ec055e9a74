#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""whatif.py [MPVTRACE] [--python PYTHON] [--repeat N] [--size N] [--cpu-time]: is the predicted
wall time without the GIL that of the same work done by processes? Needs root, and a machine
with nothing else to do; with other load use --cpu-time, and look at the columns of CPU time.

For each kind of tests/workloads/whatif.py, in turn: recorded with threads, not recorded with
processes, N times; of each the median. "free CPUs" is the prediction as it would be on CPUs
that nobody else uses; "by CPU time" is a replay of a recording of the processes on such.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORKLOAD = os.path.join(HERE, "..", "tests", "workloads", "whatif.py")
KINDS = ["equal", "unequal", "release", "items", "pipeline"]


def command(a, kind, mode):
    return [a.python, WORKLOAD, kind, mode, "--size", str(a.size)] + ["--cpu-time"] * a.cpu_time


def record(a, cmd, scratch):
    out = os.path.join(scratch, "report.json")
    done = subprocess.run([a.mpvtrace, "run", "-f", "--user", "root", "-o",
                           os.path.join(scratch, "t.mpv"), "--json", out, "--", *cmd],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("%s: exit status %d\n%s" % (" ".join(cmd), done.returncode,
                                             done.stderr.decode(errors="replace")))
    with open(out, encoding="utf-8") as f:
        report = json.load(f)
    return report


def gil_row(report):
    for row in report["what_if"] or []:
        if row["cause"] == "gil":
            return row
    return None


def plain(cmd):
    t = time.monotonic()
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
    return (time.monotonic() - t) * 1e9


def measure(a, kind, scratch):
    rows, walls, replays = [], [], []
    for _ in range(a.repeat):
        report = record(a, command(a, kind, "threads"), scratch)
        row = gil_row(report)
        if row is None:
            return None
        row["threads_ns"] = report["workload"]["wall_ns"]
        row["free_ns"] = row["wall_ns"] * report["replay_ns"] / row["threads_ns"]
        rows.append(row)
        walls.append(plain(command(a, kind, "processes")))
        replays.append(record(a, command(a, kind, "processes"), scratch)["replay_ns"] or 0)
    median = {k: statistics.median(r[k] for r in rows)
              for k in ("threads_ns", "wall_ns", "wall_low_ns", "wall_high_ns", "free_ns")}
    return median, statistics.median(walls), statistics.median(replays)


def seconds(ns):
    return "%6.3f" % (ns / 1e9)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mpvtrace", nargs="?", default=os.path.join(HERE, "..", "build", "mpvtrace"))
    p.add_argument("--python", default=sys.executable)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--size", type=int, default=100)
    p.add_argument("--cpu-time", action="store_true")
    p.add_argument("--kinds", default=",".join(KINDS))
    a = p.parse_args()
    print("%-9s %8s %9s %17s %9s %7s %7s | %9s %11s %6s" %
          ("work", "threads", "predicted", "range", "processes", "off", "inside", "free CPUs",
           "by CPU time", "off"))
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        for kind in a.kinds.split(","):
            found = measure(a, kind, scratch)
            if found is None:
                print("%-9s no prediction" % kind)
                good = False
                continue
            m, wall, replay = found
            off, inside = m["wall_ns"] / wall - 1, m["wall_low_ns"] <= wall <= m["wall_high_ns"]
            good = good and inside and abs(off) <= 0.1
            print("%-9s %8s %9s %8s … %s %9s %+6.1f%% %7s | %9s %11s %s" %
                  (kind, seconds(m["threads_ns"]), seconds(m["wall_ns"]), seconds(m["wall_low_ns"]),
                   seconds(m["wall_high_ns"]), seconds(wall), 100 * off, "yes" if inside else "NO",
                   seconds(m["free_ns"]), seconds(replay),
                   "%+5.1f%%" % (100 * (m["free_ns"] / replay - 1)) if replay else "-"), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
