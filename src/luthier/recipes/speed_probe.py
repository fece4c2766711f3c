"""A few real steps of a run, in a folder that is thrown away: how fast this machine is at it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from luthier.recipes.effort import Share
from luthier.recipes.fit import changed
from luthier.recipes.train import train
from luthier.spec.run import RunSpec

STEPS = 3
QUIET = ("evaluation.prompts=[]", "evaluation.patience=null", "evaluation.compare=[]", "evaluation.every=null", "checkpoints.every=1000000")


def measure(spec: RunSpec) -> Share:
    """Load the model and train `STEPS` steps; the first is left out of the speed. A method that draws answers draws its first lot.

    Raises:
        UserError: whatever would stop the run itself.
    """
    plain = changed(spec, [*QUIET, f"train.max_steps={STEPS}", "data.validation=[]", "data.validation_share=0"])
    with TemporaryDirectory(prefix="luthier-plan-") as scratch:
        run = train(plain.model_copy(update={"out": str(Path(scratch) / "run")}))
        steps = [line for line in run.metrics if line["kind"] == "train"]
        drawn = [line for line in run.metrics if line["kind"] == "lot" and "answers" in line]
        steady = steps[1:] or steps
        record = run.record
    watts = record["energy_wh_estimated"] * 3600 / record["seconds"] if record["energy_wh_estimated"] else None
    speed = sum(s["tokens_computed"] for s in steady) / sum(s["seconds"] for s in steady)
    seconds = sum(line["seconds"] for line in drawn)
    return Share(speed, watts, seconds, sum(line["answers"] * line["answer_tokens"] for line in drawn))
