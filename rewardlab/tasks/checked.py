"""Rows that were checked and then left where they lie: what dividing them needs is held, 28 bytes a row.

A file of a million rows is divided by labels and by which texts are equal; of the texts themselves a few thousand are
used, and these are read again.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from rewardlab.types import Example, Label

DIGEST = 16
"""Bytes of a text's digest: among a million texts two of one digest have a chance of 1 in 10^26."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What is held of each row of a file, in the file's order.

    Attributes:
        labels: The different labels.
        codes: Place of each row's label in ``labels``.
        texts: Digest of each row's text (:func:`text_digest`), one behind the other.
        ids: Hash of each row's id, this process's own.
    """

    labels: dict[Label | None, int] = field(default_factory=dict)
    codes: array[int] = field(default_factory=lambda: array("i"))
    texts: bytearray = field(default_factory=bytearray)
    ids: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, example: Example) -> None:
        """Note one more row."""
        self.codes.append(self.labels.setdefault(example.label, len(self.labels)))
        self.texts.extend(text_digest(example))
        self.ids.append(hash(example.id))

    def digest(self, number: int) -> bytes:
        """Of the text of a row."""
        return bytes(self.texts[number * DIGEST : (number + 1) * DIGEST])

    def repeated_ids(self) -> frozenset[int]:
        """The hashes that several ids have: of equal ids, as good as always."""
        import numpy as np

        hashes, counts = np.unique(np.frombuffer(self.ids, np.int64), return_counts=True)
        return frozenset(hashes[counts > 1].tolist())


Take = Callable[[Collection[int]], Mapping[int, Example]]
"""Numbers of rows, from 0 -> these rows, in the file's order."""


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """The rows of a split.

    Attributes:
        outline: What is held of them.
        take: Reads some of them; raises DataError when their file is not what was checked.
    """

    outline: Outline
    take: Take

    def __len__(self) -> int:
        return len(self.outline)

    @property
    def examples(self) -> list[Example]:
        """All of them."""
        return [*self.take(range(len(self))).values()]


def in_a_row(parts: Sequence[CheckedRows]) -> CheckedRows:
    """The rows of several files as those of one."""
    outline, starts = Outline(), [0, *accumulate(len(part) for part in parts)]
    for part in parts:
        codes = [outline.labels.setdefault(label, len(outline.labels)) for label in part.outline.labels]
        outline.codes.extend(codes[code] for code in part.outline.codes)
        outline.texts.extend(part.outline.texts)
        outline.ids.extend(part.outline.ids)

    def taken(numbers: Collection[int]) -> Iterator[tuple[int, Example]]:
        for part, start in zip(parts, starts, strict=False):
            own = [number - start for number in numbers if start <= number < start + len(part)]
            yield from ((start + number, example) for number, example in part.take(own).items())

    return CheckedRows(outline, lambda numbers: dict(taken(numbers)))


def content_key(example: Example) -> tuple[str, ...]:
    """What makes two rows the same text: their fields, whatever the case, white space and order."""
    return tuple(sorted([" ".join(text.split()).casefold() for text in example.fields.values()]))


def text_digest(example: Example) -> bytes:
    """Of what makes two rows the same text."""
    text = "\n".join(content_key(example))  # no field has a line end: all white space in them is single blanks
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()
