# SPDX-License-Identifier: MIT
"""Threads that wait for each thing that threading and queue make of the interpreter's locks, each
in a function named after it: use_lock, use_rlock …. Nothing else waits there."""
import queue
import threading
import time

HELD = 0.02  # seconds

lock, rlock, semaphore = threading.Lock(), threading.RLock(), threading.Semaphore(1)
condition, event, barrier = threading.Condition(), threading.Event(), threading.Barrier(2)
jobs = queue.Queue()


def use_lock():
    with lock:
        pass


def use_rlock():
    with rlock:
        pass


def use_semaphore():
    with semaphore:
        pass


def use_condition():
    with condition:
        condition.wait()


def use_event():
    event.wait()


def use_barrier():
    barrier.wait()


def use_queue():
    jobs.get()


def main():
    users = [use_lock, use_rlock, use_semaphore, use_condition, use_event, use_barrier, use_queue]
    threads = [threading.Thread(target=use) for use in users]
    with lock, rlock, semaphore:
        for thread in threads:
            thread.start()
        time.sleep(HELD)
    with condition:
        condition.notify_all()
    event.set()
    barrier.wait()
    jobs.put(None)
    for thread in threads:
        thread.join()


main()
