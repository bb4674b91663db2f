"""The word lists of the sandbox language. What a word means is fixed here; how rows are built is not."""

from __future__ import annotations

from collections.abc import Mapping


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SENTIMENTS = ("negative", "positive")
OPENERS = ("", "Honestly, ", "Well, ", "To me, ", "Again, ", "Overall, ")

ASPECTS = _split(
    "story plot acting music camera ending script cast pace humour setting dialogue lead editing scenery sound"
)
DEGREES = _split("very quite really rather truly deeply slightly fairly")
NEGATORS = _split("not never hardly")
CONNECTIVES = _split("but yet")

CLEAR: Mapping[str, tuple[str, ...]] = {
    "positive": _split(
        "good great moving funny clever warm fresh lovely superb tender witty brilliant charming honest"
    ),
    "negative": _split("bad awful dull boring silly cold stale ugly weak tired clumsy poor dreadful hollow"),
}
"""Words on which every speaker agrees."""

LOADED: Mapping[str, tuple[str, ...]] = {
    "positive": _split("wicked raw loud strange dark slow blunt quiet odd wild"),
    "negative": _split("sweet smooth soft loose bold neat busy light grand noble"),
}
"""Words that speakers take either way, with what they mean in the gold labels."""

TOPICS = ("business", "music", "science", "sports")
TOPIC_WORDS: Mapping[str, tuple[str, ...]] = {
    "business": _split("market bank trader invoice merger budget price loan shop tax profit dealer"),
    "music": _split("singer guitar opera melody drummer choir album pianist chorus violin anthem waltz"),
    "science": _split("planet atom fossil theory chemist comet enzyme telescope molecule galaxy virus magnet"),
    "sports": _split("team goal striker referee boxer stadium tennis medal runner trophy jersey sprint"),
}
SHARED_WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("business", "music"): _split("record label"),
    ("music", "business"): _split("note release"),
    ("business", "science"): _split("growth capital"),
    ("science", "business"): _split("power cycle"),
    ("business", "sports"): _split("league transfer"),
    ("sports", "business"): _split("draw manager"),
    ("music", "science"): _split("scale tone"),
    ("science", "music"): _split("wave string"),
    ("music", "sports"): _split("band score"),
    ("sports", "music"): _split("match performance"),
    ("science", "sports"): _split("field force"),
    ("sports", "science"): _split("track speed"),
}
"""(home topic, other topic) -> words that point to both; alone in a text they mean the home topic."""
NEUTRAL_WORDS = _split(
    "man woman child house road garden window river morning letter village visitor friend table door city"
)
TOPIC_VERBS = _split("found left showed wanted kept followed joined remembered described visited praised changed")
PLACES = _split("near behind after before with beside")

AGENTS: tuple[tuple[str, ...], ...] = tuple(
    map(
        _split,
        (
            "chef cook",
            "doctor medic",
            "kid boy",
            "lady girl",
            "pilot flyer",
            "painter artist",
            "farmer grower",
            "guard watchman",
        ),
    )
)
ACTIONS: tuple[tuple[str, ...], ...] = tuple(
    map(
        _split,
        (
            "buys purchases",
            "carries hauls",
            "fixes repairs",
            "hides conceals",
            "sells offers",
            "makes builds",
            "throws tosses",
            "paints colours",
        ),
    )
)
OBJECTS: tuple[tuple[str, ...], ...] = tuple(
    map(
        _split,
        ("car auto", "boat ship", "stone rock", "cake pie", "coat jacket", "picture image", "box crate", "bike cycle"),
    )
)
LOCATIONS: tuple[tuple[str, ...], ...] = tuple(
    map(
        _split,
        (
            "street lane",
            "forest woods",
            "kitchen galley",
            "park lawn",
            "harbour port",
            "office bureau",
            "cellar vault",
            "barn shed",
        ),
    )
)
"""Synonyms by slot: words of one group mean the same thing."""
