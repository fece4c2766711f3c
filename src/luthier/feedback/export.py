"""What was said through the interface → files of rows that `luthier train` and fine-tuning jobs take, and a report of what was left out."""

from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from luthier.feedback.collect import AGAIN, CONTRADICTED, LeftOut, Tally
from luthier.feedback.given import PLACE, rows_of
from luthier.feedback.rules import FILES, Found, kind
from luthier.feedback.sheets import OpenSheet, Sheet
from luthier.store.feedback import Entry


@dataclass(frozen=True)
class Exported:
    """`files`: by kind, those that have rows. `read`: how many entries there were."""

    read: int
    files: dict[str, Sheet]
    left_out: tuple[LeftOut, ...]


def export(entries: Iterable[Entry], out: Path, kinds: Collection[str] = ()) -> Exported:
    """Write what can be learned from entries into a folder, a file for each kind of row.

    Args:
        entries: the oldest first. kinds: those that are wanted; all of them where none is named.
    Raises:
        RunError: one of the files is there already, or cannot be written.
    """
    held, tally = list(entries), Tally()
    wanted = [name for name in FILES.values() if not kinds or name in kinds]
    with ExitStack() as stack:
        sheets = {name: stack.enter_context(OpenSheet(out / f"{name}.jsonl")) for name in wanted}
        for opened in sheets.values():
            opened.begin(PLACE)
        for found, number in rows_of(held):
            if not isinstance(found, Found):
                tally.add(found, [f"{PLACE}:{number}"])
            elif sheet := sheets.get(kind(found.row)):
                sheet.add(found.row, found.sign)
        files = {name: sheet.close() for name, sheet in sheets.items()}
    for name, written in files.items():
        tally.add(AGAIN, written.repeated[1], written.repeated[0])
        tally.add(CONTRADICTED.get(name, ""), written.contradicted[1], written.contradicted[0])
    left_out = tuple(part for part in tally.sorted() if part.count)
    return Exported(len(held), {name: sheet for name, sheet in files.items() if sheet.rows}, left_out)
