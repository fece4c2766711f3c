"""The tables for the README, from the newest results: `python -m benchmarks.report [RESULTS.json]`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.results import GIB, CaseResult, Measurement, Results, Round, SidesResult, Spread, as_table, newest, read

HEAD = ("work", "Luthier", "TRL", "speed", "share of the limit", "peak memory", "time to the first step")
INSIDE = ("work", "one", "the other", "ratio", "aim")


def one_line(measured: Round) -> str:
    """One round in words, while it is measured."""
    parts = [f"Luthier {_told(measured.ours)}"]
    if measured.limit is not None:
        parts[0] += f", {measured.ours.tokens_per_second / measured.limit.tokens_per_second:.0%} of the limit"
    if measured.peer is not None:
        ratio = measured.ours.tokens_per_second / measured.peer.tokens_per_second
        parts.append(f"TRL {_told(measured.peer)}: {ratio:.2f}×")
    return "; ".join(parts)


def _told(side: Measurement) -> str:
    a_step = side.steady_s / len(side.steps[1:])
    speed = f"{side.tokens_per_second:,.0f} tokens/s ({a_step:,.1f} s a step)"
    return f"{speed}, {side.peak_bytes / GIB:.2f} GiB, first step after {side.first_step_s:.0f} s"


def markdown(found: Results) -> str:
    """Tables, machine, date and largest model, where the time to the first step goes, and what TRL was set to."""
    parts = []
    if found.cases:
        parts += [as_table([HEAD, *map(_row, found.cases.values())]), _machine(found), "\n".join(_details(found))]
    if found.inside:
        parts += [as_table([INSIDE, *map(_inside, found.inside.values())]), "\n".join(_notes(found))]
    return "\n\n".join(part for part in parts if part)


def _row(case: CaseResult) -> tuple[str, ...]:
    ours = [r.ours for r in case.rounds]
    theirs = [r.peer for r in case.rounds if r.peer is not None]
    share = case.ratios.get("share_of_limit")
    own = (case.title, case.speed(ours))
    of_limit = f"{share.median:.0%} ({share.low:.0%}–{share.high:.0%})" if share else ""
    if not theirs:
        return (*own, "not measured", "", of_limit, _gib(ours), f"{_median(m.first_step_s for m in ours):.0f} s")
    memory, first = case.ratios["peak_bytes"], case.ratios["first_step_s"]
    return (
        *own,
        case.speed(theirs),
        f"**{case.ratios['tokens_per_second'].text(1, '×')}**",
        of_limit,
        f"{_gib(ours)} to {_gib(theirs)}: {memory.text(2, '×')}",
        f"{_median(m.first_step_s for m in ours):.0f} s to {_median(m.first_step_s for m in theirs):.0f} s: {first.text(2, '×')}",
    )


def _inside(case: SidesResult) -> tuple[str, ...]:
    medians = [_median(r[i] for r in case.rounds) for i in (0, 1)]
    digits = 0 if min(medians) >= 100 else 2
    first, second = (f"{name}: {value:,.{digits}f} {case.unit}" for name, value in zip(case.sides, medians, strict=True))
    return case.title, first, second, f"**{case.ratio.text(2, '×')}**", case.aim


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
                f"- {case.title}, TRL: {case.peer}{tried}. {_same(case)}"
                f"The whole run of {len(case.rounds[0].ours.steps)} steps, start and end included: {whole}.{_second_epoch(case)}"
            )


def _same(case: CaseResult) -> str:
    """That both sides began with the same, and where the losses ended: `entropy of the first step: 10.374 (Luthier 10.373)`."""
    theirs, mine = case.rounds[0].peer, case.rounds[0].ours
    assert theirs is not None
    if set(theirs.facts) <= {"loss"}:  # older results have none
        return f"Loss of the first and last step: {_losses(theirs)} (Luthier {_losses(mine)}). "
    told = "; ".join(f"{name} of the first step: {theirs.facts[name]:,.3f} (Luthier {mine.facts[name]:,.3f})" for name in theirs.facts)
    return f"{told[0].upper()}{told[1:]}. "


def _losses(side: Measurement) -> str:
    return " and ".join(f"{side.steps[i].loss:.3f}" for i in (0, -1))


def _second_epoch(case: CaseResult) -> str:
    """What a reference says of the rows is in these figures; where it takes no more than a moment, nothing is said."""
    shares = [r.ours.kept_s / sum(s.seconds for s in r.ours.steps) for r in case.rounds]
    ratio = case.ratios.get("second_epoch_tokens_per_second")
    if ratio is None or max(shares) < 0.02:
        return ""
    return f" The reference, {_median(shares):.0%} of Luthier's time, is computed once: in a second epoch {ratio.text(1, '×')}."


def _notes(found: Results) -> Iterator[str]:
    for case in found.inside.values():
        where = f"{case.shape}, {case.threads} threads, {len(case.rounds)} rounds, {case.measured[:10]}"
        yield f"- {case.title} ({where}): {' '.join(case.notes)}".rstrip(": ")


def main(arguments: list[str]) -> None:
    path = Path(arguments[0]) if arguments else newest()
    print(markdown(read(path)))
    figure = path.with_suffix(".svg")
    if figure.is_file():
        print(f"\n![Speed, memory and start, Luthier beside TRL](benchmarks/results/{figure.name})")


if __name__ == "__main__":
    main(sys.argv[1:])
