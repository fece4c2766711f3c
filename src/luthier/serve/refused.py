"""`Refused`: why a request gets no answer, in the words that its client will read."""

from typing import Literal

from luthier.errors import DataError, ModelError, SettingsError, TemplateError, UserError
from luthier.spec.serving import Fault

Kind = Literal["bad_request", "overloaded", "not_found", "internal"]


class Refused(UserError):
    """A request that is not answered. `fault` says it to the client."""

    def __init__(
        self, kind: Kind, message: str, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.fault = Fault(kind=kind, message=message, code=code, param=param, retry_after=retry_after)


def fault_of(error: UserError) -> Fault:
    """What a client is told of an error: what a request says wrongly is its own fault, all else is the server's."""
    if isinstance(error, Refused):
        return error.fault
    own = isinstance(error, SettingsError | TemplateError | DataError) and not isinstance(error, ModelError)
    return Fault(kind="bad_request" if own else "internal", message=str(error))
