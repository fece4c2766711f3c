"""What a check tells, in one record: findings, most serious first, and figures. Screen, page and `--json` all show this."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from luthier.data.survey.coverage import Covered
from luthier.data.survey.groups import Group
from luthier.data.survey.lengths import Distribution
from luthier.data.survey.tokens import TokenFigures
from luthier.spec.finding import Finding

ORDER = ("error", "warning", "advice")


class FileFigures(msgspec.Struct, frozen=True):
    """One file. `use`: `training` or `validation`. `kind`: of its rows, such as `conversations`."""

    path: str
    use: str
    format: str
    mapping: str
    kind: str
    rows: int
    faulty: int
    skipped: int


class LabelFigures(msgspec.Struct, frozen=True):
    name: str
    train: int
    validation: int


class PairFigures(msgspec.Struct, frozen=True):
    """`longer_preferred`: share of the pairs with answers of different lengths in which the longer one is the better."""

    total: int
    longer_preferred: float | None


class AgreementFigures(msgspec.Struct, frozen=True):
    """Krippendorff's α over all raters, and of each with the others."""

    what: str
    units: int
    alpha: float | None
    raters: dict[str, tuple[float, int]]


class LeftOut(msgspec.Struct, frozen=True):
    """Rows that a clean copy leaves out for one reason. `lines`: (first, last) of stretches of lines."""

    why: str
    count: int
    lines: tuple[tuple[int, int], ...]


class Fixed(msgspec.Struct, frozen=True):
    """A clean copy: where it lies (empty: nowhere, because no row was left), how many rows it has, and what was left out."""

    path: str
    kept: int
    left_out: tuple[LeftOut, ...]


class Report(msgspec.Struct, frozen=True):
    """`rows`: those that can be learned from, repeated ones included; `different`: without repetitions."""

    files: tuple[FileFigures, ...]
    rows: int
    different: int
    validation_rows: int
    findings: tuple[Finding, ...]
    lengths: Distribution | None
    answers: Distribution | None
    labels: tuple[LabelFigures, ...] = ()
    coverage: tuple[Covered, ...] = ()
    pairs: PairFigures | None = None
    agreement: tuple[AgreementFigures, ...] = ()
    group_column: str = ""
    groups: tuple[Group, ...] = ()
    tokens: TokenFigures | None = None
    predicted_seconds: float | None = None
    """Of a run on these rows, at the default settings, on this machine."""
    near_duplicates: bool = False
    """Whether they were looked for."""
    fixed: Fixed | None = None

    @property
    def ready(self) -> bool:
        return all(finding.severity != "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """`Ready to train`, or how many errors keep from it."""
        return verdict(self.findings)

    @property
    def summary(self) -> str:
        """`2 warnings · 9,993 rows · 800 for validation`"""
        rows = [f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}"]
        rows += [f"{self.validation_rows:,} for validation"] if self.validation_rows else []
        return " · ".join([*counts(self.findings), *rows])


def verdict(findings: Iterable[Finding]) -> str:
    """`Ready to train`, or how many errors keep from it."""
    errors = sum(finding.severity == "error" for finding in findings)
    return f"Not ready: {errors:,} {'error' if errors == 1 else 'errors'}" if errors else "Ready to train"


def counts(findings: Iterable[Finding]) -> list[str]:
    """`2 warnings`, `1 remark`: what is no error."""
    number = Counter(finding.severity for finding in findings)
    found = {"warning": number["warning"], "remark": number["advice"]}
    return [f"{many:,} {word}{'s' if many > 1 else ''}" for word, many in found.items() if many]


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first; of one severity what concerns most rows first."""
    return tuple(sorted(findings, key=lambda finding: (ORDER.index(finding.severity), -finding.count)))
