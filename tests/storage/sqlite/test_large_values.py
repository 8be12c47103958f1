"""A value that is larger than the memory should be."""

from __future__ import annotations

import json
from pathlib import Path

from tests.storage.support import run

MEBIBYTE = 1048576
GIBIBYTE = 1024 * MEBIBYTE

LARGE = """
import json, os, resource, sys, zlib
from encore_events import EventManager
from encore_storage.stores import SqliteStore

class Generated:
    def __init__(self, size):
        self.size, self.position, self.sum = size, 0, 0
        self.block = bytearray(os.urandom(1 << 20))

    def read(self, size):
        if self.position == self.size:
            return b""
        self.block[:8] = self.position.to_bytes(8)
        chunk = bytes(memoryview(self.block)[: min(size, self.size - self.position)])
        self.position += len(chunk)
        self.sum = zlib.crc32(chunk, self.sum)
        return chunk

def peak():
    try:
        with open("/proc/self/status") as status:  # the other one counts what ran before in this process
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

store = SqliteStore(sys.argv[1], event_manager=EventManager())
source = Generated(int(sys.argv[2]))
store.set("large", (source, {}))
sum = size = 0
with store.get_data("large") as data:
    while chunk := data.read(1 << 20):
        size += len(chunk)
        sum = zlib.crc32(chunk, sum)
store.disconnect()
print(json.dumps({"size": size, "same": sum == source.sum, "peak": peak() * 1024}))
"""


def test_two_gibibytes_go_in_and_out_in_little_memory(path: Path) -> None:
    try:
        report = json.loads(run(LARGE, path, 2 * GIBIBYTE + 1))
    finally:
        for file in path.parent.iterdir():
            file.unlink()  # pytest would keep them

    assert (report["size"], report["same"]) == (2 * GIBIBYTE + 1, True)
    assert report["peak"] < 200 * MEBIBYTE
