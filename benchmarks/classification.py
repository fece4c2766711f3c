"""Classification as tuning: three small models on three data sets, with 5, 10 and all rows a class, beside TF-IDF and the commonest class.

    python -m benchmarks.classification                                       all of it: hours on 2 cores; goes on where it was stopped
    python -m benchmarks.classification --models tinystories-656k --data banking77 --sizes 5 10
    python -m benchmarks.classification --table                               print the table of what was measured so far

Each cell is `luthier train sft` and `luthier evaluate` as they come, in processes of their own. Data and models are those of the shared
folder (`LUTHIER_SHARED`); few-shot rows are drawn by seed, the 5 rows of a class are among its 10.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process import ROOT, CommandFailed, environment
from benchmarks.results import FOLDER

SHARED = Path(os.environ.get("LUTHIER_SHARED") or ROOT.parent / "shared")
CACHE = Path.home() / ".cache" / "luthier-benchmarks" / "classification"
RESULTS = FOLDER / "classification.json"
SEED = 0
ALL = "all"
SIZES = ("5", "10", ALL)

Pairs = list[tuple[str, str]]
"""(text, label) of each row."""


@dataclass(frozen=True)
class ModelCase:
    """A model, with the peak rate of full tuning that suits its size, and the template it is given where it has none of its own."""

    name: str
    learning_rate: float
    template: str | None


MODELS = {
    case.name: case
    for case in (
        ModelCase("stories260k", 4e-3, "plain"),
        ModelCase("tinystories-656k", 3e-3, "plain"),
        ModelCase("tinystories-instruct-3m-chat", 1e-3, None),
    )
}


@dataclass(frozen=True)
class DataCase:
    """A data set: its training and test rows, epochs by size, and the label of what belongs to no class."""

    name: str
    title: str
    epochs: dict[str, int]
    out_of_scope: str | None = None

    def rows(self, part: str) -> Pairs:
        return list(READERS[self.name](part))


DATA = {
    case.name: case
    for case in (
        DataCase("banking77", "Banking77", {"5": 12, "10": 10, ALL: 5}),
        DataCase("clinc150", "CLINC150", {"5": 12, "10": 10, ALL: 6}, out_of_scope="oos"),
        DataCase("sst2", "SST-2", {"5": 20, "10": 20, ALL: 3}),
    )
}


def banking77(part: str) -> Iterator[tuple[str, str]]:
    with (SHARED / f"data/banking77/{part}.csv").open(encoding="utf-8", newline="") as file:
        yield from ((row["text"], row["category"]) for row in csv.DictReader(file))


def clinc150(part: str) -> Iterator[tuple[str, str]]:
    """With the rows that belong to no class as a class of their own, `oos`."""
    found = json.loads((SHARED / "data/clinc150/data_small.json").read_text(encoding="utf-8"))
    yield from ((text, label) for text, label in found[part] + found[f"oos_{part}"])


def sst2(part: str) -> Iterator[tuple[str, str]]:
    for line in (SHARED / f"data/sst2/stsa.binary.{part}").read_text(encoding="utf-8").splitlines():
        label, _, text = line.partition(" ")
        yield text, {"0": "negative", "1": "positive"}[label]


READERS = {"banking77": banking77, "clinc150": clinc150, "sst2": sst2}


def few(rows: Pairs, size: str) -> Pairs:
    """So many rows of each class, drawn by seed, in their order. Those of a smaller size are among those of a larger one."""
    if size == ALL:
        return rows
    by_class: dict[str, list[int]] = {}
    for place in np.random.default_rng(SEED).permutation(len(rows)):
        by_class.setdefault(rows[place][1], []).append(int(place))
    return [rows[i] for i in sorted(i for places in by_class.values() for i in places[: int(size)])]


def write_rows(path: Path, rows: Pairs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    return path


def without(rows: Pairs, others: Pairs) -> Pairs:
    """The rows whose text is in none of the others: what was learned by heart says nothing."""
    known = {text for text, _ in others}
    return [row for row in rows if row[0] not in known]


def measure(model: ModelCase, data: DataCase, size: str, most_rows: int | None, folder: Path) -> dict[str, Any]:
    """One cell: train, evaluate, and what both said."""
    name = f"{data.name}-{size}-{model.name}"
    every = data.rows("train")
    train = write_rows(folder / f"{data.name}-{size}.csv", few(every, size))
    test = write_rows(folder / f"{data.name}-test.csv", without(data.rows("test"), every))
    out, num_rows = folder / name, len(few(every, size))
    shutil.rmtree(out, ignore_errors=True)
    settings = [
        "adapter=full",
        f"optimizer.learning_rate={model.learning_rate}",
        "optimizer.weight_decay=0.01",
        f"train.epochs={data.epochs[size]}",
        f"train.batch_size={min(32, max(4, num_rows // 48))}",
        "train.dtype=float32",
        f"train.seed={SEED}",
        "evaluation.prompts=[]",
        "checkpoints.every=100000",
        *([f"model.chat_template={model.template}"] if model.template else []),
    ]
    words = ["train", "sft", "--model", SHARED / "models" / model.name, "--data", train, "--out", out, "--json", *settings]
    began = time.perf_counter()
    record = luthier(*words)
    asked = ["evaluate", out, "--data", test, "--json", *(["--rows", most_rows] if most_rows else [])]
    asked += ["--out-of-scope", data.out_of_scope] if data.out_of_scope else []
    table = luthier(*asked)
    for column in table["columns"]:  # by class it stands in the run's record
        column["scores"].pop("by_class")
    return {
        "model": model.name,
        "data": data.name,
        "size": size,
        "train_rows": num_rows,
        "settings": settings,
        "steps": record["steps"],
        "train_tokens": record["tokens"],
        "train_seconds": record["training_seconds"],
        "evaluate_seconds": table["seconds"],
        "whole_seconds": round(time.perf_counter() - began, 1),
        "test_rows": table["data"]["rows"],
        "classes": table["classes"],
        "columns": table["columns"],
        "versions": record["versions"],
        "machine": record["machine"],
        "measured": table["measured"],
    }


def luthier(*words: Any) -> Any:
    """A command of the product, and the JSON it prints.

    Raises:
        CommandFailed: it ended with an error.
    """
    command = [str(Path(sys.executable).with_name("luthier")), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(int(os.environ.get("OMP_NUM_THREADS", "1"))), check=False
    )
    if done.returncode:
        raise CommandFailed(f"`luthier {' '.join(command[1:])}` ended with {done.returncode}: {done.stderr[-1500:]}")
    return json.loads(done.stdout)


def markdown(cells: Sequence[dict[str, Any]]) -> str:
    """The table: a line for each model on each data set and size."""
    head = [
        "| data | rows a class | model | accuracy | F1 (macro) | TF-IDF: accuracy | F1 | commonest: accuracy | F1 | test rows |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    order = {"5": 0, "10": 1, ALL: 2}
    ordered = sorted(cells, key=lambda c: (list(DATA).index(c["data"]), order[c["size"]], list(MODELS).index(c["model"])))
    body = [_line(cell) for cell in ordered]
    scopes = [cell for cell in ordered if cell["columns"][0]["out_of_scope"]]
    return "\n".join([*head, *body, *(["", *_scope_table(scopes)] if scopes else [])]) + "\n"


def _line(cell: dict[str, Any]) -> str:
    tuned, tfidf, commonest = (column["scores"] for column in cell["columns"])
    reach = 100 * (tuned["accuracy_high"] - tuned["accuracy_low"]) / 2
    words = [DATA[cell["data"]].title, cell["size"], cell["model"], f"**{tuned['accuracy']:.1%}** ± {reach:.1f}", f"{tuned['f1']:.3f}"]
    for scores in (tfidf, commonest):
        words += [f"{scores['accuracy']:.1%}", f"{scores['f1']:.3f}"]
    return f"| {' | '.join([*words, format(cell['test_rows'], ',')])} |"


def _scope_table(cells: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| out of scope | rows a class | model | recall | precision | area | within | TF-IDF: recall | precision | area | within |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        words = [DATA[cell["data"]].title, cell["size"], cell["model"]]
        for column in cell["columns"][:2]:
            scope = column["out_of_scope"]
            words += [f"{scope['recall']:.1%}", f"{scope['precision']:.1%}", f"{scope['area']:.3f}", f"{scope['in_scope_accuracy']:.1%}"]
        lines.append(f"| {' | '.join(words)} |")
    return lines


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rows", type=int, help="test rows, drawn by seed (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results file, which is added to")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder for runs")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing, writing after each cell."""
    options = parse(arguments)
    wanted = [(MODELS[m], DATA[d], size) for size in options.sizes for d in options.data for m in options.models]
    for model, data, size in [] if options.table else wanted:
        if any((c["model"], c["data"], c["size"]) == (model.name, data.name, size) for c in read(options.out)):
            continue
        print(f"{data.title}, {size} rows a class, {model.name}", flush=True)
        cell = measure(model, data, size, options.rows, options.cache)
        print(f"  {_line(cell)}  {cell['whole_seconds']:.0f} s", flush=True)
        write(options.out, [*read(options.out), cell])
    print(f"\n{markdown(read(options.out))}\n{options.out}", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def write(path: Path, cells: Sequence[dict[str, Any]]) -> None:
    """The cells, and their table in Markdown beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cells, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(cells), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except CommandFailed as error:
        raise SystemExit(str(error)) from None
