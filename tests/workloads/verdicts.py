#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""verdicts.py MODE: programs of which one thing can be said for sure.

barrier: three threads meet again and again, one has four times the work of the others
nap: the main thread sleeps again and again beside a pool that has next to nothing to do
lock: six threads, each of which sleeps for a while while it holds the same lock
semaphore: eight threads, of which two at a time may sleep, again and again
pool: the same with a queue of two things, which each that sleeps takes and puts back
"""
import hashlib
import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

DATA = b"x" * (1 << 20)


def work(n):
    for _ in range(n):
        hashlib.sha256(DATA).digest()


def together(target, arguments):
    threads = [threading.Thread(target=target, args=(a,)) for a in arguments]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def barrier():
    meet = threading.Barrier(3)

    def share(n):
        for _ in range(20):
            work(n)
            meet.wait()

    together(share, [2, 2, 12])


def nap():
    with ThreadPoolExecutor(2) as pool:
        for _ in range(12):
            pool.submit(work, 2).result()
            time.sleep(0.05)


def lock():
    held = threading.Lock()

    def sleep(_):
        with held:
            time.sleep(0.1)

    together(sleep, range(6))


def semaphore():
    slots = threading.BoundedSemaphore(2)

    def sleep(_):
        for _ in range(15):
            with slots:
                time.sleep(0.01)

    together(sleep, range(8))


def pool():
    things = queue.LifoQueue()
    for thing in range(2):
        things.put(thing)

    def sleep(_):
        for _ in range(15):
            thing = things.get()
            time.sleep(0.01)
            things.put(thing)

    together(sleep, range(8))


{"barrier": barrier, "nap": nap, "lock": lock, "semaphore": semaphore,
 "pool": pool}[sys.argv[1]]()
