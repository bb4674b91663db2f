"""Tasks of GLUE that RLLR does not have: cola, whose judgement prompt is PPO-NLU's own example (section 4.1)."""

from __future__ import annotations

from rewardlab.tasks.task import HubSource, Task, declare
from rewardlab.tasks.templates import in_every_format, judgement_template, one_of, templates

COLA = declare(
    Task(
        name="cola",
        question="Is a sentence linguistically acceptable?",
        fields=("text",),
        labels=("unacceptable", "acceptable"),
        words={"judgement": {"unacceptable": "No", "acceptable": "Yes"}},
        aliases=in_every_format(
            {
                "unacceptable": (
                    "not acceptable",
                    "isn't acceptable",
                    "not linguistically acceptable",
                    "non-acceptable",
                )
            }
        ),
        metrics=("matthews", "accuracy"),
        templates=templates(
            'Is the sentence "{text}" linguistically acceptable or unacceptable?',
            judgement_template(
                "You are an assistant to analyze the linguistic properties of a sentence. The task is to decide the "
                "linguistic acceptability of a sentence. If the sentence is linguistically correct then it is "
                "acceptable, else it is not.",
                one_of(("Yes", "No")),
                'Now judge if the sentence "{text}" is linguistically acceptable.',
            ),
        ),
        test_splits={"cola": "validation"},
        hub=HubSource(
            "nyu-mll/glue",
            "cola",
            splits={"train": "train", "validation": "validation"},
            fields={"text": "sentence"},
            labels={"0": "unacceptable", "1": "acceptable"},
        ),
    ),
)
