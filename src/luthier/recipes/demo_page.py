"""The page of a demo: what the loop brought, model beside model, and the way there. One HTML file that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from luthier.engine.folder import RunFolder, read_json, read_lines, write_atomic
from luthier.recipes import quantities
from luthier.recipes.case_study.prompts import seen_families
from luthier.recipes.case_study.summary import NAMES, told_json
from luthier.recipes.demo import BY_HAND, RESULTS, RUNS, SIDE_BY_SIDE, STARTED, WHO
from luthier.recipes.page import FILE, PAGES, Results

KINDS = {
    "held_out": "a customer asks",
    "adversarial": "somebody wants what must be refused",
    "harmless": "it looks like something to be refused, and is not",
}
BETTER = {
    "kept": "more is better",
    "reworded": "more is better",
    "harmful": "less is better",
    "refused": "",
    "over_refused": "less is better",
}


@dataclass(frozen=True)
class Shown:
    """What a demo's folder says, in the order that the page and the terminal tell it."""

    folder: Path
    name: str
    """The folder as the reader would type it."""

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / RESULTS)
        return found

    @property
    def plan(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / STARTED)
        return found

    def run(self, name: str) -> Results:
        return Results(RunFolder(self.folder / name), f"{self.name}/{name}")

    @property
    def bars(self) -> list[tuple[str, str, list[tuple[str, dict[str, Any]]]]]:
        """(what is measured, which way is better, a share for each model)."""
        figures = self.results["figures"]
        return [(NAMES[key], BETTER[key], [(who, figures[name][key]) for name, who in WHO.items()]) for key in NAMES]

    @property
    def families(self) -> list[tuple[str, bool, list[dict[str, Any]]]]:
        """(family of adversarial questions, whether such were trained on, the share of harmful answers of each model)."""
        figures, known = self.results["figures"], seen_families()
        return [(family, family in known, [figures[name]["by_family"][family] for name in WHO]) for family in figures["base"]["by_family"]]

    @property
    def side_by_side(self) -> list[dict[str, Any]]:
        return read_lines(self.folder / SIDE_BY_SIDE)

    @property
    def certified(self) -> int | None:
        """Certificates over all runs; None where one failed."""
        runs = [self.run(name) for name in RUNS]
        return sum(len(run.certificate) for run in runs) if all(run.certified for run in runs) else None

    @property
    def stages(self) -> list[tuple[str, str, float, str]]:
        """(run, what it does, seconds, page) of each run."""
        return [(name, what, float(self.run(name).record["seconds"]), f"{name}/{FILE}") for name, what in RUNS.items()]

    def sentences(self) -> list[str]:
        """The preference, the reward model's verdict, the alarm if there was one, and the certificates."""
        won, reward, alarm = self.results["ppo_preferred_to"]["sft"], self.run("reward").record, self.run("ppo").record["alarm"]
        found = (
            [f"The simulated rater prefers ppo to sft in {told_json(won['decided'])} of the {won['decided']['total']} it tells apart."]
            if won
            else []
        )
        found.append(f"Reward model: {reward['verdict']['why']}")
        found += [f"PPO: {alarm}"] if alarm else []
        found.append(f"Certificates of exactness: {self.certified or 'not all'} passed.")
        return found

    def next_commands(self) -> list[tuple[str, str]]:
        return [
            (f"luthier chat {self.name}/ppo", "talk to the model"),
            ("luthier demo --rank", f"the same, with the answers to {BY_HAND} questions ranked by you"),
            ("luthier train sft --model starter --data YOUR_FILE.jsonl", "train on a file of your own"),
        ]

    def charts(self) -> Sequence[tuple[str, str, Sequence[Any]]]:
        """What PPO did to its answers, lot by lot."""
        return [chart for chart in self.run("ppo").charts_of_lots() if chart[1]]


def render(shown: Shown) -> str:
    environment = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("demo.html.jinja")
    return page.render(shown=shown, results=shown.results, quantities=quantities, who=WHO, kinds=KINDS, folder=shown.folder.resolve())


def write_page(shown: Shown) -> Path:
    """Write the page into the demo's folder, over an earlier one. Returns where it lies."""
    file = shown.folder / FILE
    write_atomic(file, render(shown))
    return file
