"""What a plan looks like in a terminal: the verdict, memory by phase and part, then disk, time, energy, money and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from luthier.recipes.quantities import duration, energy, memory

if TYPE_CHECKING:  # a plan is made with torch, but every command is found without it
    from luthier.recipes.fit import Fitted
    from luthier.recipes.phases import Phase
    from luthier.recipes.plan import Plan

BLOCKS = " ▏▎▍▌▋▊▉█"
BAR = 28
"""Letters of the longest bar."""

LEAST_SHOWN = 0.005
"""Parts with a smaller share of the peak are left out."""

WORDS = {
    "program": "program and rows",
    "optimizer": "optimizer",
    "copy": "second copy",
    "file": "file being read",
    "scattered": "allocator",
}
"""Parts that need more words than their name."""


def show(console: Console, plan: Plan, fitted: Fitted | None, named_room: str | None) -> None:
    """All of it."""
    _verdict(console, plan, named_room)
    if fitted is not None:
        _proposal(console, fitted)
    _head(console, plan)
    console.print("\n[bold]Memory[/bold]  [dim]the most that is held in each phase of the run[/dim]")
    console.print(Padding(_phases(plan), (0, 0, 0, 2)))
    console.print(f"\n[bold]Where it goes[/bold]  [dim]at the peak: {plan.peak.name}[/dim]")
    console.print(Padding(_parts(plan.peak), (0, 0, 0, 2)))
    console.print("\n[bold]Besides[/bold]")
    console.print(Padding(_besides(plan), (0, 0, 0, 2)))
    _notes(console, plan)


def _verdict(console: Console, plan: Plan, named_room: str | None) -> None:
    where = f"{named_room}" if named_room else f"the {memory(plan.room)} that this machine has left"
    needed = f"{memory(plan.peak.bytes)} at the peak ({plan.peak.name})"
    sign, style, verb = ("✓", "bold green", "fits into") if plan.fits else ("✗", "bold red", "does not fit into")
    console.print(f"[{style}]{sign} It {verb} {escape(where)}[/]: {needed}.", soft_wrap=True)
    if plan.disk.checkpoints + plan.disk.artefact > plan.disk.free:
        needs = memory(plan.disk.checkpoints + plan.disk.artefact)
        text = f"The disk has {memory(plan.disk.free)} free, checkpoints need {needs}: set checkpoints.keep_states=1 or another --out."
        console.print(f"[bold red]✗[/] {text}", soft_wrap=True)


def _proposal(console: Console, fitted: Fitted) -> None:
    if fitted.settings and fitted.plan.fits:
        console.print(f"  With these settings it does ({memory(fitted.plan.peak.bytes)}):")
        console.print(f"  [cyan]{escape(' '.join(fitted.settings))}[/]", soft_wrap=True)
        return
    best = f" The best found is {memory(fitted.plan.peak.bytes)} with {' '.join(fitted.settings)}." if fitted.settings else ""
    console.print(f"  No settings make it fit: take a smaller model.{escape(best)}", soft_wrap=True)


def _head(console: Console, plan: Plan) -> None:
    work, table = plan.workload, _grid()
    table.add_row("[dim]model[/]", f"{escape(plan.model)}, {plan.parameters:,} parameters in {plan.dtype}")
    share = plan.trainable / plan.parameters
    times = f", {plan.parameters / plan.trainable:,.0f} times fewer" if share < 0.1 else ""
    table.add_row("[dim]learn[/]", f"{plan.trainable:,} ({share:.2%}{times}), {escape(plan.method)} with {escape(plan.adapter)}")
    rows = f"{work.num_rows:,} rows, {work.num_tokens:,} tokens, longest {work.longest:,}; {work.num_steps:,} steps"
    table.add_row("[dim]work[/]", rows)
    at_once = f"{work.load.num_tokens:,} tokens at most (train.token_budget={plan.token_budget})"
    table.add_row("[dim]at once[/]", at_once)
    console.print()
    console.print(Padding(table, (0, 0, 0, 2)))


def _phases(plan: Plan) -> Table:
    table, most = _grid(), max(plan.peak.bytes, plan.room if plan.room < 2 * plan.peak.bytes else 0)
    for phase in plan.phases:
        peak = phase is plan.peak
        style = ("green" if plan.fits else "red") if peak else "cyan" if phase.bytes <= plan.room else "red"
        name = f"[bold]{phase.name}[/]" if peak else phase.name
        if phase.name == "certificate" and plan.certified_layers != "all":
            name += f" [dim]({plan.certified_layers} layers)[/]"
        table.add_row(name, f"[{style}]{bar(phase.bytes / most)}[/]", memory(phase.bytes), "[bold]← peak[/]" if peak else "")
    return table


def _parts(phase: Phase) -> Table:
    table, most = _grid(), max(phase.parts.values())
    for part, size in sorted(phase.parts.items(), key=lambda item: -item[1]):
        if size < LEAST_SHOWN * phase.bytes:
            continue
        table.add_row(WORDS.get(part, part), f"[cyan]{bar(size / most)}[/]", memory(size), f"[dim]{size / phase.bytes:.0%}[/]")
    return table


def _besides(plan: Plan) -> Table:
    effort, disk, table = plan.effort, plan.disk, _grid()
    kept = f"{memory(disk.checkpoints)} of checkpoints, {memory(disk.artefact)} for the result; {memory(disk.free)} free"
    table.add_row("[dim]disk[/]", kept)
    if effort.seconds is None or effort.energy_wh is None or effort.tokens_per_second is None:
        table.add_row("[dim]time[/]", "unknown: run with --probe")
        return table
    how = "measured" if effort.source == "measured" else "a rough estimate; --probe measures"
    table.add_row("[dim]time[/]", f"{duration(effort.seconds)}, {effort.tokens_per_second:,.0f} tokens/s [dim]({how})[/]")
    table.add_row("[dim]energy[/]", f"{energy(effort.energy_wh)} [dim](an estimate, at {effort.watts:.0f} W)[/]")
    if effort.cost is not None:
        table.add_row("[dim]money[/]", f"{effort.cost:,.2f} € at {effort.price_an_hour:g} €/h")
    return table


def _notes(console: Console, plan: Plan) -> None:
    console.print()
    if plan.error is not None:
        error = plan.error
        text = f"Measured error of the memory estimate: ±{error.largest:.0%} at most, ±{error.median:.0%} in the median"
        console.print(f"[dim]{text}, on {error.num} configurations, {error.date}.[/]", soft_wrap=True)
    for note in plan.assumed:
        console.print(f"[dim]Assumed: {escape(note)}.[/]", soft_wrap=True)


def bar(share: float) -> str:
    """A bar of at most `BAR` letters, in eighths of a letter."""
    eighths = round(max(0.0, min(1.0, share)) * BAR * 8)
    return ("█" * (eighths // 8) + BLOCKS[eighths % 8]).ljust(BAR)


def _grid() -> Table:
    return Table(show_header=False, box=None, padding=(0, 2, 0, 0))
