"""`Run`: a run folder as Python sees it."""

import html
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.recipes.figure import draw_run
from luthier.recipes.runs import look, results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from luthier.recipes.assistant import Assistant
    from luthier.recipes.merge import Merged
    from luthier.recipes.verify import Check


class Run:
    """A finished, paused or failed run. `run.chat()`, `run.plot()`, `run.record`, `run.metrics`, `run.verify()`, `run.evaluate(file)`,
    `run.merge(folder)`.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises `RunError` where no run lies there."""
        self.folder = look(Path(path)).folder
        self.path = self.folder.path

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `record.json` says.

        Raises:
            RunError: there is none yet.
        """
        return self.folder.read_record()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Each line of `metrics.jsonl`."""
        return look(self.path).lines

    def chat(
        self,
        prompt: str | None = None,
        *,
        system: str | None = None,
        base: bool = False,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_new_tokens: int = 256,
        seed: int = 0,
    ) -> str | None:
        """The answer to `prompt`; without one, a conversation in the terminal or notebook, which an empty or cancelled input ends.

        Args:
            system: what the model is told about its part. base: ask the model as it was before tuning.
            temperature, top_p, max_new_tokens, seed: as in `luthier chat`.
        Raises:
            RunError: base or template changed since training, or no weights are there.
        """
        from luthier.recipes.assistant import Sampling
        from luthier.recipes.chat import Chat, converse

        chat = Chat(self._base if base else self._assistant, Sampling(temperature, top_p, max_new_tokens, seed), system)
        if prompt is not None:
            return chat.ask(prompt).text

        def read() -> str:
            line = input("› ")
            if not line.strip():
                raise EOFError
            return line

        converse(chat, read, lambda text: print(text, end="", flush=True), print)
        return None

    def plot(self) -> "Figure":
        """A matplotlib figure of the loss in training and validation, and of what else validation measured."""
        return draw_run(self.path.name, self.metrics)

    def verify(self, compute: bool = True) -> "list[Check]":
        """What `luthier verify` finds: whether the record says what is there. `compute`: the last steps once more, too."""
        from luthier.recipes.verify import verify

        return list(verify(self.path, compute))

    def evaluate(self, data: str | Path, *, base: bool = False, rows: int | None = None, out_of_scope: str | None = None) -> dict[str, Any]:
        """The table of `luthier evaluate` on rows with known answers: this run beside simple rivals. It is kept in the record.

        Args:
            base: the base model as a column, too. rows: so many, drawn by seed. out_of_scope: the label of rows that belong to no class.
        """
        from luthier.recipes.evaluate import evaluate
        from luthier.recipes.examination import Question
        from luthier.spec.run import DataSource

        question = Question(str(self.path), (DataSource(path=str(data)),), base=base, most_rows=rows, out_of_scope=out_of_scope)
        found = evaluate(question)
        self.__dict__.pop("record", None)  # read before, it has no such table yet
        return found

    def merge(self, out: str | Path, dtype: str | None = None) -> "Merged":
        """Write base plus adapter as a plain model into the new folder `out`, compared before it is kept; as `luthier merge`."""
        from luthier.recipes.merge import merge

        return merge(self.path, Path(out), dtype)

    @cached_property
    def _assistant(self) -> "Assistant":
        from luthier.recipes.assistant import open_run

        assistant = open_run(self.path)
        for note in assistant.notes:
            print(note, file=sys.stderr)
        return assistant

    @cached_property
    def _base(self) -> "Assistant":
        from luthier.recipes.assistant import open_run

        return open_run(self.path, base=True)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """A small table for notebooks."""
        sight = look(self.path)
        rows = {"run": self.path, "status": sight.status, **results(sight)}
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{_html(value)}</td></tr>" for name, value in rows.items()
        )
        return f"<table>{cells}</table>"


def _html(value: Any) -> str:
    if isinstance(value, tuple):
        return " → ".join(_html(part) for part in value)
    return html.escape(f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value))
