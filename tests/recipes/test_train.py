"""`luthier train` as people use it: what a run leaves, and a sentence for every mistake."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.cli.main import main
from luthier.recipes.run import Run
from luthier.recipes.train import train
from luthier.spec.load import load_run
from luthier.spec.run import RunSpec
from luthier.testing import toy_conversations, write_jsonl

FAST = ["train.dtype=float32", "train.max_steps=2", "train.batch_size=4", "evaluation.prompts=[]"]


def luthier(*arguments: str) -> int:
    """The exit code of a command line, in this process."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def run(toy_folder: Path, toy_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert luthier("train", "sft", "-m", str(toy_folder), "-d", str(toy_rows), "-o", str(out), *FAST, "data.validation_share=0.25") == 0
    return Run(out)


def test_a_run_leaves_all_that_the_design_names(run: Run):
    names = {path.name for path in run.path.iterdir()}
    assert {"run.yaml", "events.jsonl", "metrics.jsonl", "checkpoints", "adapter", "record.json", "start.json"} <= names
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in (run.path / "adapter").iterdir()}


def test_its_run_file_is_the_effective_settings_and_runs_again_to_the_same_weights(run: Run, tmp_path: Path):
    spec = load_run(str(run.path / "run.yaml"))
    assert spec.train.max_steps == 2
    assert spec.adapter.name == "lora"
    again = train(spec.model_copy(update={"out": str(tmp_path / "again")}))
    first, second = (load_file(path / "adapter/adapter_model.safetensors") for path in (run.path, again.path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_its_record_says_what_it_was(run: Run, toy_rows: Path):
    record = run.record
    assert record["status"] == "succeeded"
    assert record["data"]["train"][0]["path"] == str(toy_rows)
    assert record["data"]["train"][0]["rows"] == 8
    counts = [record["data"][f"{part}_counts"] for part in ("train", "validation")]
    assert [part["examples"] for part in counts] == [part["rows_text_checked"] for part in counts] == [6, 2]
    assert record["steps"] == 2
    assert record["bit_exact"] is True
    assert record["versions"]["torch"].startswith("2.")
    assert record["machine"]["threads"] == 1
    assert record["packing"]["tier"] == 1
    assert record["artefact"]["reload_difference"] < 1e-5
    assert len(record["certificate"]) == 3


def test_the_record_as_json_is_all_there_is_on_stdout(toy_folder: Path, toy_rows: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    assert luthier("train", "sft", "-m", str(toy_folder), "-d", str(toy_rows), "-o", str(out), "--json", *FAST) == 0
    assert json.loads(capfd.readouterr().out) == Run(out).record


def test_a_run_without_a_folder_gets_a_dated_one(toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = {"train": {"max_steps": 1, "dtype": "float32"}, "evaluation": {"prompts": ()}}
    spec = RunSpec.model_validate({"model": str(toy_folder), "data": {"train": str(toy_rows)}, **settings})
    first, second = train(spec), train(spec)
    assert first.path != second.path
    assert all(run.path.parent == Path("runs") and run.path.name.endswith(("-sft-counting", "-sft-counting~2")) for run in (first, second))


class Bench:
    """A copy of the toy model and a data file, to be broken."""

    def __init__(self, folder: Path, model: Path, rows: Path) -> None:
        self.folder = folder
        self.model = Path(shutil.copytree(model, folder / "model"))
        self.data = Path(shutil.copyfile(rows, folder / "rows.jsonl"))
        self.out = folder / "run"
        self.settings: list[str] = []

    def command(self) -> list[str]:
        return ["train", "sft", "-m", str(self.model), "-d", str(self.data), "-o", str(self.out), *FAST, *self.settings]


@pytest.fixture
def bench(toy_folder: Path, toy_rows: Path, tmp_path: Path) -> Bench:
    return Bench(tmp_path, toy_folder, toy_rows)


def setting(*settings: str) -> Callable[[Bench], None]:
    def give(bench: Bench) -> None:
        bench.settings += settings

    return give


def no_model(bench: Bench) -> None:
    shutil.rmtree(bench.model)


def a_misspelled_model(bench: Bench) -> None:
    bench.model = bench.model.with_name("modle")


def no_tokenizer(bench: Bench) -> None:
    (bench.model / "tokenizer.json").unlink()


def no_config(bench: Bench) -> None:
    (bench.model / "config.json").unlink()


def broken_config(bench: Bench) -> None:
    (bench.model / "config.json").write_text('{"model_type": "llama",')


def truncated_weights(bench: Bench) -> None:
    path = bench.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def corrupted_weights(bench: Bench) -> None:
    path = bench.model / "model.safetensors"
    path.write_bytes(b"\xff" * 16 + path.read_bytes()[16:])


def a_pickle(bench: Bench) -> None:
    torch.save(load_file(bench.model / "model.safetensors"), bench.model / "pytorch_model.bin")
    (bench.model / "model.safetensors").unlink()


def missing_weights(bench: Bench) -> None:
    weights = load_file(bench.model / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "layers.1" not in name}, bench.model / "model.safetensors")


def small_vocabulary(bench: Bench) -> None:
    """Embeddings for 200 ids, a tokenizer with 263."""
    weights = load_file(bench.model / "model.safetensors")
    cut = {name: value[:200].clone() if value.shape[0] == 263 else value for name, value in weights.items()}
    save_file(cut, bench.model / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((bench.model / "config.json").read_text())
    (bench.model / "config.json").write_text(json.dumps({**config, "vocab_size": 200}))


def no_template(bench: Bench) -> None:
    (bench.model / "chat_template.jinja").unlink()


def no_data(bench: Bench) -> None:
    bench.data.unlink()


def empty_data(bench: Bench) -> None:
    bench.data.write_text("")


def a_torn_row(bench: Bench) -> None:
    bench.data.write_text(bench.data.read_text()[:-30])


def an_unknown_role(bench: Bench) -> None:
    bench.data.write_text(bench.data.read_text().replace('"assistant"', '"bot"'))


def a_long_row(bench: Bench) -> None:
    rows: list[dict[str, Any]] = toy_conversations(3)
    rows[2]["messages"][-1]["content"] = "0 1 2 3 " * 100
    write_jsonl(bench.data, rows)


def another_run(bench: Bench) -> None:
    bench.out.mkdir()
    (bench.out / "run.yaml").write_text("model: mine\n")


def another_folder(bench: Bench) -> None:
    (bench.out / "adapter").mkdir(parents=True)
    (bench.out / "adapter/adapter_config.json").write_text("mine")


def a_file(bench: Bench) -> None:
    bench.out.write_text("mine")


MISTAKES: list[tuple[str, Callable[[Bench], None], list[str]]] = [
    ("a missing model folder", no_model, ["There is no model folder", "/model"]),
    ("a misspelled model folder", a_misspelled_model, ["There is no model folder", "Did you mean", "model"]),
    ("a folder without tokenizer", no_tokenizer, ["/model", "tokenizer"]),
    ("a folder without config", no_config, ["/model", "config.json"]),
    ("a broken config", broken_config, ["config.json"]),
    ("truncated weights", truncated_weights, ["model.safetensors", "damaged or cut short"]),
    ("corrupted weights", corrupted_weights, ["model.safetensors", "damaged or cut short"]),
    ("a pickle checkpoint", a_pickle, ["pytorch_model.bin", "pickle", "refused", "safetensors"]),
    ("weights that are missing", missing_weights, ["/model", "layers.1", "do not hold"]),
    ("vocabulary and tokenizer that disagree", small_vocabulary, ["262", "200", "tokenizer"]),
    ("no chat template", no_template, ["no chat template", "model.chat_template=plain"]),
    ("no data file", no_data, ["rows.jsonl"]),
    ("an empty file", empty_data, ["rows.jsonl is empty"]),
    ("a torn row", a_torn_row, ["rows.jsonl:8"]),
    ("an unknown role", an_unknown_role, ["rows.jsonl:1", '"bot"', '"assistant"']),
    ("a row longer than the context", a_long_row, ["rows.jsonl:3", "the limit is 512", "data.too_long"]),
    ("a context longer than the model's", setting("data.max_length=1024"), ["data.max_length", "1024", "512"]),
    ("rank 0", setting("adapter.rank=0"), ["`adapter.rank`", "0"]),
    ("a negative rate", setting("optimizer.learning_rate=-1"), ["`optimizer.learning_rate`", "-1"]),
    ("no epochs", setting("train.epochs=0"), ["`train.epochs`", "0"]),
    ("a target that matches nothing", setting("adapter.targets=[q_prog]"), ["adapter.targets", "q_prog", "q_proj"]),
    ("an unknown setting", setting("train.batchsize=2"), ["`train.batchsize`", "Did you mean `train.batch_size`"]),
    ("an unknown adapter", setting("adapter=loar"), ["There is no adapter `loar`", "lora"]),
    (
        "a setting without effect",
        setting("optimizer.schedule=constant", "optimizer.final_share=0.5"),
        ["optimizer.final_share", "no effect"],
    ),
    ("dropout that the adapter has not", setting("adapter=full", "adapter.rank=8"), ["adapter.rank"]),
    ("a folder that holds another run", another_run, ["already holds a run", "luthier resume"]),
    ("a folder that holds other things", another_folder, ["is not empty", "adapter"]),
    ("a file instead of a folder", a_file, ["is a file"]),
]


@pytest.mark.parametrize("name, mistake, said", MISTAKES, ids=[name.replace(" ", "-") for name, *_ in MISTAKES])
def test_a_mistake_gets_a_sentence(
    name: str, mistake: Callable[[Bench], None], said: list[str], bench: Bench, capfd: pytest.CaptureFixture[str]
):
    """Exit code 1, no traceback, where it is and what to do; nothing is written over and nothing left behind."""
    mistake(bench)
    before = everything_in(bench.folder)
    assert luthier(*bench.command()) == 1
    sentence = capfd.readouterr().err.strip()
    assert "Traceback" not in sentence
    assert sentence.endswith((".", "?"))
    assert len(sentence.splitlines()) <= 2
    for words in said:
        assert words in sentence
    assert everything_in(bench.folder) == before
    assert bench.out.exists() is any(path.startswith("run") for path in before)


def test_in_a_process_of_its_own_too_and_debug_shows_the_traceback(bench: Bench):
    bench.settings += ["train.epochs=0"]
    program = [sys.executable, "-c", "from luthier.cli.main import main; main()", *bench.command()]
    plain = subprocess.run(program, capture_output=True, text=True, check=False)
    assert plain.returncode == 1
    assert plain.stdout == ""
    assert "Traceback" not in plain.stderr
    debug = subprocess.run([*program, "--debug"], capture_output=True, text=True, check=False)
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert plain.stderr.strip() in debug.stderr
