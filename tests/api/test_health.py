"""What an operator looks at: alive, ready, and figures by route."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from luthier.api.app import create_app
from luthier.api.platform import Platform


def test_it_is_alive_and_ready_without_a_key(platform: Platform):
    client = TestClient(create_app(platform))
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ready"


def test_it_is_not_ready_without_its_database(platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    client = TestClient(create_app(platform))
    platform.database.close()
    for file in (tmp_path / "home").glob("luthier.db*"):
        file.unlink()
    (tmp_path / "home" / "luthier.db").mkdir()
    answer = client.get("/readyz")
    assert answer.status_code == 503 and "database" in answer.json()["faults"]


def test_figures_name_routes_and_never_ids(platform: Platform):
    client = TestClient(create_app(platform))
    key = {"authorization": f"Bearer {platform.accounts.first_key()}"}
    client.get("/v1/files/file-secret", headers=key)
    assert client.get("/metrics").status_code == 401
    told = client.get("/metrics", headers=key).text
    assert 'luthier_requests_total{method="GET",route="/v1/files/{file_id}",status="404"} 1.0' in told
    assert "file-secret" not in told and "luthier_workers 0.0" in told and "luthier_sampler_up 0.0" in told
