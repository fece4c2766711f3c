"""What an operator looks at: alive, ready, and figures by route."""

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.api.talker import Talker

from luthier.api.app import create_app
from luthier.api.platform import Platform, open_platform
from luthier.api.traces import provider_to
from luthier.errors import SettingsError
from luthier.jobs.tunings import Wanted
from luthier.spec.serving import ModelCounts, Price, State
from luthier.store.home import Home


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


def test_figures_tell_what_each_project_has_used_and_what_its_jobs_have_cost(tmp_path: Path):
    """Two hours at 3 an hour and 500 Wh at 0.4 a kWh are 6.2."""
    opened = open_platform(Home(str(tmp_path / "home")), Talker(), Price(an_hour=3.0, a_kwh=0.4))  # type: ignore[arg-type]
    model = opened.models.find("starter", "default")
    job, _ = opened.tunings.create(Wanted("default", model, "starter", {"type": "supervised", "supervised": {}}, "file-x", 0))
    opened.tunings.spent(job.id, 3600.0, None)
    opened.tunings.spent(job.id, 3600.0, 500.0)
    opened.tunings.update(job.id, trained_tokens=1234)
    with TestClient(create_app(opened), headers={"authorization": f"Bearer {opened.accounts.first_key()}"}) as client:
        body = {"model": "starter", "messages": [{"role": "user", "content": "how are you"}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        told = client.get("/metrics").text
    opened.database.close()
    for line in (
        'luthier_tuning_trained_tokens_total{project="default"} 1234.0',
        'luthier_tuning_seconds_total{project="default"} 7200.0',
        'luthier_tuning_energy_watt_hours_total{project="default"} 500.0',
        'luthier_tuning_price_total{project="default"} 6.2',
        'luthier_tokens_total{kind="prompt",model="starter",project="default"} 11.0',
        'luthier_tokens_total{kind="completion",model="starter",project="default"} 11.0',
        "luthier_jobs_oldest_waiting_seconds 0.0",
    ):
        assert line in told, told
    memory = next(line for line in told.splitlines() if line.startswith("luthier_gateway_memory_bytes"))
    assert float(memory.split()[1]) > 20e6


def test_figures_tell_how_the_sampler_is_and_what_each_model_did(tmp_path: Path):
    """Buckets add up: 3 of 10 answers began within 0.1 s, 7 within 0.5 s, and 3 took longer."""
    talker = Talker()
    base = "/secret/place/starter"
    talker.told = State(
        pid=1,
        uptime_s=60.0,
        memory_bytes=123_456,
        waiting=2,
        running=3,
        requests=10,
        overloaded=4,
        cancelled=5,
        failed=6,
        first_token_bounds=(0.1, 0.5),
        first_token_counts=(3, 4, 3),
        first_token_sum_s=7.5,
        models=(
            ModelCounts(base=base, requests=8, prompt_tokens=80, completion_tokens=40, cached_tokens=20),
            ModelCounts(base=base, adapter="/secret/place/ft-mine/", requests=2, prompt_tokens=9, completion_tokens=7, cached_tokens=5),
        ),
    )
    opened = open_platform(Home(str(tmp_path / "home")), talker)  # type: ignore[arg-type]
    client = TestClient(create_app(opened), headers={"authorization": f"Bearer {opened.accounts.first_key()}"})
    told = client.get("/metrics").text
    opened.database.close()
    lines = [
        "luthier_sampler_up 1.0",
        "luthier_sampler_memory_bytes 123456.0",
        "luthier_sampler_waiting 2.0",
        "luthier_sampler_running 3.0",
        "luthier_sampler_requests_total 10.0",
        "luthier_sampler_overloaded_total 4.0",
        "luthier_sampler_cancelled_total 5.0",
        "luthier_sampler_failed_total 6.0",
        'luthier_sampler_first_token_seconds_bucket{le="0.1"} 3.0',
        'luthier_sampler_first_token_seconds_bucket{le="0.5"} 7.0',
        'luthier_sampler_first_token_seconds_bucket{le="+Inf"} 10.0',
        "luthier_sampler_first_token_seconds_count 10.0",
        "luthier_sampler_first_token_seconds_sum 7.5",
    ]
    for adapter, counts in (("", (8, 80, 40, 20)), ("ft-mine", (2, 9, 7, 5))):
        kinds = ("model_requests", "prompt_tokens", "completion_tokens", "cached_tokens")
        for kind, count in zip(kinds, counts, strict=True):
            lines.append(f'luthier_sampler_{kind}_total{{adapter="{adapter}",base="starter"}} {count:.1f}')
    assert set(lines) <= set(told.splitlines()), told
    assert "secret" not in told


def test_without_a_price_none_is_told(platform: Platform):
    client = TestClient(create_app(platform), headers={"authorization": f"Bearer {platform.accounts.first_key()}"})
    assert "luthier_tuning_price" not in client.get("/metrics").text


def test_each_request_is_a_span_where_traces_are_asked_for(platform: Platform):
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter", reason="needs luthier[otel]")
    export, trace = pytest.importorskip("opentelemetry.sdk.trace.export"), pytest.importorskip("opentelemetry.sdk.trace")
    provider, kept = trace.TracerProvider(), memory.InMemorySpanExporter()
    provider.add_span_processor(export.SimpleSpanProcessor(kept))
    above = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    client = TestClient(create_app(platform, provider), headers={"authorization": f"Bearer {platform.accounts.first_key()}"})
    answer = client.get("/v1/files/file-secret?secret=1", headers=above)
    (span,) = kept.get_finished_spans()
    assert span.name == "GET /v1/files/{file_id}" and span.attributes["http.response.status_code"] == 404
    assert span.attributes["luthier.request_id"] == answer.headers["x-request-id"]
    assert f"{span.context.trace_id:x}" == "af7651916cd43dd8448eb211c80319c" and f"{span.parent.span_id:x}" == "b7ad6b7169203331"
    assert "secret" not in span.to_json().replace("{file_id}", "")
    provider.shutdown()


def test_spans_can_go_to_the_console(platform: Platform, capfd: pytest.CaptureFixture[str]):
    pytest.importorskip("opentelemetry.sdk.trace", reason="needs luthier[otel]")
    provider = provider_to("console")
    TestClient(create_app(platform, provider)).get("/healthz")
    provider.shutdown()
    told = capfd.readouterr().err
    assert '"name": "GET /healthz"' in told and '"service.name": "luthier"' in told


def test_traces_to_nowhere_are_refused_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SettingsError, match="no address of a collector"):
        provider_to("127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"pip install 'luthier\[otel\]'"):
        provider_to("console")
