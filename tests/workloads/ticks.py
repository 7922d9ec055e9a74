# SPDX-License-Identifier: MIT
"""ticks.py gil|cpu|process: something that shall answer every 10 ms, and what keeps it from that.

  gil      the main thread beside two threads that compute
  cpu      the main thread beside two processes that compute, all on one CPU
  process  the same, but a child is it, whose name is "ticker", beside threads of one of its own

Truth: "ticks": n; begin, end (CLOCK_MONOTONIC, ns); late: how long after its time each tick came, ns, in order of size; sure: those of which
nothing else can have been the cause.
"""
import ctypes
import os
import resource
import signal
import threading
import time

import truth

PERIOD_NS = 10000000


def spin():
    while True:
        sum(range(1000))


def tick(n):
    late = []
    begin = time.monotonic_ns()
    for _ in range(n):
        cut = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        due = time.monotonic_ns() + PERIOD_NS
        time.sleep(PERIOD_NS / 1e9)
        now = time.monotonic_ns()
        # Having lost its CPU before it slept it was late by itself.
        late.append((now - due, resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw > cut))
    end = time.monotonic_ns()
    late.sort()
    truth.line(t="ticks", n=n, begin=begin, end=end, late=[ns for ns, _ in late], sure=[ns for ns, cut in late if not cut])


def forked(work, *args):
    child = os.fork()
    if not child:
        work(*args)
        os._exit(0)
    return child


def two_threads():
    threading.Thread(target=spin, daemon=True).start()
    spin()


def beside(others, n):
    """Ticks beside forked children, all on one CPU."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pids = [forked(o) for o in others]
    tick(n)
    for p in pids:
        os.kill(p, signal.SIGKILL)
        os.waitpid(p, 0)


def named(n):
    ctypes.CDLL(None).prctl(15, b"ticker", 0, 0, 0)
    beside([two_threads, spin], n)


def main():
    p = truth.parser(__doc__)
    p.add_argument("mode", choices=["gil", "cpu", "process"])
    p.add_argument("--ticks", type=int, default=300)
    args = p.parse_args()
    truth.open_file(args.truth)
    if args.mode == "gil":
        for _ in range(2):
            threading.Thread(target=spin, daemon=True).start()
        tick(args.ticks)
        os._exit(0)
    if args.mode == "cpu":
        beside([spin, spin], args.ticks)
    else:
        os.waitpid(forked(named, args.ticks), 0)


main()
