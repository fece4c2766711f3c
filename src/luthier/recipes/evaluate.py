"""Evaluation of a run or a model on rows with known answers, beside simple rivals; written into the run's record."""

import time
from typing import Any

from luthier.engine.folder import RunFolder, write_json
from luthier.errors import DataError, RunError
from luthier.recipes import page
from luthier.recipes.answers import answers_table
from luthier.recipes.classification import Classification
from luthier.recipes.examination import Done, Examination, Question, Say, kept
from luthier.spec.rows import Conversation, Labeled


def evaluate(question: Question, say: Say = lambda _: None, on_done: Done = lambda *_: None) -> dict[str, Any]:
    """The table, as plain values. Of a run it is kept in the run's record, and its page is drawn again.

    Raises:
        UserError: rows, model or settings that do not go together.
    """
    began = time.perf_counter()
    if question.predictions is not None and question.predictions.exists():
        raise RunError(f"{question.predictions} is there already, and nothing is written over. Choose another name.")
    job = Examination(question, say, on_done)
    found = {**table_of(job), "notes": job.notes, "question": kept(question), "seconds": round(time.perf_counter() - began, 1)}
    if job.run is not None:
        _record(job.run, found)
    return found


def table_of(job: Examination) -> dict[str, Any]:
    """What is measured, by the kind of rows.

    Raises:
        DataError: rows of a kind that cannot be evaluated.
    """
    kinds = {type(row) for row in job.rows}
    if kinds == {Labeled}:
        return Classification(job).table()
    if kinds == {Conversation}:
        return answers_table(job)
    names = " and ".join(sorted(kind.__name__.lower() for kind in kinds))
    raise DataError(
        f"{job.question.data[0].path} holds rows of the kind {names}. "
        "What can be evaluated are texts with a label, and conversations with an answer."
    )


def _record(run: RunFolder, found: dict[str, Any]) -> None:
    """Keep the table in `record.json`, in the place of an earlier one of the same rows; draw the page again where there is one."""
    with run.locked():
        record = run.read_record()

        def same(entry: dict[str, Any]) -> bool:
            return (
                all(entry["data"][key] == found["data"][key] for key in ("sha256", "split", "rows", "seed"))
                and entry["kind"] == found["kind"]
            )

        record["evaluations"] = [*(entry for entry in record.get("evaluations", ()) if not same(entry)), found]
        write_json(run.record_file, record)
    if (run.path / page.FILE).is_file():
        page.write_page(run.path)
