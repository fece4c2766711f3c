"""`luthier migrate FILE` as somebody types it."""

import json
import re
from pathlib import Path

import pytest

from luthier.spec.load import load_run

SETTINGS = """\
model_name_or_path: org/model
stage: sft
finetuning_type: lora
lora_target: all
dataset: alpaca
template: qwen
per_device_train_batch_size: 2
gradient_accumulation_steps: 4
learning_rate: 1.0e-4
quantization_bit: 4
logging_steps: 10
wat: [bold]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.yaml").write_text(SETTINGS, encoding="utf-8")


def test_what_becomes_of_each_setting_is_shown(luthier, tmp_path: Path):
    code, out, err = luthier("migrate", "theirs.yaml")
    assert (code, err) == (0, "")
    assert out.startswith("! run.yaml  a run of sft, from LLaMA-Factory's settings in theirs.yaml, 3 settings to look at\n")
    headings = [line for line in out.splitlines() if line and not line.startswith((" ", "!"))]
    assert headings == [
        "Carried over",
        "LLaMA-Factory's defaults, written out where ours differ",
        "Done by itself, or needless here",
        "To do before it runs",
        "Nothing like it here",
        "Not known here",
        "Would be silently different",
        "Try next",
    ]
    assert re.search(r"gradient_accumulation_steps: 4 +→ train.batch_size: 8  2 rows × 4 accumulated × 1 device", out)
    assert "? wat: ['bold']" in out and "luthier train run.yaml" in out
    assert load_run("run.yaml").optimizer.learning_rate == 1e-4


def test_a_program_reads_the_same(luthier):
    code, out, err = luthier("migrate", "theirs.yaml", "--out", "mine.yaml", "--devices", 2, "--json")
    found = json.loads(out)
    assert (code, err, found["file"], found["tool"], found["method"]) == (0, "", "mine.yaml", "LLaMA-Factory", "sft")
    fates = {line["key"]: line["fate"] for line in found["settings"]}
    assert (fates["learning_rate"], fates["wat"], fates["quantization_bit"], fates["logging_steps"]) == (
        "carried",
        "unknown",
        "without",
        "automatic",
    )
    (batch,) = (line for line in found["settings"] if line["key"] == "gradient_accumulation_steps")
    assert (batch["line"], batch["value"], batch["to"], batch["now"]) == (8, 4, "train.batch_size", 16)


def test_a_run_file_that_is_there_is_not_written_over(luthier, tmp_path: Path):
    (tmp_path / "run.yaml").write_text("model: mine\n")
    code, out, err = luthier("migrate", "theirs.yaml")
    assert code == 1 and out == "" and "nothing is written over" in err
    assert (tmp_path / "run.yaml").read_text() == "model: mine\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["their.yaml"], "There is no settings file their.yaml. Did you mean `theirs.yaml`?"),
        (["theirs.yaml", "--tool", "axolot"], "Did you mean `axolotl`?"),
        (["theirs.yaml", "--method", "sftt"], "Did you mean `sft`?"),
    ],
)
def test_mistakes_are_sentences_and_write_nothing(luthier, tmp_path: Path, arguments: list[str], said: str):
    code, out, err = luthier("migrate", *arguments)
    assert code == 1 and out == "" and said in err and not (tmp_path / "run.yaml").exists()
