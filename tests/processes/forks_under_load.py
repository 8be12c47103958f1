"""Forks at any moment, while other threads count, scrape, serve and forward: run as `forks_under_load.py <forks>`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import urllib.request
import warnings

from encore_storage import DictMemoryStore, monitor

warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is intended
observed = monitor(logs=False, port=0)
store = DictMemoryStore(name="app")
ending = threading.Event()
done = [0, 0, 0]
"""The sets of each thread."""


def count(number: int) -> None:
    while not ending.is_set():
        store.from_bytes(f"key {number}", bytes(100))
        done[number] += 1


def scrape() -> None:
    while not ending.is_set():
        for path in ("metrics", "api/operations", "api/processes"):
            with urllib.request.urlopen(f"{observed.page}{path}") as response:
                response.read()


def child(number: int) -> None:
    signal.alarm(60)  # a hang is an error
    own = DictMemoryStore(name="app")
    for _ in range(number % 4):
        own.from_bytes("key", bytes(100))
    if number % 8 == 7:
        observed.close()
    os._exit(0)


def fork(forks: int) -> int:
    """Fork, four children at a time; return the number of sets in all of them."""
    running, sets = set[int](), 0
    for number in range(forks):
        pid = os.fork()
        if pid == 0:
            child(number)
        running.add(pid)
        sets += number % 4
        while len(running) > (0 if number == forks - 1 else 3):
            ended, status = os.wait()
            assert status == 0, f"child ended with {status}"
            running.discard(ended)
    return sets


threads = [threading.Thread(target=count, args=(number,)) for number in range(3)] + [threading.Thread(target=scrape)]
for thread in threads:
    thread.start()
try:
    expected = fork(int(sys.argv[1]))
finally:
    ending.set()
    for thread in threads:
        thread.join()
with urllib.request.urlopen(f"{observed.page}metrics") as response:
    text = response.read().decode()
[counted] = [
    float(line.rpartition(" ")[2])
    for line in text.splitlines()
    if line.startswith('encore_storage_operation_duration_seconds_count{store="app",operation="set",outcome="ok"}')
]
sys.stdout.write(f"{counted - sum(done) - expected}\n")
