#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""unix.py PATH CLIENTS: a server that answers after a while and clients in another process that ask
after a while, so that each waits for the other, over connections at PATH (@NAME: abstract)."""
import os
import socket
import sys
import threading
import time

ROUNDS = 20


def serve(connection):
    while connection.recv(100):
        time.sleep(0.001)
        connection.sendall(b"y")


def ask(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        for _ in range(ROUNDS):
            time.sleep(0.001)
            connection.sendall(b"x")
            connection.recv(100)


def all_of(target, arguments):
    threads = [threading.Thread(target=target, args=(a,)) for a in arguments]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def main():
    path, clients = sys.argv[1], int(sys.argv[2])
    if path[0] == "@":
        path = "\0" + path[1:]
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(clients)
    pid = os.fork()
    if not pid:
        all_of(ask, [path] * clients)
        os._exit(0)
    all_of(serve, [listening.accept()[0] for _ in range(clients)])
    sys.exit(os.waitpid(pid, 0)[1])


main()
