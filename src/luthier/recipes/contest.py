"""A comparison as a job: drawn, judged and counted. Each answer and verdict is kept as a line: it goes on where it was broken off."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from luthier.data.prompts import Prompt
from luthier.engine.folder import write_atomic
from luthier.engine.setup import POLICY
from luthier.errors import SettingsError
from luthier.evaluate.comparison import Comparison, compare, position
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.probe import probe
from luthier.recipes.assistant import Assistant, Sampling, load_weights, open_assistant
from luthier.recipes.contenders import Pair, Written, paired, prompts_of
from luthier.recipes.judges import judge_of
from luthier.recipes.verdicts import Judge, Verdict
from luthier.serve.opened import dtype_of, rooted
from luthier.spec.base import Component
from luthier.spec.comparisons import Contender, Contest
from luthier.spec.run import ModelSpec
from luthier.text.folder import context_length
from luthier.text.renderer import Renderer

RESULT, VERDICTS = "comparison.json", "verdicts.jsonl"
"""In the job's folder."""

LOT = 32
"""Pairs judged at once: those that are judged again after the process was killed."""


Line = TypeVar("Line", Written, Verdict)


def compete(asked: Contest, folder: Path) -> int:
    """Make a comparison, or go on with it. What came of it stands in the folder, as `comparison.json`.

    Returns:
        The number of prompts.
    Raises:
        UserError: prompts, a model or a judge that cannot be used.
    """
    judge = judge_of(asked.judge_name, Component.model_validate(asked.judge))  # what is wrong with it is said before anything is answered
    prompts = prompts_of((), str(folder / asked.prompts), asked.max_prompts)
    sampling = Sampling(asked.temperature, 1.0, asked.max_tokens, asked.seed)
    a, b = (_answers(one, prompts, sampling, folder / f"{side}.jsonl") for side, one in (("a", asked.a), ("b", asked.b)))
    pairs = paired(prompts, a, b, asked.seed)
    verdicts = _verdicts(judge, pairs, folder / VERDICTS)
    examples = [_example(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]
    write_atomic(folder / RESULT, json.dumps({"found": _found(pairs, verdicts), "examples": examples}, allow_nan=False))
    return len(prompts)


def _answers(contender: Contender, prompts: Sequence[Prompt], sampling: Sampling, file: Path) -> list[Written]:
    """What one says to each prompt, each drawn at the address of its number: the same whether it was broken off or not."""
    kept = [Written(**line) for line in _kept(file)]
    left = prompts[len(kept) :]
    if not left:
        return kept
    drawn = _opened(contender).answers(((one.messages, one.tools) for one in left), sampling, first=len(kept))

    def written() -> Iterator[Written]:
        for question in left:
            try:
                answer = next(drawn)
            except SettingsError as error:
                raise SettingsError(f"{question.origin}: {error} Shorten or remove it.") from None
            yield Written(answer.text, answer.finished, answer.num_tokens)

    return [*kept, *_keeping(file, written())]


def _opened(contender: Contender) -> Assistant:
    """A whole model, or an adapter on its base, which a platform keeps without its run.

    Raises:
        ModelError: it cannot be loaded.
    """
    if contender.adapter is None:
        return open_assistant(contender.model, packed=True)
    folder = models.model_folder(ModelSpec(path=contender.model))
    device = devices.default_device()
    renderer = Renderer.load(folder, contender.chat_template, arguments=contender.template_arguments)
    model = models.load_model(folder, dtype_of(folder, models.load_config(folder), device), device)
    probed = probe(model)  # before there is an adapter on it
    load_weights(model, Path(contender.adapter), whole=False, on_base=False)
    return Assistant(contender.name, rooted(model, renderer, folder, probed), POLICY, renderer, context_length(folder))


def _verdicts(judge: Judge, pairs: Sequence[Pair], file: Path) -> list[Verdict]:
    """One for each pair; two answers that say the same are a tie without a judge."""
    different = [pair for pair in pairs if not pair.same]
    found = [_verdict(line) for line in _kept(file)]
    while left := different[len(found) : len(found) + LOT]:
        found += _keeping(file, judge(left, lambda _: None))
    told = iter(found)
    return [Verdict(0.5) if pair.same else next(told) for pair in pairs]


def _verdict(line: dict[str, Any]) -> Verdict:
    scores, both = line["scores"], line["both_orders"]
    return Verdict(
        line["preference"],
        None if scores is None else (scores[0], scores[1]),
        tuple(line["shown"]),
        None if both is None else (both[0], both[1]),
    )


def _keeping(file: Path, lines: Iterable[Line]) -> list[Line]:
    """The same, each a line of a file as soon as it is there."""
    found = []
    with file.open("a", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(asdict(line)) + "\n")
            out.flush()
            found.append(line)
    return found


def _kept(file: Path) -> list[dict[str, Any]]:
    """What a process before this one wrote; a line that it did not come to the end of is taken away."""
    if not file.is_file():
        return []
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    os.truncate(file, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _found(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """A `ComparisonResult` (luthier.spec.comparisons)."""
    preferences = [0.5 if verdict.preference is None else verdict.preference for verdict in verdicts]
    told = compare(preferences, [(len(pair.a.text), len(pair.b.text)) for pair in pairs])
    shown = [first for verdict in verdicts for first in verdict.shown]
    twice = [verdict.both_orders for verdict in verdicts if verdict.both_orders is not None]
    return {
        **asdict(told),
        "better": _better(told),
        "order": asdict(position(shown, twice)) if shown else None,
        "same": sum(pair.same for pair in pairs),
        "unfinished": [sum(not pair.a.finished for pair in pairs), sum(not pair.b.finished for pair in pairs)],
    }


def _better(told: Comparison) -> str | None:
    if not told.win_rate.decides:
        return None
    return "a" if told.win_rate.value > 0.5 else "b"


def _example(pair: Pair, verdict: Verdict) -> dict[str, Any]:
    """A `ComparisonExample` without its number."""
    scores = verdict.scores or (None, None)
    answers = [
        {"side": side, "text": one.text, "finished": one.finished, "score": score}
        for side, one, score in (("a", pair.a, scores[0]), ("b", pair.b, scores[1]))
    ]
    return {
        "prompt": [{"role": turn.role, "content": turn.content} for turn in pair.prompt.messages],
        "answers": answers if pair.a_first else answers[::-1],
        "better": {1.0: "a", 0.0: "b"}.get(0.5 if verdict.preference is None else verdict.preference),
        "agreed": None if verdict.both_orders is None else verdict.both_orders[0] == verdict.both_orders[1],
    }
