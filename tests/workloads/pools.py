# SPDX-License-Identifier: MIT
"""What mp_fork.py, mp_spawn.py and mp_forkserver.py share: a multiprocessing Pool by one start
method. Truth: "worker" {pid} of every process that did a job, "task" of it after its jobs so far,
"total" {at_least}: multiprocessing adds helper processes and threads of its own."""
import multiprocessing
import os

import truth


def job(args):
    path, seconds = args
    if not truth.is_open():
        truth.open_file(path)
    result = truth.compute(seconds)
    truth.task("job")
    return os.getpid(), result


def main(method):
    p = truth.parser(__doc__)
    p.add_argument("--workers", type=int, default=3)
    p.add_argument("--jobs", type=int, default=24)
    p.add_argument("--seconds", type=float, default=0.01, help="CPU time of one job")
    a = p.parse_args()
    truth.open_file(a.truth)
    context = multiprocessing.get_context(method)
    pool = context.Pool(a.workers)
    pids = {pid for pid, _ in pool.map(job, [(a.truth, a.seconds)] * a.jobs, chunksize=1)}
    pool.close()
    pool.join()
    for pid in sorted(pids):
        truth.line(t="worker", pid=pid)
    truth.line(t="total", at_least=1 + a.workers)
    truth.task("main")
