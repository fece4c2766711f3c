"""The statuses of a job, and the only ways from one to another."""

NEXT: dict[str, frozenset[str]] = {
    "validating_files": frozenset({"validating_files", "queued", "failed", "cancelled"}),  # itself: its worker died
    "queued": frozenset({"running", "paused", "failed", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "paused", "queued"}),  # queued: its worker died, or it is worth another try
    "paused": frozenset({"queued", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

ENDED = frozenset(status for status, following in NEXT.items() if not following)
OPEN = frozenset({"validating_files", "queued"})
"""What a worker may take."""


def refuses(before: str, after: str) -> str | None:
    """Why a job cannot go from one status to another; None where it can."""
    if after in NEXT[before]:
        return None
    return f"has {before} already" if before in ENDED else f"is {before}, from where it cannot become {after}"
