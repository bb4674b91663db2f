"""Decoding in buffers of fixed size gives what a growing cache gives, and its work can be recorded once and repeated.

There is no CUDA here as a rule, so a recording is made with torch's tracer, which like a CUDA graph keeps operations
and addresses and nothing of Python; the last test runs where there is a GPU.
"""

from __future__ import annotations

import gc
import logging
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from transformers import DynamicCache

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.models import Sample, SamplingConfig, Trunk, decoding, load_trunk, row_key, sample
from rewardlab.models.decoding import CudaGraphs, FixedDecoder, GrowingDecoder, Repeat, decoder_of
from rewardlab.models.sampler import left_pad
from tests.support.models import FAMILIES, tiny_model, tiny_vision_model

PROMPTS = [[70, 8, 9, 30, 31], [40, 41], [50, 51, 52, 60, 61, 62, 63, 64], [33], [90, 91, 92], [101, 102], [7, 8], [11]]
KEYS = [row_key("fixed", number) for number in range(len(PROMPTS))]
BUDGETS = [1, 14, 3, 5, 2, 7, 12, 9]
CHANGES = {"mistral": {"sliding_window": None}}
FIXED = ("llama", "mistral", "qwen2", "gpt2", "gpt_neox")


@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trunk]:
    """Every family with a role whose adapter does something."""
    root = tmp_path_factory.mktemp("models")
    return {family: with_role(tiny_model(family, root / family, **CHANGES.get(family, {}))) for family in FAMILIES}


def with_role(folder: Path, device: str = "cpu") -> Trunk:
    trunk = load_trunk(ModelConfig(name=str(folder), dtype="float32", device=device))
    trunk.roles.add("policy", LoraConfig(rank=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in trunk.roles.parameters("policy"):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return trunk


def drawn(trunk: Trunk, *, is_fixed: bool, role: str | None = "policy", stop: tuple[str, ...] = ()) -> list[Sample]:
    config = SamplingConfig(14, 0.8, stop, is_measured=True, is_fixed=is_fixed)
    return sample(trunk, PROMPTS, KEYS, config, role, BUDGETS)


def assert_equal(found: list[Sample], expected: list[Sample]) -> None:
    """The same tokens, and the same numbers within 1e-5."""
    assert found == expected
    for mine, other in zip(found, expected, strict=True):
        assert mine.measured is not None
        assert other.measured is not None
        torch.testing.assert_close(mine.measured.logprobs, other.measured.logprobs, atol=1e-5, rtol=0)
        torch.testing.assert_close(mine.measured.states, other.measured.states, atol=1e-4, rtol=0)


@pytest.mark.parametrize("role", ["policy", None])
@pytest.mark.parametrize("family", FIXED)
def test_fixed_buffers_give_what_a_growing_cache_gives(trunks: dict[str, Trunk], family: str, role: str | None) -> None:
    trunk = trunks[family]
    grown = drawn(trunk, is_fixed=False, role=role)
    stop = (trunk.codec.decode(grown[1].ids[4:6]),)
    assert stop[0].strip()
    assert_equal(drawn(trunk, is_fixed=True, role=role), grown)
    stopped = drawn(trunk, is_fixed=True, role=role, stop=stop)
    assert_equal(stopped, drawn(trunk, is_fixed=False, role=role, stop=stop))
    assert stopped[1].is_finished
    assert len(stopped[1].ids) < 14


def test_the_role_decides(trunks: dict[str, Trunk]) -> None:
    assert drawn(trunks["llama"], is_fixed=True) != drawn(trunks["llama"], is_fixed=True, role=None)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_that_cannot_be_fixed_grow(trunks: dict[str, Trunk], family: str) -> None:
    assert type(decoder(trunks[family])) is (FixedDecoder if family in FIXED else GrowingDecoder)


def decoder(trunk: Trunk, *, is_fixed: bool | None = True) -> Any:
    ids, keep = left_pad(PROMPTS, trunk.codec.pad_id, trunk.device)
    with torch.inference_mode():
        return decoder_of(trunk, keep, trunk.prefill(ids, keep, 14), 14, is_fixed=is_fixed)


@pytest.mark.parametrize(("window", "kind"), [(6, GrowingDecoder), (21, GrowingDecoder), (22, FixedDecoder)])
def test_a_window_that_hides_nothing_is_full_attention(tmp_path: Path, window: int, kind: type) -> None:
    """The longest prompt has 8 tokens and the budget is 14: 22 tokens, all of which a window of 22 sees."""
    trunk = with_role(tiny_model("mistral", tmp_path / "model", sliding_window=window))
    assert type(decoder(trunk)) is kind
    assert_equal(drawn(trunk, is_fixed=True), drawn(trunk, is_fixed=False))


@pytest.mark.parametrize("family", ["phi3", "gemma3"])
def test_long_windows_of_other_models_are_full_attention(tmp_path: Path, family: str) -> None:
    """Every layer of both has a window: 2 047 tokens as in Phi-3 mini, 512 as in Gemma 3."""
    if family == "gemma3":
        folder = tiny_vision_model("gemma3", tmp_path / "model")
    else:
        folder = tiny_model("phi3", tmp_path / "model", sliding_window=2047)
    trunk = with_role(folder)
    windows = [layer.sliding_window for layer in DynamicCache(config=trunk.model.config).layers]
    assert len(windows) == 2
    assert all(window > 22 for window in windows)
    assert type(decoder(trunk)) is FixedDecoder
    assert_equal(drawn(trunk, is_fixed=True), drawn(trunk, is_fixed=False))


def test_a_window_is_kept_where_it_is_not_known_what_will_be_read(tmp_path: Path) -> None:
    trunk = with_role(tiny_model("mistral", tmp_path / "model", sliding_window=22))
    ids, keep = left_pad(PROMPTS, trunk.codec.pad_id, trunk.device)
    with torch.inference_mode():
        cache = trunk.prefill(ids, keep).cache
    assert [layer.sliding_window for layer in cache.layers] == [22, 22]


@pytest.mark.parametrize("scaling", ["dynamic", "longrope"])
@pytest.mark.parametrize("is_by_layer", [False, True])
def test_positions_that_are_scaled_by_length_grow(trunks: dict[str, Trunk], scaling: str, is_by_layer: bool) -> None:
    trunk = trunks["llama"]
    given: dict[str, Any] = {"rope_type": scaling}
    if is_by_layer:  # as Gemma 3 has them
        given = {"full_attention": given, "sliding_attention": {"rope_type": "default"}}
    before, trunk.model.config.rope_parameters = trunk.model.config.rope_parameters, given
    try:
        assert not decoding._can_be_fixed(trunk, type("Cache", (), {"layers": []}))
    finally:
        trunk.model.config.rope_parameters = before


def test_a_cpu_grows_unless_asked(trunks: dict[str, Trunk]) -> None:
    assert type(decoder(trunks["llama"], is_fixed=None)) is GrowingDecoder


# -- recording ---------------------------------------------------------------------------------------------------------


class Tracer:
    """Records as a CUDA graph does: operations on addresses, done later and not while they are recorded."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.repeats = 0

    def __call__(self, work: Any) -> Repeat:
        owner = work.__self__
        before = [(one, one.clone()) for one in (owner._place, owner._positions, owner._states)]
        traced = make_fx(lambda: (work(), owner._place)[1])()
        for one, was in before:
            one.copy_(was)
        self.rows.append(len(owner._tokens))

        def repeat() -> None:
            self.repeats += 1
            traced()

        return repeat


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes fixed decoders on a CPU use a recorder."""

    def use(recorder: Any) -> None:
        original = FixedDecoder.__init__

        def build(self: FixedDecoder, *arguments: Any) -> None:
            original(self, *arguments[:4], recorder)

        monkeypatch.setattr(FixedDecoder, "__init__", build)

    return use


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller batches are recorded however few tokens are left."""
    monkeypatch.setattr(decoding, "WORTH_RECORDING", 0)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("family", FIXED)
def test_a_recording_repeated_is_the_work(
    trunks: dict[str, Trunk], recorded: Callable[[Any], None], family: str
) -> None:
    grown = drawn(trunks[family], is_fixed=False)
    recorded(tracer := Tracer())
    assert_equal(drawn(trunks[family], is_fixed=True), grown)
    # rows alive after tokens 1 to 13: 7 6 5 5 4 4 3 3 2 2 2 1 1; the batch of 8 is cut when fewer than 4 live, and the
    # 3 that are left when fewer than 1.5 do; 13 tokens are read, the first of each size plainly
    assert tracer.rows == [8, 3, 1]
    assert tracer.repeats == 13 - 3


@pytest.mark.usefixtures("early")
def test_a_batch_is_recorded_a_few_times_at_most(trunks: dict[str, Trunk], recorded: Callable[[Any], None]) -> None:
    recorded(tracer := Tracer())
    rows = 32
    config = SamplingConfig(rows + 4, is_fixed_length=True, is_fixed=True, batch=rows)
    budgets = list(range(3, rows + 3))
    found = sample(trunks["llama"], [[40, 41]] * rows, list(range(rows)), config, None, budgets)
    assert [len(one.ids) for one in found] == budgets
    assert len(tracer.rows) <= math.log2(rows) + 1
    assert all(after < 0.5 * before for before, after in zip(tracer.rows, tracer.rows[1:], strict=False))


@pytest.mark.parametrize(("budget", "recorded_rows"), [(20, [8]), (21, [8, 3])])
def test_a_smaller_batch_is_not_recorded_for_a_few_tokens(
    trunks: dict[str, Trunk], recorded: Callable[[Any], None], budget: int, recorded_rows: list[int]
) -> None:
    """After five tokens 3 of 8 rows go on: for 15 tokens more with a budget of 20, for 16 with one of 21."""
    recorded(tracer := Tracer())
    config = SamplingConfig(budget, is_fixed_length=True, is_fixed=True)
    found = sample(trunks["llama"], PROMPTS, KEYS, config, None, [5] * 5 + [budget] * 3)
    assert [len(one.ids) for one in found] == [5] * 5 + [budget] * 3
    assert tracer.rows == recorded_rows


def test_what_cannot_be_recorded_is_done_anew(
    trunks: dict[str, Trunk], recorded: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def refuse(work: Repeat) -> Repeat:
        asked.append(work)
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    grown = drawn(trunks["llama"], is_fixed=False)
    recorded(refuse)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert_equal(drawn(trunks["llama"], is_fixed=True), grown)
    assert len(asked) == 1
    [said] = [record.message for record in caplog.records if "cannot be recorded" in record.message]
    assert said.endswith("and goes on without (operation not permitted when stream is capturing)")


class FakeGraph:
    """Has the pool it was captured in; a pool is gone with its last graph, as torch's is."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda, self.own = cuda, -1

    def pool(self) -> int:
        return self.own

    def replay(self) -> None:
        return None


class FakeCuda:
    """Streams, captures and pools as torch has them: a capture that cannot be ended stays on its own stream."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stream, self.modes, self.pools = "default", list[str](), list[int]()
        self.alive: weakref.WeakSet[FakeGraph] = weakref.WeakSet()
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: FakeGraph(self))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.stream)
        monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: setattr(self, "stream", stream))
        monkeypatch.setattr(torch.cuda, "graph", self.capture)

    @contextmanager
    def capture(self, graph: FakeGraph, pool: int | None, capture_error_mode: str) -> Iterator[None]:
        self.modes.append(capture_error_mode)
        before, self.stream = self.stream, "capture"
        if pool is not None:
            assert any(one.own == pool for one in self.alive), "torch refuses a pool without a graph"
        graph.own = len(self.pools) if pool is None else pool
        try:
            yield
        except RuntimeError:
            raise RuntimeError("capture_end: capture was invalidated") from None
        self.pools.append(graph.own)
        self.alive.add(graph)
        self.stream = before


@pytest.mark.parametrize("is_fine", [True, False])
def test_a_capture_gives_the_stream_back_whether_it_ends_or_not(monkeypatch: pytest.MonkeyPatch, is_fine: bool) -> None:
    cuda, seen = FakeCuda(monkeypatch), list[str]()

    def work() -> None:
        seen.append(cuda.stream)
        if not is_fine:
            raise RuntimeError("operation not permitted")

    if is_fine:
        CudaGraphs()(work)()
    else:
        with pytest.raises(RuntimeError, match="invalidated"):
            CudaGraphs()(work)
    assert (seen, cuda.stream, cuda.modes) == (["capture"], "default", ["thread_local"])


def test_all_recordings_share_one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody keeps what was recorded before, and behind a capture that failed."""

    def fail() -> None:
        raise RuntimeError("operation not permitted")

    cuda, record = FakeCuda(monkeypatch), CudaGraphs()
    kept = record(lambda: None)
    del kept
    gc.collect()
    record(lambda: None)
    with pytest.raises(RuntimeError):
        record(fail)
    record(lambda: None)
    assert cuda.pools == [0, 0, 0]
    assert len(cuda.alive) == 1


# -- what a CUDA graph forbids -----------------------------------------------------------------------------------------


class NoHost(torch.utils._python_dispatch.TorchDispatchMode):
    """Refuses what makes the host wait for a number on the device, or allocates by one."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "item", "masked_select", "is_nonzero", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in self.FORBIDDEN or any(isinstance(one, Tensor) and one.dtype is torch.bool for one in indices):
            raise AssertionError(f"{func} asks the device for a number")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", FIXED)
def test_a_token_asks_the_device_for_nothing_and_moves_no_buffer(trunks: dict[str, Trunk], family: str) -> None:
    trunk, tokens = trunks[family], torch.arange(len(PROMPTS)) + 50
    with torch.inference_mode(), trunk.roles.using("policy"):
        fixed = decoder(trunk)
        places = addresses(fixed)
        with NoHost():
            for _ in range(3):
                fixed._advance()
        assert addresses(fixed) == places
        assert fixed.read(tokens).shape == (len(PROMPTS), trunk.width)


def addresses(fixed: FixedDecoder) -> list[int]:
    buffers: Iterator[Tensor] = iter((fixed._tokens, fixed._states, fixed._positions, fixed._seen, fixed._place))
    layers = [one for layer in fixed._cache.layers for one in (layer.keys, layer.values)]
    return [one.data_ptr() for one in (*buffers, *layers)]


def test_no_host_notices() -> None:
    with NoHost(), pytest.raises(AssertionError, match="asks the device"):
        torch.ones(2).sum().item()
    with NoHost(), pytest.raises(AssertionError, match="asks the device"):
        torch.ones(2)[torch.tensor([True, False])]


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            own = (one for one in torch.utils._pytree.tree_leaves(made) if isinstance(one, Tensor))
            self.numbers = max([self.numbers, *(one.numel() for one in own if one._base is None)])
        return made


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_grouped_heads_are_not_given_a_copy_of_the_cache_each(trunks: dict[str, Trunk], family: str) -> None:
    """4 heads share 2 of keys and values; the cache is long enough to be larger than anything else."""
    trunk, rows = trunks[family], 2
    ids = torch.full((rows, 100), 7)
    with torch.no_grad(), trunk.roles.using("policy"):  # in inference mode reshape is one operation and says "view"
        prefill = trunk.prefill(ids, keep := torch.ones_like(ids, dtype=torch.bool), 14)
        fixed = decoder_of(trunk, keep, prefill, 14, is_fixed=True)
        assert isinstance(fixed, FixedDecoder)
        with LargestTensor() as largest:
            fixed._advance()
    keys = fixed._cache.layers[0].keys
    assert keys.shape == (rows, 2, 114, 8)
    assert largest.numbers <= keys.numel()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_gives_what_a_growing_cache_gives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trunk = with_role(tiny_model("llama", tmp_path / "model"), "cuda")
    assert_equal(drawn(trunk, is_fixed=True), drawn(trunk, is_fixed=False))
    assert "cannot be recorded" not in caplog.text
