"""Fast parts of the suites of the libraries, plain and observed; all of them run in the campaign."""

from __future__ import annotations

import pytest

from tests.clients.suites.suites import BOTOCORE, SQLALCHEMY
from tests.clients.suites.support import Suite, check

TIMEOUT = 100.0

SQLALCHEMY_TESTS = (
    "engine/test_execute.py",
    "engine/test_transaction.py",
    "orm/test_transaction.py",
)
FAST = (
    SQLALCHEMY._replace(tests=tuple(f"test/{path}" for path in SQLALCHEMY_TESTS)),
    BOTOCORE._replace(tests=("tests/functional/test_retry.py",)),
)


@pytest.mark.parametrize("suite", FAST, ids=lambda suite: suite.distribution)
def test_fast_part_of_suite_has_the_same_outcomes_when_observed(suite: Suite) -> None:
    plain, _ = check(suite, timeout=TIMEOUT)

    assert not plain.having("failed"), plain.output
