"""A gateway without models, and a member's client of it; tests that need another one make their own under the same names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.gateway import key_for, platform_in

from luthier.api.app import create_app
from luthier.api.platform import Platform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = platform_in(tmp_path / "home")
    yield opened
    opened.database.close()


@pytest.fixture
def client(platform: Platform) -> Iterator[TestClient]:
    """A member of the project `default`."""
    with TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"}) as client:
        yield client
