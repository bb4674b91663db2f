"""A task with several labels a row: emotions of a comment, in Ekman's grouping."""

from __future__ import annotations

from rewardlab.tasks.task import Task, declare
from rewardlab.tasks.templates import judgement_template, templates

EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

GOEMOTIONS_EKMAN = declare(
    Task(
        name="goemotions_ekman",
        question="Which emotions does a comment express?",
        fields=("text",),
        labels=EMOTIONS,
        multi_label=True,
        columns={"label": "labels"},
        templates=templates(
            f"Comment: {{text}} Which emotions does it express: {', '.join(EMOTIONS)}? Name one or several.",
            judgement_template(
                "You are an assistant to tell emotions. The task is to name every emotion that a comment expresses.",
                f"one or several of {', '.join(EMOTIONS)}, with commas between them",
                'Now name the emotions of the comment "{text}".',
            ),
        ),
        metrics=("sample_f1", "micro_f1", "macro_f1", "accuracy"),
    )
)
"""Demszky et al. 2020, the seven groups of its 28 emotions; neutral stands alone or beside others, as annotated."""
