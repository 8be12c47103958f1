"""The default event manager."""

import threading

import pytest

from encore_events import DefaultManagerError, EventManager, get_event_manager, set_event_manager


@pytest.fixture(autouse=True)
def _no_default_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encore_events.default._default", {})


def test_default_is_made_on_first_use() -> None:
    default = get_event_manager()

    assert isinstance(default, EventManager)
    assert get_event_manager() is default


def test_default_can_be_set() -> None:
    mine = EventManager()
    set_event_manager(mine)

    assert get_event_manager() is mine


def test_setting_the_same_default_twice_is_refused() -> None:
    mine = EventManager()
    set_event_manager(mine)

    with pytest.raises(DefaultManagerError):
        set_event_manager(mine)

    assert get_event_manager() is mine


def test_second_default_is_refused() -> None:
    mine = EventManager()
    set_event_manager(mine)

    with pytest.raises(ValueError, match="is already <EventManager: 0 listeners>") as caught:
        set_event_manager(EventManager())

    assert isinstance(caught.value, DefaultManagerError)
    assert caught.value.current is mine
    assert get_event_manager() is mine


def test_default_made_on_first_use_counts_as_set() -> None:
    get_event_manager()

    with pytest.raises(DefaultManagerError):
        set_event_manager(EventManager())


def test_setting_a_non_manager_is_refused() -> None:
    with pytest.raises(TypeError, match="an event manager was expected, such as EventManager\\(\\), not 'me'"):
        set_event_manager("me")  # type: ignore[arg-type]  # the error under test


def test_concurrent_threads_get_the_same_default() -> None:
    together = threading.Barrier(8)
    got: list[object] = []

    def ask() -> None:
        together.wait(10)
        got.append(get_event_manager())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert got == [get_event_manager()] * 8
