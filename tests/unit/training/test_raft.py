"""Rejection-sampling fine-tuning: what is kept, that it learns, that a resume is the uninterrupted run bit by bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import read_jsonl
from rewardlab.errors import RunFolderError, TrainingError
from rewardlab.models.trunk import load_trunk
from rewardlab.rewards.ledger import GLOSSARY as LEDGER_GLOSSARY
from rewardlab.rewards.ledger import Ledger
from rewardlab.runs import RunFolder
from rewardlab.training import raft
from rewardlab.training.metrics import GLOSSARY as ONLINE_GLOSSARY
from rewardlab.training.progress import FolderRecorder
from rewardlab.training.raft import GLOSSARY, RaftTrainer
from rewardlab.training.scored_samples import Candidate, best_of
from rewardlab.types import Example, Reward, Score
from tests.support.models import tiny_llama, word_tokenizer
from tests.support.training import EXAMPLES, FunctionReward

WORDS = ["good", "bad", "yes", "maybe", "no", "perhaps"]
BEST = {"positive": "yes", "negative": "no"}
RUN = {"model.max_new_tokens": 2, "lora.targets": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
SMALL = {"rounds": 2, "samples": 8, "batch": 4, "micro_batch": 2, "lr": 1e-2, "epochs": 2.0, "checkpoint_every": 2}


class Cut(Exception):
    """The interruption."""


def hit(example: Example, response: str) -> float:
    """One for a response that begins with the best word of its prompt."""
    return float(response.split()[:1] == [BEST[str(example.label)]])


def trainer(
    folder: Path,
    reward: Callable[[Example, str], float | None] | Reward = hit,
    *,
    examples: Sequence[Example] = EXAMPLES,
    validation: Sequence[Example] = (),
    run: Mapping[str, Any] = RUN,
    **settings: Any,
) -> RaftTrainer:
    model = folder / "model"
    if not model.exists():
        tiny_llama(model, word_tokenizer(WORDS))
    config: RunConfig = load_config(
        {
            "task": "sst2",
            "format": "label",
            "model.name": str(model),
            "model.dtype": "float32",
            "init": "base",
            **{f"raft.{key}": value for key, value in {**SMALL, **settings}.items()},
            **run,
        }
    )
    place = RunFolder(folder / "run", "raft", {}, config.model_dump(mode="json"))
    place.open()
    return RaftTrainer(
        load_trunk(config.model),
        reward if isinstance(reward, Reward) else FunctionReward(reward),
        examples,
        config,
        FolderRecorder(place),
        Ledger(place.append),
        place.path,
        validation=validation,
    )


def payoff(made: RaftTrainer, role: str | None = "policy") -> float:
    """Probability of the best first word, exact, mean over the prompts."""
    found = []
    for example in EXAMPLES:
        ids = torch.tensor([made.trunk.codec.prompt_ids(example)])
        with torch.no_grad(), made.trunk.roles.using(role):
            shares = torch.softmax(made.trunk.model(ids).logits[0, -1], -1).tolist()
        words = [made.trunk.codec.decode([token]).strip() for token in range(len(shares))]
        found.append(sum(p for p, word in zip(shares, words, strict=True) if word == BEST[str(example.label)]))
    return fmean(found)


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves behind, times left out."""
    run = folder / "run"
    rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read_jsonl(run / "metrics.jsonl")]
    adapters = {name: load_file(run / name / "adapter_model.safetensors") for name in ("adapter", "adapter-best")}
    return {
        "metrics": rows,
        "samples": list(read_jsonl(run / "samples.jsonl")),
        "validation": list(read_jsonl(run / "validation.jsonl")),
        "adapters": {
            (name, key): tensor.numpy().tobytes() for name, found in adapters.items() for key, tensor in found.items()
        },
    }


def test_it_learns_what_scores_best(tmp_path: Path) -> None:
    made = trainer(tmp_path, rounds=3, samples=64, lr=2e-2, epochs=8.0)
    start = payoff(made, None)
    result = made.train()
    assert start < 0.3
    assert payoff(made) > 0.9
    assert (result.steps, result.responses) == (3, 3 * 64 * len(EXAMPLES))
    assert result.backward == 8 * result.learned  # epochs
    assert result.forward == result.backward  # no reward model has read anything


def test_shuffled_scores_teach_nothing(tmp_path: Path) -> None:
    class Shuffled:
        name, needs_gold = "shuffled", True

        def __init__(self) -> None:
            self._random = random.Random(0)

        def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
            scores = [hit(example, text) for example, text in zip(examples, responses, strict=True)]
            self._random.shuffle(scores)
            return [Score(score) for score in scores]

    made = trainer(tmp_path, Shuffled(), rounds=3, samples=64, lr=2e-2, epochs=8.0)
    made.train()
    assert payoff(made) < 0.5


def test_no_rounds_leave_the_start_exactly(tmp_path: Path) -> None:
    made = trainer(tmp_path, rounds=0)
    result = made.train()
    ids = torch.tensor([made.trunk.codec.prompt_ids(EXAMPLES[0])])
    logits = []
    for role in (None, "policy"):
        with torch.no_grad(), made.trunk.roles.using(role):
            logits.append(made.trunk.model(ids).logits)
    assert torch.equal(*logits)
    assert (result.steps, result.updates, result.responses) == (0, 0, 0)


class TestWhatIsKept:
    def test_of_equals_the_earliest(self) -> None:
        scores = [1.0, 3.0, None, 3.0, 2.0]
        candidates = [Candidate(str(number), True, score) for number, score in enumerate(scores)]
        assert best_of(candidates) == [1]
        assert best_of(candidates, keep=3) == [1, 3, 4]
        assert best_of(candidates, keep=9, threshold=1.0) == [1, 3, 4]
        assert best_of(candidates, threshold=3.0) == []
        assert best_of([Candidate("x", True, None)]) == []

    def test_prompts_without_a_response_above_the_threshold_are_skipped_and_counted(self, tmp_path: Path) -> None:
        """Only responses to the four positive prompts can exceed it."""
        made = trainer(tmp_path, lambda example, text: float(example.label == "positive"), rounds=1, threshold=0.5)
        result = made.train()
        (metrics,) = read_jsonl(tmp_path / "run" / "metrics.jsonl")
        assert (result.skipped, result.learned) == (4, 4)
        assert (metrics["raft/skipped"], metrics["raft/kept"], metrics["raft/kept_score"]) == (0.5, 4.0, 1.0)

    def test_a_response_that_was_cut_is_never_learned(self, tmp_path: Path) -> None:
        """With one token of room only the response without a word ends by itself, and a word scores better."""
        made = trainer(
            tmp_path, lambda example, text: float(bool(text)), rounds=1, run={**RUN, "model.max_new_tokens": 1}
        )
        result = made.train()
        (metrics,) = read_jsonl(tmp_path / "run" / "metrics.jsonl")
        assert result.learned + result.skipped == len(EXAMPLES)
        assert metrics.get("raft/kept_score", 0.0) == 0.0
        assert {row["score"] for row in read_jsonl(tmp_path / "run" / "samples.jsonl")} == {0.0, 1.0}

    def test_it_learns_the_texts_that_scored_best_and_their_end(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, rounds=1)
        learned: list[tuple[list[int], list[int]]] = []
        step = raft._Fitting.step

        def watched(self: Any, rows: Any) -> tuple[float, float]:
            learned.extend((list(prompt), list(response)) for prompt, response in rows)
            return step(self, rows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(raft._Fitting, "step", watched)
            made.train()
        rows = list(read_jsonl(tmp_path / "run" / "samples.jsonl"))
        end = made.trunk.codec.tokenizer.eos_token_id
        assert all(response[-1] == end for _, response in learned)
        best = {}
        for row in rows:
            text = row["response"]
            if len(made.trunk.codec.response_ids(text)) <= 2 and row["score"] > best.get(row["id"], ("", -1.0))[1]:
                best[row["id"]] = (text, row["score"])
        known = {each.id: each for each in EXAMPLES}
        expected = {
            (tuple(made.trunk.codec.prompt_ids(known[name])), tuple(made.trunk.codec.response_ids(text)))
            for name, (text, _) in best.items()
        }
        assert {(tuple(prompt), tuple(response)) for prompt, response in learned} <= expected
        assert len(learned) == 2 * made.totals["learned"]  # two epochs

    def test_too_many_unscored_responses_stop_the_run(self, tmp_path: Path) -> None:
        made = trainer(tmp_path, lambda example, text: None if example.label == "positive" else 1.0, max_unscored=0.4)
        with pytest.raises(
            TrainingError, match=r"could not judge 32 of the first 64 responses of round 1 \(raft.max_un"
        ):
            made.train()


class TestAStep:
    def test_the_loss_is_the_mean_over_response_tokens(self, tmp_path: Path) -> None:
        made = trainer(tmp_path)
        rows = [(made.trunk.codec.prompt_ids(EXAMPLES[0]), [7, 1]), (made.trunk.codec.prompt_ids(EXAMPLES[1]), [8])]
        expected = []
        for prompt, response in rows:
            with torch.no_grad():
                logits = made.trunk.model(torch.tensor([prompt + response])).logits[0].double()
            for place, token in enumerate(response, len(prompt) - 1):
                expected.append(-torch.log_softmax(logits[place], -1)[token].item())
        loss, _ = raft._Fitting(made.trunk, made.config, 5).step(rows)
        assert loss == pytest.approx(fmean(expected), abs=1e-5)

    def test_micro_batches_do_not_change_the_step(self, tmp_path: Path) -> None:
        found = []
        for size in (1, 4):
            (tmp_path / str(size)).mkdir()
            made = trainer(tmp_path / str(size), micro_batch=size)
            rows = [(made.trunk.codec.prompt_ids(each), [7, 1][: 1 + n % 2]) for n, each in enumerate(EXAMPLES[:4])]
            found.append(raft._Fitting(made.trunk, made.config, 5).step(rows))
        assert found[0] == pytest.approx(found[1], rel=1e-4)  # loss, norm of the gradient

    def test_every_round_begins_at_the_start(self, tmp_path: Path) -> None:
        """Two rounds that keep the same responses end at the same adapter."""
        made = trainer(tmp_path, rounds=2)
        fitted: list[torch.Tensor] = []
        begin = raft._Fitting.__init__

        def watched(self: Any, trunk: Any, *rest: Any) -> None:
            fitted.append(torch.cat([p.detach().flatten().clone() for p in trunk.roles.parameters("policy")]))
            begin(self, trunk, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(raft._Fitting, "__init__", watched)
            made.train()
        assert len(fitted) == 2
        assert torch.equal(*fitted)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run without interruption leaves behind."""
    folder = tmp_path_factory.mktemp("straight")
    trainer(folder, validation=EXAMPLES).train()
    return outcome(folder)


class TestResume:
    def cut(self, folder: Path, patch: pytest.MonkeyPatch, name: str, calls: int) -> None:
        """Interrupt a run at a call of one of the functions behind it."""
        made, real, count = trainer(folder, validation=EXAMPLES), getattr(raft, name, None) or raft._Fitting.step, [0]

        def failing(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] > calls:
                raise Cut
            return real(*arguments, **named)

        with patch.context() as inside:
            inside.setattr(*((raft, name, failing) if hasattr(raft, name) else (raft._Fitting, "step", failing)))
            with pytest.raises(Cut):
                made.train()

    @pytest.mark.parametrize(
        ("name", "calls", "sampled"),
        [
            ("score", 1, 1),  # in the second round's sampling
            ("step", 1, 2),  # before the first checkpoint: the first round is sampled again
            ("step", 3, 1),  # inside the first round's fine-tuning
            ("step", 5, 1),  # in the second round's fine-tuning
        ],
    )
    def test_it_is_the_run_without_interruption(
        self,
        straight: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        calls: int,
        sampled: int,
    ) -> None:
        self.cut(tmp_path, monkeypatch, name, calls)
        torch.manual_seed(99)  # a fresh process has another generator state
        drawn: list[int] = []
        draw = raft.draw
        monkeypatch.setattr(raft, "draw", lambda *arguments: drawn.append(1) or draw(*arguments))
        trainer(tmp_path, validation=EXAMPLES).train()
        assert outcome(tmp_path) == straight
        assert len(drawn) == sampled

    def test_another_configuration_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cut(tmp_path, monkeypatch, "step", 3)
        with pytest.raises(RunFolderError, match=r"differs in raft\.keep\)"):
            trainer(tmp_path, validation=EXAMPLES, keep=2).resume()


def test_every_metric_is_explained(tmp_path: Path) -> None:
    trainer(tmp_path, validation=EXAMPLES).train()
    known = {name.rstrip("*") for name in (*GLOSSARY, *LEDGER_GLOSSARY, *ONLINE_GLOSSARY)}
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert [row.pop("step") for row in rows] == [1, 2]
    for row in rows:
        assert set(GLOSSARY) <= row.keys()
        assert [
            key for key in row if key not in known and not any(key.startswith(n) for n in known if n[-1] == "/")
        ] == []


def test_the_best_policy_is_that_of_the_one_rule(tmp_path: Path) -> None:
    """The start is a candidate, of equals the earliest: here no measure can beat it, for no gold word is a label."""
    result = trainer(tmp_path, validation=EXAMPLES).train()
    assert result.validation is not None
    assert [result.validation[name]["step"] for name in ("start", "best", "last")] == [0, 0, 2]
    best = load_file(tmp_path / "run" / "adapter-best" / "adapter_model.safetensors")
    assert all(not weight.any() for name, weight in best.items() if "lora_B" in name)
