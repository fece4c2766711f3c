"""The loan-support case study from end to end: demonstrations, rankings by a simulated rater, a reward model, and what each arm brings.

    python -m luthier.recipes.case_study.study FOLDER --seeds 0 1 2

Arms: `sft` (staff answers), `more` (as many staff answers again as rows were ranked), `dpo` (the rankings), `ppo` (a reward model learned
from them), and `ppo-50`, `ppo-100`, `ppo-250` (from so many of the rankings). Each seed has a folder of its own below, in which every
step is kept and skipped when it is there; `results.json` and `results.txt` hold the figures, of each seed and of all together.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.engine.folder import write_atomic, write_json
from luthier.recipes.case_study import arms
from luthier.recipes.case_study.demonstrations import archive
from luthier.recipes.case_study.inputs import as_lines, write_inputs
from luthier.recipes.case_study.loop import Loop
from luthier.recipes.case_study.measure import Examined, as_json, examine, figures, preference
from luthier.recipes.case_study.rater import Rater
from luthier.recipes.case_study.summary import lines, overall

Say = Callable[[str], None]

MORE_SEED = 1000
"""Added to the seed of the staff's answers for as many others."""

CURVE = (50, 100, 250)
"""Rankings, besides all 500."""

ARMS = ("starter", "sft", "more", "dpo", *(f"ppo-{number}" for number in CURVE), "ppo")
PLAIN = "merged"
"""What every arm but the first starts from: the tuned model, without an adapter."""


class Study:
    """One seed, in one folder."""

    def __init__(self, folder: Path, seed: int, say: Say) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.seed, self.say = folder, seed, say
        self.inputs, self.loop = write_inputs(folder, seed), Loop(folder, seed)

    def run(self) -> dict[str, Any]:
        """All arms, and their figures."""
        self._train("sft", arms.supervised("starter", self.inputs.demonstrations))
        plain = str(self.loop.merged("sft", PLAIN))
        self.say("answers to rank")
        questions = self.inputs.questions
        rankings = self.loop.rankings(questions, self.loop.to_rank(self.folder / "sft", questions), Rater(self.seed).rankings)
        more = self.folder / "more_staff_answers.jsonl"
        write_atomic(more, as_lines(archive(self.seed + MORE_SEED)))
        self._train("more", arms.supervised(plain, more))
        self._train("dpo", arms.dpo(plain, rankings))
        trusted = {"ppo": self._reward_and_policy(plain, rankings, "")}
        for number in CURVE:
            trusted[f"ppo-{number}"] = self._reward_and_policy(plain, self._first(rankings, number), f"-{number}")
        return self._results(trusted)

    def _train(self, name: str, settings: arms.Settings) -> dict[str, Any]:
        self.say(f"{name}: {self.folder / name}")
        return self.loop.train(name, settings).record

    def _first(self, rankings: Path, number: int) -> Path:
        path = self.folder / f"rankings-{number}.jsonl"
        with rankings.open(encoding="utf-8") as file:
            write_atomic(path, "".join(islice(file, number)))
        return path

    def _reward_and_policy(self, plain: str, rankings: Path, suffix: str) -> dict[str, Any]:
        """How far the reward model is to be trusted. The study takes one with a bad verdict, too, to see where that leads."""
        record = self._train(f"reward{suffix}", arms.reward_model(plain, rankings))
        settings = arms.ppo(plain, self.inputs.prompts, self.folder / f"reward{suffix}")
        policy = self._train(f"ppo{suffix}", {**settings, "reward": {**settings["reward"], "accept": True}})
        return {"trust": record["trust"], "verdict": record["verdict"], "alarm": policy["alarm"]}

    def _examined(self, name: str) -> Examined:
        """What an arm answered, asked once."""
        path = self.folder / f"said-{name}.json"
        model = name if name == "starter" else self.folder / name

        def answers(asked: Any) -> list[str]:
            if not path.is_file():
                self.say(f"measuring {name}")
                write_json(path, self.loop.answers(model, asked, self.seed + 1))
            found: list[str] = json.loads(path.read_text(encoding="utf-8"))
            return found

        return examine(answers, self.seed)

    def _results(self, trusted: dict[str, Any]) -> dict[str, Any]:
        said = {name: self._examined(name) for name in ARMS}
        measured = {name: figures(each) for name, each in said.items()}
        rater = Rater(self.seed + 1)
        over = {
            other: {name: preference(rater, said[name].held_out, said[other].held_out) for name in ARMS if name not in (other, "starter")}
            for other in ("starter", "sft")
        }
        found = {
            "seed": self.seed,
            "figures": {name: as_json(value) for name, value in measured.items()},
            "preferred_to": {
                other: {name: {"share": asdict(p.decided), "ties": p.ties} for name, p in preferences.items() if p}
                for other, preferences in over.items()
            },
            "reward_models": trusted,
        }
        write_json(self.folder / "results.json", found)
        write_atomic(self.folder / "results.txt", "\n".join(_columns(lines(measured))) + "\n")
        return found


def _columns(table: Iterator[tuple[str, ...]]) -> list[str]:
    rows = list(table)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    found = [Study(options.folder / f"seed-{seed}", seed, lambda text: print(text, flush=True)).run() for seed in options.seeds]
    write_json(options.folder / "results.json", found)
    text = "\n".join(_columns(overall(found))) + "\n"
    write_atomic(options.folder / "results.txt", text)
    print(text)


if __name__ == "__main__":
    main()
