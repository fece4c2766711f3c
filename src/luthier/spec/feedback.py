"""What people say about answers, as it is told to the gateway and by it: a thumb, scores, a ranking, or what they would have answered."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from luthier.spec.base import Spec
from luthier.spec.wire import Wire

FeedbackKind = Literal["thumb", "rating", "ranking", "correction"]
RowKind = Literal["thumbs", "preferences", "rankings", "ratings", "demonstrations"]

Turn = dict[str, Any]
"""A message as OpenAI's chat has it: `{"role": "user", "content": "…"}`."""
Text = str | list[Turn]
"""Text, or messages."""

LEARNED_BY: Mapping[RowKind, tuple[str, ...]] = {
    "thumbs": ("kto",),
    "preferences": ("dpo", "orpo", "reward_model"),
    "rankings": ("dpo", "reward_model"),
    "ratings": ("reward_model",),
    "demonstrations": ("sft",),
}
"""By kind of row, the methods that learn from it."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Score = Annotated[float, Field(ge=-1e9, le=1e9)]
Place = Annotated[int, Field(ge=1, le=1000)]
Value = Annotated[str, StringConstraints(max_length=512)]

SAYS = ("thumb", "scores", "ranks", "correction")

MOST_BYTES = 1_000_000
"""Of prompt, answers, tools and correction together, as JSON; a context of 128,000 tokens is about half of it."""


class NewFeedback(Spec):
    """What somebody says about an answer, or about several to one prompt. One of `thumb`, `scores`, `ranks` and `correction`."""

    completion: str | None = Field(None, max_length=200)
    """A stored chat completion (`store: true`) that it is about, by its id."""
    completions: list[Annotated[str, StringConstraints(max_length=200)]] = Field([], max_length=16)
    """Several stored completions of one prompt, instead: their answers in this order, for a ranking."""
    prompt: Text | None = None
    """What was asked, where the answer is not stored here."""
    answers: list[Text] = Field([], max_length=64)
    """What was answered to `prompt`."""
    tools: list[dict[str, Any]] = Field([], max_length=128)
    """What could be called, in OpenAI's shape; with `prompt` alone."""
    model: str | None = Field(None, max_length=300)
    """Who answered; with `prompt` alone."""
    choice: int | None = Field(None, ge=0, le=1023)
    """Which of several answers it is about, from 0. Not needed where there is one, nor for a ranking."""
    thumb: Literal["up", "down"] | None = None
    """Good, or not."""
    scores: dict[Name, Score] = Field({}, max_length=32)
    """A number for each criterion, such as `{"helpful": 4, "correct": 5}`; more is better."""
    ranks: list[Place] = Field([], max_length=64)
    """The place of each answer: 1 is the best, equal numbers are a tie."""
    correction: Text | None = None
    """What should have been answered."""
    comment: str | None = Field(None, max_length=10_000)
    """In words, for people."""
    rater: str | None = Field(None, max_length=200)
    """Who says so, where one key speaks for several people. Their ranks and scores are told apart by it."""
    metadata: dict[Name, Value] = Field({}, max_length=16)
    """Whatever helps to find it again."""

    @property
    def kind(self) -> FeedbackKind:
        if self.thumb is not None:
            return "thumb"
        return "rating" if self.scores else "ranking" if self.ranks else "correction"

    @model_validator(mode="after")
    def _is_about_one_thing(self) -> Self:
        said = [name for name in SAYS if getattr(self, name) not in (None, {}, [])]
        if len(said) != 1:
            found = f"this one has {' and '.join(said)}" if said else "this one has none of them"
            raise ValueError(f"Feedback says one thing: `thumb`, `scores`, `ranks` or `correction`; {found}.")
        about = [name for name in ("completion", "completions", "prompt") if getattr(self, name) not in (None, [], "")]
        if len(about) != 1:
            found = f"this one has {' and '.join(about)}" if about else "this one has none of them"
            raise ValueError(f"Feedback is about a `completion`, several `completions`, or a `prompt` with its `answers`; {found}.")
        if self.prompt is not None and not self.answers:
            raise ValueError("`answers` are missing: say what was answered to `prompt`.")
        for name in ("answers", "tools", "model"):
            if self.prompt is None and getattr(self, name):
                raise ValueError(f"`{name}` goes with `prompt`; a stored completion has its own. Leave it out.")
        if (size := len(self.model_dump_json(include={"prompt", "answers", "tools", "correction"}))) > MOST_BYTES:
            raise ValueError(f"Feedback has at most {MOST_BYTES:,} bytes of prompt, answers, tools and correction; this one has {size:,}.")
        if self.ranks and self.choice is not None:
            raise ValueError("`choice` has no effect with `ranks`, which are about all answers. Leave it out.")
        return self


class Feedback(Wire):
    """What somebody said about an answer. The answer stands in it, and stays when the completion is deleted."""

    object: Literal["feedback"] = "feedback"
    id: str
    project: str
    kind: FeedbackKind
    completions: list[str]
    """The stored completions that it is about, if it is about any."""
    model: str | None
    """Who answered, where that is one and known; a rater's key is not told."""
    prompt: list[Turn]
    answers: list[list[Turn]]
    tools: list[dict[str, Any]]
    choice: int | None
    """Which of the answers it is about, from 0; null for a ranking, which is about all of them."""
    thumb: Literal["up", "down"] | None = None
    scores: dict[str, float] = {}
    ranks: list[int] = []
    correction: list[Turn] | None = None
    comment: str | None
    rater: str
    """Who said so: as it was told, or the id of the key."""
    metadata: dict[str, str]
    created_at: int


class Deleted(Wire):
    """What is gone."""

    object: str
    id: str
    deleted: bool = True


class Unjudged(Wire):
    """A stored completion that the asking key has said nothing about yet; nothing tells who answered."""

    object: Literal["feedback.completion"] = "feedback.completion"
    id: str
    prompt: list[Turn]
    answers: list[list[Turn]]
    tools: list[dict[str, Any]]
    created_at: int


class NewExport(Spec):
    """Which feedback becomes rows to learn from. Everything, where nothing is said."""

    kinds: list[RowKind] = Field([], max_length=5)
    """Only files of these kinds. Default: each that has rows."""
    model: str | None = Field(None, max_length=300)
    """Only what is about answers of this model."""
    rater: str | None = Field(None, max_length=200)
    """Only what this rater said."""
    metadata: dict[Name, Value] = Field({}, max_length=16)
    """Only what has all of this."""


class ExportedFile(Wire):
    """Rows of one kind, as a file that a fine-tuning job takes."""

    kind: RowKind
    id: str
    """Of the file: `training_file` of a job, or what `files.content` reads."""
    filename: str
    rows: int
    methods: list[str]
    """Methods that learn from it."""


class LeftOut(Wire):
    """Why some feedback is in no file."""

    why: str
    count: int
    feedback: list[str]
    """Of the first few, where it stands."""


class Export(Wire):
    """What became of the feedback."""

    object: Literal["feedback.export"] = "feedback.export"
    feedback: int
    """How many were read."""
    files: list[ExportedFile]
    left_out: list[LeftOut]
