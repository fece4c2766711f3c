"""A comparison of two models, as our own interface is asked for it and tells it, and as the process that makes it is given it."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from luthier.spec.base import Spec
from luthier.spec.wire import Wire

ComparisonStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
Side = Literal["a", "b"]

Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=300)]

MOST_PROMPTS = 2000
"""Of one comparison: its intervals reach some 2 percentage points to each side by then."""

MOST_CHARACTERS = 200_000
"""Of prompts that come with the request: they are read whenever a comparison is."""


class AskedTurn(Spec):
    """A message of a prompt that comes with the request."""

    role: Literal["system", "user", "assistant"]
    content: Text


Turns = Annotated[list[AskedTurn], Field(min_length=1, max_length=200)]


class NewComparison(Spec):
    """Two models that answer the same prompts, and who judges them."""

    a: ModelName
    """A model that can be asked here: a base, a tuned model, an alias."""
    b: ModelName
    """What it is compared with."""
    prompts: Annotated[str, StringConstraints(max_length=64)] | Annotated[list[Text | Turns], Field(min_length=1, max_length=500)]
    """The id of a file of prompts, in any format that training files have (answers at the end are left out); or a list of prompts, each a
    text or the messages of a conversation."""
    judge: ModelName | dict[str, Any]
    """A grader, as fine-tuning jobs take it. One whose template names `item.answer_1` and `item.answer_2` sees both answers, and is asked
    in both orders. Or the name of a reward model that was tuned here."""
    max_prompts: int = Field(200, ge=1, le=MOST_PROMPTS)
    """No more prompts than so many, the first of them."""
    max_tokens: int = Field(256, ge=1, le=8192)
    """Longest answer, in tokens."""
    temperature: float = Field(0.0, ge=0, le=2)
    """0 takes the likeliest token each time."""
    seed: int = Field(0, ge=0, lt=2**31)
    """The same seed draws the same answers and the same sides."""

    @model_validator(mode="after")
    def _is_short(self) -> Self:
        given = self.prompts if isinstance(self.prompts, list) else []
        length = sum(len(one) if isinstance(one, str) else sum(len(turn.content) for turn in one) for one in given)
        if isinstance(self.judge, dict) and len(json.dumps(self.judge)) > MOST_CHARACTERS:
            raise ValueError(f"`judge` has more than {MOST_CHARACTERS:,} characters. Make the grader shorter.")
        if length > MOST_CHARACTERS:
            raise ValueError(f"`prompts` has {length:,} characters, and at most {MOST_CHARACTERS:,} can come along. Upload them as a file.")
        return self


class ComparedShare(Wire):
    """A share, and the 95 % interval that so many pairs allow."""

    value: float
    low: float
    high: float


class ComparedLengths(Wire):
    """What length has to do with it."""

    win_rate: ComparedShare
    """Of A, where both answers are equally long."""
    effect: float
    """By how much the log-odds of winning rise over one standard deviation of the difference."""
    longer_preferred: ComparedShare | None
    """Of pairs that differ in length and were no tie, those that the longer answer won."""
    means: tuple[float, float]
    """Mean length of A's and of B's answers, in characters."""


class ComparedOrder(Wire):
    """Whether it mattered which answer the judge saw first."""

    first_preferred: ComparedShare
    asked_twice: int
    """Pairs judged in both orders; where the verdicts differ, it is a tie."""
    agreed: ComparedShare | None
    """Of these, those with one verdict in both."""


class ComparisonResult(Wire):
    """How often A is better. Counts are `pairs` times a share."""

    pairs: int
    wins: ComparedShare
    ties: ComparedShare
    losses: ComparedShare
    win_rate: ComparedShare
    """Wins and half of the ties."""
    better: Side | None
    """Whose interval lies on one side of one half; null where so many pairs do not say."""
    lengths: ComparedLengths
    order: ComparedOrder | None
    """Null where each answer is scored by itself, so that the order cannot matter."""
    same: int
    """Pairs whose words are the same: ties that no judge saw."""
    unfinished: tuple[int, int]
    """Answers of A and of B that were cut at `max_tokens`."""


class Comparison(Wire):
    """A comparison of the project: a job."""

    object: Literal["comparison"] = "comparison"
    id: str
    status: ComparisonStatus
    created_at: int
    started_at: int | None
    finished_at: int | None
    a: str
    """The model's own name: an alias was followed when the comparison was asked for."""
    b: str
    prompts: str | None
    """The file's id; null where the prompts came with the request."""
    judge: str | dict[str, Any]
    max_prompts: int
    max_tokens: int
    temperature: float
    seed: int
    result: ComparisonResult | None
    """Once it has succeeded."""
    reason: str | None
    """Why it did not succeed."""


class ComparedAnswer(Wire):
    """One of the two."""

    side: Side
    """Whose it is."""
    text: str
    finished: bool
    """False where it was cut at `max_tokens`."""
    score: float | None
    """The judge's; null where it sees both answers at once, and where both say the same."""


class ComparisonExample(Wire):
    """A prompt, both answers, and what the judge made of them."""

    object: Literal["comparison.example"] = "comparison.example"
    number: int
    """From 1, in the order of the prompts."""
    prompt: list[dict[str, Any]]
    answers: list[ComparedAnswer]
    """Which stands first is drawn by lot."""
    better: Side | None
    """Null for a tie."""
    agreed: bool | None
    """Whether the judge said so in both orders; null where it was asked once, or not at all."""


class ComparisonExamples(Wire):
    """In the order of the prompts."""

    object: Literal["list"] = "list"
    data: list[ComparisonExample]
    has_more: bool


class Contender(Spec):
    """A model as the job's process finds it."""

    name: str
    """As its owner knows it."""
    model: str
    """The folder of the whole model, or of the base."""
    adapter: str | None = None
    """The folder of an adapter on that base."""
    chat_template: str | None = None
    """With which it was tuned, where that is another one than the base's."""
    template_arguments: dict[str, Any] = {}
    """What that template is always given."""


class Contest(Spec):
    """A comparison as its process is given it: every name resolved to a folder on this machine."""

    a: Contender
    """The one that wins or loses."""
    b: Contender
    """The other one."""
    prompts: str
    """The name of a file in the job's folder."""
    judge: dict[str, Any]
    """A reward by its `name`, with its settings, as in a run."""
    judge_name: str
    """For messages."""
    max_prompts: int
    """As asked, like all that follows."""
    max_tokens: int
    """Longest answer."""
    temperature: float
    """0 takes the likeliest token."""
    seed: int
    """Of the answers and the sides."""
