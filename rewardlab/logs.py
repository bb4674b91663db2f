"""What programs print of the log; the library itself configures nothing."""

from __future__ import annotations

import logging

from rewardlab.printable import printable_lines

MISLEADING = ("bitsandbytes",)
"""Loggers that warn of what was not asked for: PEFT imports bitsandbytes where it is installed, and it then misses a
kernel for weights in 4 bits."""


class PrintableFormatter(logging.Formatter):
    """Log lines may hold names of others, too."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        return printable_lines(super().format(record))


def show_log(*, verbose: bool = False) -> None:
    """Print warnings and errors, and with ``verbose`` what the library does, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    for name in () if verbose else MISLEADING:
        logging.getLogger(name).setLevel(logging.ERROR)
