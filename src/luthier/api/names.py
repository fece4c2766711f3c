"""OpenAI's names of models, which old scripts hold: they can stand for a model here."""

from luthier.errors import UserError
from luthier.store.models import ModelNotFound, Models, public_name

ALL = "openai"
"""The word that stands for every one of them."""

NAMES = (
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-1106",
    "gpt-3.5-turbo-0613",
    "gpt-4-0613",
    "gpt-4o",
    "gpt-4o-2024-08-06",
    "gpt-4o-mini",
    "gpt-4o-mini-2024-07-18",
    "gpt-4.1",
    "gpt-4.1-2025-04-14",
    "gpt-4.1-mini",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano",
    "gpt-4.1-nano-2025-04-14",
    "o4-mini",
    "o4-mini-2025-04-16",
    "babbage-002",
    "davinci-002",
)
"""Models that could be tuned at OpenAI."""


def let_stand(models: Models, given: str) -> list[str]:
    """Make the aliases that `NAME=MODEL` asks for. Returns them.

    Raises:
        UserError: not of this form, or a model that is not on this machine.
    """
    name, _, target = given.partition("=")
    if not name or not target:
        raise UserError(f"`--alias {given}` should be NAME=MODEL, such as gpt-4o-mini-2024-07-18=starter, or openai=starter for all names.")
    target = known(models, target)
    names = list(NAMES) if name == ALL else [name]
    for one in names:
        models.set_alias(one, target)
    return names


def known(models: Models, target: str) -> str:
    """The name of the base that `target` is: a name, or a folder or Hugging Face id, which becomes one. A tuned model's name stays.

    Raises:
        ModelError: it is not on this machine.
    """
    if target.startswith("ft:") or target in models.aliases():
        return target
    try:
        return models.find(target, "").name
    except ModelNotFound:
        return models.add_base(target, public_name(target)).name
