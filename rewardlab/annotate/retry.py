"""Which failures of an endpoint are worth another attempt, which end the run, and how long to wait."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING

from rewardlab.annotate.moderation import says_withheld
from rewardlab.annotate.redirects import refused_redirect

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

RETRIED = frozenset({408, 409, 429})
FATAL = frozenset({401, 402, 403, 404})
MODERATING = frozenset({400, 403, 406, 422, 451})
"""Statuses with which endpoints refuse a text, if they say that it is the text."""
LONGEST_WAIT_S = 120.0
"""A longer ``Retry-After`` is not waited for: the request fails, and the next run asks it again."""


class BadBody(Exception):
    """The endpoint answered 200 with a body that is no chat completion."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How stubborn a client is.

    Attributes:
        attempts: Tries per request, the first included.
        base_s: First back-off, seconds; it doubles with each attempt and is jittered between half and full.
        longest_s: Longest back-off, seconds.
    """

    attempts: int = 6
    base_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, state: RetryCallState) -> float:
        """Seconds until the next attempt: what the server asked for, else the back-off."""
        error = state.outcome.exception() if state.outcome else None
        asked = retry_after_s(error)
        if asked is not None:
            return asked
        backoff: float = min(self.base_s * 2 ** (state.attempt_number - 1), self.longest_s)
        return backoff * random.uniform(0.5, 1.0)


def attempts(policy: RetryPolicy, pause: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
    """The tenacity loop of a policy, which waits by ``pause``; the last error is raised as it is."""
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

    return AsyncRetrying(
        stop=stop_after_attempt(policy.attempts),
        wait=policy.wait_s,
        sleep=pause,
        retry=retry_if_exception(lambda error: is_transient(error) and not asks_too_long(error)),
        reraise=True,
    )


def is_transient(error: BaseException) -> bool:
    """True when the same request may succeed later."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return (error.status_code in RETRIED or error.status_code >= 500) and not is_fatal(error)
    return isinstance(error, APIConnectionError | BadBody | TimeoutError)


def asks_too_long(error: BaseException) -> bool:
    """True when the server asks for a longer pause than is waited for (:data:`LONGEST_WAIT_S`)."""
    return (retry_after_s(error) or 0.0) > LONGEST_WAIT_S


def may_be_charged(error: BaseException) -> bool:
    """True when the endpoint may have answered, and counted tokens, although the answer did not arrive."""
    from aiohttp import ClientConnectorError, ConnectionTimeoutError, InvalidURL
    from openai import APIStatusError

    nobody_reached = isinstance(_origin(error), ClientConnectorError | ConnectionTimeoutError | InvalidURL)
    return not (nobody_reached or isinstance(error, APIStatusError))


def is_fatal(error: BaseException) -> bool:
    """True when every other request would fail alike: a bad key, an unknown model, an empty account, a redirect."""
    from openai import APIStatusError

    if not isinstance(error, APIStatusError) or is_content_filter(error):
        return False
    return error.status_code in FATAL or error.code == "insufficient_quota" or bool(refused_redirect(error))


def described(error: BaseException, timeout: str = "annotate.timeout_s") -> str:
    """Type and message of a failure; more of it where the SDK says little, and what the server asks for.

    The SDK calls every lost connection "Request timed out.", and finds no message in a list of invalid fields.

    Args:
        error: The failure.
        timeout: The setting that bounds how long a request may take.
    """
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, TimeoutError):
        return f"{type(error).__name__}: no answer within {timeout}"
    if isinstance(error, APIStatusError) and (elsewhere := refused_redirect(error)):
        return f"redirect to {elsewhere}, to which prompts and key are not sent"
    if isinstance(error, APIConnectionError):
        origin = _origin(error)
        return f"{type(origin).__name__}: {origin}"
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, APIStatusError) and error.body and str(error) == f"Error code: {error.status_code}":
        text += f" - {error.body}"
    if asks_too_long(error):
        text += (
            f"; it asks to wait {retry_after_s(error):.0f} s, longer than the {LONGEST_WAIT_S:.0f} s that are waited"
        )
    return text


def _origin(error: BaseException) -> BaseException:
    """What the transport raised, under the SDK's and httpx's names for it."""
    httpx = error.__cause__
    return error if httpx is None else httpx.__cause__ or httpx


def is_content_filter(error: BaseException) -> bool:
    """True when the endpoint refused to read the prompt itself, in whichever words it says so."""
    from openai import APIStatusError

    if not isinstance(error, APIStatusError) or error.status_code not in MODERATING:
        return False
    return says_withheld(error.body or error.message) or says_withheld(error.code)


def retry_after_s(error: BaseException | None) -> float | None:
    """Seconds the server asked to wait (``Retry-After`` in seconds or as a date); None when it did not."""
    from openai import APIStatusError

    if not isinstance(error, APIStatusError):
        return None
    value = error.response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        return _until(value)
    return seconds if 0 <= seconds < float("inf") else None


def _until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None
