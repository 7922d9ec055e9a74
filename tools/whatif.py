#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""whatif.py [MPVTRACE] [--python PYTHON] [--repeat N] [--size N] [--cpu-time]: is the predicted
wall time without the GIL that of the same work done by processes? Needs root, and a machine
with nothing else to do; with other load use --cpu-time, and look at the columns of CPU time.

For each kind of tests/workloads/whatif.py, N times in turn: not recorded with processes, recorded
with threads, again not recorded with processes, recorded with processes. Of all the medians; what is
off is the median of each turn's quotient by the mean of both. Many short turns tell more than a few
long ones where the machine's speed changes from second to second. "one speed": the same as if the machine had been as fast for both, by the CPU
time that they took for the same work. "others": CPUs that other programs used. "free CPUs" is
the prediction as it would be on CPUs that nobody else uses; "by CPU time" is a replay of the
recording of the processes on such.
"""
import argparse
import json
import os
import resource
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
    """Wall time, CPU time."""
    before, t = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - t, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1e9, cpu * 1e9


def turn(a, kind, scratch):
    before = plain(command(a, kind, "processes"))
    report = record(a, command(a, kind, "threads"), scratch)
    row = gil_row(report)
    if row is None:
        return None
    after = plain(command(a, kind, "processes"))
    wall, cpu = ((x + y) / 2 for x, y in zip(before, after))
    replay = record(a, command(a, kind, "processes"), scratch)["replay_ns"]
    row["threads_ns"] = report["workload"]["wall_ns"]
    row["others"] = (report["others_cpu_ns"] or 0) / row["threads_ns"]
    row["wall"] = wall
    row["off"] = row["wall_ns"] / wall - 1
    row["one_speed"] = row["wall_ns"] / wall * cpu / sum(t["run_ns"] for t in report["tasks"]) - 1
    row["replay"] = replay or 0
    row["free_off"] = row["free_ns"] / replay - 1 if replay else 0
    return row


def measure(a, kind, scratch):
    rows = [turn(a, kind, scratch) for _ in range(a.repeat)]
    rows = [r for r in rows if r]
    if not rows:
        return None
    return {k: statistics.median(r[k] for r in rows)
            for k in ("threads_ns", "wall_ns", "wall_low_ns", "wall_high_ns", "free_ns", "wall",
                      "off", "one_speed", "others", "replay", "free_off")}


def seconds(ns):
    return "%6.3f" % (ns / 1e9)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("mpvtrace", nargs="?", default=os.path.join(HERE, "..", "build", "mpvtrace"))
    p.add_argument("--python", default=sys.executable)
    p.add_argument("--repeat", type=int, default=21)
    p.add_argument("--size", type=int, default=30)
    p.add_argument("--cpu-time", action="store_true")
    p.add_argument("--kinds", default=",".join(KINDS))
    a = p.parse_args()
    print("%-9s %8s %9s %17s %9s %7s %9s %6s %6s | %9s %11s %6s" %
          ("work", "threads", "predicted", "range", "processes", "off", "one speed", "inside",
           "others", "free CPUs", "by CPU time", "off"))
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        for kind in a.kinds.split(","):
            m = measure(a, kind, scratch)
            if m is None:
                print("%-9s no prediction" % kind)
                good = False
                continue
            inside = m["wall_low_ns"] <= m["wall"] <= m["wall_high_ns"]
            good = good and inside and abs(m["off"]) <= 0.1
            print("%-9s %8s %9s %8s … %s %9s %+6.1f%% %+8.1f%% %6s %6.2f | %9s %11s %+5.1f%%" %
                  (kind, seconds(m["threads_ns"]), seconds(m["wall_ns"]),
                   seconds(m["wall_low_ns"]), seconds(m["wall_high_ns"]), seconds(m["wall"]),
                   100 * m["off"], 100 * m["one_speed"], "yes" if inside else "NO", m["others"],
                   seconds(m["free_ns"]), seconds(m["replay"]), 100 * m["free_off"]), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
