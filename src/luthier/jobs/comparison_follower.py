"""Follows comparisons for a worker: their prompts and models in, their result out."""

import json
import re
import shutil
from pathlib import Path

from luthier.jobs import request
from luthier.jobs.comparisons import Comparing, Comparisons
from luthier.jobs.judges import run_of, with_folders
from luthier.jobs.process import Outcome
from luthier.jobs.records import Job, JobError
from luthier.jobs.tunings import Tunings
from luthier.spec.comparisons import Contender, Contest

PROMPTS, RESULT = "prompts", "comparison.json"
"""In the job's folder: what is asked, with the ending of the file that it was; and what came of it."""

ENDING = re.compile(r"(\.[A-Za-z0-9]{1,8}){0,2}$")
"""By it a file of rows is told: `.jsonl`, `.csv.gz`."""


class ComparisonFollower:
    """A worker's own. What it stores, it stores once."""

    def __init__(self, comparisons: Comparisons, tunings: Tunings) -> None:
        self.comparisons, self.tunings = comparisons, tunings

    def begun(self, job: Job, validate: bool) -> Path:
        """Its folder, with its prompts in it and its models in their places. Raises `UserError` where one of them is not there."""
        folder = self.comparisons.folder / Path(job.folder).name  # under this machine's own, whichever the job was made on
        found = self.comparisons.get(job.id)
        assert found is not None, f"{job.id} is no comparison"
        contest = self._contest(found)
        if not (folder / request.FILE).is_file():
            request.write(folder, job.kind, contest=contest)
        if not (folder / contest.prompts).is_file():
            self._bring_prompts(found, folder / contest.prompts)
        return folder

    def going_on(self, job: Job) -> None:
        """Nothing of it is told before its end."""

    def ended(self, job: Job, status: str, outcome: Outcome) -> None:
        if job.status == "validating_files" or status != "succeeded":
            return
        file = self.comparisons.folder / Path(job.folder).name / RESULT
        try:
            made = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise JobError(f"The comparison has ended, and what it found cannot be read ({error}). Ask for it again.") from error
        self.comparisons.keep(job, made["found"], made["examples"])

    def _contest(self, found: Comparing) -> Contest:
        """The comparison as its process is given it."""
        asked, project = found.wanted, found.job.project
        judge, name = asked.judge, asked.judge if isinstance(asked.judge, str) else str(asked.judge.get("name") or "grader")
        return Contest(
            a=self._contender(found.a, project),
            b=self._contender(found.b, project),
            prompts=f"{PROMPTS}{self._ending(found)}",
            judge=self._reward_model(judge, project) if isinstance(judge, str) else self._grader(judge, project),
            judge_name=name,
            max_prompts=asked.max_prompts,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            seed=asked.seed,
        )

    def _contender(self, name: str, project: str) -> Contender:
        """Raises `ModelNotFound`."""
        model = self.tunings.models.find(name, project)
        folder = self.tunings.models.laid_out(model)
        if folder is None or model.kind == "model":  # a whole model's template lies in its folder
            return Contender(name=name, model=str(folder or model.base))
        lineage = model.lineage or {}
        template, arguments = lineage.get("chat_template"), lineage.get("template_arguments") or {}
        return Contender(name=name, model=model.base, adapter=str(folder), chat_template=template, template_arguments=arguments)

    def _grader(self, grader: object, project: str) -> dict[str, object]:
        return {"name": "grader", "grader": with_folders(self.tunings.models, project, grader)}

    def _reward_model(self, name: str, project: str) -> dict[str, object]:
        """Raises `UserError` where its run is not on this machine."""
        run = run_of(self.tunings, project, name)
        if run is None:
            raise JobError(f"The judge {name} is no reward model that was tuned on this machine. Name one that a job here has made.")
        return {"name": "reward_model", "path": str(run)}

    def _ending(self, found: Comparing) -> str:
        if found.prompts is None:
            return ".jsonl"
        ending = ENDING.search(self.tunings.files.for_job(found.job.project, found.prompts).filename)
        return ending[0] if ending else ""

    def _bring_prompts(self, found: Comparing, target: Path) -> None:
        """Whole or not at all."""
        partial = target.with_name(f".{target.name}.partial")
        if found.prompts is not None:
            file = self.tunings.files.for_job(found.job.project, found.prompts)
            shutil.copyfile(self.tunings.files.blobs.path(file.sha256), partial)
        else:
            asked = found.asked["prompts"]
            turns = [[{"role": "user", "content": one}] if isinstance(one, str) else one for one in asked]
            partial.write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns), encoding="utf-8")
        partial.replace(target)
