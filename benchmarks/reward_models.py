"""What reward models on the smallest real models reach, beside guessing by length and by words.

    python -m benchmarks.reward_models                 both models, both sets; goes on where it was stopped
    python -m benchmarks.reward_models --folds 1       one fold of five alone

HH (harmless): five folds over the 1,800 pairs, each trained on four and measured on the fifth. PandaLM: the comparisons on which all three
people agree, five folds. Rows that are longer than a model's context are left out, for the baselines, too. Settings were chosen before, and
are the same for all: LoRA of rank 16, learning rate 5e-4, two epochs.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.inputs import SHARED
from benchmarks.process import CommandFailed
from benchmarks.results import FOLDER
from luthier.errors import UserError
from luthier.recipes.train import resume, train
from luthier.spec.run import RunSpec

CACHE = Path.home() / ".cache" / "luthier-benchmarks" / "reward-models"
RESULTS = FOLDER / "reward-models.json"
FOLDS = 5
MODELS = {"stories260k": "plain", "tinystories-instruct-3m-chat": None}
"""Model → the template it is given; None for its own."""


def hh() -> list[dict[str, Any]]:
    lines = (SHARED / "data" / "hh_rlhf_harmless" / "harmless.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def pandalm() -> list[dict[str, Any]]:
    """As pairs: those of which all annotators say the same, and no tie."""
    rows = json.loads((SHARED / "data" / "pandalm_human" / "testset-v1.json").read_text(encoding="utf-8"))
    found = []
    for row in rows:
        said = {row[f"annotator{i}"] for i in (1, 2, 3)}
        texts = [row["response1"], row["response2"]]
        if said in ({1}, {2}) and all(isinstance(text, str) and text.strip() for text in texts):
            better = said.pop() - 1
            prompt = f"{row['instruction']}\n{row['input']}".strip()
            found.append({"prompt": prompt, "chosen": texts[better], "rejected": texts[1 - better]})
    return found


SETS = {"HH harmless": hh, "PandaLM, unanimous": pandalm}


def fold(rows: list[dict[str, Any]], number: int, folder: Path) -> tuple[Path, Path]:
    """Training and held-out rows: every fifth row is held out."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "train": [r for i, r in enumerate(rows) if i % FOLDS != number],
        "held-out": [r for i, r in enumerate(rows) if i % FOLDS == number],
    }
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    return folder / "train.jsonl", folder / "held-out.jsonl"


def measure(model: str, data: str, number: int) -> dict[str, Any]:
    """One fold: what the run's record says."""
    folder = CACHE / f"{model}-{data.split()[0].strip(',').lower()}-{number}"
    out = folder / "run"
    if (out / "run.yaml").is_file():
        resume(out)  # a finished one is returned as it is
    else:
        trained, held = fold(SETS[data](), number, folder)
        spec = {
            "model": {"path": str(SHARED / "models" / model), "chat_template": MODELS[model]},
            "data": {"train": str(trained), "validation": str(held), "too_long": "drop"},
            "method": "reward_model",
            "optimizer": {"learning_rate": 5e-4},
            "train": {"epochs": 2, "batch_size": 16},
            "evaluation": {"prompts": [], "every": 100_000},
            "checkpoints": {"every": 100_000},
            "out": str(out),
        }
        train(RunSpec.model_validate(spec))
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    trust = record["trust"]
    return {
        "model": model,
        "data": data,
        "fold": number,
        "comparisons": trust["accuracy"]["number"],
        "accuracy": trust["accuracy"]["value"],
        "by_length": trust["by_length"]["value"],
        "by_words": trust["by_words"]["value"],
        "calibration_error": trust["calibration_error"],
        "length_correlation": trust["length_correlation"],
        "verdict": record["verdict"],
        "seconds": record["seconds"],
    }


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over folds."""
    lines = [
        "| judgements | model | folds | right | by length | by words | calibration error | correlation with length |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data in SETS:
        for model in MODELS:
            cells = [cell for cell in found if cell["data"] == data and cell["model"] == model]
            if cells:
                shares = [_spread([cell[key] for cell in cells]) for key in ("accuracy", "by_length", "by_words")]
                others = [f"{statistics.fmean(cell[key] for cell in cells):.2f}" for key in ("calibration_error", "length_correlation")]
                lines.append(f"| {data} | {model} | {len(cells)} | {' | '.join([*shares, *others])} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.fmean(values):.1f} ± {100 * deviation:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for number in range(options.folds):
        for data in SETS:
            for model in options.models:
                try:
                    found.append(measure(model, data, number))
                except UserError as error:
                    raise CommandFailed(f"{model} on {data}, fold {number}: {error}") from error
                print(found[-1], flush=True)
                RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                RESULTS.with_suffix(".md").write_text(table(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
