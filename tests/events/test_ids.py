"""Ids that no other operation has."""

import random
import threading
from collections.abc import Callable

from encore_events.ids import new_id


def test_an_id_is_64_bits_in_hexadecimal_digits() -> None:
    ids = [new_id() for _ in range(1000)]

    assert {len(one) for one in ids} == {16}
    assert all(int(one, 16) < 1 << 64 for one in ids)
    assert len(set(ids)) == 1000


def test_the_seed_of_the_program_has_no_part_in_them() -> None:
    state = random.getstate()
    ids = []
    for _ in range(2):
        random.seed(1)
        ids.append(new_id())
    random.setstate(state)

    assert ids[0] != ids[1]


def test_nor_do_they_change_what_the_program_draws() -> None:
    before = random.getstate()

    new_id()

    assert random.getstate() == before


def test_threads_have_no_ids_in_common() -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend([new_id() for _ in range(500)])) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(set(ids)) == 2000


def test_a_forked_child_has_ids_of_its_own(untraced_child: Callable[[str], str]) -> None:
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
