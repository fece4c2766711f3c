"""Faults of the data files themselves: what a survey of them finds that matters in a run."""

import re
from collections.abc import Iterator, Sequence

import msgspec

from luthier.data import files
from luthier.data.survey.counted import Options
from luthier.data.survey.marks import KNOWN, pattern
from luthier.data.survey.survey import survey
from luthier.recipes.faults.kept import kept
from luthier.spec.finding import Finding, Severity
from luthier.spec.run import DataSource, RunSpec
from luthier.text.renderer import Renderer

OF_RUNS = frozenset(
    {
        "duplicate-rows",
        "shared-rows",
        "nearly-shared-rows",
        "special-tokens-in-text",
        "contradicting-labels",
        "labels-without-training",
        "equal-pair",
        "empty-pair",
        "pairs-differ-by-one-word",
        "pairs-differ-in-length-only",
        "length-bias",
        "contradicting-rankings",
        "rater-disagrees",
    }
)
"""Findings that are a run's affair. How much data there is, and of what, is for `luthier check FILE`: a run may well be small."""

NEAR_BYTES = 20_000_000
"""Files that are larger together are not searched for validation rows that are nearly training rows: that takes a minute a million."""

FEW_ARE_USUAL = frozenset({"duplicate-rows", "contradicting-labels"})
MANY = 0.2
"""Share of the rows that may stand there twice, or under two labels, without a warning: real data are so."""


def of_rows(spec: RunSpec, renderer: Renderer) -> list[Finding]:
    """Rows that repeat, contradict each other, stand on both sides, or spell out special tokens; and every row that cannot be used.

    Raises:
        DataError: a file that is not there. SettingsError: an unknown format.
    """
    train, validation = list(spec.data.train), list(spec.data.validation)
    own = pattern(renderer.marker_texts).pattern  # those of other models, too: rows that went through another template before
    marks = f"{own}|{KNOWN.pattern}"
    return kept({"train": train, "validation": validation}, marks, lambda: list(_found(train, validation, re.compile(marks))))


def _found(train: Sequence[DataSource], validation: Sequence[DataSource], marks: re.Pattern[str]) -> Iterator[Finding]:
    size = sum(files.existing(source.path).stat().st_size for source in (*train, *validation))
    report = survey(train, validation, Options(near_duplicates=bool(validation) and size <= NEAR_BYTES, marks=marks)).report
    for finding in report.findings:
        if finding.code in OF_RUNS or (finding.severity == "error" and finding.code != "too-few-rows"):
            few = finding.code in FEW_ARE_USUAL and finding.count <= MANY * report.rows
            mild = few or finding.code == "nearly-shared-rows"  # where rows are alike by nature, some are alike on both sides
            severity: Severity = "advice" if mild else "warning" if finding.code == "single-label" else finding.severity
            yield msgspec.structs.replace(finding, severity=severity)
