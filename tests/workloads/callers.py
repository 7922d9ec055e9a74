# SPDX-License-Identifier: MIT
"""callers.py: one place to wait (Queue.get), with two callers that wait for different times in
turn. Prints what each waited, in ns."""
import queue
import threading
import time

ROUNDS, TIMES = 20, 9
things = queue.Queue()
waited = {"often": 0, "seldom": 0}


def often():
    t = time.monotonic_ns()
    things.get()
    waited["often"] += time.monotonic_ns() - t


def seldom():
    t = time.monotonic_ns()
    things.get()
    waited["seldom"] += time.monotonic_ns() - t


def feed():
    for _ in range(ROUNDS):
        for _ in range(TIMES):
            time.sleep(0.002)
            things.put(1)
        time.sleep(0.1)
        things.put(1)


threading.Thread(target=feed).start()
for _ in range(ROUNDS):
    for _ in range(TIMES):
        often()
    seldom()
print("often %d\nseldom %d" % (waited["often"], waited["seldom"]))
