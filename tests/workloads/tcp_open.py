# SPDX-License-Identifier: MIT
"""tcp_open.py: a connection that exists before --wait seconds have gone and lives on: 5,000 bytes go
through it first, and after the wait what the truth says. A second one is made and closed then: its client
closes first, with 7 bytes still in the server's queue.

Truth: "moved": what (early, open, closed), client, server (ports), sent, received: bytes of the client.
"""
import socket
import threading
import time

import truth

EARLY, OPEN, CLOSED = 5000, 123457, 64001


def server(listener):
    for late in (False, True):
        s, _ = listener.accept()
        threading.Thread(target=talk, args=(s, late), daemon=True).start()


def talk(s, short):
    time.sleep(0.05)  # the client waits
    left = CLOSED if short else EARLY + OPEN
    s.sendall(b"x" * 1000)
    while left:
        left -= len(s.recv(min(left, 10000)))
    s.sendall(b"y" * 17)
    if short:
        time.sleep(0.3)  # what is left is never read
        s.close()
    else:
        s.recv(1)


def read(s, n):
    while n:
        n -= len(s.recv(n))


def main():
    p = truth.parser(__doc__)
    p.add_argument("--wait", type=float, default=0)
    args = p.parse_args()
    truth.open_file(args.truth)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=server, args=(listener,), daemon=True).start()
    first = socket.create_connection(listener.getsockname())
    port = listener.getsockname()[1]
    first.sendall(b"a" * EARLY)
    read(first, 1000)
    truth.line(t="moved", what="early", client=first.getsockname()[1], server=port, sent=EARLY, received=1000)
    time.sleep(args.wait)
    first.sendall(b"b" * OPEN)
    read(first, 17)
    truth.line(t="moved", what="open", client=first.getsockname()[1], server=port, sent=OPEN, received=17)
    second = socket.create_connection(listener.getsockname())
    second.sendall(b"c" * CLOSED)
    read(second, 1017)
    second.sendall(b"unread!")
    truth.line(t="moved", what="closed", client=second.getsockname()[1], server=port, sent=CLOSED + 7,
               received=1017)
    second.close()
    time.sleep(0.4)
    truth.line(t="done")
    time.sleep(60)


main()
