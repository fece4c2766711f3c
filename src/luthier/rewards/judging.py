"""What a grader needs from outside: its judge and its embedding model, found from settings. Nothing is loaded that it does not ask for."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from luthier.errors import SettingsError
from luthier.graders.base import Outside
from luthier.graders.judge import Question, Reply
from luthier.graders.judge_url import UrlJudge, UrlJudgeSettings
from luthier.graders.sandbox import Limits

ASKING = ("score_model", "label_model")


def outside_for(
    grader: Mapping[str, Any], judge_url: UrlJudgeSettings | None, embedding_model: str | None, limits: Limits = Limits()
) -> Outside:
    """The judge, the embedding model and the limits of a grader, or of the graders in a `multi`.

    Raises:
        SettingsError: a setting without effect: a judge for a grader that asks none, an embedding model without `cosine`.
    """
    parts = list(_parts(grader))
    asking = [part for part in parts if part.get("type") in ASKING]
    cosine = any(part.get("evaluation_metric") == "cosine" for part in parts)
    if judge_url is not None and not asking:
        raise SettingsError("`judge_url` has no effect: this grader asks no model. Leave it out.")
    if embedding_model is not None and not cosine:
        raise SettingsError("`embedding_model` has no effect: this grader does not compare by `cosine`. Leave it out.")
    if cosine and embedding_model is None:
        raise SettingsError("`evaluation_metric: cosine` compares embeddings. Name the model that makes them in `embedding_model`.")
    judge = None if not asking else UrlJudge(judge_url) if judge_url is not None else LocalJudges()
    return Outside(judge, None if embedding_model is None else Embedding(embedding_model), limits)


def _parts(grader: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield grader
    inner = grader.get("graders")
    if isinstance(inner, Mapping):
        yield from (part for part in inner.values() if isinstance(part, Mapping))


class LocalJudges:
    """Each question goes to the local model that its grader names; a model is loaded when it is first asked."""

    def __init__(self) -> None:
        self._judges: dict[str, Any] = {}

    def __call__(self, questions: Sequence[Question]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        for name in dict.fromkeys(question.model for question in questions):
            places = [place for place, question in enumerate(questions) if question.model == name]
            answers = self._judge(name)([questions[place] for place in places])
            replies.update(zip(places, answers, strict=True))
        return [replies[place] for place in range(len(questions))]

    def _judge(self, name: str) -> Any:
        if name not in self._judges:
            from luthier.rewards.local_model import LocalJudge, LocalModel  # torch comes with this: rewards without a model start without

            judge = self._judges[name] = LocalJudge(LocalModel.load(name))
            if judge.note:
                print(f"Note: {judge.note}", file=sys.stderr)
        return self._judges[name]


class Embedding:
    """Mean-pooled hidden states of a local model, loaded when it is first asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        vectors: np.ndarray = self._pooled(texts)
        return vectors

    @cached_property
    def _pooled(self) -> Any:
        from luthier.rewards.local_model import LocalModel, MeanPooled

        return MeanPooled(LocalModel.load(self.name))
