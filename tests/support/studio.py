"""Runs as the studio finds them, made by hand, and the studio in a test client."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from rewardlab.disk import write_json, write_jsonl
from rewardlab.studio.app import build_app
from rewardlab.studio.index import RunIndex
from rewardlab.studio.pages import Studio

SCRIPT = "<script>alert('<b>x</b>')</script>"
"""What must never reach a page as markup."""


def stage_folder(
    root: Path,
    kind: str,
    name: str,
    *,
    config: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    result: Mapping[str, Any] | None = None,
    files: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    started: str = "2026-01-01T00:00:00+00:00",
) -> Path:
    """A run folder; its fingerprint is what stands behind the last hyphen of its name. No result: not finished."""
    folder = root / kind / name
    identity = {"settings": settings or {}, "inputs": inputs or {}}
    stored = {"stage": kind, "fingerprint": name.rsplit("-", 1)[-1], "identity": identity, "config": config or {}}
    write_json(folder / "config.json", stored)
    write_json(folder / "provenance.json", {"started": started, "command": f"rewardlab {kind}"})
    for file, rows in (files or {}).items():
        write_jsonl(folder / file, rows)
    if result is not None:
        write_json(folder / "result.json", result)
    return folder


def ledger_row(
    step: int, id: str, answer: str | float | None, gold: str | float = "positive", **other: Any
) -> dict[str, Any]:
    """A line of a ledger of the sandbox's sentiment task; the score is 1 for a right answer, else 0."""
    score = float(answer == gold)
    row = {
        "step": step,
        "task": "sandbox-sentiment",
        "id": id,
        "answer": answer,
        "strict": answer,
        "gold": gold,
        "correct": answer == gold,
        "error": None,
        "parts": {"rule": score},
        "terms": {"rule": score},
        "score": score,
        "reason": "",
        "sample": 0,
        "response": f"It sounds {answer}.\n\n The answer is: {answer}",
        "shaped": {"score": score - 0.5, "kl": -0.1, "penalty": 0.0},
        "total": score - 0.6,
    }
    return {**row, **other}


def prediction(id: str, answer: str | float | None, gold: str | float = "positive", **other: Any) -> dict[str, Any]:
    """A greedy line of an evaluation's predictions."""
    row = {"column": "sandbox-sentiment", "task": "sandbox-sentiment", "id": id, "decoding": "greedy"}
    row |= {"prompt": f"Is {id} good?", "response": f"The answer is: {answer}", "answer": answer, "strict": answer}
    return {**row, "gold": gold, "is_correct": answer == gold, "is_malformed": answer is None, **other}


def pair_row(id: str, chosen: str = "good", rejected: str = "bad", **other: Any) -> dict[str, Any]:
    """A line of a file of pairs."""
    row = {"task": "sandbox-sentiment", "id": id, "kind": "label", "format": "rationale", "prompt": f"Is {id} good?"}
    row |= {"chosen": chosen, "rejected": rejected, "chosen_label": "positive", "rejected_label": "negative"}
    return {**row, "gold_label": "positive", "annotator": "sandbox", "model": "oracle", **other}


def ppo_run(root: Path, rows: Sequence[Mapping[str, Any]], name: str = "toy-aaaa", **other: Any) -> Path:
    """A finished PPO run with a ledger and one line of metrics a step."""
    steps = sorted({row["step"] for row in rows})
    metrics = [{"step": step, "reward/score": float(step), "reward/part/rule": 0.5, "policy/kl": 0.1} for step in steps]
    files = {"samples.jsonl": rows, "metrics.jsonl": metrics}
    config = {"task": "sandbox-sentiment", "seed": 0, "format": "rationale", "reward": {"expression": "rule"}}
    given = {"config": config, "result": {"steps": len(steps)}, "files": files}
    return stage_folder(root, "ppo", name, **{**given, **other})


def eval_run(root: Path, name: str, rows: Sequence[Mapping[str, Any]], accuracy: float, **other: Any) -> Path:
    """A finished evaluation of one column, greedy."""
    cell = {"metrics": {"accuracy": {"value": accuracy, "low": 0.0, "high": 1.0}}}
    result = {"method": name, "columns": {"sandbox-sentiment": {"greedy": cell}}, "cost": {"seconds": 3.0}}
    given = {"config": {"task": "sandbox-sentiment", "seed": 0}, "result": result}
    return stage_folder(root, "eval", name, **{**given, "files": {"predictions.jsonl": rows}, **other})


def studio_of(root: Path, journal: Path | None = None, **other: Any) -> Studio:
    """The studio of a folder of runs."""
    return Studio(RunIndex(root), journal or root.parent / "annotations", **other)


def client_of(studio: Studio) -> TestClient:
    """A browser on this machine."""
    return TestClient(build_app(studio), base_url="http://127.0.0.1", follow_redirects=False)


def links(page: str) -> list[str]:
    """Addresses that a page leads to, in order, each once."""
    return list(dict.fromkeys(unescape(found) for found in re.findall(r'(?:href|src)="([^"]*)"', page)))


def text_of(page: str) -> str:
    """The words of a page, as a reader sees them."""
    body = page.partition("<body")[2].partition(">")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())
