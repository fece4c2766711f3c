"""chat, generate, merge, runs and verify as a user types them: what is printed where, and the exit codes."""

import json
import shutil
from pathlib import Path

import pytest

Result = tuple[int, str, str]


def test_one_answer(luthier, toy_run: Path):
    code, out, err = luthier("chat", toy_run, "--prompt", "Count from 3.", "--max-new-tokens", 6)
    assert (code, err) == (0, "")
    assert out.endswith("\n")


def test_one_answer_as_json(luthier, toy_run: Path):
    code, out, err = luthier("chat", toy_run, "-p", "Hi", "--json", "--max-new-tokens", 3)
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert set(answer) == {"prompt", "answer", "finished", "tokens"}
    assert luthier("chat", toy_run, "--json")[0] == 1


def test_a_conversation_from_a_pipe(luthier, toy_run: Path, monkeypatch: pytest.MonkeyPatch):
    lines = iter(["Count from 3.", "/quit"])
    monkeypatch.setattr("builtins.input", lambda: next(lines))
    code, out, err = luthier("chat", toy_run, "--max-new-tokens", 4)
    assert code == 0
    assert "sft with lora on" in err
    assert "tokens/s" in err
    assert "tokens/s" not in out, "answers alone go to stdout"


def test_answers_to_a_file(luthier, toy_run: Path, toy_rows: Path, tmp_path: Path):
    out_file = tmp_path / "answers.jsonl"
    code, out, _ = luthier("generate", toy_run, "--data", toy_rows, "--out", out_file, "--max-new-tokens", 4)
    assert code == 0
    assert out.startswith(f"{out_file}: 8 answers, ")
    assert len(out_file.read_text(encoding="utf-8").splitlines()) == 8
    code, out, err = luthier("generate", toy_run, "--data", toy_rows, "--out", out_file)
    assert (code, out) == (1, "")
    assert err == f"{out_file} is there already, and nothing is written over. Choose another name with `--out`.\n"
    code, out, err = luthier("generate", toy_run, "-d", toy_rows, "-o", tmp_path / "b.jsonl", "--max-new-tokens", 4, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["answers"] == 8


def test_merging(luthier, toy_run: Path, tmp_path: Path):
    code, out, _ = luthier("merge", toy_run, tmp_path / "merged")
    assert code == 0
    assert "14 layers, saved in float32" in out
    assert luthier("chat", tmp_path / "merged", "-p", "Hi", "--max-new-tokens", 3)[0] == 0
    code, out, err = luthier("merge", toy_run, tmp_path / "again", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["num_layers"] == 14
    assert luthier("merge", toy_run, tmp_path / "merged")[0] == 1
    assert luthier("merge", toy_run, tmp_path / "other", "--dtype", "int8")[0] == 2


def test_verifying(luthier, toy_run: Path, tmp_path: Path):
    code, out, _ = luthier("verify", toy_run)
    assert code == 0
    assert out.rstrip().endswith("The record is true.")
    assert luthier("verify", toy_run, "--no-replay")[1].rstrip().endswith("The record is true as far as it could be checked; 1 could not.")
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    (run / "adapter/adapter_config.json").write_text("{}", encoding="utf-8")
    code, out, _ = luthier("verify", run, "--no-replay")
    assert code == 1
    assert "✗ result       " in out
    code, out, _ = luthier("verify", run, "--no-replay", "--json")
    assert (code, json.loads(out)["true"]) == (1, False)


def test_the_list_of_runs(luthier, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(toy_run, tmp_path / "runs/first")
    monkeypatch.chdir(tmp_path)
    code, out, _ = luthier("runs")
    assert code == 0
    assert out.splitlines()[0].split() == ["run", "status", "method", "model", "data", "steps", "loss", "time"]
    assert out.splitlines()[1].split()[:2] == ["first", "succeeded"]
    assert luthier("runs", "list", "runs")[1] == out
    assert [line["name"] for line in json.loads(luthier("runs", "--json")[1])] == ["first"]
    monkeypatch.chdir(tmp_path / "runs")
    assert luthier("runs")[:2] == (0, "No runs in runs. Make one:  luthier train sft --data FILE\n")
    assert luthier("runs", "list", "nowhere")[0] == 1


def test_one_run(luthier, toy_run: Path):
    code, out, _ = luthier("runs", "show", toy_run)
    assert code == 0
    for title in ("Settings", "Results", "Certificate", "Made on", "Loss"):
        assert f"\n{title}" in out
    assert "⠒⠒ validation" in out
    assert f"luthier chat {toy_run}" in out
    shown = json.loads(luthier("runs", "show", toy_run, "--json")[1])
    assert shown["settings"]["adapter.rank"] == 4
    assert shown["record"]["status"] == "succeeded"
    assert luthier("runs", "show", toy_run.parent)[0] == 1


def test_two_runs(luthier, toy_run: Path, toy_full_run: Path):
    code, out, _ = luthier("runs", "compare", toy_run, toy_full_run)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert code == 0
    assert rows["adapter.rank"] == ["4", "–"]
    assert rows["train.batch_size"] == ["3", "2"]
    assert "⠂⠂ toy, train   ⠒⠒ full, train" in out
    compared = json.loads(luthier("runs", "compare", toy_run, toy_full_run, "--json")[1])
    assert compared["settings"]["adapter.name"] == ["lora", "full"]
