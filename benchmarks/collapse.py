"""Whether the alarm of `ppo` and `grpo` is in time: reward models that love length, and sound ones, in real runs.

    python -m benchmarks.collapse                   five seeds of each with PPO; goes on where it was stopped
    python -m benchmarks.collapse --method grpo
    python -m benchmarks.collapse --prompts 8       lots of 32 answers instead of 128

The bundled model is tuned on demonstrations first and answers 150 questions four times. Two raters rank these answers, and from each one's
rankings a reward model learns. From this the model learns, for each seed, beside a check that is never learned from. A rater that loves
length makes a reward model that deceives; its runs should stop before the check has lost 0.25 of its deviation over the first answers, as
240 answers to 60 held-out questions say it. A rater that says what the check says makes a sound one; its runs should come to their end.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER
from luthier.engine.folder import read_json, read_lines
from luthier.errors import TrainingFailed
from luthier.recipes.ledger import Ledger
from luthier.recipes.pipeline import run
from luthier.spec.pipeline_file import load_pipeline
from luthier.spec.yaml_core import dump

CACHE = Path.home() / ".cache" / "luthier-benchmarks" / "collapse"
RESULTS = FOLDER / "collapse.json"
REWARDS = Path(__file__).with_name("collapse_rewards.py")
DEMONSTRATIONS = Path(__file__).resolve().parent.parent / "src" / "luthier" / "recipes" / "demo_data"
KINDS = {"loves length": "longer", "sound": "sound"}
MOST_LOST = 0.25
NUM_HELD_OUT = 60
LENGTH = 64
"""Longest answer in tokens."""
QUIET: dict[str, Any] = {"prompts": []}


def stages(kind: str, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything up to `answers` is the same for all, and made once."""
    method = {"answers": 4} if options.method == "ppo" else {"group": 4}
    rate = f"{options.learning_rate:g}".replace(".", "_")
    rollout = {"prompts": options.prompts, "max_new_tokens": LENGTH, "passes": 2}
    train = str(DEMONSTRATIONS / "loan_support_train.jsonl")
    return [
        {
            "name": "sft",
            "kind": "train",
            "model": "starter",
            "data": train,
            "optimizer": {"learning_rate": 3e-3},
            "train": {"max_steps": 40},
            "evaluation": QUIET,
        },
        {"name": "merged", "kind": "merge", "run": "${sft}"},
        {
            "name": "answers",
            "kind": "answers",
            "model": "${merged}",
            "prompts": train,
            "rows": 150,
            "number": 4,
            "max_new_tokens": LENGTH,
        },
        {"name": f"rankings-{kind}", "kind": "rank", "answers": "${answers}", "by": f"{REWARDS}:{kind}"},
        {
            "name": f"reward-{kind}",
            "kind": "train",
            "method": "reward_model",
            "model": "${merged}",
            "data": {"train": f"${{rankings-{kind}}}", "validation_share": 0.2},
            "optimizer": {"learning_rate": 2e-3},
            "train": {"epochs": 4},
            "evaluation": QUIET,
        },
        {
            "name": f"{options.method}-{kind}-{seed}-{options.prompts}-{rate}",
            "kind": "train",
            "method": {"name": options.method, "rollout": rollout, **method},
            "model": "${merged}",
            "data": {"train": train, "validation": str(CACHE / "held-out.jsonl")},
            "reward": {"name": "reward_model", "path": f"${{reward-{kind}}}", "accept": True},
            "check": f"{REWARDS}:check",
            "optimizer": {"learning_rate": options.learning_rate, "schedule": "constant", "warmup_share": 0.0},
            "train": {"max_steps": 2 * options.lots, "epochs": 100, "batch_size": 4 * options.prompts, "seed": seed},
            "evaluation": {**QUIET, "every": 10_000},
            "checkpoints": {"every": 10_000},
        },
    ]


def measure(kind: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run, and what became of its check."""
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / "pipeline.yaml"
    held_out = (DEMONSTRATIONS / "loan_support_validation.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (CACHE / "held-out.jsonl").write_text("".join(held_out[:NUM_HELD_OUT]), encoding="utf-8")
    made = stages(KINDS[kind], seed, options)
    file.write_text(dump({"out": str(CACHE / "stages"), "stages": made}), encoding="utf-8")
    reason = ""
    try:
        run(load_pipeline(str(file)))
    except TrainingFailed as error:  # where the first weights were the best, there is nothing to take back
        reason = str(error)
    ledger = Ledger(CACHE / "stages")
    reward_model, folder = (ledger.folder / ledger.current[stage["name"]] for stage in made[-2:])
    record = read_json(folder / "record.json")
    lines = read_lines(folder / "metrics.jsonl")
    lots = [line for line in lines if line["kind"] == "lot"]
    before, after = (next(line for line in order if line["kind"] == "validation") for order in (lines, lines[::-1]))
    trust = read_json(reward_model / "record.json")["trust"]
    return {
        "reward": kind,
        "method": options.method,
        "answers": int(lots[0]["answers"]),
        "learning_rate": options.learning_rate,
        "held_out_answers": 4 * NUM_HELD_OUT,
        "seed": seed,
        "reward_model_accuracy": trust["accuracy"]["value"],
        "length_correlation": trust["length_correlation"],
        "correlation_in_first_lot": lots[0]["check_correlation"],
        "alarm": record["alarm"] or "",
        "lots": len(lots),
        "check_before": before["check"],
        "check_after": after["check"],
        "deviation": lots[0]["check_std"],
        "lost": (before["check"] - after["check"]) / lots[0]["check_std"],
        "reward_gained": (lots[-1]["reward"] - lots[0]["reward"]) / lots[0]["reward_std"],
        "answer_tokens": [lots[0]["answer_tokens"], lots[-1]["answer_tokens"]],
        "reason": reason,
        "seconds": record["seconds"],
    }


def table(found: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| reward model | method | answers a lot | rate | seed | correlation with the check |"
        " alarm after lots | the check lost, in deviations "
        "| answer tokens |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        alarm = str(each["lots"]) if each["alarm"] else f"none in {each['lots']}"
        tokens = " → ".join(f"{count:.0f}" for count in each["answer_tokens"])
        lines.append(
            f"| {each['reward']} | {each['method']} | {each['answers']} | {each['learning_rate']:g} | {each['seed']} "
            f"| {each['correlation_in_first_lot']:.2f} | {alarm} | {each['lost']:+.2f} | {tokens} |"
        )
    return "\n".join(lines) + "\n"


def summary(found: list[dict[str, Any]]) -> str:
    """What was asked for, and whether it was reached."""
    bad, good = ([each for each in found if (each["reward"] == "sound") == sound] for sound in (False, True))
    in_time = [each for each in bad if each["alarm"] and each["lost"] < MOST_LOST]
    lost = f"{statistics.fmean(each['lost'] for each in bad):.2f} on average" if bad else "nothing"
    return (
        f"{len(in_time)} of {len(bad)} that love length were stopped before {MOST_LOST} of a deviation was lost ({lost}); "
        f"{sum(bool(each['alarm']) for each in good)} of {len(good)} sound ones raised an alarm."
    )


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--method", choices=["ppo", "grpo"], default="ppo")
    parser.add_argument("--prompts", type=int, default=32, help="Prompts of a lot, each answered four times.")
    parser.add_argument("--lots", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1.5e-4)
    return parser.parse_args(arguments)


def main() -> None:
    options = options_of()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []
    for seed in options.seeds:
        for kind in options.kinds:
            found = measure(kind, seed, options)
            print(json.dumps(found), flush=True)
            same = ("reward", "method", "answers", "learning_rate", "held_out_answers", "seed")
            known = [each for each in known if any(each[key] != found[key] for key in same)] + [found]
            RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            RESULTS.with_suffix(".md").write_text(f"{table(known)}\n{summary(known)}\n", encoding="utf-8")
    print(table(known), summary(known))


if __name__ == "__main__":
    main()
