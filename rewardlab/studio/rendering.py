"""From a page's values to HTML. Everything that comes from a run is escaped: texts of models are shown as texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rewardlab import __version__
from rewardlab.comparison.numbers import shown_value
from rewardlab.reports.charts import number_text
from rewardlab.studio.addresses import Addresses
from rewardlab.studio.index import Cost
from rewardlab.studio.pages import Shown
from rewardlab.studio.tables import PART, SHAPED, TERM

HERE = Path(__file__).parent
MISSING = "–"
LONGEST = 160
"""Characters of a response that a table shows."""
ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(shown: Shown, to: Addresses, common: Mapping[str, Any]) -> str:
    """A page as HTML.

    Args:
        shown: What stands in it.
        to: Where other pages lie.
        common: What every page gets, such as the folder of runs.
    """
    template = ENVIRONMENT.get_template(shown.template)
    return template.render({**common, **shown.values, "to": to, "is_running": shown.is_running, "version": __version__})


def number(value: object) -> str:
    """A number of a table, four significant digits; a dash for none.

    >>> number(0.123456), number(3), number(None), number(True)
    ('0.1235', '3', '–', 'yes')
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number_text(value + 0.0) if isinstance(value, float) else str(value)  # -0.0 + 0.0 is 0.0


def percent(value: float | None) -> str:
    """A share times 100, as tables print it."""
    return MISSING if value is None else shown_value(value)


def heading(name: str) -> str:
    """A column of samples for people.

    >>> heading("part label"), heading("shaped kl"), heading("correct")
    ('label (raw)', 'kl (shaped)', 'right')
    """
    for prefix, told in ((PART, "raw"), (TERM, "term"), (SHAPED, "shaped")):
        if name.startswith(prefix):
            return f"{name.removeprefix(prefix)} ({told})"
    return {"correct": "right", "error": "distance"}.get(name, name)


def cut(text: object) -> str:
    """The end of a text on one line, where the answer stands."""
    line = " ".join(str(text or "").split())
    return line if len(line) <= LONGEST else f"…{line[-LONGEST:]}"


def cost_text(cost: Cost) -> str:
    """What a stage consumed, on one line.

    >>> cost_text(Cost(61.2, 2000, 600, 1.5))
    '61 s · 2000 labels · 600 calls · $1.50'
    """
    told = [
        None if cost.seconds is None else f"{cost.seconds:.0f} s",
        f"{cost.labels} labels" if cost.labels else None,
        f"{cost.calls} calls" if cost.calls else None,
        None if cost.usd is None else f"${cost.usd:.2f}",
    ]
    return " · ".join(each for each in told if each) or MISSING


def moment(text: str) -> str:
    """A time as stored, to the minute.

    >>> moment("2026-11-29T15:45:26+00:00")
    '2026-11-29 15:45'
    """
    return text[:16].replace("T", " ")


def short(text: str) -> str:
    """A number that a setting holds, as tables print it; another text as it is.

    >>> short("1.768655687570572"), short("q75")
    ('1.769', 'q75')
    """
    try:
        return number(float(text))
    except ValueError:
        return text


def as_json(value: object) -> str:
    """JSON on several lines, to be escaped as any other text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


ENVIRONMENT.filters.update(number=number, percent=percent, heading=heading, cut=cut, cost=cost_text, moment=moment)
ENVIRONMENT.filters.update(plain=str, as_json=as_json, short=short)
ENVIRONMENT.tests.update(warning=lambda line: str(line).startswith("warning: "))
