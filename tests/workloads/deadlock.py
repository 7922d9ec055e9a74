# SPDX-License-Identifier: MIT
"""Two threads that hold one lock each, by `with`, and wait for the other's; a third waits for the
first lock, and a fourth sleeps. Before that all of them take and leave both, so that their frames
are full of leftovers. Truth: "cycle" {tids}, "waiter" {tid}. Ends after --life seconds."""
import os
import threading
import time

import truth


def take(lock):
    with lock:
        time.sleep(0.2)


def nested(first, second):
    with first:
        time.sleep(0.1)
        for _ in range(2):
            take(second)


def body(first, second, tids, name):
    tids[name] = truth.tid()
    for _ in range(200):
        with first:
            pass
        with second:
            pass
    tids["barrier"].wait()
    if name in ("f", "g"):
        nested(first, second)
    elif name == "h":
        time.sleep(0.2)
        take(first)
    else:
        time.sleep(1000)


def main():
    p = truth.parser(__doc__)
    p.add_argument("--kind", choices=["Lock", "RLock"], default="Lock")
    p.add_argument("--life", type=float, default=5)
    args = p.parse_args()
    truth.open_file(args.truth)
    make = getattr(threading, args.kind)
    a, b = make(), make()
    tids = {"barrier": threading.Barrier(4)}
    for name, first, second in (("f", a, b), ("g", b, a), ("h", a, b), ("sleeper", b, a)):
        threading.Thread(target=body, args=(first, second, tids, name), daemon=True).start()
    time.sleep(1)
    truth.line(t="cycle", tids=[tids["f"], tids["g"]])
    truth.line(t="waiter", tid=tids["h"])
    time.sleep(args.life)
    os._exit(0)


if __name__ == "__main__":
    main()
