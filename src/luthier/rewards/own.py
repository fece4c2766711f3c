"""A user's own reward: `reward: ./mine.py:score`. A function of theirs, or a file with `Config` and a `Reward`."""

import inspect
import numbers
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import msgspec
import numpy as np
from pydantic import Field

from luthier.errors import GradingError, SettingsError, UserError
from luthier.rewards.base import Judged, Reward
from luthier.spec import folder as registry
from luthier.spec.base import Spec
from luthier.spec.nearest import did_you_mean, listed

ONE = ("prompt", "answer", "item")
MANY = ("prompts", "answers", "items")


class OwnSettings(Spec):
    """What stands beside `name: ./mine.py:score`."""

    function: str
    """The file and the function in it."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the function is given besides, by name."""


class OwnReward(Reward[OwnSettings]):
    """What the function returns: `score(prompt, answer, item)` one number, `score(prompts, answers, items)` one for each.

    A prompt is a list of messages (`{"role": …, "content": …}`), an answer its text, an item the row's other fields. Further parameters
    are settings: `reward: {name: ./mine.py:score, strict: true}` calls `score(…, strict=True)`. Tools that the answer calls are in the
    item's `tool_calls`, in the shape of chat completions, and not in its text.
    """

    def __init__(self, config: OwnSettings) -> None:
        super().__init__(config)
        self._function = function(config.function)
        self._many = _takes_many(self._function, config.function, config.arguments)

    def score(self, answers: Sequence[Judged]) -> np.ndarray:
        if self._many:
            columns = [_prompt(judged) for judged in answers], [j.answer for j in answers], [_item(j) for j in answers]
            return _numbers(self._called(*columns), len(answers), self.config.function)
        scores = [self._called(_prompt(judged), judged.answer, _item(judged)) for judged in answers]
        return _numbers(scores, len(answers), self.config.function)

    def _called(self, *given: Any) -> Any:
        try:
            with redirect_stdout(sys.stderr):  # what it prints is no part of what a command says to a program
                return self._function(*given, **self.config.arguments)
        except UserError:
            raise
        except Exception as error:
            raise GradingError(f"The reward `{self.config.function}` raised {type(error).__name__}: {error}{place_of(error)}.") from error


def place_of(error: BaseException) -> str:
    """` (mine.py:12)`, the innermost line of the user's own code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(str(registry.PACKAGE_ROOT))]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def is_own(name: str) -> bool:
    """Whether a reward is named as a function in a file."""
    path, _, function_name = name.rpartition(":")
    return path.endswith(".py") and function_name.isidentifier()


def function(name: str) -> Callable[..., Any]:
    """The function that `./mine.py:score` names.

    Raises:
        SettingsError: no such file or function, or a file that cannot be imported.
    """
    path, _, wanted = name.rpartition(":")
    with redirect_stdout(sys.stderr):
        module = registry.load_file(path)
    found = getattr(module, wanted, None)
    if not callable(found):
        own = [key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__]
        has = f" It has {listed(own, 'and')}." if own else ""
        raise SettingsError(f"{path} has no function `{wanted}`.{did_you_mean(wanted, own) or has}")
    made: Callable[..., Any] = found
    return made


def _takes_many(function: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether it is given all answers at once.

    Raises:
        SettingsError: other parameters, or settings that it does not take.
    """
    parameters = inspect.signature(function).parameters
    first = tuple(parameters)[:3]
    if first not in (ONE, MANY):
        found = f"({', '.join(parameters)})"
        raise SettingsError(
            f"`{name}` takes {found}. A reward takes (prompt, answer, item) and returns a number, or (prompts, answers, items) and returns "
            f"one for each."
        )
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    settings = [p.name for p in list(parameters.values())[3:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for given in arguments:
        if given not in settings and not open_ended:
            raise SettingsError(
                f"`{given}` is not a setting of `{name}`, whose further parameters are {listed(settings, 'and') or 'none'}."
            )
    missing = [key for key in settings if parameters[key].default is inspect.Parameter.empty and key not in arguments]
    if missing:
        raise SettingsError(f"`{name}` needs the setting `{missing[0]}`. Write it beside the reward's name.")
    return first == MANY


def _prompt(judged: Judged) -> list[dict[str, Any]]:
    return [{"content": "", **msgspec.to_builtins(message)} for message in judged.prompt]


def _item(judged: Judged) -> dict[str, Any]:
    return {**judged.item, **({"tool_calls": list(judged.tool_calls)} if judged.tool_calls else {})}


def _numbers(values: Any, count: int, name: str) -> np.ndarray:
    """(n,) fp64. Raises GradingError: not a number each."""
    scores = np.asarray(values, dtype=object) if isinstance(values, list | tuple) else np.asarray(values)
    wrong = [value for value in scores.ravel() if not isinstance(value, numbers.Real | np.bool_)]
    if wrong and not isinstance(wrong[0], list | tuple | np.ndarray):
        raise GradingError(f"The reward `{name}` returned {_shown(wrong[0])} where a number is expected.")
    if wrong or scores.shape != (count,):
        raise GradingError(f"The reward `{name}` returned {_shape(scores)} for {count} answers. It must return one number for each.")
    return scores.astype(np.float64)


def _shape(scores: np.ndarray) -> str:
    count = "1 number" if len(np.atleast_1d(scores)) == 1 else f"{len(np.atleast_1d(scores))} numbers"
    return count if scores.ndim == 1 else "one number" if scores.ndim == 0 else f"an array of shape {scores.shape}"


def _shown(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r}"[:60]
