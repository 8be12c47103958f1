"""Forks at any moment, while other threads count, scrape, serve and forward: run as `forks_under_load.py <forks>`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import urllib.request
import warnings

from encore_storage import DictMemoryStore, Monitor, monitor

SERIES = 'encore_storage_operation_duration_seconds_count{operation="set",outcome="ok",store="app"}'

ending = threading.Event()


def count(done: list[int], number: int) -> None:
    store = DictMemoryStore(name="app")
    while not ending.is_set():
        store.from_bytes(f"key {number}", bytes(100))
        done[number] += 1


def scrape(observed: Monitor) -> None:
    while not ending.is_set():
        for path in ("metrics", "api/operations", "api/processes"):
            with urllib.request.urlopen(f"{observed.page}{path}") as response:
                response.read()


def child(observed: Monitor, number: int) -> None:
    signal.alarm(60)  # a hang is an error
    own = DictMemoryStore(name="app")
    for _ in range(number % 4):
        own.from_bytes("key", bytes(100))
    if number % 8 == 7:
        observed.close()
    os._exit(0)


def fork(observed: Monitor, forks: int) -> int:
    """Fork, four children at a time; return the number of sets in all of them."""
    running, sets = set[int](), 0
    for number in range(forks):
        pid = os.fork()
        if pid == 0:
            child(observed, number)
        running.add(pid)
        sets += number % 4
        while len(running) > (0 if number == forks - 1 else 3):
            ended, status = os.wait()
            assert status == 0, f"child ended with {status}"
            running.discard(ended)
    return sets


def main(forks: int) -> None:
    """Print the difference between the sets that the scrape counts and those that were done."""
    warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is intended
    observed, done = monitor(logs=False, port=0), [0, 0, 0]
    threads = [threading.Thread(target=count, args=(done, number)) for number in range(len(done))]
    threads.append(threading.Thread(target=scrape, args=(observed,)))
    for thread in threads:
        thread.start()
    try:
        sets = fork(observed, forks)
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    with urllib.request.urlopen(f"{observed.page}metrics") as response:
        lines = response.read().decode().splitlines()
    [counted] = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(SERIES)]
    sys.stdout.write(f"{counted - sum(done) - sets}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
