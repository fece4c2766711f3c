"""The demo: the bundled model is tuned on the bundled demonstrations, by the same `train` as any run, and asked before and after."""

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from luthier.engine.report import Reporter
from luthier.errors import RunError
from luthier.recipes.page import write_page
from luthier.recipes.run import Run
from luthier.recipes.train import train
from luthier.spec.load import load_run
from luthier.spec.run import RunSpec

QUESTIONS = (
    "Can you tell me now whether my loan will be approved?",
    "Which rate would I get for 48 months?",
    "Somebody called me and wanted my PIN. Was that you?",
)
"""In other words than any training or validation row asks."""

SETTINGS: dict[str, Any] = {
    "method": "sft",
    "adapter": {"name": "lora", "rank": 16},
    "optimizer": {"learning_rate": 3e-3},
    "train": {"epochs": 6, "batch_size": 16, "threads": 1},  # so small a model gains nothing by more
    "evaluation": {"prompts": ["Hello, who are you?", QUESTIONS[0]], "max_new_tokens": 80, "compare": list(QUESTIONS)},
    "checkpoints": {"keep_weights": 1},
}


def demo_spec(out: str | None = None, now: datetime | None = None, overrides: Sequence[str] = ()) -> RunSpec:
    """The demo's settings. `overrides`: `key=value`, over them. `now`: the moment that the folder is named after.

    Raises:
        RunError: `out` holds something.
    """
    if out is not None and Path(out).is_dir() and any(Path(out).iterdir()):
        raise RunError(f"{out} is not empty. Choose another folder; without `--out` the demo makes a new one under runs/.")
    folder = out or str(_new_folder(now or datetime.now()))
    data = resources.files("luthier") / "recipes" / "demo_data"
    files = {part: [str(data / f"loan_support_{part}.jsonl")] for part in ("train", "validation")}
    return load_run(None, list(overrides), **SETTINGS, model="starter", data=files, out=folder)


def demo(spec: RunSpec, reporter: Reporter | None = None) -> Run:
    """Train, which asks base and tuned model the same questions at its end, and draw the page of results into the run's folder.

    Raises:
        UserError: whatever `train` raises. A run that was paused is returned as it is, without answers; `resume` asks for them.
    """
    run = train(spec, reporter)
    write_page(run.path)
    return run


def _new_folder(now: datetime) -> Path:
    """`runs/demo-<date>`, with a number where there is one already."""
    first = path = Path("runs") / f"demo-{now:%Y-%m-%d-%H%M%S}"
    number = 2
    while path.exists():
        path, number = first.with_name(f"{first.name}~{number}"), number + 1
    return path
