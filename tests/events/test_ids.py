"""Unique ids."""

import random
import threading
from collections.abc import Callable

from encore_events.ids import new_id


def test_id_is_64_bits_in_hexadecimal() -> None:
    ids = [new_id() for _ in range(1000)]

    assert {len(one) for one in ids} == {16}
    assert all(int(one, 16) < 1 << 64 for one in ids)
    assert len(set(ids)) == 1000


def test_random_seed_does_not_affect_ids() -> None:
    state = random.getstate()
    ids = []
    for _ in range(2):
        random.seed(1)
        ids.append(new_id())
    random.setstate(state)

    assert ids[0] != ids[1]


def test_ids_do_not_affect_the_random_module() -> None:
    before = random.getstate()

    new_id()

    assert random.getstate() == before


def test_threads_share_no_ids() -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend([new_id() for _ in range(500)])) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(set(ids)) == 2000


def test_forked_child_repeats_no_ids(untraced_child: Callable[[str], str]) -> None:
    printed = untraced_child("""
import os
from encore_events.ids import new_id
new_id()
for _ in range(3):
    if os.fork() == 0:
        print(new_id(), flush=True)
        os._exit(0)
    os.wait()
print(new_id())
""")

    assert len(set(printed.split())) == 4
