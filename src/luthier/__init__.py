"""Luthier: fine-tune open language models on your own hardware.

    import luthier

    run = luthier.train(model="starter", data="rows.jsonl", validation="held-out.jsonl")
    run.chat("How much do I owe?")
    run.plot()

Importing this costs nothing: torch is loaded by the first call that needs it.
"""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from luthier.recipes.run import Run

    __version__: str

# In notebooks without ipywidgets tqdm complains when transformers imports it, about bars that are not shown.
warnings.filterwarnings("ignore", message="IProgress not found")

__all__ = ["Run", "__version__", "resume", "train"]


def train(
    method: str = "sft",
    *,
    model: Any = None,
    data: Any = None,
    validation: Any = None,
    out: "str | PathLike[str] | None" = None,
    quiet: bool = False,
    **settings: Any,
) -> "Run":
    """Tune a model, as `luthier train` does.

    Args:
        method: a method (`sft`, `pretrain`), a run file (`run.yaml`), or a Python file of your own.
        model: a folder, a Hugging Face id, or `starter`.
        data, validation: a file, a list of files, or of `{"path": …, "weight": …}`.
        out: the run's folder. Default: `runs/<date>-<method>-<data>`.
        quiet: print nothing.
        settings: any others, by group: `train={"epochs": 2}`, `adapter={"rank": 8}`, or dotted: `**{"train.epochs": 2}`.
    Raises:
        luthier.errors.UserError: anything wrong with settings, data, model or folder, as a sentence.
    """
    from luthier.cli._console import run_from_python
    from luthier.recipes.train import train as start
    from luthier.spec.load import load_request

    spec = load_request(method, model=model, data=data, validation=validation, out=out, **settings)
    return run_from_python(lambda reporter: start(spec, reporter), quiet)


def resume(path: "str | PathLike[str]", *, quiet: bool = False) -> "Run":
    """Go on with a run that was paused or killed, exactly where it stood; a finished one is returned as it is.

    Raises:
        luthier.errors.RunError: no run there.
    """
    from luthier.cli._console import run_from_python
    from luthier.recipes.train import resume as go_on

    return run_from_python(lambda reporter: go_on(str(path), reporter), quiet)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("luthier")
    if name == "Run":
        from luthier.recipes.run import Run

        return Run
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
