"""How fast an endpoint may be asked, and when to stop asking it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


class RateLimits:
    """Requests and tokens a minute, spread evenly: at most one second's share comes at once.

    Args:
        requests_per_minute: None is no limit.
        tokens_per_minute: None is no limit; counted are estimated prompt tokens and the whole response budget.
        sizes: Tokens of the requests to come; the largest one must fit into one share.
    """

    def __init__(
        self, requests_per_minute: int | None, tokens_per_minute: int | None, sizes: Sequence[int] = ()
    ) -> None:
        self._requests = _limiter(requests_per_minute, 1)
        self._tokens = _limiter(tokens_per_minute, max(sizes, default=1))

    async def wait(self, tokens: int) -> None:
        """Wait until one more request of that size may be sent."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            await self._tokens.acquire(tokens)


class Breaker:
    """Counts failures in a row.

    Args:
        limit: Failures in a row after which it is open.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = 0

    @property
    def is_open(self) -> bool:
        """True when it is time to stop."""
        return self.in_a_row >= self.limit

    def note(self, *, is_failure: bool) -> None:
        """Take the outcome of one request."""
        self.in_a_row = self.in_a_row + 1 if is_failure else 0


def _limiter(per_minute: int | None, largest: int) -> AsyncLimiter | None:
    from aiolimiter import AsyncLimiter

    if per_minute is None:
        return None
    share = max(per_minute / 60, largest)
    return AsyncLimiter(share, share / per_minute * 60)
