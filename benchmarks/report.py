"""The table for the README, from the newest results: `python -m benchmarks.report [RESULTS.json]`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.results import GIB, CaseResult, Measurement, Results, Round, Spread, as_table, newest, read

HEAD = ("work", "Luthier", "TRL", "speed", "share of the limit", "peak memory", "time to the first step")


def one_line(measured: Round) -> str:
    """One round in words, while it is measured."""
    parts = [f"Luthier {_told(measured.ours)}, {measured.ours.tokens_per_second / measured.limit.tokens_per_second:.0%} of the limit"]
    if measured.peer is not None:
        ratio = measured.ours.tokens_per_second / measured.peer.tokens_per_second
        parts.append(f"TRL {_told(measured.peer)}: {ratio:.2f}×")
    return "; ".join(parts)


def _told(side: Measurement) -> str:
    return f"{side.tokens_per_second:,.0f} tokens/s, {side.peak_bytes / GIB:.2f} GiB, first step after {side.first_step_s:.0f} s"


def markdown(found: Results) -> str:
    """Table, machine, date and largest model, where the time to the first step goes, and what TRL was set to."""
    rows = [HEAD, *(_row(case) for case in found.cases.values())]
    return "\n".join([as_table(rows), "", _machine(found), "", *_details(found)]).rstrip()


def _row(case: CaseResult) -> tuple[str, ...]:
    ours = [r.ours for r in case.rounds]
    theirs = [r.peer for r in case.rounds if r.peer is not None]
    share = case.ratios["share_of_limit"]
    own = (case.title, f"{_median(m.tokens_per_second for m in ours):,.0f} tokens/s")
    of_limit = f"{share.median:.0%} ({share.low:.0%}–{share.high:.0%})"
    if not theirs:
        return (*own, "not measured", "", of_limit, _gib(ours), f"{_median(m.first_step_s for m in ours):.0f} s")
    memory, first = case.ratios["peak_bytes"], case.ratios["first_step_s"]
    return (
        *own,
        f"{_median(m.tokens_per_second for m in theirs):,.0f} tokens/s",
        f"**{case.ratios['tokens_per_second'].text(1, '×')}**",
        of_limit,
        f"{_gib(ours)} to {_gib(theirs)}: {memory.text(2, '×')}",
        f"{_median(m.first_step_s for m in ours):.0f} s to {_median(m.first_step_s for m in theirs):.0f} s: {first.text(2, '×')}",
    )


def _median(values: Iterable[float]) -> float:
    return Spread.of(values).median


def _gib(sides: list[Measurement]) -> str:
    return f"{_median(m.peak_bytes / GIB for m in sides):.1f} GiB"


def _machine(found: Results) -> str:
    cases = found.cases.values()
    largest = max(cases, key=lambda case: case.num_parameters)
    peak = max(r.ours.peak_bytes for r in largest.rounds) / GIB
    return (
        f"Measured {found.date} on {found.machine}; threads: {_each(case.threads for case in cases)}; rounds in alternation: "
        f"{_each(len(case.rounds) for case in cases)}, of which the median stands first and the lowest and highest in brackets; "
        f"rows: {_each(case.rows for case in cases)}. The largest model measured here: {largest.shape}, "
        f"{_count(largest.num_parameters)} parameters, in {peak:.1f} GiB at most."
    )


def _each(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _count(number: int) -> str:
    return f"{number / 1e6:,.0f} million" if number >= 1e6 else f"{number:,}"


def _details(found: Results) -> Iterator[str]:
    """What the table has no room for."""
    for case in found.cases.values():
        start = {name: _median(r.ours.startup[name] for r in case.rounds) for name in case.rounds[0].ours.startup}
        yield f"- {case.title}, Luthier's way to the end of step 1: " + ", ".join(f"{name} {s:.1f} s" for name, s in start.items()) + "."
        if case.peer is not None:
            tried = f", the fastest of {len(case.sweep)} settings" if case.sweep else ""
            whole = case.ratios["whole_run_tokens_per_second"].text(1, "×")
            yield (
                f"- {case.title}, TRL: {case.peer}{tried}. Loss of the first and last step: {_losses(case)}. "
                f"The whole run of {len(case.rounds[0].ours.steps)} steps, start and end included: {whole}."
            )


def _losses(case: CaseResult) -> str:
    """`10.374 and 10.341 (Luthier 10.374 and 10.340)`, TRL's first."""
    both = [[f"{side.steps[i].loss:.3f}" for i in (0, -1)] for side in (case.rounds[0].peer, case.rounds[0].ours) if side is not None]
    theirs, mine = (" and ".join(words) for words in both)
    return f"{theirs} (Luthier {mine})"


def main(arguments: list[str]) -> None:
    path = Path(arguments[0]) if arguments else newest()
    print(markdown(read(path)))
    figure = path.with_suffix(".svg")
    if figure.is_file():
        print(f"\n![Speed, memory and start, Luthier beside TRL](benchmarks/results/{figure.name})")


if __name__ == "__main__":
    main(sys.argv[1:])
