"""The report card of a reward model: everything that its scores on unseen pairs say about it.

Nothing here trains. The measures stand in ``measures.py``, the pairs in ``pair_sets.py``, tables and pictures in
``card_files.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardlab.config import fingerprint
from rewardlab.intervals import mean_interval
from rewardlab.models.scoring import load_scorers, score_rows
from rewardlab.models.stored import stored_model
from rewardlab.pairs.duplicates import prompt_keys
from rewardlab.pairs.statistics import baselines, by_task
from rewardlab.reward_models import measures
from rewardlab.reward_models.measures import Floats
from rewardlab.reward_models.pair_sets import PairSet, pair_folders, pair_sets
from rewardlab.tasks.task import tasks
from rewardlab.training.rm_evaluation import EncodedPairs, PairEncoder
from rewardlab.types import Label, Pair


@dataclass(frozen=True, slots=True)
class Judged:
    """One reward model on one set of pairs.

    Attributes:
        pairs: Those within the model's budgets. P of them.
        chosen, rejected: Their raw scores, logits. Shape (P,).
        dropped: Pairs over the budgets.
    """

    pairs: Sequence[Pair]
    chosen: Floats
    rejected: Floats
    dropped: int

    @property
    def margins(self) -> Floats:
        """Chosen minus rejected. Shape (P,)."""
        return self.chosen - self.rejected


def report_cards(models: Sequence[Path], folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Card of each reward model, by its name (pair kind, or folder where kinds repeat; see :func:`names_of`).

    Args:
        models: Folders made by ``rewardlab rm train``.
        folders: Folders of pairs; empty: those that each model was trained and measured on.
    Raises:
        ModelError: A folder is no finished reward model, or its trunk has changed.
        InputError: There are no pairs.
    """
    return {name: judged_card(model, folders or pair_folders(model)).card for name, model in names_of(models).items()}


def names_of(models: Sequence[Path]) -> dict[str, Path]:
    """Short names of reward models: the pair kind where that is unique, else the folder, parents in front of it.

    A model that is given twice has one name.
    """
    known = {model.resolve(): model for model in models}
    names = [str(stored_model(model).kind) for model in known.values()]
    for depth in range(1, max((len(path.parts) for path in known), default=0)):
        names = [
            name if names.count(name) == 1 else "-".join(path.parts[-depth:])
            for name, path in zip(names, known, strict=True)
        ]
    return dict(zip(names, known.values(), strict=True))


def judge(model: Path, sets: Sequence[PairSet]) -> dict[str, Judged]:
    """Score every set with one reward model, as training encodes pairs."""
    loaded = load_scorers({"card": model})
    encode = PairEncoder(loaded.trunk.codec, stored_model(model).model)
    encoded = {each.name: encode(each.pairs) for each in sets}
    # sets overlap, and a ranking repeats its responses: each different one is scored once
    rows = {tuple(row) for found in encoded.values() for item in found.pairs for row in (item.chosen, item.rejected)}
    listed = sorted(rows)
    score = dict(zip(listed, score_rows(loaded.trunk, "rm-card", listed), strict=True))
    return {name: _judged(found, score) for name, found in encoded.items() if found.pairs}


def _judged(encoded: EncodedPairs, score: Mapping[tuple[int, ...], float]) -> Judged:
    chosen, rejected = (
        np.array([score[tuple(getattr(item, side))] for item in encoded.pairs]) for side in ("chosen", "rejected")
    )
    return Judged([item.pair for item in encoded.pairs], chosen, rejected, encoded.dropped)


def card_of(judged: Mapping[str, Judged], sets: Sequence[PairSet]) -> dict[str, Any]:
    """The measures of every set, and of all responses together.

    Returns:
        ``sets``: name -> ``tasks`` (accuracy with its interval beside both baselines), ``calibration``, ``margins``,
        ``by_gold``, ``dropped``, ``trained_prompts``; ``best_of_4``: task -> accuracy among one right and three wrong
        answers with its interval over rows, ``n`` rows that have these, ``of`` rows with a right answer;
        ``scores_by_gold``: task -> gold label -> right and wrong;
        ``correlations``: of scores with length and with the label's prior, of margins with the gap in length.
    """
    prior = measures.label_prior([pair for each in sets for pair in each.training])
    found = {each.name: (judged[each.name], each) for each in sets if each.name in judged}
    return {
        "sets": {name: _measured(*both) for name, both in found.items()},
        "best_of_4": _best_of_four([pair for pair, _ in found.values()]),
        "scores_by_gold": _scores_by_gold([pair for pair, _ in found.values()]),
        "correlations": _correlations([pair for pair, _ in found.values()], prior),
    }


@dataclass(frozen=True, slots=True)
class JudgedCard:
    """What :func:`judged_card` gives.

    Attributes:
        card: The measures.
        pairs: Lines of ``judged.jsonl``: ``set``, ``task``, ``id`` (of the row), ``pair`` (a hash of its texts, equal
            for equal pairs), ``margin`` (chosen minus rejected score, logits).
        rows: Lines of ``best_of_4.jsonl``: ``task``, ``id``, ``answers`` (a hash of the texts that it was picked from),
            ``won`` (:func:`~rewardlab.reward_models.measures.best_of_four`).
    """

    card: dict[str, Any]
    pairs: list[dict[str, Any]]
    rows: list[dict[str, Any]]


def judged_card(model: Path, folders: Sequence[Path]) -> JudgedCard:
    """The card of one reward model on pairs from ``folders``, and what became of each pair and row."""
    sets = pair_sets(folders, model)
    judged = judge(model, sets)
    about = {
        "model": str(model),
        "kind": stored_model(model).kind,
        "pairs": [str(folder) for folder in folders],
    }
    return JudgedCard(
        {**about, **card_of(judged, sets)},
        [line for name, found in judged.items() for line in _lines(name, found)],
        [row.to_json() for row in _candidate_rows(list(judged.values())) if row.won is not None],
    )


def _lines(name: str, judged: Judged) -> Iterator[dict[str, Any]]:
    for pair, margin in zip(judged.pairs, judged.margins.tolist(), strict=True):
        texts = fingerprint([pair.prompt, pair.chosen, pair.rejected])
        yield {"set": name, "task": pair.task, "id": pair.id, "pair": texts, "margin": margin}


def _measured(judged: Judged, of: PairSet) -> dict[str, Any]:
    known = by_task(of.training)
    return {
        "tasks": {task: _accuracy(judged, task, known.get(task, [])) for task in by_task(judged.pairs)},
        "calibration": measures.calibration(judged.margins),
        "margins": measures.margin_histogram(judged.margins),
        "by_gold": {
            task: measures.accuracy_by_gold(judged.margins[places], [judged.pairs[place] for place in places])
            for task, places in _places(judged.pairs).items()
            if _has_labels(task)
        },
        "dropped": judged.dropped,
        "trained_prompts": of.trained_prompts,
    }


def _accuracy(judged: Judged, task: str, known: Sequence[Pair]) -> dict[str, Any]:
    places = _places(judged.pairs)[task]
    pairs = [judged.pairs[place] for place in places]
    return {**measures.accuracy(judged.margins[places], prompt_keys(pairs)), **baselines(known, pairs)}


def _places(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.task, []).append(place)
    return places


@dataclass(frozen=True, slots=True)
class _Responses:
    """All different responses of some pairs, with their scores. R of them."""

    pairs: Sequence[Pair]
    texts: Sequence[str]
    answers: Sequence[Any]
    scores: Floats


def _responses(judged: Sequence[Judged]) -> _Responses:
    responses: dict[tuple[str, str, str], tuple[Pair, Any, float]] = {}
    for each in judged:
        for pair, chosen, rejected in zip(each.pairs, each.chosen, each.rejected, strict=True):
            responses[pair.task, pair.prompt, pair.chosen] = (pair, pair.chosen_label, float(chosen))
            responses[pair.task, pair.prompt, pair.rejected] = (pair, pair.rejected_label, float(rejected))
    pairs, answers, scores = zip(*responses.values(), strict=True) if responses else ((), (), ())
    return _Responses(pairs, [text for _, _, text in responses], answers, np.array(scores, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class _CandidateRow:
    """The right and the wrong answers to one prompt; ``won`` is None with fewer than three wrong ones."""

    task: str
    id: str
    texts: tuple[str, ...]
    won: float | None

    def to_json(self) -> dict[str, Any]:
        return {"task": self.task, "id": self.id, "answers": fingerprint(sorted(self.texts)), "won": self.won}


def _candidate_rows(judged: Sequence[Judged]) -> list[_CandidateRow]:
    """Every prompt with a right answer, whichever sets its answers come from; unreadable answers are left out."""
    of = _responses(judged)
    places: dict[tuple[str, str], list[int]] = {}
    for place, (key, pair) in enumerate(zip(prompt_keys(of.pairs), of.pairs, strict=True)):
        if of.answers[place] is not None and pair.gold_label is not None:
            places.setdefault(key, []).append(place)
    rows = []
    for found in places.values():
        right = [place for place in found if _is_right(of.pairs[place], of.answers[place])]
        wrong = [place for place in found if place not in right]
        if right:
            is_whole = len(wrong) >= measures.WRONG_ANSWERS
            won = measures.best_of_four(of.scores[right], of.scores[wrong]) if is_whole else None
            first = of.pairs[found[0]]
            rows.append(_CandidateRow(first.task, first.id, tuple(of.texts[place] for place in found), won))
    return rows


def _is_right(pair: Pair, answer: Label) -> bool:
    """Whether an answer is right: any gold candidate, where each row has answers of its own."""
    assert pair.gold_label is not None, "rows without gold are left out before"
    if pair.task in tasks and tasks.get(pair.task).candidates:
        return tasks.get(pair.task).is_right(answer, pair.gold_label)
    return measures.is_right(answer, pair.gold_label)


def _best_of_four(judged: Sequence[Judged]) -> dict[str, Any]:
    rows = _candidate_rows(judged)
    found = {}
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        if won := [row.won for row in own if row.won is not None]:
            found[task] = {**mean_interval(won).to_json(), "n": len(won), "of": len(own)}
    return found


def _scores_by_gold(judged: Sequence[Judged]) -> dict[str, Any]:
    of = _responses(judged)
    return {
        task: measures.scores_by_gold(
            of.scores[places], [of.answers[p] for p in places], [of.pairs[p].gold_label for p in places]
        )
        for task, places in _places(of.pairs).items()
        if _has_labels(task)
    }


def _has_labels(task: str) -> bool:
    """False where each row has answers of its own, which no table can list."""
    return task not in tasks or not tasks.get(task).candidates


def _correlations(judged: Sequence[Judged], prior: Mapping[Any, float]) -> dict[str, Any]:
    of = _responses(judged)
    words = np.array([len(text.split()) for text in of.texts], dtype=np.float64)
    shares = np.array([prior.get((pair.task, label), np.nan) for pair, label in zip(of.pairs, of.answers, strict=True)])
    known = ~np.isnan(shares)
    margins = np.concatenate([each.margins for each in judged]) if judged else np.zeros(0)
    gaps = [len(pair.chosen.split()) - len(pair.rejected.split()) for each in judged for pair in each.pairs]
    return {
        "score_and_words": measures.correlation(of.scores, words),
        "score_and_label_prior": measures.correlation(of.scores[known], shares[known]),
        "margin_and_word_gap": measures.correlation(margins, np.array(gaps, dtype=np.float64)),
    }
