"""`ClientError`: what the gateway refused or could not do, in its own sentence."""

from luthier.errors import UserError


class ClientError(UserError):
    """A call that did not succeed.

    Args:
        message: the gateway's sentence. status: of HTTP; 0 where there was no answer.
        code: for programs, such as `run_not_found`. param: the field that is at fault. request_id: by which the gateway's log has it.
        retry_after_s: when it may go well.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param, self.request_id = message, status, code, param, request_id
        self.retry_after_s = retry_after_s
