"""What a check looks like in a terminal: the verdict, findings with the worst first, then figures."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from luthier.data.survey.lengths import Distribution, span
from luthier.data.survey.places import named
from luthier.data.survey.report import FileFigures, Fixed, LabelFigures, Report, counts, verdict
from luthier.recipes.quantities import duration
from luthier.spec.finding import Finding

SIGNS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "advice": ("→", "cyan")}
BLOCKS = " ▏▎▍▌▋▊▉█"
BAR = 32
"""Letters of the longest bar."""
LABELS = 12


def show(report: Report, page: Path | None) -> None:
    """All of it."""
    console = Console(highlight=False)
    _verdict(console, report.verdict, report.ready, report.summary)
    _files(console, report.files)
    _findings(console, report.findings)
    _lengths(console, report)
    _labels(console, report.labels)
    _judgements(console, report)
    _coverage(console, report)
    _groups(console, report)
    if report.fixed is not None:
        _fixed(console, report.fixed)
    if page is not None:
        _heading(console, "The page")
        console.print(f"  {page}", soft_wrap=True)


def show_findings(name: str, findings: Sequence[Finding]) -> None:
    """What a preflight found in a run file."""
    console = Console(highlight=False)
    ready = all(finding.severity != "error" for finding in findings)
    _verdict(console, verdict(findings), ready, " · ".join([*counts(findings), name]))
    _findings(console, findings)


def _verdict(console: Console, sentence: str, ready: bool, rest: str) -> None:
    sign, style = ("✓", "bold green") if ready else ("✗", "bold red")
    console.print(f"[{style}]{sign} {sentence}[/]  [dim]{escape(rest)}[/]", soft_wrap=True)


def _files(console: Console, files: Sequence[FileFigures]) -> None:
    console.print()
    for file in files:
        use = "" if len({file.use for file in files}) == 1 else f"{file.use}, "
        rows = f"{file.rows:,} {file.kind}" if file.kind else "no row"
        without = [f"{file.faulty:,} that can't be used"] if file.faulty else []
        without += [f"{file.skipped:,} passed over"] if file.skipped else []
        console.print(f"[bold]{escape(file.path)}[/]  {use}{rows}{f', and {chr(44).join(without)}' if without else ''}", soft_wrap=True)
        if file.format:
            console.print(Padding(f"[dim]{escape(file.format)}: {escape(file.mapping)}[/]", (0, 0, 0, 2)))


def _findings(console: Console, findings: Sequence[Finding]) -> None:
    if not findings:
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=112)
    for finding in findings:
        sign, style = SIGNS[finding.severity]
        table.add_row(f"[{style}]{sign}[/]", f"{escape(finding.message)} [dim]{finding.code}[/]")
    console.print()
    console.print(table)


def _lengths(console: Console, report: Report) -> None:
    tokens = report.tokens
    shown = tokens.lengths if tokens is not None and tokens.lengths is not None else report.lengths
    if shown is None:
        return
    _heading(console, f"Lengths of rows, in {shown.unit}")
    console.print(Padding(_histogram(shown, tokens.context if tokens is not None else None), (0, 0, 0, 2)))
    facts = [_quantiles(shown)]
    if report.answers is not None and tokens is None:
        facts.append(f"answers: half have up to {report.answers.quantiles[50]:,}, the longest {report.answers.quantiles[100]:,}")
    if tokens is not None:
        about = "" if tokens.every == 1 else "about "
        facts.append(
            f"{about}{tokens.total:,} tokens, {about}{tokens.learned:,} of them learned; context of {tokens.model}: {tokens.context:,}"
        )
        facts += [f"measured on every {tokens.every}th row"] if tokens.every > 1 else []
    if report.predicted_seconds is not None:
        facts.append(f"a run at the default settings takes about {duration(report.predicted_seconds)} here (estimated)")
    for fact in facts:
        console.print(f"  [dim]{escape(fact)}[/]")


def _quantiles(shown: Distribution) -> str:
    q = shown.quantiles
    return f"half have up to {q[50]:,}, 95 % up to {q[95]:,}, the longest {q[100]:,} ({shown.longest_at})"


def _histogram(shown: Distribution, context: int | None) -> Table:
    table = _table()
    table.add_column(justify="right", style="dim")
    table.add_column()
    table.add_column(justify="right")
    most = max(part.count for part in shown.bins)
    for part in shown.bins:
        beyond = context is not None and part.low > context
        table.add_row(span(part), f"[{'red' if beyond else 'blue'}]{bar(part.count / most)}[/]", f"{part.count:,}" if part.count else "")
    return table


def bar(share: float, width: int = BAR) -> str:
    """A bar of that share of the width, to an eighth of a letter; what is not nothing is seen."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + BLOCKS[eighths % 8].strip()


def _labels(console: Console, labels: Sequence[LabelFigures]) -> None:
    if not labels:
        return
    total = sum(label.train for label in labels)
    _heading(console, f"{len(labels):,} labels")
    table = _table()
    table.add_column(overflow="fold", max_width=48)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    half = LABELS // 2
    for number, label in enumerate(labels):
        if len(labels) > LABELS and half <= number < len(labels) - half:
            if number == half:
                table.add_row("[dim]…[/]", "", "", "")
            continue
        own = f"{label.validation:,} for validation" if any(label.validation for label in labels) else ""
        line = f"{label.train:,}  [dim]{label.train / total:.1%}[/]"
        table.add_row(escape(label.name), f"[blue]{bar(label.train / labels[0].train, BAR // 2)}[/]", line, own)
    console.print(Padding(table, (0, 0, 0, 2)))


def _judgements(console: Console, report: Report) -> None:
    if report.pairs is not None:
        _heading(console, "Pairs")
        share = report.pairs.longer_preferred
        console.print(f"  the longer answer is preferred in {'–' if share is None else f'{share:.1%}'} of {report.pairs.total:,} pairs")
    for agreed in report.agreement:
        _heading(console, f"Agreement between raters about {escape(agreed.what)}")
        alpha = "–" if agreed.alpha is None else f"{agreed.alpha:.2f}"
        console.print(f"  Krippendorff's α = {alpha} over {agreed.units:,} common judgements  [dim](1: all agree, 0: chance)[/]")
        for rater, (own, units) in sorted(agreed.raters.items(), key=lambda item: item[1]):
            console.print(f"  [dim]{escape(rater)}: {own:.2f} with the others, on {units:,}[/]")


def _coverage(console: Console, report: Report) -> None:
    for covered in report.coverage:
        _heading(console, f"{covered.number:,} {covered.what}s")
        table = _table()
        table.add_column(overflow="ellipsis", no_wrap=True, max_width=64)
        table.add_column(justify="right")
        table.add_column()
        for share in covered.shares:
            table.add_row(
                escape(" ".join(share.name.split())), f"{share.count:,}  [dim]{share.share:.1%}[/]", "[yellow]rare[/]" if share.rare else ""
            )
        console.print(Padding(table, (0, 0, 0, 2)))


def _groups(console: Console, report: Report) -> None:
    if not report.groups:
        return
    _heading(console, f"By {escape(report.group_column)}")
    names = list(report.groups[0].rates)[:6]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("group")
    table.add_column("rows", justify="right")
    for name in names:
        table.add_column(escape(name), justify="right")
    for group in report.groups[:40]:
        rates = (f"{group.rates[name]:.1%}" if report.labels else f"{group.rates[name]:.2f}" for name in names)
        table.add_row(escape(group.name), f"{group.count:,}", *rates)
    console.print(Padding(table, (0, 0, 0, 2)))


def _fixed(console: Console, fixed: Fixed) -> None:
    _heading(console, "The clean copy")
    left = sum(part.count for part in fixed.left_out)
    where = f"{escape(fixed.path)}: {fixed.kept:,} rows kept" if fixed.kept else "not written, because no row is left"
    console.print(f"  {where}, {left:,} lines left out", soft_wrap=True)
    for part in fixed.left_out:
        lines = named(line for first, last in part.lines for line in range(first, last + 1))
        console.print(Padding(f"[dim]{lines}:[/] {escape(part.why)}", (0, 0, 0, 4)))


def _table() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/]")
