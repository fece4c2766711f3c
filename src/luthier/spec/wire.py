"""The base of what our own interface (`/api`) answers: one set of types for the gateway and `luthier.client`, so that neither drifts."""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """An answer. Frozen; what a newer gateway tells beyond it is left aside by an older client."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


One = TypeVar("One", bound=Wire)


class Page(Wire, Generic[One]):
    """A page of a list."""

    object: Literal["list"] = "list"
    data: list[One]
    """What is on it."""
    has_more: bool = False
    """Whether another page follows: ask with `after` set to `last_id`."""
    first_id: str | None = None
    """Of the first one; null on an empty page."""
    last_id: str | None = None
    """Of the last one."""
