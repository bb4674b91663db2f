"""Redirects of an endpoint: within it they are followed, to another origin never, since prompts and key would go there.

The HTTP library leaves the key out where the origin changes, not the prompts, and an answer from there would be taken
for the endpoint's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import APIStatusError

REFUSED = "rewardlab_redirect"
"""Key of a response's extensions: the origin that it pointed to."""


async def stay_at_origin(response: Any) -> None:
    """A response hook: takes the address out of a redirect to another origin, so it is not followed.

    Args:
        response: Of the HTTP library that the SDK brings.
    """
    if not response.has_redirect_location:
        return
    asked = response.request.url
    target = asked.join(response.headers["location"])
    if (target.scheme, target.host, target.port) != (asked.scheme, asked.host, asked.port):
        del response.headers["location"]
        response.extensions[REFUSED] = f"{target.scheme}://{target.netloc.decode('ascii', 'replace')}"


def refused_redirect(error: APIStatusError) -> str:
    """Where an endpoint wanted to send a request that stayed at home; empty for other errors."""
    origin = error.response.extensions.get(REFUSED, "")
    return origin if isinstance(origin, str) else ""
