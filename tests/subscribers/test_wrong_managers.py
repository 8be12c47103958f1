"""An argument that should be an event manager and is not one: it is refused by the call that gets it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from encore_storage import DictMemoryStore
from encore_storage.recording import Recorder, replay
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber, ProgressBars, SummarySubscriber

PASSED: dict[str, Callable[[Any, Path], object]] = {
    "logs": lambda wrong, _: LogSubscriber().connect(wrong),
    "metrics": lambda wrong, _: MetricsSubscriber(registry=CollectorRegistry()).connect(wrong),
    "summary": lambda wrong, _: SummarySubscriber().connect(wrong),
    "bars": lambda wrong, _: ProgressBars().connect(wrong),
    "recorder": lambda wrong, path: Recorder(path).connect(wrong),
    "replay": lambda wrong, path: replay(path, wrong),
}


@pytest.mark.parametrize("wrong", [DictMemoryStore(), "events", 3, None], ids=["store", "str", "int", "None"])
@pytest.mark.parametrize("call", PASSED.values(), ids=PASSED)
def test_what_is_no_event_manager_is_refused(
    call: Callable[[Any, Path], object], wrong: object, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match="an event manager was expected, such as EventManager"):
        call(wrong, tmp_path / "events.jsonl")

    assert not any(tmp_path.iterdir())
