#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A process reads what its child writes, a few bytes now and then, through each kind of channel.

--truth FILE gets a line per channel: {"t": "channel", what, waits (at most), waiter, blocker}.
"""
import json
import os
import select
import socket
import sys
import time

ROUNDS = 5


def tcp():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    return ours.detach(), theirs.detach()


def sockets():
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def fifo():
    os.mkfifo("channel.fifo")
    # Opened for both, so that neither end waits for the other to open it.
    both = os.open("channel.fifo", os.O_RDWR)
    return both, both


def eventfd():
    fd = os.eventfd(0)
    return fd, fd


def exchange(truth, what, make, poll=False):
    """The child writes ROUNDS times; we read each before it writes the next."""
    ours, theirs = make()
    child = os.fork()
    if not child:
        for _ in range(ROUNDS):
            time.sleep(0.01)
            os.write(theirs, b"\1\0\0\0\0\0\0\0")
        os._exit(0)
    for _ in range(ROUNDS):
        if poll:
            select.select([ours], [], [])
        os.read(ours, 8)
    os.waitpid(child, 0)
    line = {"t": "channel", "what": what, "waits": ROUNDS, "waiter": os.getpid(), "blocker": child}
    os.write(truth, (json.dumps(line) + "\n").encode())


def main():
    path = sys.argv[sys.argv.index("--truth") + 1] if "--truth" in sys.argv else os.devnull
    truth = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    exchange(truth, "pipe", os.pipe)
    exchange(truth, "FIFO", fifo)
    exchange(truth, "socket pair", sockets, poll=True)
    exchange(truth, "TCP", tcp)
    exchange(truth, "eventfd", eventfd if hasattr(os, "eventfd") else sockets)


main()
