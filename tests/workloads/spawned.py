# SPDX-License-Identifier: MIT
"""spawned.py --method fork|spawn|forkserver|thread [--megabytes N]: workers, one after the other.

Truth: "own": pid, tid, at (CLOCK_MONOTONIC, ns): the worker's first own line of Python.
"""
import multiprocessing
import os
import threading
import time

import truth

WORKERS = 4


def work(path):
    at = time.monotonic_ns()
    truth.open_file(path)
    truth.line(t="own", pid=os.getpid(), tid=truth.tid(), at=at)
    truth.compute(0.03)
    time.sleep(0.01)


def main():
    p = truth.parser(__doc__)
    p.add_argument("--method", default="fork")
    p.add_argument("--megabytes", type=int, default=1)
    args = p.parse_args()
    heap = bytearray(args.megabytes << 20)
    heap[::4096] = b"\1" * len(heap[::4096])
    if args.method == "thread":
        make = threading.Thread
    else:
        make = multiprocessing.get_context(args.method).Process
    for _ in range(WORKERS):
        worker = make(target=work, args=(args.truth,))
        worker.start()
        worker.join()


if __name__ == "__main__":
    main()
