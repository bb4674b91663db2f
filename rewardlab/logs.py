"""What programs print of the log; the library itself configures nothing."""

from __future__ import annotations

import logging

MISLEADING = ("bitsandbytes",)
"""Loggers that warn of what nobody asked for: PEFT imports bitsandbytes where it is installed, and it then misses a
kernel for weights in 4 bits."""


def show_log(*, verbose: bool = False) -> None:
    """Print warnings and errors, and with ``verbose`` what the library does, on standard error."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
    for name in () if verbose else MISLEADING:
        logging.getLogger(name).setLevel(logging.ERROR)
