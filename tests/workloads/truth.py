# SPDX-License-Identifier: MIT
"""How a Python workload states its own truth: see truth.h. Python 3.6 and newer."""
import argparse
import ctypes
import json
import os
import resource
import threading
import time

_fd = -1


def parser(doc):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("--truth", metavar="FILE", help="append JSON lines with this program's truth")
    return p


def open_file(path):
    global _fd
    if path:
        _fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        counters("start", "")


def is_open():
    return _fd >= 0


def line(**fields):
    """One write, so that lines of several processes never mix."""
    if _fd >= 0:
        os.write(_fd, (json.dumps(fields) + "\n").encode())


def tid():
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    return ctypes.CDLL(None).syscall({"x86_64": 186}.get(os.uname().machine, 178))


def task(name):
    """The calling task's own counters now: lower bounds, as ending costs more."""
    counters("task", name)


def counters(kind, name):
    if _fd < 0:
        return
    try:
        with open("/proc/thread-self/schedstat") as f:
            run, delay = [int(x) for x in f.read().split()[:2]]
    except OSError:
        run = delay = 0
    ru = resource.getrusage(resource.RUSAGE_THREAD)
    line(t=kind, tid=tid(), pid=os.getpid(), name=name, nvcsw=ru.ru_nvcsw, nivcsw=ru.ru_nivcsw,
         minflt=ru.ru_minflt, majflt=ru.ru_majflt, run_ns=run, delay_ns=delay)


def compute(seconds):
    """Pure Python work for so much of this thread's CPU time; holds the GIL as any code does."""
    clock = time.thread_time if hasattr(time, "thread_time") else time.process_time
    end = clock() + seconds
    x = 1
    while clock() < end:
        for _ in range(200):
            x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return x
