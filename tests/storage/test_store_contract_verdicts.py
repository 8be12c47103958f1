"""StoreContract passes correct stores, and fails a broken one in the test of the rule that it breaks."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from encore_storage.testing import StoreContract

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "writing-a-store.md"
STORES, CONTRACT = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
TRANSACTIONAL = CONTRACT.replace("Shelf", "TransactionalShelf")
FAILED = re.compile(r"^(FAILED|ERROR) \S+::(test_\w+)", re.MULTILINE)

HELPERS = """
import contextlib, dataclasses, threading

from encore_storage.streams import DataChunks


class Stuck(DataChunks):
    def seek(self, position):
        pass
"""

WITHOUT_PYTEST = """
import sys

import encore_storage

assert "pytest" not in sys.modules
sys.modules["pytest"] = None  # importing it is an ImportError
try:
    import encore_storage.testing
except ImportError as error:
    print(error)
"""


class Broken(NamedTuple):
    """A store that breaks a rule: what it derives from, its methods, and tests that must fail for it."""

    base: str
    methods: str
    tests: set[str]
    patience: float = 1.0


BROKEN = {
    "OpensTooFewBytes": Broken(
        "Shelf",
        """
        def _open(self, key, entry, start, end):
            return iter((entry.token[start : end - 1],))
        """,
        {"test_get_returns_what_was_set", "test_range_excludes_its_end"},
    ),
    "OpensTheCurrentBytes": Broken(
        "Shelf",
        """
        def _open(self, key, entry, start, end):
            return iter((self._lookup(key).token[start:end],))
        """,
        {"test_reader_of_a_changed_value_reads_the_old_bytes_or_fails"},
    ),
    "ReportsTheWrongSize": Broken(
        "Shelf",
        """
        def _lookup(self, key):
            entry = super()._lookup(key)
            return dataclasses.replace(entry, size=entry.size + 1)
        """,
        {"test_get_returns_what_was_set", "test_set_metadata_keeps_the_bytes"},
    ),
    "ReportsNoTimes": Broken(
        "Shelf",
        """
        def _lookup(self, key):
            return dataclasses.replace(super()._lookup(key), created=0.0, modified=0.0)
        """,
        {"test_times_are_seconds_since_the_epoch"},
    ),
    "LosesMetadata": Broken(
        "Shelf",
        """
        def _put(self, key, chunks, metadata):
            return super()._put(key, chunks, {})
        """,
        {"test_get_returns_what_was_set", "test_metadata_comes_back_equal", "test_set_data_keeps_the_metadata"},
    ),
    "KeepsTheMetadataOfTheCaller": Broken(
        "Shelf",
        """
        def set_metadata(self, key, metadata):
            super().set_metadata(key, metadata)
            self._entries[key] = dataclasses.replace(self._entries[key], metadata=metadata)
        """,
        {"test_set_copies_the_metadata_of_the_caller"},
    ),
    "ReturnsItsOwnMetadata": Broken(
        "Shelf",
        """
        def get_metadata(self, key, select=None):
            metadata = super().get_metadata(key, select)
            return metadata if select else self._entries[key].metadata
        """,
        {"test_get_returns_a_copy_of_the_metadata"},
    ),
    "RemovesTheOldValueFirst": Broken(
        "Shelf",
        """
        def _put(self, key, chunks, metadata):
            if chunks is not None:
                self._entries.pop(key, None)
            return super()._put(key, chunks, metadata)
        """,
        {"test_source_that_fails_leaves_the_old_value", "test_set_that_waits_for_its_source_blocks_no_reader"},
    ),
    "FoldsTheCaseOfKeys": Broken(
        "Shelf",
        """
        def _put(self, key, chunks, metadata):
            return super()._put(key.lower(), chunks, metadata)

        def _lookup(self, key):
            return super()._lookup(key.lower())
        """,
        {"test_key_comes_back_or_is_refused", "test_keys_are_distinct"},
    ),
    "ListsItsDict": Broken(
        "Shelf",
        """
        def _items(self):
            return ((key, entry.metadata) for key, entry in self._entries.items())
        """,
        {"test_keys_renamed_while_they_are_listed_come_once"},
    ),
    "ListsOldSizes": Broken(
        "Shelf",
        """
        def _listing(self, prefix):
            return (each._replace(size=1) for each in super()._listing(prefix))
        """,
        {"test_list_returns_sizes_and_times"},
    ),
    "ForgetsWhereItIs": Broken(
        "Shelf",
        """
        def _open(self, key, entry, start, end):
            return Stuck(entry.token[start:end])
        """,
        {"test_seekable_is_truthful"},
    ),
    "DeletesMissingKeys": Broken(
        "Shelf",
        """
        def _remove(self, key):
            return super()._remove(key) if key in self._entries else {}
        """,
        {"test_missing_key_raises_key_not_found", "test_missing_key_is_a_miss"},
    ),
    "ReportsEachChangeAsNew": Broken(
        "Shelf",
        """
        def _put(self, key, chunks, metadata):
            return super()._put(key, chunks, metadata)._replace(is_new=True)
        """,
        {"test_set_update_and_delete_are_emitted"},
    ),
    "EmitsNothingForBytes": Broken(
        "Shelf",
        """
        def from_bytes(self, key, data, buffer_size=1):
            self._put(key, (bytes(memoryview(data)),), None)
        """,
        {"test_call_that_succeeds_is_ok", "test_refused_call_is_an_error", "test_size_of_a_buffer_is_in_bytes"},
    ),
    "StaysConnected": Broken(
        "Shelf",
        """
        def disconnect(self):
            pass
        """,
        {"test_disconnected_store_refuses_calls", "test_store_is_a_context_manager"},
    ),
    "WritesOutOfTurn": Broken(
        "TransactionalShelf",
        """
        def _put(self, key, chunks, metadata):
            data = b"" if chunks is None else b"".join(chunks)
            is_new = key not in self._visible()
            self._visible()[key] = Entry(len(data), metadata or {}, time.time(), time.time(), data)
            return Change(is_new, metadata or {})
        """,
        {"test_write_of_another_thread_waits", "test_waiting_ends_after_the_timeout_of_the_store"},
    ),
    "CommitsInsteadOfRollingBack": Broken(
        "TransactionalShelf",
        """
        def _rollback_transaction(self):
            self._commit_transaction()
        """,
        {
            "test_multiset_that_fails_is_undone_by_transactional_stores",
            "test_rollback_undoes_nothing_of_another_thread",
            "test_swallowed_inner_failure_rolls_back_the_whole",
            "test_transaction_that_raises_is_rolled_back",
        },
    ),
    "RollsBackInsteadOfCommitting": Broken(
        "TransactionalShelf",
        """
        def _commit_transaction(self):
            self._rollback_transaction()
        """,
        {"test_transaction_that_ends_well_is_committed", "test_change_is_committed_when_it_is_emitted"},
    ),
    "ShowsUncommittedValues": Broken(
        "TransactionalShelf",
        """
        def _visible(self):
            return self._entries if self._changed is None else self._changed
        """,
        {
            "test_another_task_is_refused",
            "test_other_threads_see_the_values_before_the_transaction",
            "test_uncommitted_key_is_hidden_from_other_threads",
        },
    ),
    "ShowsUncommittedValuesToOtherTasks": Broken(
        "TransactionalShelf",
        """
        def _begin_transaction(self):
            super()._begin_transaction()
            self._thread = threading.get_ident()

        def _visible(self):
            is_mine = self._changed is not None and self._thread == threading.get_ident()
            return self._changed if is_mine else self._entries
        """,
        {"test_another_task_is_refused"},
    ),
    "WritesAtAnyTime": Broken(
        "Shelf",
        """
        def _writing(self):
            return contextlib.nullcontext(self)

        def expect(self, change, is_there):
            pass
        """,
        {"test_no_write_comes_between_the_steps_of_an_update"},
    ),
    "ExpectsNothing": Broken(
        "Shelf",
        """
        def _put(self, key, chunks, metadata):
            data = None if chunks is None else b"".join(chunks)
            with self._writing():
                now = time.time()
                old = self._entries.get(key, Entry(0, {}, now, now, b""))
                data = old.token if data is None else data
                metadata = old.metadata if metadata is None else metadata
                change = Change(is_new=key not in self._entries, metadata=metadata)
                self._entries[key] = Entry(len(data), metadata, old.created, now, data)
                return change
        """,
        {"test_interrupt_after_a_change_emits_it", "test_interrupt_before_a_change_emits_nothing"},
    ),
    "ExpectsWhatIsNotThere": Broken(
        "Shelf",
        """
        def _remove(self, key):
            with self._writing() as write:
                metadata = self._lookup(key).metadata
                write.expect(Change(is_new=False, metadata=metadata), lambda: True)
                del self._entries[key]
                return metadata
        """,
        {"test_interrupt_before_a_change_emits_nothing"},
    ),
    "ReadsItsSourceInItsTurn": Broken(
        "Shelf",
        """
        def _put(self, key, chunks, metadata):
            with self._writing():
                return super()._put(key, chunks, metadata)
        """,
        {"test_set_that_waits_for_its_source_blocks_no_writer"},
    ),
    "ReturnsNoChange": Broken(
        "Shelf",
        """
        def _put(self, key, chunks, metadata):
            super()._put(key, chunks, metadata)
        """,
        {"test_get_returns_what_was_set", "test_set_metadata_keeps_the_bytes"},
    ),
    "FindsNone": Broken(
        "Shelf",
        """
        def _lookup(self, key):
            return self._entries.get(key)
        """,
        {"test_missing_key_raises_key_not_found", "test_key_exists_from_set_to_delete"},
    ),
    "NeverBegins": Broken(
        "TransactionalShelf",
        """
        def _begin_transaction(self):
            raise OSError("locked")
        """,
        {"test_cancelled_task_rolls_back", "test_uncommitted_key_is_hidden_from_other_threads"},
    ),
    "WaitsForItself": Broken(
        "Shelf",
        """
        def __init__(self, **options):
            super().__init__(**options)
            self._lock = threading.Lock()

        def _lookup(self, key):
            with self._lock:
                return super()._lookup(key)

        def _put(self, key, chunks, metadata):
            with self._lock:
                return super()._put(key, chunks, metadata)
        """,
        {"test_listener_may_read_in_the_middle_of_a_set", "test_set_that_waits_for_its_source_blocks_no_reader"},
        patience=0.2,
    ),
    "HidesItsTransactions": Broken(
        "TransactionalShelf",
        """
        def info(self):
            return {**super().info(), "transactional": False}
        """,
        {"test_info_and_repr_describe_the_store", "test_transaction_is_of_the_kind_that_info_says"},
    ),
}


def run_pytest(folder: Path, *parts: str, mode: str = "importlib", select: str = "") -> str:
    """Run pytest without plugins on a file of these parts, and return its output."""
    path = folder / "test_stores.py"
    path.write_text("\n\n".join(parts), encoding="utf-8")
    options = ["-q", "-rfE", "--tb=short", f"--import-mode={mode}", "-p", "no:cacheprovider", "--rootdir", folder]
    options += ["-k", select]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *map(str, options), str(path)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"},
        timeout=110,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["importlib", "prepend"])
def test_stores_of_the_documentation_pass(mode: str, tmp_path: Path) -> None:
    output = run_pytest(tmp_path, STORES, CONTRACT, TRANSACTIONAL, mode=mode)

    assert FAILED.findall(output) == [], output
    assert re.search(r"^\d+ passed, \d+ skipped in ", output, re.MULTILINE), output


def run_broken(name: str, folder: Path) -> str:
    """Run the tests that must fail for the broken store, and return the output."""
    base, methods, tests, patience = BROKEN[name]
    store = f"class {name}({base}):\n{textwrap.indent(textwrap.dedent(methods), '    ')}"
    contract = f"{CONTRACT.replace('Shelf', name)}\n    patience = {patience}\n"
    return run_pytest(folder, HELPERS, STORES, store, contract, select=" or ".join(tests))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_store_fails_where_it_breaks_a_rule(name: str, tmp_path: Path) -> None:
    output = run_broken(name, tmp_path)

    assert {test for _, test in FAILED.findall(output)} == BROKEN[name].tests, output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ReturnsNoChange", "TypeError: _put of ReturnsNoChange must return a Change, not None"),
        ("FindsNone", "TypeError: _lookup of FindsNone must return an Entry, not None"),
        ("NeverBegins", "OSError: locked"),
        ("WaitsForItself", "the test did not end within 2.0 s: the store waits for ever"),
    ],
)
def test_failure_names_the_mistake(name: str, message: str, tmp_path: Path) -> None:
    assert message in run_broken(name, tmp_path)


def test_failure_shows_the_rule_and_the_values(tmp_path: Path) -> None:
    output = run_broken("ReturnsItsOwnMetadata", tmp_path)

    assert "The rule: The store returns a copy of its metadata: the caller may change it." in output
    assert "== {'tags': ['old']}" in output


def test_rule_set_to_none_is_left_out(tmp_path: Path) -> None:
    contract = f"{CONTRACT}\n    test_keys_are_distinct = None\n"
    output = run_pytest(tmp_path, STORES, contract, select="test_keys_are_distinct or test_ordinary_keys_are_accepted")

    assert "\n1 passed" in output


def test_import_without_pytest_names_it() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_PYTEST], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert done.stdout == "encore_storage.testing cannot be imported without pytest: pip install pytest\n"


def test_test_class_without_make_store_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'TestStores' has no make_store\(\)"):
        type("TestStores", (StoreContract,), {"make_stor": lambda self, **arguments: None})


def test_base_class_without_make_store_is_accepted() -> None:
    base = type("OurContract", (StoreContract,), {})

    assert type("TestStores", (base,), {"make_store": lambda self, **arguments: None}).__name__ == "TestStores"
