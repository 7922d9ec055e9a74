# SPDX-License-Identifier: MIT
"""modes.py threads|processes cpu|sleep: two workers of either kind that compute, or only wait."""
import multiprocessing
import sys
import threading
import time


def compute():
    total = 0
    for i in range(3_000_000):
        total += i * i
    return total


def wait():
    for _ in range(20):
        time.sleep(0.02)


def main():
    kind = {"threads": threading.Thread, "processes": multiprocessing.Process}[sys.argv[1]]
    work = {"cpu": compute, "sleep": wait}[sys.argv[2]]
    workers = [kind(target=work) for _ in range(2)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()


if __name__ == "__main__":
    main()
