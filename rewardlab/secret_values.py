"""Which settings may hold somebody's key: by their names, and by the forms that well-known services give their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_KEY = re.compile(
    r"(?<=//)[^/'\"]*(?=@)|\b(?:sk|pk|rk|hf|gsk|xai|ghp|glpat)[-_][\w-]{4,}|\bAIza[\w-]{8,}|\beyJ[\w-]{8,}[\w.-]*"
    r"|(?<=Bearer )[^\s'\"]+"
)
"""What keys of well-known services look like, and the user of a web address."""
SECRET = re.compile(rf"{_KEY.pattern}|(?<=[?#])[^'\"]+(?=['\"])")
"""That, and other parts of a web address that may be somebody's key: an error does not quote them."""
SECRET_NAME = re.compile(r"(?i)key|secret|token(?!s)|passw|pwd|credential|auth")
"""Names of settings whose text may be somebody's key, known or not: an error does not quote them."""
_CREDENTIAL = re.compile(
    r"(?i)(?:api|access|account|private|subscription|encryption|bearer)[_-]?key$|^key$|secret|passw|\bpwd$|credential"
    r"|authorization|(?:^|access|auth|bearer|api|refresh|security|session|id)[_-]?token$"
)
"""Names of fields that are credentials; ``prompt_cache_key`` and ``eos_token`` are none."""


def credential_in(value: Any, name: str = "") -> str | None:
    """The name of the first field whose text is a key, by its name or by its form; None where there is none.

    Args:
        value: What JSON can write.
        name: Dotted name of the field that holds it.

    >>> credential_in({"route": "fast", "headers": {"api_key": "x"}}), credential_in({"prompt_cache_key": "run 1"})
    ('headers.api_key', None)
    """
    if isinstance(value, Mapping):
        parts = [(f"{name}.{key}" if name else str(key), each) for key, each in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(name, each) for each in value]
    else:
        is_key = isinstance(value, str) and (_CREDENTIAL.search(name.rpartition(".")[2]) or _KEY.search(value))
        return name if is_key and value else None
    return next((found for key, each in parts if (found := credential_in(each, key))), None)


def may_hold_secret(url: str) -> bool:
    """True when a web address has a part that may be somebody's key: a user, a password, a query, a fragment.

    >>> may_hold_secret("http://bob:secret@host/v1"), may_hold_secret("http://host:8000/v1")
    (True, False)
    """
    return any(mark in url for mark in "@?#")


def without_secret(url: str | None) -> str | None:
    """The address, which is stored with every run; raises ValueError for one that may hold a key."""
    if url and may_hold_secret(url):
        raise ValueError("an address with a user, a password or a query; a key belongs into the environment")
    return url
