"""`luthier migrate openai`: an account that moves out, page by page, through a bad line, and once more."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.arrivals.openai_account import KEY, FakeAccount, job, usual
from tests.gateway import key_for, platform_in

from luthier.api.app import create_app
from luthier.arrivals import account as accounts
from luthier.arrivals.account import Account
from luthier.spec.load import load_run
from luthier.store.blobs import blobs_of
from luthier.store.files import Files
from luthier.store.home import Home
from luthier.store.stored import Stored


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUTHIER_DATABASE", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def account() -> Iterator[FakeAccount]:
    with usual().served() as served:
        yield served


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_everything_lies_in_the_folder_with_its_hash(luthier, account: FakeAccount, tmp_path: Path):
    out = tmp_path / "archive"
    code, said, err = luthier("migrate", "openai", "--base-url", account.url, "--out", out)
    assert (code, err) == (0, "") and "weights of tuned models: 2 here" in said.lower()
    assert (out / "files/file-train/content.jsonl").read_bytes() == account.contents["/files/file-train/content"]
    assert (out / "files/file-results/content.csv").is_file(), "named by a job, in no list"
    assert [event["id"] for event in lines(out / "jobs/ftjob-aaaaaaaa/events.jsonl")] == [f"ftevent-{n}" for n in (4, 3, 2, 1, 0)], (
        "3 pages"
    )
    names = [one["fine_tuned_model_checkpoint"] for one in json.loads((out / "jobs/ftjob-aaaaaaaa/checkpoints.json").read_text())["data"]]
    assert names == [f"ft:x:acme::{n}:ckpt-step-{n}" for n in (3, 2, 1)]
    assert len(lines(out / "eval-runs/evalrun_1/items.jsonl")) == 3
    assert json.loads((out / "completions/chatcmpl-1/completion.json").read_text())["messages"][0]["content"] == "Ticket 1?"
    for entry in lines(out / "manifest.jsonl"):
        for part in entry["parts"]:
            assert hashlib.sha256((out / part["path"]).read_bytes()).hexdigest() == part["sha256"]
    assert "cat.png (vision): 400: Not allowed to download" in " ".join(said.split())
    assert not (tmp_path / "home").exists(), "a folder alone: the platform is left alone"
    assert not [path for path in out.rglob("*") if "etc" in path.name], "a file's name never reaches the disk"


def test_the_key_stands_nowhere(luthier, account: FakeAccount, tmp_path: Path):
    _, said, err = luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive")
    assert KEY not in said + err
    assert not [path for path in (tmp_path / "archive").rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_refused_key_is_a_sentence_without_the_key(luthier, account: FakeAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-another-key-that-is-wrong")
    code, said, err = luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive")
    assert code == 1 and said == "" and "refuses the key" in err and "sk-proj-another" not in err


def test_what_is_there_is_not_fetched_again(luthier, account: FakeAccount, tmp_path: Path):
    account.lists["/fine_tuning/jobs"].append(job("ftjob-running0", "running"))
    for name in ("events", "checkpoints"):
        account.lists[f"/fine_tuning/jobs/ftjob-running0/{name}"] = []
    luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive")
    before = dict(account.asked)
    account.lists["/fine_tuning/jobs"][-1] = job("ftjob-running0")
    luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive")
    again = {path: number - before.get(path, 0) for path, number in account.asked.items() if number != before.get(path, 0)}
    lists = {"/files", "/fine_tuning/jobs", "/evals", "/evals/eval_1/runs", "/chat/completions"}
    retried = {"/files/file-image/content"} & again.keys()
    assert again.keys() - retried == {*lists, "/fine_tuning/jobs/ftjob-running0/events", "/fine_tuning/jobs/ftjob-running0/checkpoints"}
    assert json.loads((tmp_path / "archive/jobs/ftjob-running0/job.json").read_text())["status"] == "succeeded"


def test_broken_off_it_goes_on(luthier, account: FakeAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accounts, "FIRST_WAIT_S", 0.0)
    account.moods["/files/file-batch/content"] = ["gone"] * accounts.ATTEMPTS
    code, _, err = luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive")
    assert code == 1 and "start the same command again later, and it goes on" in err
    with (tmp_path / "archive/manifest.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "file", "id": "file-ba')  # as a crash leaves it
    code, _, _ = luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive")
    assert code == 0 and account.asked["/files/file-train/content"] == 1
    assert (tmp_path / "archive/files/file-batch/content.jsonl").is_file()
    assert len({(line["kind"], line["id"]) for line in lines(tmp_path / "archive/manifest.jsonl")}) == 12


def test_it_waits_as_long_as_it_is_asked_to(account: FakeAccount, tmp_path: Path):
    """429 with a date that it cannot read, with seconds, with milliseconds; then 503, a cut body, and at last the whole."""
    path = "/files/file-train/content"
    account.moods[path] = [(429, {"retry-after": "7"}), (429, {"retry-after-ms": "250"}), (503, {}), "cut", "gone"]
    waited, told = [], []
    with Account(account.url, KEY, waited.append, told.append) as reader:
        sha256, number = reader.download(path, tmp_path / "content")
    assert waited == [7.0, 0.25, 2.0, 4.0, 8.0], "half a second, doubled with each attempt, where the server says nothing"
    assert (sha256, number) == (hashlib.sha256(account.contents[path]).hexdigest(), len(account.contents[path]))
    assert told[0] == "127.0.0.1 answers 429: Rate limit reached. Waiting 7 s." and [*tmp_path.iterdir()] == [tmp_path / "content"]


def test_a_part_that_is_closed_already_does_not_stop_the_rest(luthier, account: FakeAccount, tmp_path: Path):
    account.refused["/evals"] = (404, "The evals API has been shut down.")
    del account.lists["/evals"]
    code, said, _ = luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive", "--json")
    found = json.loads(said)
    assert code == 0 and found["counts"] == {"files": 3, "jobs": 3, "evals": 0, "runs of evals": 0, "stored completions": 3}
    assert {"what": "evals", "why": "404: The evals API has been shut down"} in found["missing"]


def test_files_and_completions_arrive_on_the_platform(luthier, account: FakeAccount, tmp_path: Path):
    for _ in range(2):
        code, said, _ = luthier("migrate", "openai", "--base-url", account.url)
        assert code == 0 and "luthier models alias ft:gpt-4o-mini-2024-07-18:acme:tickets:aaaaaaaa NEW-NAME" in " ".join(said.split())
    home = Home()
    files, stored = Files(home.database, blobs_of(home)), Stored(home.database)
    found = {file.id: file for file in files.list("default")}
    assert {id: (file.purpose, file.filename) for id, file in found.items()} == {
        "file-train": ("fine-tune", "tickets ../../etc.jsonl"),
        "file-batch": ("batch_output", "answers.jsonl"),
        "file-results": ("fine-tune-results", "step_metrics.csv"),
    }
    assert found["file-train"].created_at == 1_700_000_000
    assert b"".join(files.open("default", "file-train")) == account.contents["/files/file-train/content"]
    kept = stored.list("default", "chat.completion", 10, metadata={"task": "triage"})
    assert [one.id for one in kept] == ["chatcmpl-0", "chatcmpl-1", "chatcmpl-2"] and kept[0].created_at == 1_700_000_000
    assert kept[1].request["messages"] == [{"role": "user", "content": "Ticket 1?", "name": None}] and kept[1].request["seed"] == 7
    assert "metadata" not in kept[1].body and kept[1].body["choices"][0]["message"]["content"] == "billing"
    assert not list((tmp_path / "home/openai/default").rglob("content*")), "bytes lie in the platform's store alone"


def test_another_projects_file_stays_its_own(luthier, account: FakeAccount):
    luthier("projects", "create", "other")
    luthier("migrate", "openai", "--base-url", account.url)
    luthier("migrate", "openai", "--base-url", account.url, "--project", "other")
    home = Home()
    files = Files(home.database, blobs_of(home))
    other = json.loads(luthier("projects", "show", "other", "--json")[1])["id"]
    assert len(files.list("default")) == len(files.list(other)) == 3
    assert not {file.id for file in files.list("default")} & {file.id for file in files.list(other)}


def test_the_script_of_next_steps_is_one(luthier, account: FakeAccount, tmp_path: Path):
    account.lists["/fine_tuning/jobs"][0]["model"] = "gpt-4o\n; touch owned"
    luthier("migrate", "openai", "--base-url", account.url)
    script = tmp_path / "home/openai/default/next-steps.sh"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("luthier", "curl"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/ran"\n[ {name} = curl ] && cat >> "{tmp_path}/ran"; true\n'
        )
        (programs / name).chmod(0o700)
    surroundings = {"PATH": f"{programs}:/usr/bin:/bin"}
    asked = subprocess.run(["sh", str(script)], env=surroundings, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert asked.returncode != 0 and "Set it to a key of this platform" in asked.stderr and not (tmp_path / "ran").exists()
    surroundings["LUTHIER_KEY"] = "lt-key"
    subprocess.run(["sh", str(script)], env=surroundings, cwd=tmp_path, check=True, capture_output=True)
    ran = (tmp_path / "ran").read_text()
    assert not (tmp_path / "owned").exists() and "luthier models alias gpt-4o-mini-2024-07-18 starter" in ran
    bodies = [json.loads(line) for line in ran.splitlines() if line.startswith("{")]
    assert [body["training_file"] for body in bodies] == ["file-train"] * 2, "the failed job is not run again"
    assert bodies[0]["suffix"] == "tickets" and bodies[0]["method"]["type"] == "supervised" and bodies[0]["metadata"] == {"team": "a"}


def test_the_platform_takes_the_jobs_of_the_script_as_they_stand(luthier, account: FakeAccount, tmp_path: Path):
    """Same file ids, same numbers, the old name of the model; and the stored completions can be listed as at OpenAI."""
    luthier("migrate", "openai", "--base-url", account.url)
    script = (tmp_path / "home/openai/default/next-steps.sh").read_text()
    luthier("models", "alias", "gpt-4o-mini-2024-07-18", "starter")
    platform = platform_in(tmp_path / "home")
    client = TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"})
    for body in (line for line in script.splitlines() if line.startswith("{")):
        made = client.post("/v1/fine_tuning/jobs", content=body, headers={"content-type": "application/json"})
        assert (made.status_code, made.json()["training_file"]) == (200, "file-train"), made.text
    assert client.get("/v1/files/file-train/content").content == account.contents["/files/file-train/content"]
    kept = client.get("/v1/chat/completions", params={"metadata[task]": "triage"}).json()["data"]
    assert [one["id"] for one in kept] == ["chatcmpl-0", "chatcmpl-1", "chatcmpl-2"] and kept[0]["seed"] == 7
    assert client.get("/v1/chat/completions/chatcmpl-1/messages").json()["data"][0]["content"] == "Ticket 1?"
    platform.database.close()


def test_without_a_platform_each_job_is_a_run_file(luthier, account: FakeAccount, tmp_path: Path):
    luthier("migrate", "openai", "--base-url", account.url, "--out", tmp_path / "archive")
    file = tmp_path / "archive/jobs/ftjob-aaaaaaaa/run.yaml"
    spec = load_run(str(file))
    assert Path(spec.data.train[0].path).read_bytes() == account.contents["/files/file-train/content"]
    assert (spec.train.epochs, spec.train.batch_size, spec.train.seed) == (3, 1, 42)
    assert f'luthier train {file} --model "$MODEL"' in (tmp_path / "archive/next-steps.sh").read_text()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--base-url", "api.openai.com"], "is no URL"),
        (["--base-url", "http://user:secret@127.0.0.1:1/v1"], "is no URL"),
        (["--project", "defaul", "--base-url", "http://127.0.0.1:1/v1"], "Did you mean `default`?"),
    ],
)
def test_mistakes_are_sentences(luthier, arguments: list[str], said: str):
    code, out, err = luthier("migrate", "openai", *arguments)
    assert code == 1 and out == "" and said in err and "secret" not in err


def test_a_folder_with_other_things_is_left_alone(luthier, tmp_path: Path):
    (tmp_path / "letters.txt").write_text("Dear")
    code, _, err = luthier("migrate", "openai", "--base-url", "http://127.0.0.1:1/v1", "--out", tmp_path)
    assert code == 1 and "holds other things already" in err


def test_without_a_key_it_says_where_to_put_one(luthier, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    code, _, err = luthier("migrate", "openai")
    assert code == 1 and "export OPENAI_API_KEY=sk-…" in err
