# SPDX-License-Identifier: MIT
"""spawned.py --method fork|spawn|forkserver|thread [--megabytes N] [--workers N] [--pool]:
workers, one after the other; or all in a Pool, which does two rounds of jobs with them.

Truth, all times CLOCK_MONOTONIC in ns: "own": pid, tid, at: the worker's first own line of Python,
or a forked pool's loop.
"call": tid, before, after: around the call that made it, in its creator, as near to the system
call as Python comes; for spawn until the parent knows of its exec.
"""
import multiprocessing
import multiprocessing.pool
import os
import threading
import time

import truth

now = time.monotonic_ns


def work(path):
    at = now()
    truth.open_file(path)
    truth.compute(0.02)
    time.sleep(0.005)
    truth.line(t="own", pid=os.getpid(), tid=truth.tid(), at=at)


entered = None


def begin(path):
    at = entered or now()
    truth.open_file(path)
    truth.line(t="own", pid=os.getpid(), tid=truth.tid(), at=at)


def job(seconds):
    truth.compute(seconds)


def time_the_loop():
    """A pool's worker is at its own when its loop begins, some 100 us of first touches before it
    calls what it begins with. What stands for the loop here says that it is in the same file."""
    real = multiprocessing.pool.worker

    def worker(*args, **named):
        global entered
        entered = now()
        return real(*args, **named)

    worker.__code__ = worker.__code__.replace(co_filename=real.__code__.co_filename)
    multiprocessing.pool.worker = worker


def pool(context, args):
    if args.method == "fork":
        time_the_loop()
    with context.Pool(args.workers, begin, (args.truth,)) as workers:
        for _ in range(2):
            workers.map(job, [0.01] * args.workers * 2, chunksize=1)
            time.sleep(0.02)
        workers.close()
        workers.join()


class Timed:
    """Stands for a function: when it was called and returned, in the calling process."""

    def __init__(self, module, name):
        self.real, self.before, self.after = getattr(module, name), 0, 0
        setattr(module, name, self)

    def __call__(self, *args, **named):
        self.before = now()
        result = self.real(*args, **named)
        self.after = now()
        return result


def timed(method):
    if method == "thread":
        name = "_start_new_thread" if hasattr(threading, "_start_new_thread") else "_start_joinable_thread"
        return Timed(threading, name)
    if method == "spawn":
        from multiprocessing import util

        return Timed(util, "spawnv_passfds")
    return Timed(os, "fork")


def main():
    p = truth.parser(__doc__)
    p.add_argument("--method", default="fork")
    p.add_argument("--megabytes", type=int, default=1)
    p.add_argument("--workers", type=int, default=4)
    p.add_argument("--pool", action="store_true")
    args = p.parse_args()
    heap = bytearray(args.megabytes << 20)
    heap[::4096] = b"\1" * len(heap[::4096])
    truth.open_file(args.truth)
    if args.pool:
        pool(multiprocessing.get_context(args.method), args)
        return
    if args.method == "thread":
        make = threading.Thread
    else:
        make = multiprocessing.get_context(args.method).Process
    call = timed(args.method) if args.method != "forkserver" else None
    for _ in range(args.workers):
        worker = make(target=work, args=(args.truth,))
        worker.start()
        tid = getattr(worker, "native_id", None) or worker.pid
        worker.join()
        if call:
            truth.line(t="call", tid=tid, before=call.before, after=call.after)


if __name__ == "__main__":
    main()
