# SPDX-License-Identifier: MIT
"""callers.py: one place to wait (Queue.get), with two callers that wait for different times in
turn. Prints how long each waits, in ns, not what it took: see callers.c."""
import queue
import threading
import time

ROUNDS, TIMES = 20, 9
OFTEN_NS, SELDOM_NS = 2000000, 100000000
things = queue.Queue()


def often():
    things.get()


def seldom():
    things.get()


def feed():
    for _ in range(ROUNDS):
        for _ in range(TIMES):
            time.sleep(OFTEN_NS / 1e9)
            things.put(1)
        time.sleep(SELDOM_NS / 1e9)
        things.put(1)


threading.Thread(target=feed).start()
for _ in range(ROUNDS):
    for _ in range(TIMES):
        often()
    seldom()
print("often %d\nseldom %d" % (ROUNDS * TIMES * OFTEN_NS, ROUNDS * SELDOM_NS))
