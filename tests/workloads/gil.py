# SPDX-License-Identifier: MIT
"""Threads that share a GIL in several ways: gil.py KIND SECONDS [--truth FILE]

cpu2, cpu4: that many threads that only compute. mix: two that compute, four that wait for a
little I/O. hash4: four that hash (the GIL is released meanwhile). queue: two producers, two
consumers of a queue.Queue. one: a single thread. part: a single thread that hashes and computes in
turns; its truth is the share of its CPU time with the GIL.
"""
import hashlib
import json
import os
import queue
import sys
import threading
import time


def compute(end):
    x = 0
    while time.monotonic() < end:
        for i in range(2000):
            x += i
    return x


def wait_io(end):
    r, w = os.pipe()
    while time.monotonic() < end:
        os.write(w, b"x" * 100)
        os.read(r, 100)
        time.sleep(0.001)


def hash_blocks(end):
    block = b"x" * 20000
    while time.monotonic() < end:
        for _ in range(20):
            hashlib.sha256(block).digest()


def produce(q, end):
    while time.monotonic() < end:
        q.put(1)


def consume(q, end):
    while True:
        if q.get() is None:
            return


def in_part(end):
    """CPU time with the GIL, and all, of the pieces."""
    block = b"x" * 3000000
    with_gil = both = 0
    while time.monotonic() < end:
        a = time.thread_time()
        hashlib.sha256(block).digest()
        b = time.thread_time()
        for i in range(60000):
            both += i & 0
        c = time.thread_time()
        with_gil += c - b
        both += c - a
    return with_gil, both


def tell(facts):
    if "--truth" in sys.argv:
        with open(sys.argv[sys.argv.index("--truth") + 1], "w") as f:
            for fact in facts:
                f.write(json.dumps(fact) + "\n")


def threads_of(kind):
    if kind in ("cpu2", "cpu4"):
        return [(compute,)] * int(kind[3:])
    if kind == "mix":
        return [(compute,)] * 2 + [(wait_io,)] * 4
    if kind == "hash4":
        return [(hash_blocks,)] * 4
    q = queue.Queue(100)
    return [(produce, q)] * 2 + [(consume, q)] * 2


def main():
    kind, seconds = sys.argv[1], float(sys.argv[2])
    end = [time.monotonic() + seconds]
    if kind == "one":
        compute(end[0])
        return
    if kind == "part":
        begun = time.process_time()
        with_gil, both = in_part(end[0])
        tell([{"t": "gil", "before_s": begun, "with_s": with_gil, "cpu_s": both}])
        return
    rows = threads_of(kind)

    def begin():
        end[0] = time.monotonic() + seconds

    # On a full machine the last would begin when the others have ended.
    together = threading.Barrier(len(rows), begin)

    def run(function, *args):
        together.wait()
        function(*args, end[0])

    threads = [threading.Thread(target=run, args=r) for r in rows]
    for t in threads:
        t.start()
    if kind == "queue":
        for t in threads[:2]:
            t.join()
        for _ in range(2):
            rows[0][1].put(None)
    for t in threads:
        t.join()
    tell({"type": "task", "tid": t.native_id} for t in threads)


if __name__ == "__main__":
    main()
