"""How much a key may ask a minute: told with each answer as OpenAI tells it, and refused with how long to wait."""

import math

from fastapi import Request

from luthier.accounts.accounts import Accounts, Admitted
from luthier.accounts.buckets import Taken
from luthier.api.errors import ApiError

SHORT = {"requests": "RPM", "tokens": "TPM"}


def take_request(request: Request, admitted: Admitted) -> None:
    """Count a request. Raises `ApiError` 429 where the key has had all of this minute's."""
    most = admitted.settings.requests_per_minute
    if most is not None:
        _take(request, admitted, "requests", most, 1)


def take_tokens(request: Request, tokens: int) -> None:
    """Count tokens that a model is about to read and, at most, write: once a request, before it is asked.

    Raises:
        ApiError: 429. The key has had all of this minute's, or asks for more than there ever are in one.
    """
    admitted: Admitted = request.state.admitted
    most = admitted.settings.tokens_per_minute
    if most is not None:
        _take(request, admitted, "tokens", most, tokens)


def settle_tokens(request: Request, taken: int, used: int) -> None:
    """Once it is known how many there were: what was counted too much is given back, what was counted too little is owed."""
    admitted: Admitted = request.state.admitted
    most = admitted.settings.tokens_per_minute
    if most is not None:
        accounts: Accounts = request.app.state.platform.accounts
        accounts.tokens.settle(admitted.caller.key, most, used - taken)


def _take(request: Request, admitted: Admitted, what: str, most: int, amount: int) -> None:
    accounts: Accounts = request.app.state.platform.accounts
    buckets = accounts.requests if what == "requests" else accounts.tokens
    taken = buckets.take(admitted.caller.key, most, amount)
    told = {
        f"x-ratelimit-limit-{what}": str(taken.limit),
        f"x-ratelimit-remaining-{what}": str(taken.remaining),
        f"x-ratelimit-reset-{what}": span(taken.reset_s),
    }
    request.state.rates = {**getattr(request.state, "rates", {}), **told}
    if not taken.granted:
        raise _refusal(taken, admitted, what, amount, request.state.rates)


def _refusal(taken: Taken, admitted: Admitted, what: str, amount: int, told: dict[str, str]) -> ApiError:
    where = f"this key in project {admitted.caller.project} on {what} per min ({SHORT[what]}): Limit {taken.limit}"
    if math.isinf(taken.wait_s):
        message = (
            f"Request too large for {where}, Requested {amount}. The input or output tokens must be reduced in order to run successfully."
        )
        headers = {**told, "x-should-retry": "false"}
    else:
        used = taken.limit - taken.remaining
        message = f"Rate limit reached for {where}, Used {used}, Requested {amount}. Please try again in {span(taken.wait_s)}."
        wait = {"retry-after": str(math.ceil(taken.wait_s)), "retry-after-ms": str(math.ceil(taken.wait_s * 1000))}
        headers = {**told, **wait}
    return ApiError(429, message, code="rate_limit_exceeded", type=what, headers=headers)


def span(seconds: float) -> str:
    """As OpenAI writes it: `20ms`, `8.64s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    return f"{math.floor(seconds / 60)}m{math.floor(seconds % 60)}s"
