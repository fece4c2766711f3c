"""Whatever is sent along the interface's own description, or against it: no 5xx, and always an answer in its shape."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from tests.api.talker import Talker
from tests.gateway import key_for

from luthier.api.app import create_app
from luthier.api.platform import open_platform
from luthier.store.home import Home

EXAMPLES = 20
"""Requests for each operation, of those that fit its description, and again of those that do not."""

SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None, phases=[Phase.generate]
)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_that_is_sent_makes_the_server_fail(mode: GenerationMode, tmp_path: Path):
    platform = open_platform(Home(str(tmp_path / "home")), Talker())  # type: ignore[arg-type]
    headers = {"authorization": f"Bearer {key_for(platform, role='admin')}"}
    described = schemathesis.openapi.from_asgi("/openapi.json", create_app(platform))
    faults, number = [], 0
    for result in described.get_all_operations():
        operation: Any = result.ok()

        @SETTINGS
        @given(case=operation.as_strategy(generation_mode=mode))
        def sent(case: Any) -> None:
            nonlocal number
            number += 1
            answer = case.call(headers=headers)
            assert answer.status_code < 500, f"{answer.status_code}: {answer.text[:300]}"
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}, answer.text[:300]

        try:
            sent()
        except Unsatisfiable:  # it takes nothing that could be wrong
            continue
        except Exception as error:  # noqa: BLE001  (each operation is tried; all faults are told)
            faults.append(f"{operation.label}: {error}")
    platform.database.close()
    assert not faults, f"{len(faults)} operations:\n" + "\n".join(faults)
    assert number > 200
