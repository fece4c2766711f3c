"""Accounts on a new database, of each kind in turn, with a clock that a test sets forward."""

import pytest

from luthier.accounts.accounts import Accounts
from luthier.store.database import Database


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(database: Database, clock: Clock) -> Accounts:
    return Accounts(database, b"a secret", clock)
