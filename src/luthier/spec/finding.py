"""What a check found, in one shape for data files and runs: how bad it is, what it is, where, and what to do."""

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "advice"]


class Finding(msgspec.Struct, frozen=True):
    """`message` is a whole sentence with the place and the remedy. `code` names the kind, in kebab-case, for programs and tests.

    `error`: training would fail or be wrong, so it is refused. `warning`: surely not meant. `advice`: worth knowing.
    """

    severity: Severity
    code: str
    message: str
    count: int = 1
    """How many rows (or settings) it concerns."""
    places: tuple[str, ...] = ()
    """The first few of them, as `file:line` or a settings key."""
