"""One entry to the rationales of the three grammars: the text that argues for a label, at a level of detail."""

from __future__ import annotations

from rewardlab.errors import DataError
from rewardlab.sandbox import sentiment, similarity, topic
from rewardlab.tasks.sets import labels_in
from rewardlab.types import Example, Label

MOST_DETAIL = 3


def write_rationale(example: Example, label: Label, detail: int) -> str:
    """A rationale for ``label``, whether that is the right one or not.

    Args:
        example: Row of a sandbox task.
        label: Where the rationale shall end.
        detail: From 0 (quotes nothing) to 3 (quotes all that speaks for the label).
    Raises:
        DataError: The row does not come from the sandbox, or has no such label.
    """
    try:
        if example.task == "sandbox-similarity":
            return similarity.rationale(example.evidence, float(label), detail)
        write = sentiment.rationale if example.task == "sandbox-sentiment" else topic.rationale
        if example.task == "sandbox-topics":
            return " ".join(topic.rationale(example.evidence, each, detail) for each in labels_in(label))
        if str(label) not in example.evidence["cite"]:
            raise KeyError(label)
        return write(example.evidence, str(label), detail)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{example.task} row {example.id}: the sandbox cannot argue for {label!r}; "
            "give a row that a sandbox task generated and a label of that task"
        ) from error


def twisted_rationale(example: Example, label: Label, detail: int) -> str:
    """A rationale that quotes what speaks for the gold label and claims that it says ``label``.

    Args:
        example: Row of a sandbox task with labels, gold label known.
        label: The verdict, a wrong one.
        detail: As for ``write_rationale``.
    """
    if example.task == "sandbox-topics":
        return write_rationale(example, label, detail)
    before, _, after = write_rationale(example, str(example.label), detail).rpartition(str(example.label))
    return f"{before}{label}{after}"
