"""`survey`: one pass over training and validation files → a report."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.data import load
from luthier.data.survey import agreement, labels
from luthier.data.survey.columns import Columns, disputed, view
from luthier.data.survey.counted import Counted, FileCounts, Options
from luthier.data.survey.lengths import Distribution, distribution
from luthier.data.survey.places import at
from luthier.data.survey.repeats import Repeats
from luthier.data.survey.report import AgreementFigures, FileFigures, LabelFigures, PairFigures, Report, ordered
from luthier.data.survey.tokens import Tokens
from luthier.spec.finding import Finding
from luthier.spec.nearest import listed
from luthier.spec.rows import Faulty, Skipped
from luthier.spec.run import DataSource

TOO_FEW, FEW = 10, 500
"""Different rows below which training teaches nothing that holds, and below which more rows help most."""

MARKS_SHOWN = 4
WITHOUT_PROMPT = ("documents", "labeled texts", "")
"""Kinds of rows that consist of nothing but what is learned or judged."""


@dataclass(frozen=True)
class Survey:
    """What was counted, which rows repeat others, and the report on it."""

    train: Counted
    repeats: Repeats
    report: Report


def survey(
    train: Sequence[DataSource], validation: Sequence[DataSource] = (), options: Options = Options(), tokens: Tokens | None = None
) -> Survey:
    """Read the files and say what is in them. `tokens`: measures rows, in a second pass over the training files.

    Raises:
        DataError: the column to group by is missing. SettingsError: an unknown format. What is wrong with rows or files is a finding.
    """
    counted, other = Counted(options), Counted(replace(options, group=None))
    for source in train:
        counted.read(source)
    for source in validation:
        other.read(source)
    if tokens is not None:
        _measure(counted, tokens)
    repeats = Repeats(counted, other)
    findings = [finding for file in (*counted.files, *other.files) for finding in file.findings()]
    findings += [*_parts(counted), *_number(counted, repeats), *repeats.findings(), *_of_content(counted, other, tokens)]
    return Survey(counted, repeats, _report(counted, other, repeats, ordered(findings), tokens))


def _measure(counted: Counted, tokens: Tokens) -> None:
    number = 0
    tokens.choose(len(counted.columns))
    for file in counted.files:
        if file.rows:
            for row in load.stream(file.source, file.recognized):
                if not isinstance(row, Faulty | Skipped) and number < file.first + file.rows:
                    tokens.add(row, number)
                    number += 1


def _report(train: Counted, validation: Counted, repeats: Repeats, findings: tuple[Finding, ...], tokens: Tokens | None) -> Report:
    columns = train.columns
    files = [(file, "training") for file in train.files] + [(file, "validation") for file in validation.files]
    with_prompt = any(file.kind not in WITHOUT_PROMPT for file in train.files)
    return Report(
        files=tuple(_figures(file, use) for file, use in files),
        rows=len(columns),
        different=len(columns) - len(repeats.later),
        validation_rows=len(validation.columns),
        findings=findings,
        lengths=_lengths(columns, columns.lengths),
        answers=_lengths(columns, columns.answers) if with_prompt else None,
        labels=tuple(LabelFigures(name, count, validation.labels.counts.get(name, 0)) for name, count in train.labels.ranked()),
        coverage=train.coverage.covered(),
        pairs=PairFigures(train.pairs.total, train.pairs.longer_preferred) if train.pairs.total else None,
        agreement=_agreement(train),
        group_column=train.groups.column if train.groups else "",
        groups=train.groups.figures() if train.groups else (),
        tokens=tokens.figures(columns.places) if tokens else None,
        near_duplicates=train.signatures is not None,
    )


def _figures(file: FileCounts, use: str) -> FileFigures:
    name, mapping = (file.recognized.format, file.recognized.mapping) if file.recognized else ("", "")
    return FileFigures(file.source.path, use, name, mapping, file.kind, file.rows, file.faults.total, file.skipped.total)


def _lengths(columns: Columns, column: "array[int]") -> Distribution | None:
    lengths = view(column)
    return distribution(lengths, "characters", columns.places.place(int(lengths.argmax()))) if len(lengths) else None


def _agreement(counted: Counted) -> tuple[AgreementFigures, ...]:
    found = []
    for what, units, distance in counted.raters.agreements():
        several = sum(len(values) > 1 for values in units.values())
        if several:
            found.append(AgreementFigures(what, several, agreement.alpha(units, distance), agreement.by_rater(units, distance)))
    return tuple(found)


def _of_content(train: Counted, validation: Counted, tokens: Tokens | None) -> list[Finding]:
    """What the counts say by themselves."""
    places = train.columns.places
    labeled = view(train.labeled)
    contradictions = [labeled[rows] for rows in disputed(view(train.questions), view(train.columns.keys)[labeled])]
    return [
        *_marks(train),
        *train.coverage.findings(),
        *labels.findings(train.labels, validation.labels, contradictions, places),
        *train.pairs.findings(places),
        *train.rankings.findings(places),
        *train.raters.findings(),
        *(train.groups.findings() if train.groups else ()),
        *(tokens.findings(places) if tokens else ()),
    ]


def _parts(counted: Counted) -> list[Finding]:
    """Files of several parts that were read as one."""
    found = []
    for file in counted.files:
        parts = file.recognized.parts if file.recognized else ()
        if parts and file.source.split is None:
            text = (
                f"{file.source.path} holds several parts, {listed(parts, 'and')}, which were read as one here. A run must be told which to "
                f"learn from; `--split {'train' if 'train' in parts else parts[0]}` checks one of them."
            )
            found.append(Finding("advice", "several-parts", text, len(parts), (file.source.path,)))
    return found


def _number(counted: Counted, repeats: Repeats) -> list[Finding]:
    """Too few rows."""
    rows = len(counted.columns)
    different = rows - len(repeats.later)
    if different >= FEW or (not rows and any(file.unreadable for file in counted.files)):
        return []
    be, noun = ("is", "row") if different == 1 else ("are", "rows")
    which = f"different {noun}" if different < rows else noun
    if different < TOO_FEW:
        number = f"only {different}" if different else "no"
        text = f"There {be} {number} {which} to learn from: so few would be learned by heart. Give at least {TOO_FEW}."
        return [Finding("error", "too-few-rows", text, rows)]
    text = f"There are {different} {which}. That is enough to set a tone or a form; for a task, most gain from {FEW} and more."
    return [Finding("advice", "few-rows", text, rows)]


def _marks(counted: Counted) -> list[Finding]:
    """Special tokens that texts spell out."""
    ranked = counted.marks.ranked()
    if not ranked:
        return []
    names = ", ".join(f"`{name}` ({count:,})" for name, count in ranked[:MARKS_SHOWN]) + (", …" if len(ranked) > MARKS_SHOWN else "")
    where = tuple(dict.fromkeys(place for name, _ in ranked for place in counted.marks.places[name]))[:5]
    text = (
        f"Texts spell out special tokens: {names}{at(where, len(where))}. They are learned as ordinary text, never as the end or "
        f"start of a turn. If they come from another template, take them out."
    )
    return [Finding("warning", "special-tokens-in-text", text, counted.marks.total, where)]
