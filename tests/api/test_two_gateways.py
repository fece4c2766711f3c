"""Two gateways on one database: what is limited is counted once, and a limit by the minute at each."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient
from tests.gateway import key_for, platform_in

from luthier.api.app import create_app
from luthier.store.database import Database

FILE = {"file": ("t.jsonl", b"{}\n")}


def test_the_last_job_that_a_project_may_have_is_made_once(database: Database, tmp_path: Path):
    url = database.url.render_as_string(hide_password=False)
    platforms = [platform_in(tmp_path / "home", url) for _ in range(2)]
    platforms[0].accounts.projects.change("default", {"max_open_jobs": 3})
    key = {"authorization": f"Bearer {key_for(platforms[0])}"}
    with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
        both = [stack.enter_context(TestClient(create_app(platform), headers=key)) for platform in platforms]
        file = both[0].post("/v1/files", files=FILE, data={"purpose": "fine-tune"}).json()["id"]

        def make(number: int) -> int:
            answer: Any = both[number % 2].post("/v1/fine_tuning/jobs", json={"model": "starter", "training_file": file})
            return int(answer.status_code)

        assert sorted(pool.map(make, range(12))) == [200] * 3 + [429] * 9
        assert len(both[1].get("/v1/fine_tuning/jobs").json()["data"]) == 3
    for platform in platforms:
        platform.database.close()


def test_a_limit_by_the_minute_counts_at_each(tmp_path: Path):
    platforms = [platform_in(tmp_path / "home") for _ in range(2)]
    key = {"authorization": f"Bearer {key_for(platforms[0])}"}
    platforms[0].accounts.projects.change("default", {"requests_per_minute": 3})
    with ExitStack() as stack:
        both = [stack.enter_context(TestClient(create_app(platform), headers=key)) for platform in platforms]
        for client in both:
            assert [client.get("/v1/files").status_code for _ in range(4)] == [200, 200, 200, 429]
    for platform in platforms:
        platform.database.close()
