"""The sampler: greedy as transformers decodes, draws that depend on nothing but their key, and how responses end."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import scipy
import torch
from torch import Tensor

from rewardlab.config import ModelConfig
from rewardlab.errors import ModelError
from rewardlab.models import Sample, SamplingConfig, Trunk, load_trunk, row_key, sample
from rewardlab.models.sampler import draw, end_ids, left_pad, right_pad, uniforms
from tests.support import slow
from tests.support.models import FAMILIES, tiny_model, tiny_tokenizer

PROMPTS = [[70, 8, 9, 30, 31], [40, 41], [50, 51, 52, 60, 61, 62, 63, 64], [33], [90, 91, 92], [101, 102, 103, 104]]
KEYS = [row_key("test", number) for number in range(len(PROMPTS))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: tiny_model(family, root / family) for family in FAMILIES}


@pytest.fixture
def trunk(folders: dict[str, Path]) -> Trunk:
    return load(folders["gpt2"])


def load(folder: Path) -> Trunk:
    return load_trunk(ModelConfig(name=str(folder), dtype="float32", device="cpu"))


def ids(samples: list[Sample]) -> list[tuple[int, ...]]:
    return [one.ids for one in samples]


def ending_with(trunk: Trunk, *tokens: int) -> None:
    """Make ``tokens`` the ends of sequence, so that rows finish at different times."""
    trunk.codec.eos_id = tokens[0]
    trunk.model.generation_config.eos_token_id = list(tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_transformers_generate(folders: dict[str, Path], family: str) -> None:
    trunk = load(folders[family])
    found = sample(trunk, PROMPTS, KEYS, SamplingConfig(10, temperature=0), None)
    for prompt, mine in zip(PROMPTS, found, strict=True):
        alone = torch.tensor([prompt])
        whole = trunk.model.generate(
            alone, attention_mask=torch.ones_like(alone), do_sample=False, max_new_tokens=10, use_cache=True
        )
        assert list(mine.ids) == whole[0, len(prompt) :].tolist()
    assert len(set(ids(found))) == len(PROMPTS)  # the rows differ, so mixing them up would show


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_neither_order_nor_company_changes_a_draw(folders: dict[str, Path], family: str) -> None:
    trunk = load(folders[family])
    config = SamplingConfig(8)
    together = ids(sample(trunk, PROMPTS, KEYS, config, None))
    backwards = ids(sample(trunk, PROMPTS[::-1], KEYS[::-1], config, None))[::-1]
    in_pairs = ids(sample(trunk, PROMPTS, KEYS, SamplingConfig(8, batch=2), None))
    alone = [ids(sample(trunk, [p], [k], config, None))[0] for p, k in zip(PROMPTS, KEYS, strict=True)]
    assert together == backwards == in_pairs == alone


@pytest.mark.parametrize("family", ["llama", "gpt2", "mpt"])
def test_rows_that_finish_leave_the_others_alone(folders: dict[str, Path], family: str) -> None:
    trunk = load(folders[family])
    prompts, keys = PROMPTS * 4, [row_key("many", number) for number in range(4 * len(PROMPTS))]
    ending_with(trunk, -1)
    free = sample(trunk, prompts, keys, SamplingConfig(12), None)
    ends = {token for token, _ in Counter(token for one in free for token in one.ids[2:8]).most_common(8)}
    ending_with(trunk, *ends)
    ended = sample(trunk, prompts, keys, SamplingConfig(12), None)
    assert len({len(one.ids) for one in ended}) > 4  # several cuts of the batch
    for before, after in zip(free, ended, strict=True):
        places = [place for place, token in enumerate(before.ids) if token in ends]
        assert after.ids == before.ids[: places[0] + 1 if places else 12]
        assert after.is_finished == bool(places)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_prompts_are_read_once_and_drawn_as_if_alone(folders: dict[str, Path], family: str) -> None:
    """Also beside a prompt that differs from another by a leading token that pads."""
    trunk = load(folders[family])
    reading: list[int] = []
    original = trunk.prefill

    def counting(ids: Tensor, keep: Tensor, new_tokens: int | None = None) -> Any:
        reading.append(len(ids))
        return original(ids, keep, new_tokens)

    trunk.prefill = counting  # type: ignore[method-assign]
    padded = [trunk.codec.pad_id, *PROMPTS[0]]
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0], padded, PROMPTS[1], PROMPTS[0]]
    keys = [row_key(row) for row in range(len(prompts))]
    together = sample(trunk, prompts, keys, SamplingConfig(8), None)
    assert reading == [3]
    assert together == [
        sample(trunk, [prompt], [key], SamplingConfig(8), None)[0] for prompt, key in zip(prompts, keys, strict=True)
    ]
    assert len({one.ids for one in together}) > 3


def test_other_keys_draw_otherwise(trunk: Trunk) -> None:
    same = [PROMPTS[0]] * 8
    drawn = ids(sample(trunk, same, [row_key(7, step) for step in range(8)], SamplingConfig(8), None))
    assert len(set(drawn)) == 8
    assert ids(sample(trunk, same, [row_key(7, 0)] * 8, SamplingConfig(8), None)) == [drawn[0]] * 8


def test_row_keys_depend_on_every_part_and_their_borders() -> None:
    keys = [row_key(0, 1), row_key(1, 0), row_key("01"), row_key(0, 1, ""), row_key(0, "1", 2)]
    assert len(set(keys)) == 5
    assert row_key(0, 1) == row_key("0", "1")
    assert all(-(2**63) <= key < 2**63 for key in keys)


def test_uniforms_fill_the_unit_interval_evenly() -> None:
    keys = torch.tensor([row_key("spread", number) for number in range(500)])
    numbers = torch.stack([uniforms(keys, position) for position in range(20)])
    assert numbers.dtype is torch.float64
    assert 0 <= numbers.min().item() < 0.001
    assert 0.999 < numbers.max().item() < 1
    counts = torch.histc(numbers, bins=20, min=0, max=1)
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 0.001
    assert len(numbers.flatten().unique()) == numbers.numel()
    lags = [numbers[1:].flatten(), numbers[:, 1:].flatten()], [numbers[:-1].flatten(), numbers[:, :-1].flatten()]
    for later, earlier in zip(*lags, strict=True):
        assert abs(torch.corrcoef(torch.stack([later, earlier]))[0, 1].item()) < 0.04  # 4 deviations of 10 000 pairs


def test_uniforms_of_neighbouring_integers_are_unlike() -> None:
    numbers = uniforms(torch.arange(2000), 0)
    assert scipy.stats.chisquare(torch.histc(numbers, bins=20, min=0, max=1).numpy()).pvalue > 0.001
    assert abs(torch.corrcoef(torch.stack([numbers[1:], numbers[:-1]]))[0, 1].item()) < 0.1


def test_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.log(torch.tensor([0.2, 0.5, 0.3])).expand(6, 3)
    uniform = torch.tensor([0.0, 0.1999, 0.2001, 0.6999, 0.7001, 0.9999], dtype=torch.float64)
    assert draw(logits, 1.0, uniform).tolist() == [0, 0, 1, 1, 2, 2]


def test_draw_never_takes_an_impossible_token() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0]]).expand(3, 4)
    uniform = torch.tensor([0.0, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    assert draw(logits, 1.0, uniform).tolist() == [1, 3, 3]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    scores, rows = [1.0, 0.0, -1.0, 2.0, 0.5], 4000
    keys = torch.tensor([row_key("law", number) for number in range(rows)])
    drawn = draw(torch.tensor(scores).expand(rows, 5), temperature, uniforms(keys, 3))
    expected = [rows * p for p in slow.softmax(scores, temperature)]
    assert scipy.stats.chisquare(torch.bincount(drawn, minlength=5).numpy(), expected).pvalue > 0.001


def test_sampled_first_tokens_follow_the_model(trunk: Trunk) -> None:
    rows = 1500
    keys = [row_key("model", number) for number in range(rows)]
    drawn = sample(trunk, [PROMPTS[0]] * rows, keys, SamplingConfig(1, temperature=0.5, batch=rows), None)
    logits = trunk.model(torch.tensor([PROMPTS[0]])).logits[0, -1].tolist()
    expected = torch.tensor(slow.softmax(logits, 0.5)) * rows
    found = torch.bincount(torch.tensor([one.ids[0] for one in drawn]), minlength=len(logits)).double()
    likely = expected >= 5  # chi-square wants five expected in every cell; the rest is one cell
    cells = torch.cat([found[likely], found[~likely].sum()[None]])
    wanted = torch.cat([expected[likely], expected[~likely].sum()[None]]).double()
    assert len(wanted) > 10
    assert scipy.stats.chisquare(cells.numpy(), (wanted * cells.sum() / wanted.sum()).numpy()).pvalue > 0.001


def test_a_response_ends_at_the_end_token(trunk: Trunk) -> None:
    free = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(6), None)[0]
    assert (free.is_finished, len(free.ids)) == (False, 6)
    ending_with(trunk, free.ids[3])
    ended = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(6), None)[0]
    assert ended.ids == free.ids[: free.ids.index(free.ids[3]) + 1]
    assert ended.is_finished
    assert ended.text == trunk.codec.decode(ended.ids[:-1])


def test_an_end_on_the_last_token_of_the_budget_counts(trunk: Trunk) -> None:
    free = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(6), None)[0]
    assert free.ids[5] not in free.ids[:5]
    ending_with(trunk, free.ids[5])
    assert sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(6), None)[0].is_finished


def test_every_end_token_of_the_generation_config_ends(trunk: Trunk) -> None:
    trunk.model.generation_config.eos_token_id = [7, 9]
    assert end_ids(trunk) == {7, 9, trunk.codec.eos_id}
    trunk.model.generation_config.eos_token_id = None
    assert end_ids(trunk) == {trunk.codec.eos_id}


def test_a_response_ends_after_a_stop_string(trunk: Trunk) -> None:
    free = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(8), None)[0]
    stop = trunk.codec.decode(free.ids[2:4])  # spans two tokens
    assert stop.strip()
    ended = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(8, stop=("never", stop)), None)[0]
    assert ended.ids == free.ids[:4]
    assert ended.is_finished
    assert stop in ended.text


def test_line_breaks_in_front_of_a_response_do_not_stop_it(folders: dict[str, Path]) -> None:
    trunk = load(folders["gpt2"])
    line, word = trunk.codec.response_ids("\n", end=False), trunk.codec.response_ids("good", end=False)
    script = [*line, *line, *word, *line, *word]
    trunk.logits = scripted(script, vocabulary=399)  # type: ignore[method-assign]
    found = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(20, temperature=0, stop=("\n",)), None)[0]
    assert found.text == "\n\ngood\n"
    assert found.is_finished


def scripted(script: list[int], vocabulary: int):  # type: ignore[no-untyped-def]
    """Logits that make greedy decoding write ``script``, one token a call."""
    tokens = iter(script)

    def logits(states: torch.Tensor) -> torch.Tensor:
        row = torch.zeros(len(states), vocabulary)
        row[:, next(tokens)] = 1.0
        return row

    return logits


def test_a_long_stop_string_is_found_behind_many_tokens(trunk: Trunk) -> None:
    stop = "#@~^%$&*+=|}"  # as long as </Judgement>, and no two of these are ever one token
    assert len(trunk.codec.response_ids(stop, end=False)) == 12
    script = trunk.codec.response_ids("zqzq" * 6 + stop + "zq", end=False)
    trunk.logits = scripted(script, vocabulary=399)  # type: ignore[method-assign]
    found = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(60, temperature=0, stop=(stop,)), None)[0]
    assert found.text == "zqzq" * 6 + stop


def test_a_stop_string_whose_last_character_is_several_tokens_is_found(trunk: Trunk) -> None:
    script = trunk.codec.response_ids("zq\u20aczq", end=False)
    assert [trunk.codec.decode([token]) for token in script] == ["z", "q", *["\ufffd"] * 3, "z", "q"]
    trunk.logits = scripted(script, vocabulary=399)  # type: ignore[method-assign]
    found = sample(trunk, PROMPTS[:1], KEYS[:1], SamplingConfig(60, temperature=0, stop=("\u20ac",)), None)[0]
    assert (found.text, found.is_finished) == ("zq\u20ac", True)


@pytest.mark.parametrize("pad", ["<eos>", None, "<pad>"])
def test_padding_is_never_the_end_token(tmp_path: Path, pad: str | None) -> None:
    tokenizer = tiny_tokenizer(chat=False, pad=pad)
    trunk = load(tiny_model("gpt2", tmp_path / "model", tokenizer))
    assert trunk.codec.pad_id != trunk.codec.eos_id
    together = sample(trunk, PROMPTS, KEYS, SamplingConfig(8), None)
    alone = [sample(trunk, [p], [k], SamplingConfig(8), None)[0] for p, k in zip(PROMPTS, KEYS, strict=True)]
    assert together == alone


def test_padding_goes_in_front_or_behind() -> None:
    device = torch.device("cpu")
    ids, keep = left_pad([[5, 6], [7]], 0, device)
    assert (ids.tolist(), keep.tolist()) == ([[5, 6], [0, 7]], [[True, True], [False, True]])
    ids, keep = right_pad([[5, 6], [7]], 0, device)
    assert (ids.tolist(), keep.tolist()) == ([[5, 6], [7, 0]], [[True, True], [True, False]])


def test_an_unknown_role_is_named(trunk: Trunk) -> None:
    with pytest.raises(ModelError, match="unknown role 'policy'; added: none"):
        sample(trunk, PROMPTS, KEYS, SamplingConfig(2), "policy")


def test_every_row_has_its_own_budget(trunk: Trunk) -> None:
    ending_with(trunk, -1)
    free = ids(sample(trunk, PROMPTS, KEYS, SamplingConfig(9), None))
    budgets = [1, 9, 3, 5, 2, 7]
    found = sample(trunk, PROMPTS, KEYS, SamplingConfig(9, batch=4), None, budgets)
    assert ids(found) == [row[:budget] for row, budget in zip(free, budgets, strict=True)]
    assert not any(one.is_finished for one in found)


def test_a_fixed_length_ignores_every_end(trunk: Trunk) -> None:
    free = ids(sample(trunk, PROMPTS, KEYS, SamplingConfig(6), None))
    ending_with(trunk, *{row[2] for row in free})
    stop = (trunk.codec.decode(free[0][1:2]),)
    found = sample(trunk, PROMPTS, KEYS, SamplingConfig(6, stop=stop, is_fixed_length=True), None)
    assert ids(found) == free
    assert not any(one.is_finished for one in found)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_measured_belongs_to_its_row_though_others_left(folders: dict[str, Path], family: str) -> None:
    trunk = load(folders[family])
    ending_with(trunk, -1)
    budgets = [1, 9, 3, 5, 2, 7]  # the batch shrinks several times
    drawn = sample(trunk, PROMPTS, KEYS, SamplingConfig(9, 0.7, is_measured=True), None, budgets)
    for prompt, one in zip(PROMPTS, drawn, strict=True):
        assert one.measured is not None
        whole = torch.tensor([[*prompt, *one.ids]])
        states = trunk.hidden(whole, torch.ones_like(whole, dtype=torch.bool), None)[0, len(prompt) - 1 : -1]
        torch.testing.assert_close(one.measured.states, states, atol=1e-4, rtol=0)
        lines = [slow.softmax(row, 0.7) for row in trunk.head(states).tolist()]
        expected = [math.log(line[token]) for line, token in zip(lines, one.ids, strict=True)]
        assert one.measured.logprobs.tolist() == pytest.approx(expected, abs=1e-4)
        spread = [-sum(p * math.log(p) for p in line) for line in lines]
        assert one.measured.entropies.tolist() == pytest.approx(spread, abs=1e-4)


def test_nothing_is_measured_unasked(trunk: Trunk) -> None:
    assert {one.measured for one in sample(trunk, PROMPTS, KEYS, SamplingConfig(2), None)} == {None}
