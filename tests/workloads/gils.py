# SPDX-License-Identifier: MIT
"""Several GILs: gils.py fork|sub SECONDS [--truth FILE]

fork: the parent's and two forked children's, two computing threads in each.
sub: two sub-interpreters with GILs of their own (3.12 on), two computing threads in each.
Truth: the computing threads, with the number of their GIL.
"""
import _thread
import json
import os
import sys
import threading
import time

KIND, SECONDS = sys.argv[1], float(sys.argv[2])
TRUTH = sys.argv[sys.argv.index("--truth") + 1] if "--truth" in sys.argv else os.devnull

# Without the threading module: its end of an isolated interpreter hangs in 3.12.1.
BODY = """
import _thread, json, os, time
done = []
def compute(gil):
    end = time.monotonic() + %f
    x = 0
    while time.monotonic() < end:
        for i in range(1000):
            x += i
    line = json.dumps({"type": "holder", "tid": _thread.get_native_id(), "gil": gil})
    fd = os.open(%r, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, (line + "\\n").encode())
    os.close(fd)
    done.append(1)
def compute_in_two(gil):
    for _ in range(2):
        _thread.start_new_thread(compute, (gil,))
    while len(done) < 2:
        time.sleep(0.01)
    time.sleep(0.05)
""" % (SECONDS, TRUTH)


def fork():
    scope = {}
    exec(BODY, scope)
    # The GIL is in use by then, so the children inherit one that is known.
    pids = []
    first = threading.Thread(target=lambda: [time.sleep(0.002) for _ in range(20)])
    first.start()
    for n in (1, 2):
        pid = os.fork()
        if not pid:
            scope["compute_in_two"](n)
            os._exit(0)
        pids.append(pid)
    scope["compute_in_two"](0)
    first.join()
    for pid in pids:
        os.waitpid(pid, 0)


def sub():
    if sys.version_info >= (3, 13):
        import _interpreters

        def start(gil):
            _interpreters.exec(
                _interpreters.create("isolated"), BODY + "compute_in_two(%d)" % gil)
    else:
        import _xxsubinterpreters

        def start(gil):
            _xxsubinterpreters.run_string(
                _xxsubinterpreters.create(isolated=True), BODY + "compute_in_two(%d)" % gil)

    threads = [threading.Thread(target=start, args=(n,)) for n in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


fork() if KIND == "fork" else sub()
