#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""whatif.py KIND threads|processes [--cpu-time] [--size N]: one piece of work by workers of either kind.

equal: four that compute as much. unequal: four that compute 8, 4, 2 and 6 parts. release: four
that compute and hash in turn (the GIL is released meanwhile). items: four that take items of
different sizes from one queue. pipeline: one that makes items, one that uses them, through a
queue of four places. Units are about a millisecond; with --cpu-time they are one of the
worker's CPU time, so that the work is the same on a machine that is not always as fast.
"""
import argparse
import hashlib
import multiprocessing
import queue
import threading
import time

BLOCK = b"x" * 65536


def compute(units, cpu_time):
    end = time.thread_time() + units / 1000
    x = 1
    while units > 0 if not cpu_time else time.thread_time() < end:
        for _ in range(8000 if not cpu_time else 500):
            x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        units -= 1
    return x


def hashes(units, cpu_time):
    end = time.thread_time() + units / 1000
    while units > 0 if not cpu_time else time.thread_time() < end:
        for _ in range(8 if not cpu_time else 1):
            hashlib.sha256(BLOCK).digest()
        units -= 1


def share(units, cpu_time):
    compute(units, cpu_time)


def alternate(units, cpu_time):
    for _ in range(units // 20):
        compute(10, cpu_time)
        hashes(10, cpu_time)


def take(items, cpu_time):
    while True:
        n = items.get()
        if n is None:
            return
        compute(n, cpu_time)


def make(items, n, cpu_time):
    for _ in range(n):
        compute(12, cpu_time)
        items.put(8)
    items.put(None)


def plan(kind, size, places, cpu_time):
    """What each worker does, and the queue's contents to begin with."""
    if kind == "equal":
        return [(share, 5 * size, cpu_time)] * 4
    if kind == "unequal":
        return [(share, n * size, cpu_time) for n in (8, 4, 2, 6)]
    if kind == "release":
        return [(alternate, 5 * size, cpu_time)] * 4
    if kind == "items":
        items = places(0)
        for i in range(size * 2 // 3):
            items.put(i * 37 % 40 + 10)
        for _ in range(4):
            items.put(None)
        return [(take, items, cpu_time)] * 4
    items = places(4)
    return [(make, items, size, cpu_time), (take, items, cpu_time)]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("kind", choices=["equal", "unequal", "release", "items", "pipeline"])
    p.add_argument("mode", choices=["threads", "processes"])
    p.add_argument("--cpu-time", action="store_true")
    p.add_argument("--size", type=int, default=100)
    p.add_argument("--truth", help="ignored")
    a = p.parse_args()
    threads = a.mode == "threads"
    kind, places = (threading.Thread, queue.Queue) if threads else (multiprocessing.Process,
                                                                   multiprocessing.Queue)
    workers = [kind(target=w[0], args=w[1:]) for w in plan(a.kind, a.size, places, a.cpu_time)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()


if __name__ == "__main__":
    main()
