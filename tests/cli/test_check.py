"""`luthier check` as a user types it: verdict, findings, figures, JSON, exit codes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.cli._checked import bar
from luthier.testing import write_jsonl


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "good.jsonl", [{"prompt": f"{i} and {i}?", "completion": f"{2 * i}"} for i in range(600)])


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    rows = [{"prompt": f"{i} and {i}?", "completion": f"{2 * i}"} for i in range(600)]
    return write_jsonl(tmp_path / "bad.jsonl", [*rows, rows[4], {"prompt": "no answer"}])


def test_a_clean_file_is_ready(luthier, good: Path):
    code, out, err = luthier("check", good)
    assert (code, err) == (0, "")
    assert out.startswith("✓ Ready to train  600 rows\n") and "600 conversations" in out and "Lengths of rows, in characters" in out


def test_what_matters_comes_first(luthier, bad: Path):
    code, out, err = luthier("check", bad)
    assert (code, err) == (1, "")
    verdict, error, warning, lengths = (out.index(text) for text in ("✗ Not ready: 1 error", "missing-field", "duplicate-rows", "Lengths"))
    assert verdict == 0 < error < warning < lengths
    assert "1 that can't be used" in out


def test_json_says_all_of_it(luthier, bad: Path):
    code, out, err = luthier("check", bad, "--json")
    told = json.loads(out)
    assert (code, err, told["ready"]) == (1, "", False)
    assert [(finding["severity"], finding["code"]) for finding in told["report"]["findings"]] == [
        ("error", "missing-field"),
        ("warning", "duplicate-rows"),
    ]
    assert told["report"]["findings"][1]["places"] == [f"{bad}:601"]


def test_fix_and_html(luthier, bad: Path, tmp_path: Path):
    page, clean = tmp_path / "page.html", tmp_path / "clean.jsonl"
    code, out, _ = luthier("check", bad, "--fix", clean, "--html", page)
    assert code == 1 and f"{clean}: 600 rows kept, 2 lines left out" in out and "line 601: the same as an earlier row" in out
    assert "Not ready: 1 error" in page.read_text(encoding="utf-8")
    code, out, err = luthier("check", bad, "--fix", clean)
    assert (code, out) == (1, "") and "nothing is written over" in err
    assert luthier("check", clean)[0] == 0


def test_labels_groups_and_validation(luthier, tmp_path: Path):
    rows = [{"text": f"case {i}", "label": ("fee", "rate")[i % 2], "sex": "fm"[i % 2]} for i in range(600)]
    train, validation = write_jsonl(tmp_path / "t.jsonl", rows), write_jsonl(tmp_path / "v.jsonl", rows[:1])
    code, out, _ = luthier("check", train, "--validation", validation, "--group", "sex")
    assert code == 1 and "shared-rows" in out and "2 labels" in out and "By sex" in out and "1 for validation" in out


def test_a_model_brings_tokens(luthier, good: Path, toy_folder: Path):
    code, out, _ = luthier("check", good, "--model", toy_folder)
    assert code == 0 and "Lengths of rows, in tokens" in out and "of them learned; context of" in out


def test_pairs_and_raters(luthier, shared: Path):
    code, out, _ = luthier("check", shared / "data" / "hh_rlhf_harmless" / "harmless.jsonl")
    assert code == 0 and "the longer answer is preferred in 45.0% of 1,800 pairs" in out
    code, out, _ = luthier("check", shared / "data" / "pandalm_human" / "testset-v1.json")
    assert code == 1 and "Krippendorff's α = 0.86 over" in out


def test_a_run_file_is_checked(luthier, toy_folder: Path, toy_rows: Path, tmp_path: Path):
    run = tmp_path / "run.yaml"
    run.write_text(f"model: {toy_folder}\nmethod: sft\ndata:\n  train: {toy_rows}\n")
    code, out, err = luthier("check", run)
    assert (code, err) == (0, "") and out.startswith("✓ Ready to train")
    run.write_text(f"model: {toy_folder}\nmethod: sft\ndata:\n  train: {tmp_path / 'no.jsonl'}\n")
    code, out, _ = luthier("check", run, "--json")
    told = json.loads(out)
    assert code == 1 and not told["ready"] and "There is no file" in told["findings"][0]["message"]


def test_a_run_file_is_checked_alone(luthier, good: Path):
    code, _, err = luthier("check", "run.yaml", good)
    assert code == 1 and "checked alone" in err


def test_markup_in_files_is_text(luthier, tmp_path: Path):
    rows = [{"text": f"[red]case[/red] {i}", "label": ("[bold]", "[/x]")[i % 2]} for i in range(600)]
    code, out, _ = luthier("check", write_jsonl(tmp_path / "[b].jsonl", rows))
    assert code == 0 and "[bold]" in out and "[/x]" in out and "[b].jsonl" in out


@pytest.mark.parametrize("share, drawn", [(0, ""), (1e-9, "▏"), (0.5, "█" * 16), (1 / 64, "▌"), (1, "█" * 32)])
def test_bars(share: float, drawn: str):
    assert bar(share) == drawn


def test_the_commands_of_the_how_to_page_run(luthier, root: Path, toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "train.jsonl", [{"prompt": f"{i} and {i}?", "completion": f"{2 * i}"} for i in range(600)])
    write_jsonl(tmp_path / "held-out.jsonl", [{"prompt": "700 and 700?", "completion": "1400"}])
    rows = [{"text": f"case {i}", "label": ("fee", "rate")[i % 2], "sex": "fm"[i % 2]} for i in range(600)]
    write_jsonl(tmp_path / "labeled.jsonl", rows)
    (tmp_path / "run.yaml").write_text(f"model: {toy_folder}\nmethod: sft\ndata:\n  train: {toy_rows}\n")
    page = (root / "docs/how-to/check.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE) for line in block.splitlines()]
    assert len(commands) == 7
    for command in commands:
        code, _, err = luthier(*command.replace("starter", str(toy_folder)).split()[1:])
        assert (code, err) == (0, ""), command
    assert (tmp_path / "clean.jsonl").is_file() and (tmp_path / "check.html").is_file()


def test_a_check_loads_no_torch(good: Path):
    look = "print(*{'torch', 'transformers'} & set(sys.modules), file=sys.stderr)"
    code = f"import sys; from luthier.cli.main import run; run(['check', sys.argv[1], '--json']); {look}"
    done = subprocess.run([sys.executable, "-c", code, str(good)], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []
