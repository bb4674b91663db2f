"""Run folders made by hand: evaluations with chosen answers, PPO logs, reward models, pair manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardlab.disk import write_json, write_jsonl
from rewardlab.evaluation.answers import write_answers
from rewardlab.evaluation.predict import Prediction

LABELS = ("no", "yes")
STORED_RM: Mapping[str, Any] = {"kind": "label", "model": {"name": "tiny"}, "sft_adapter": None, "trunk": "0" * 16}
"""What the result of a reward model says of it, beside its measurements."""
Answers = Sequence[str | float | None]


def eval_folder(
    path: Path,
    *,
    method: str = "SFT w. rationale",
    seed: int = 0,
    columns: Mapping[str, Mapping[str, tuple[Answers, Answers]]],
    metrics: Sequence[str] = ("accuracy",),
    start: str = "sft-rationale",
    reward: str | None = None,
    model_run: Path | None = None,
    cost: tuple[int, int, float] = (100, 200, 30.0),
    scale: tuple[float, float] | None = None,
    ids: Sequence[str] | None = None,
    commit: str = "a" * 40,
    model: str = "tiny",
    labels: Sequence[str] = LABELS,
    budget: Mapping[str, Any] | None = None,
    format: str | None = None,
    start_accuracy: float | None = None,
    cut: int = 0,
    quality: Sequence[float] | None = None,
) -> Path:
    """Write an evaluation whose cells hold (gold, answers); stored intervals are placeholders of width 0.

    ``cut``: so many of the first answers of each cell ended at their budget; ``quality``: of each cell's rationales.
    """
    rows: list[dict[str, Any]] = []
    result: dict[str, dict[str, Any]] = {}
    for column, decodings in columns.items():
        for decoding, (gold, answers) in decodings.items():
            names = ids or [f"{number:04d}" for number in range(len(gold))]
            made = [_row(column, decoding, *entry) for entry in zip(names, gold, answers, strict=True)]
            for number, row in enumerate(made):
                row |= {"finished": number >= cut, "quality": None if quality is None else quality[number]}
            rows += made
            cell = {**_cell(answers, metrics, scale, labels), "unfinished": cut / len(answers)}
            if quality is not None:
                cell["quality"] = dict.fromkeys(("value", "low", "high"), sum(quality) / len(quality))
            result.setdefault(column, {})[decoding] = cell
    stored = {"model": {"name": model}, **({"format": format} if format else {})}
    config = {"stage": "eval", "fingerprint": path.name, "identity": {}, "config": stored}
    write_json(path / "config.json", config)
    provenance = {"packages": {"rewardlab": "0.1.0"}, "commit": commit, "dirty": False, "command": "rewardlab eval"}
    write_json(path / "provenance.json", provenance)
    write_jsonl(path / "predictions.jsonl", rows)
    write_answers(path, [Prediction(**row) for row in rows])
    summary = {"method": method, "start": start, "reward": reward, "seed": seed, "columns": result, "shots": 0}
    costs = dict(zip(("gold_labels", "annotator_calls", "seconds"), cost, strict=True))
    about = {"cost": costs, "model_run": str(model_run) if model_run else None, "budget": budget or {}}
    write_json(path / "result.json", {**summary, **about, "start_accuracy": start_accuracy})
    return path


def answers_with(right: int, total: int, malformed: int = 0) -> tuple[list[str], list[str | None]]:
    """Gold labels, alternating no and yes, and answers of which the first ``right`` are right."""
    gold = [LABELS[number % 2] for number in range(total)]
    answers: list[str | None] = [
        label if number < right else LABELS[1 - LABELS.index(label)] for number, label in enumerate(gold)
    ]
    return gold, answers[: total - malformed] + [None] * malformed


def both(right_sampled: int, right_greedy: int, total: int) -> dict[str, tuple[Answers, Answers]]:
    """A column with so many right answers under each decoding."""
    return {"sampled": answers_with(right_sampled, total), "greedy": answers_with(right_greedy, total)}


def ppo_folder(path: Path, logs: Sequence[Mapping[str, float]]) -> Path:
    """Write a PPO run with one log line a step."""
    write_json(path / "config.json", {"stage": "ppo", "fingerprint": path.name, "identity": {}})
    write_jsonl(path / "metrics.jsonl", [{"step": step, **log} for step, log in enumerate(logs)])
    write_json(path / "result.json", {"steps": len(logs)})
    return path


def reward_model_folder(path: Path, kind: str, accuracy: float, task: str = "toy") -> Path:
    """Write a reward model of that accuracy on held-out label-sensitive pairs."""
    entry = {"value": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.05, "n": 80}
    entry |= {"label_only": 0.5, "length_only": 0.55}
    tests = {"held_out_label": {task: entry}, "held_out_ranked": {}, "policy_sampled": {}}
    write_json(path / "result.json", {"kind": kind, "accuracy": tests})
    return path


def pairs_folder(path: Path, task: str, rationale_share: float, pairs: int) -> Path:
    """Write a manifest with the shares of the pair kinds; 0 pairs: none were sampled."""
    shares = {"rationale_sensitive": rationale_share, "label_sensitive": 1 - rationale_share, "malformed": 0.0}
    distribution = {task: {**shares, "n": pairs}} if pairs else {}
    write_json(path / "manifest.json", {"kind": "ranked", "distribution": distribution})
    return path


def _row(column: str, decoding: str, id: str, gold: str | float, answer: str | float | None) -> dict[str, Any]:
    return {
        "column": column,
        "task": column,
        "id": id,
        "decoding": decoding,
        "prompt": "?",
        "response": str(answer),
        "answer": answer,
        "strict": answer,
        "gold": gold,
        "is_correct": answer == gold,
        "is_malformed": answer is None,
        "quality": None,
        "finished": True,
    }


def _cell(
    answers: Answers, metrics: Sequence[str], scale: tuple[float, float] | None, labels: Sequence[str]
) -> dict[str, Any]:
    share = sum(answer is None for answer in answers) / len(answers)
    return {
        "n": len(answers),
        "metrics": {name: {"value": 0.0, "low": 0.0, "high": 0.0} for name in metrics},
        "malformed": share,
        "strict_malformed": share,
        "quality": None,
        "labels": [] if scale else list(labels),
        "numeric_range": scale,
    }
