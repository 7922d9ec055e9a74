# SPDX-License-Identifier: MIT
"""tutorials.py CASE threads|processes: what tutorials claim of threads and processes, one program per claim.

Both modes do the same work with the same number of workers; only what a worker is differs. Cases:

  cpu      computing in pure Python
  io       requests to a server that answers after a delay    (address in TUTORIALS_SERVER)
  release  hashing and compressing large buffers, which releases the GIL
  shared   each worker examines a part of one large structure, which a process must be sent
  tiny     very many tasks that do next to nothing
  ipc      workers pass each other large messages
  db       six database connections, and a matrix computation (libpq string in TUTORIALS_DB)

TUTORIALS_SCALE multiplies the work (default 1: about a second where it is slower).

`tutorials.py serve DELAY_MS` is that server: it prints its port and answers until its input ends.
"""
import concurrent.futures
import hashlib
import multiprocessing
import os
import queue
import socket
import sys
import threading
import time
import zlib

WORKERS = 4


def scaled(n):
    return max(1, int(n * float(os.environ.get("TUTORIALS_SCALE", "1"))))


def executor(mode, workers=WORKERS):
    kind = {"threads": concurrent.futures.ThreadPoolExecutor,
            "processes": concurrent.futures.ProcessPoolExecutor}[mode]
    return kind(workers)


def start_all(mode, calls):
    kind = {"threads": threading.Thread, "processes": multiprocessing.Process}[mode]
    workers = [kind(target=call[0], args=call[1:]) for call in calls]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
        if getattr(w, "exitcode", 0):
            sys.exit("a worker failed")


# --- CPU-bound -------------------------------------------------------------------------------


def primes_below(limit):
    found = 0
    for n in range(2, limit):
        k = 2
        while k * k <= n and n % k:
            k += 1
        found += k * k > n
    return found


def cpu(mode):
    with executor(mode) as pool:
        assert len(set(pool.map(primes_below, [scaled(110000)] * WORKERS))) == 1


# --- I/O-bound -------------------------------------------------------------------------------

CLIENTS = 8


def fetch(requests):
    host, port = os.environ["TUTORIALS_SERVER"].split(":")
    got = 0
    for _ in range(requests):
        with socket.create_connection((host, int(port))) as s:
            s.sendall(b"GET\n")
            while True:
                data = s.recv(65536)
                if not data:
                    break
                got += len(data)
    return got


def io(mode):
    with executor(mode, CLIENTS) as pool:
        assert all(pool.map(fetch, [scaled(40)] * CLIENTS))


def answer(conn, delay):
    with conn:
        conn.recv(64)
        time.sleep(delay)
        conn.sendall(b"x" * 20000)


def serve(delay_ms):
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(server.getsockname()[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        conn, _ = server.accept()
        threading.Thread(target=answer, args=(conn, delay_ms / 1000), daemon=True).start()


# --- releases the GIL ------------------------------------------------------------------------

BLOCK = b""


def digest(part):
    seen = hashlib.sha256(part.to_bytes(4, "little"))
    packed = 0
    for _ in range(scaled(5)):
        seen.update(BLOCK)
        packed += len(zlib.compress(memoryview(BLOCK)[:1 << 20], 6))
    return seen.hexdigest(), packed


def release(mode):
    global BLOCK
    BLOCK = b"".join(b"%d:%d;" % (i, i * i) for i in range(20_000)) * 12
    with executor(mode) as pool:
        assert len(set(pool.map(digest, range(WORKERS)))) == WORKERS


# --- large shared data -----------------------------------------------------------------------


def examine(rows):
    best = 0.0
    for name, x, y in rows:
        if name[-1] == "7" and x * y > best:
            best = x * y
    return best


def shared(mode):
    n = scaled(600000)
    rows = [("row-%d" % i, i * 0.5, float(n - i)) for i in range(n)]
    step = (n + WORKERS - 1) // WORKERS
    with executor(mode) as pool:
        assert max(pool.map(examine, [rows[i:i + step] for i in range(0, n, step)])) > 0


# --- many small tasks ------------------------------------------------------------------------


def increment(n):
    return n + 1


def tiny(mode):
    n = scaled(6000)
    with executor(mode) as pool:
        assert sum(pool.map(increment, range(n))) == n * (n + 1) // 2


# --- heavy communication ---------------------------------------------------------------------


def produce(out, messages):
    for i in range(messages):
        out.put(bytes([i & 255]) * (1 << 20))
    out.put(None)


def consume(messages):
    while True:
        data = messages.get()
        if data is None:
            return
        zlib.crc32(data)


def ipc(mode):
    make = {"threads": queue.Queue, "processes": multiprocessing.Queue}[mode]
    calls = []
    for _ in range(WORKERS // 2):
        q = make(4)
        calls += [(produce, q, scaled(300)), (consume, q)]
    start_all(mode, calls)


# --- six database connections and a matrix computation -----------------------------------------

CONNECTIONS = 6


def query(number, queries):
    import psycopg2

    db = psycopg2.connect(os.environ["TUTORIALS_DB"])
    total = 0
    for i in range(queries):
        with db.cursor() as c:
            # A query that keeps the server, not this program, occupied for a while.
            c.execute("WITH s AS MATERIALIZED (SELECT pg_sleep(0.03)) "
                      "SELECT g, md5(g::text) FROM s, generate_series(%s, %s) g",
                      (i + number, i + number + 500))
            total += sum(row[0] for row in c.fetchall())
    db.close()
    assert total > 0


def multiply(size, times):
    import numpy

    a = numpy.arange(size * size, dtype=numpy.float64).reshape(size, size) / (size * size)
    b = numpy.eye(size)
    for _ in range(times):
        b = b @ a
        b /= numpy.abs(b).max()
    assert numpy.isfinite(b).all()


def db(mode):
    import numpy  # noqa: F401: imported once, before the workers begin
    import psycopg2  # noqa: F401

    start_all(mode, [(multiply, 400, scaled(12))] +
              [(query, i, scaled(25)) for i in range(CONNECTIONS)])


CASES = {f.__name__: f for f in (cpu, io, release, shared, tiny, ipc, db)}

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(float(sys.argv[2]))
    CASES[sys.argv[1]](sys.argv[2])
