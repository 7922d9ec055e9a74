# SPDX-License-Identifier: MIT
"""mp_traffic.py: objects of known size through a multiprocessing Queue and a Pipe, to a child.

Truth: "pickled": what (the sort of channel that it goes through), messages, bytes: of the objects as
pickled; on its way each has 4 bytes more in front (16 KiB and more: in a write of their own).
"""
import multiprocessing
import multiprocessing.reduction

import truth

SIZES = [0, 1, 100, 1000, 16000, 20000, 70000]


def child(queue, pipe):
    for _ in SIZES:
        queue.get()
    for _ in SIZES:
        pipe.recv()


def pickled(objects):
    return sum(len(multiprocessing.reduction.ForkingPickler.dumps(o)) for o in objects)


def main():
    args = truth.parser(__doc__).parse_args()
    truth.open_file(args.truth)
    queue = multiprocessing.Queue()
    ours, theirs = multiprocessing.Pipe()
    objects = [b"x" * n for n in SIZES]
    worker = multiprocessing.Process(target=child, args=(queue, theirs))
    worker.start()
    for o in objects:
        queue.put(o)
    for o in objects:
        ours.send(o)
    worker.join()
    for what in "pipe", "socket pair":
        truth.line(t="pickled", what=what, messages=len(objects), bytes=pickled(objects))


if __name__ == "__main__":
    main()
