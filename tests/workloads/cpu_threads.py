#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Threads that compute in pure Python, meet at a lock and a queue, and sleep a little.
Truth: "task" of every thread, "total" {tasks}."""
import queue
import threading
import time

import truth


def worker(jobs, lock, seconds):
    while jobs.get() is not None:
        truth.compute(seconds)
        with lock:
            truth.compute(seconds / 10)
        time.sleep(0.0005)
    truth.task(threading.current_thread().name)


def main():
    p = truth.parser(__doc__)
    p.add_argument("--threads", type=int, default=4)
    p.add_argument("--jobs", type=int, default=40)
    p.add_argument("--seconds", type=float, default=0.01, help="CPU time of one job")
    a = p.parse_args()
    truth.open_file(a.truth)
    jobs, lock = queue.Queue(), threading.Lock()
    threads = [threading.Thread(target=worker, args=(jobs, lock, a.seconds), name="worker-%d" % i)
               for i in range(a.threads)]
    for t in threads:
        t.start()
    for i in range(a.jobs):
        jobs.put(i)
    for t in threads:
        jobs.put(None)
    for t in threads:
        t.join()
    truth.line(t="total", tasks=a.threads + 1)
    truth.task("main")


if __name__ == "__main__":
    main()
