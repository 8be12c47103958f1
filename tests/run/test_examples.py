"""The programs in `examples`, which contain no line of Encore: `encore run` shows exactly what they do."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.processes.programs import sample
from tests.run.support import ROOT, environment, run, started

EXAMPLES = ROOT / "examples"
SHOP = EXAMPLES / "webshop" / "app.py"
BIN = Path(sys.executable).parent
FIGURE = re.compile(r"\d[\d,.]* (?:ns|µs|ms|s|min|h|B|[kMGT]B)\b")


def summary_of(path: Path) -> dict[str, Any]:
    """Return the summary in a file, with its stores by name and their operations by name."""
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for store in summary["stores"]:
        store["operations"] = {operation["operation"]: operation for operation in store["operations"]}
    summary["stores"] = {store["store"]: store for store in summary["stores"]}
    return summary


def counts_of(store: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the number of operations and of misses of each operation of a store."""
    return {name: (one["count"], one["misses"]) for name, one in store["operations"].items()}


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_example_contains_no_line_of_encore(path: Path) -> None:
    code = path.read_text(encoding="utf-8").split('"""', 2)[2]  # the docstring says how to run it

    assert "encore" not in code.lower()


def test_etl_shows_misses_and_what_a_cache_fetches(tmp_path: Path) -> None:
    sales, report = tmp_path / "sales", tmp_path / "report"
    (sales / "rates").mkdir(parents=True)
    (sales / "rates" / "2026-01.csv").write_text("currency,rate\nEUR,1.0\nSEK,0.1\n")
    for month in ("2026-01", "2026-02", "2026-03"):
        rows = [f"{row % 3},{'EUR' if row % 2 else 'SEK'},{row},{uuid.uuid4()}{uuid.uuid4()}\n" for row in range(5000)]
        (sales / f"{month}.csv").write_text("".join(["product,currency,amount,order\n", *rows]))

    result = run("--json", tmp_path / "json", EXAMPLES / "etl.py", sales.as_uri(), report.as_uri())

    assert result.returncode == 0, result.stderr
    assert result.stdout.count("no exchange rates") == 2
    summary = summary_of(tmp_path / "json")
    files, cache = summary["stores"]["file"], summary["stores"]["simplecache"]
    written = (report / "sales.parquet").stat().st_size
    read = sum(path.stat().st_size for path in sales.rglob("*.csv")) + written
    assert set(summary["stores"]) == {"file", "simplecache"}
    assert counts_of(files)["get"] == (3 + 3 + 1, 2)
    assert counts_of(files)["set"] == (1, 0)
    assert files["operations"]["get"]["hit_ratio"] == 5 / 7
    assert (files["operations"]["get"]["bytes"], files["operations"]["set"]["bytes"]) == (read, written)
    assert counts_of(cache) == {"get": (1, 0)}
    assert 0 < cache["operations"]["get"]["bytes"] < written / 4
    assert (summary["processes"], summary["running"], summary["errors"]) == (1, 0, [])


def test_backup_shows_what_the_bucket_has_and_what_was_sent(tmp_path: Path, moto_url: str) -> None:
    folder, bucket = tmp_path / "photos", f"backup-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    for name, size in {"old.jpg": 25_000, "sea.jpg": 100_000, "hill.jpg": 50_000, "notes.txt": 0}.items():
        (folder / name).write_bytes(bytes(size))
    old = (folder / "old.jpg").read_bytes()
    put(f"{moto_url}/{bucket}")
    put(f"{moto_url}/{bucket}/old.jpg", old, {"x-amz-meta-sha256": hashlib.sha256(old).hexdigest()})
    keys = {"AWS_ACCESS_KEY_ID": "-", "AWS_SECRET_ACCESS_KEY": "-", "AWS_DEFAULT_REGION": "us-east-1"}

    result = run(
        *("--json", tmp_path / "json", EXAMPLES / "backup.py", folder, bucket),
        env={"AWS_ENDPOINT_URL": moto_url, **keys},
    )

    assert result.stdout == "sent 3 files; the bucket has 4 with 175,000 bytes\n", result.stderr
    stores = summary_of(tmp_path / "json")["stores"]
    assert list(stores) == [f"s3:{bucket}"]
    assert counts_of(stores[f"s3:{bucket}"]) == {"get_metadata": (4, 3), "set": (3, 0), "list": (1, 0)}
    assert stores[f"s3:{bucket}"]["operations"]["set"]["bytes"] == 150_000


def put(url: str, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
    request = urllib.request.Request(url, data, {"Content-Type": "image/jpeg", **(headers or {})}, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def status_of(url: str, form: dict[str, Any] | None = None) -> int:
    """Return the status of the answer to a request; a form is posted."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def line_of(text: str) -> int:
    """Return the number of the last line of the web shop with a text."""
    lines = SHOP.read_text(encoding="utf-8").splitlines()
    return max(number for number, line in enumerate(lines, start=1) if text in line)


def test_web_shop_shows_the_orders_of_all_workers(tmp_path: Path) -> None:
    variables = environment(DATABASE_URL=f"sqlite:///{tmp_path}/shop.db", HOME=str(tmp_path))
    subprocess.run([BIN / "flask", "--app", "app", "init-db"], cwd=SHOP.parent, env=variables, check=True)
    command = (
        "--port",
        0,
        "--json",
        tmp_path / "json",
        "--",
        BIN / "gunicorn",
        "-w",
        2,
        "-b",
        "127.0.0.1:0",
        "app:app",
    )
    with started(*command, cwd=SHOP.parent, env=variables) as runner:
        assert runner.stderr is not None
        page = expected(runner.stderr, r"page: (\S+)")
        shop = expected(runner.stderr, r"Listening at: (\S+)")

        got = [status_of(f"{shop}/products") for _ in range(20)]
        missed = [status_of(f"{shop}/products/milk") for _ in range(5)]
        bought = [status_of(f"{shop}/orders", {"product": "tea", "number": 2}) for _ in range(10)]
        refused = [status_of(f"{shop}/orders", {"product": "tea", "number": 5000}) for _ in range(3)]
        with urllib.request.urlopen(f"{page}metrics") as response:
            metrics = response.read().decode()

        runner.send_signal(signal.SIGTERM)
        runner.communicate(timeout=60)

    assert (set(got), set(missed), set(bought), set(refused)) == ({200}, {404}, {201}, {409})
    assert sample(metrics, 'transactions_total{store="sqlite:shop.db",outcome="committed"}') == 10
    assert sample(metrics, 'transactions_total{store="sqlite:shop.db",outcome="rolled_back"}') == 3
    assert runner.returncode == 0
    summary = summary_of(tmp_path / "json")
    store = summary["stores"]["sqlite:shop.db"]
    place = f"app.py:{line_of('session.execute(insert(Order)')}"  # a session begins with its first statement
    assert counts_of(store)["query"] == (20 + 5, 0)
    assert counts_of(store)["set"] == (2 * 10 + 2 * 3, 0)
    assert {name: store["transactions"][name] for name in ("committed", "rolled_back", "closed")} == {
        "committed": 10,
        "rolled_back": 3,
        "closed": 25,
    }
    assert store["rollbacks"] == [{"place": place, "count": 3}]
    assert 1 <= summary["processes"] <= 2
    assert (summary["running"], summary["errors"]) == (0, [])


def expected(lines: Any, pattern: str) -> str:
    """Return the group of a pattern in the next line that matches it."""
    for line in lines:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(pattern)
