"""Roles: one contract for every architecture. Identity at the start, gradients for trainable roles alone, storage."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.errors import ModelError
from rewardlab.models import Trunk, load_trunk, peft_config
from rewardlab.models.heads import ScalarHead
from rewardlab.models.roles import ADAPTER_FILE, TARGETS_BY_TYPE, Roles
from rewardlab.models.scoring import score_rows
from tests.support.models import FAMILIES, tiny_model, tiny_vision_model

IDS = torch.tensor([[0, 0, 40, 41, 42], [50, 51, 52, 53, 54]])
KEEP = torch.tensor([[False, False, True, True, True], [True] * 5])
LORA = LoraConfig(rank=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: tiny_model(family, root / family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture
def trunk(folder: Path) -> Trunk:
    return load(folder)


@pytest.fixture
def llama(folders: dict[str, Path]) -> Trunk:
    return load(folders["llama"])


def load(folder: Path, dtype: str = "float32") -> Trunk:
    torch.manual_seed(0)
    return load_trunk(ModelConfig(name=str(folder), dtype=dtype, device="cpu"))


def states(trunk: Trunk, role: str | None, keep: Tensor = KEEP) -> Tensor:
    """Hidden states at kept positions; the others are arbitrary."""
    return trunk.hidden(IDS, keep, role)[keep]


def disturb(trunk: Trunk, role: str) -> None:
    """Move the adapter away from the identity."""
    generator = torch.Generator().manual_seed(1)
    for parameter in trunk.roles.parameters(role):
        parameter.data.normal_(0, 0.3, generator=generator)


def snapshot(trunk: Trunk) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trunk.model.state_dict().items()}


def moved(trunk: Trunk, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in trunk.model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_a_fresh_adapter_is_the_identity(trunk: Trunk) -> None:
    with torch.no_grad():
        bare = trunk.model(IDS[1:]).logits[0]
        trunk.roles.add("policy", LORA)
        trunk.roles.add("value", LORA)
        assert torch.equal(states(trunk, "policy"), states(trunk, None))
        torch.testing.assert_close(trunk.logits(states(trunk, "policy")[3:]), bare)


def test_roles_differ_once_disturbed_and_the_bare_trunk_stays(trunk: Trunk) -> None:
    with torch.no_grad():
        bare = states(trunk, None)
        for name in ("policy", "value"):
            trunk.roles.add(name, LORA)
        disturb(trunk, "policy")
        assert not torch.allclose(states(trunk, "policy"), bare, atol=1e-2)
        assert torch.equal(states(trunk, None), bare)  # directly after the role that differs
        assert torch.equal(states(trunk, "value"), bare)


def test_only_the_trained_roles_tensors_move_and_all_of_them(trunk: Trunk) -> None:
    trunk.roles.add("policy", LORA)
    trunk.roles.add("value", LORA)
    disturb(trunk, "policy")  # with B = 0 the gradient of A is 0
    before, digest = snapshot(trunk), trunk.sha256()
    optimizer = torch.optim.AdamW(trunk.roles.parameters("policy"), lr=0.1, weight_decay=0.0)
    states(trunk, "policy").square().sum().backward()
    optimizer.step()
    assert moved(trunk, before) == {name for name in before if "lora_" in name and ".policy." in name}
    assert len(moved(trunk, before)) == len(trunk.roles.parameters("policy"))
    assert trunk.sha256() == digest


def test_every_trainable_role_gets_gradients_whatever_was_active_last(trunk: Trunk) -> None:
    trunk.roles.add("policy", LORA)
    trunk.roles.add("value", LORA, head=ScalarHead(trunk.width))
    disturb(trunk, "policy")
    disturb(trunk, "value")
    head = trunk.roles["value"].head
    assert head is not None
    loss = states(trunk, "policy").square().sum() + head(states(trunk, "value")).sum()
    with torch.no_grad():
        states(trunk, "policy")
        states(trunk, None)
    loss.backward()
    for role in ("policy", "value"):
        for parameter in trunk.roles.parameters(role):
            assert parameter.grad is not None
            assert bool(parameter.grad.any())
    assert all(p.grad is None for n, p in trunk.model.named_parameters() if "lora_" not in n)


def test_a_roles_gradient_stays_in_its_own_adapter(trunk: Trunk) -> None:
    trunk.roles.add("policy", LORA)
    trunk.roles.add("value", LORA)
    disturb(trunk, "value")
    states(trunk, "value").square().sum().backward()
    assert all(parameter.grad is None for parameter in trunk.roles.parameters("policy"))
    assert all(parameter.grad is not None for parameter in trunk.roles.parameters("value"))


def test_frozen_roles_never_train(trunk: Trunk, tmp_path: Path) -> None:
    trunk.roles.add("policy", LORA)
    trunk.roles.save("policy", tmp_path)
    trunk.roles.load("rm-label", tmp_path)
    trunk.roles.add("rm-other", LORA, head=ScalarHead(trunk.width), is_trainable=False)
    for active in ("policy", "rm-label", "rm-other", None):
        with trunk.roles.using(active):
            trainable = {name for name, p in trunk.model.named_parameters() if p.requires_grad}
        assert trainable == {name for name, _ in trunk.model.named_parameters() if ".policy." in name}
    assert not any(parameter.requires_grad for parameter in trunk.roles.parameters("rm-other"))


def test_saved_roles_come_back_here_and_in_peft(trunk: Trunk, folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    trunk.roles.add("value", LORA, head=ScalarHead(trunk.width, "mlp"))
    disturb(trunk, "value")
    trunk.roles.save("value", tmp_path)
    with torch.no_grad():
        expected = states(trunk, "value")
        again = load(folder)
        role = again.roles.load("critic", tmp_path)
        torch.testing.assert_close(states(again, "critic"), expected, rtol=0, atol=0)
        assert role.head is not None
        assert trunk.roles["value"].head is not None
        assert torch.equal(role.head(expected), trunk.roles["value"].head(expected))
        plain = transformers.AutoModelForCausalLM.from_pretrained(folder)
        with warnings.catch_warnings():
            # PEFT 0.21 reads an attribute under the name that transformers 5.23 gave up
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            theirs = PeftModel.from_pretrained(plain, str(tmp_path))
        logits = theirs(IDS[1:]).logits[0]
        torch.testing.assert_close(trunk.logits(expected[3:]), logits, rtol=1e-4, atol=1e-4)


def test_adding_and_using_roles_keeps_the_trunks_hash(trunk: Trunk) -> None:
    digest = trunk.sha256()
    assert not any(parameter.requires_grad for parameter in trunk.model.parameters())
    trunk.roles.add("policy", LORA)
    disturb(trunk, "policy")
    states(trunk, "policy")
    assert trunk.sha256() == digest
    first = next(p for n, p in trunk.model.named_parameters() if "lora_" not in n)
    first.data[0] += 1e-6
    assert trunk.sha256() != digest


def test_a_bfloat16_trunk_keeps_float32_adapters(folder: Path, tmp_path: Path) -> None:
    trunk = load(folder, "bfloat16")
    trunk.roles.add("policy", LORA, head=ScalarHead(trunk.width))
    trunk.roles.save("policy", tmp_path)
    trunk.roles.load("again", tmp_path)
    for role in ("policy", "again"):
        assert {p.dtype for p in trunk.roles.parameters(role)} == {torch.float32}
    assert trunk.dtype is torch.bfloat16
    assert trunk.sha256() == load(folder, "bfloat16").sha256() != load(folder).sha256()
    assert trunk.hidden(IDS, KEEP, "policy").dtype is torch.bfloat16
    assert trunk.logits(states(trunk, "policy")).dtype is torch.float32


def test_the_last_switch_is_undone_even_after_an_error(llama: Trunk) -> None:
    llama.roles.add("policy", LORA)
    disturb(llama, "policy")
    with torch.no_grad():
        bare = llama.hidden(IDS, KEEP, None)
        with pytest.raises(RuntimeError, match="stop"), llama.roles.using("policy"):
            raise RuntimeError("stop")
        assert torch.equal(llama.backbone(IDS, attention_mask=KEEP.long(), position_ids=KEEP.long().cumsum(-1) - 1)
                           .last_hidden_state[KEEP], bare[KEEP])  # fmt: skip


def test_heads_start_at_zero() -> None:
    torch.manual_seed(0)
    numbers = torch.randn(3, 8)
    assert ScalarHead(8)(numbers).tolist() == [0.0, 0.0, 0.0]
    assert ScalarHead(8, "mlp")(numbers.bfloat16()).dtype is torch.float32


def test_a_linear_head_is_a_dot_product_plus_bias() -> None:
    head = ScalarHead(2)
    head.out.weight.data = torch.tensor([[2.0, -1.0]])
    head.out.bias.data = torch.tensor([0.5])
    assert head(torch.tensor([[[3.0, 4.0]]])).tolist() == [[2.5]]  # 6 - 4 + 0.5


def test_an_mlp_head_has_a_tanh_inside() -> None:
    head = ScalarHead(1, "mlp")
    assert head.hidden is not None
    for layer, weight, bias in ((head.hidden, 2.0, 1.0), (head.out, 3.0, 0.5)):
        layer.weight.data.fill_(weight)
        layer.bias.data.fill_(bias)
    # tanh(2 * -0.25 + 1) = tanh(0.5) = 0.462117; 3 * 0.462117 + 0.5 = 1.886351
    assert head(torch.tensor([[-0.25]])).item() == pytest.approx(1.886351, abs=1e-6)


def test_a_head_without_bias_loads_with_zero(tmp_path: Path) -> None:
    save_file({"weight": torch.tensor([[1.0, 2.0]])}, tmp_path / "head.safetensors")
    assert ScalarHead.load(tmp_path)(torch.tensor([[3.0, 4.0]])).tolist() == [11.0]


def test_targets_follow_the_architecture(folders: dict[str, Path]) -> None:
    for family in FAMILIES:
        trunk = load(folders[family])
        trunk.roles.add("policy", LORA)
        touched = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in trunk.roles.state("policy")}
        assert touched == set(TARGETS_BY_TYPE[family])


def test_given_targets_rank_and_alpha_are_used(llama: Trunk) -> None:
    config = peft_config(LoraConfig(rank=3, alpha=6, targets=("o_proj",)), llama.model)
    assert (config.r, config.lora_alpha, set(config.target_modules), config.lora_dropout) == (3, 6, {"o_proj"}, 0.0)
    llama.roles.add("policy", LoraConfig(rank=3, targets=("o_proj",)))
    assert {tuple(p.shape) for p in llama.roles.parameters("policy")} == {(3, 32), (32, 3)}


def test_a_rank_stabilised_update_is_divided_by_the_root_of_the_rank(llama: Trunk) -> None:
    """Rank 16, alpha 32: 32 / 4 = 8 in place of 32 / 16 = 2, so the same B counts four times as much."""
    plain, stable = LoraConfig(rank=16, alpha=32), LoraConfig(rank=16, alpha=32, rank_stabilised=True)
    for name, lora in (("plain", plain), ("stable", stable)):
        llama.roles.add(name, lora)
    layer = llama.model.model.layers[0].self_attn.q_proj
    assert (layer.scaling["plain"], layer.scaling["stable"]) == (2.0, 8.0)


class TestBiases:
    """Qwen2 has biases in q_proj, k_proj and v_proj, Llama has none, GPT-2 has them in its norms too."""

    ALL = LoraConfig(rank=2, bias="all", targets=("q_proj", "k_proj", "v_proj"))

    def test_each_role_has_its_own_and_the_trunk_keeps_its(self, folders: dict[str, Path], tmp_path: Path) -> None:
        trunk = load(folders["qwen2"])
        sha256, bare = trunk.sha256(), states(trunk, None)
        for name in ("policy", "value"):
            trunk.roles.add(name, self.ALL)
        assert torch.equal(states(trunk, "policy"), bare)  # they start at 0
        names = {name for name, _ in trunk.model.named_parameters() if name.endswith(".lora_B.policy.bias")}
        assert len(names) == 3 * 2
        biases = [p for name, p in trunk.model.named_parameters() if name in names]
        own = {id(parameter) for parameter in trunk.roles.parameters("policy")}
        assert all(id(bias) in own and bias.requires_grad for bias in biases)
        for bias in biases:
            bias.data.fill_(0.5)
        changed = states(trunk, "policy")
        assert not torch.allclose(changed, bare, atol=1e-3)
        assert torch.equal(states(trunk, "value"), bare)
        assert torch.equal(states(trunk, None), bare)
        assert trunk.sha256() == sha256

        trunk.roles.save("policy", tmp_path)
        again = load(folders["qwen2"])
        again.roles.load("policy", tmp_path)
        assert torch.equal(states(again, "policy"), changed)
        merged = load_trunk(ModelConfig(name=str(folders["qwen2"]), device="cpu", dtype="float32"), tmp_path)
        torch.testing.assert_close(states(merged, None), changed, atol=1e-4, rtol=1e-4)

    def test_a_model_without_biases_trains_none(self, llama: Trunk) -> None:
        llama.roles.add("policy", LoraConfig(rank=2, bias="all"))
        assert not [name for name, _ in llama.model.named_parameters() if name.endswith("bias")]

    @pytest.mark.parametrize(
        ("family", "targets", "missing", "beside"),
        [
            ("qwen2", None, "k_proj", "none"),
            ("qwen2", ("q_proj", "k_proj", "v_proj", "o_proj"), "none", "o_proj"),
            ("gpt2", None, "c_fc, c_proj, ln_1, ln_2, ln_f", "none"),
        ],
    )
    def test_biases_outside_the_adapted_layers_are_refused(
        self, folders: dict[str, Path], family: str, targets: tuple[str, ...] | None, missing: str, beside: str
    ) -> None:
        """PEFT's own bias="all" would train them in the trunk, under every role."""
        expected = f"missing: {missing}; without a bias: {beside}. Change lora.targets"
        with pytest.raises(ModelError, match=expected):
            load(folders[family]).roles.add("policy", LoraConfig(rank=2, bias="all", targets=targets))


@pytest.mark.parametrize("family", ["gemma3", "gemma4"])
@pytest.mark.parametrize("targets", [None, ("o_proj", "self_attn.k_proj")])
def test_towers_that_read_images_get_no_adapter(family: str, targets: tuple[str, ...] | None, tmp_path: Path) -> None:
    trunk = load(tiny_vision_model(family, tmp_path / "model"))
    names = [name for name, _ in trunk.model.named_modules()]
    assert any("vision" in name and name.endswith("q_proj") for name in names)
    trunk.roles.add("policy", LoraConfig(rank=4, targets=targets))
    adapted = {name.split(".lora_")[0] for name in trunk.roles.state("policy")}
    ends = targets or ("q_proj", "v_proj")
    assert adapted == {n for n in names if n.startswith("model.language_model.") and n.endswith(ends)}
    assert len(adapted) == 4  # 2 of each of 2 layers
    trunk.roles.save("policy", tmp_path / "adapter")
    trunk.roles.load("again", tmp_path / "adapter")
    assert trunk.roles.state("again").keys() == trunk.roles.state("policy").keys()


@pytest.mark.parametrize("family", ["gemma3", "gemma4"])
def test_biases_of_a_vision_tower_are_no_matter_of_the_adapters(family: str, tmp_path: Path) -> None:
    """Gemma's language model has none."""
    trunk = load(tiny_vision_model(family, tmp_path / "model"))
    tower = next(module for name, module in trunk.model.named_modules() if "vision" in name and name.endswith("q_proj"))
    if getattr(tower, "bias", None) is None:
        tower.register_parameter("bias", torch.nn.Parameter(torch.zeros(1), requires_grad=False))
    trunk.roles.add("policy", LoraConfig(rank=4, bias="all"))
    assert not [name for name in trunk.roles.state("policy") if name.endswith("bias")]


def inside(trunk: Trunk, name: str) -> Roles:
    """Roles of a Llama whose layers lie in a module of that name."""
    inner = trunk.model.model
    layers = inner.layers
    del inner.layers
    inner.__dict__["layers"] = layers  # its forward pass reads this
    setattr(inner, name, layers)
    return Roles(trunk.model)


@pytest.mark.parametrize("place", ["value", "policy", "beneath", "lora_layers"])
def test_roles_keep_to_their_own_weights_in_a_module_of_their_name(place: str, llama: Trunk, tmp_path: Path) -> None:
    bare = llama.sha256()
    trunk_roles = llama.roles = inside(llama, place)
    renamed = llama.sha256()
    for name in ("policy", "value", "value2"):
        trunk_roles.add(name, LORA)
    assert llama.sha256() == renamed != bare  # names of modules are part of it, adapters are not
    ours = {name: {id(tensor) for tensor in trunk_roles.parameters(name)} for name in trunk_roles.names()}
    assert [len(tensors) for tensors in ours.values()] == [8, 8, 8]  # A and B of 2 layers' q_proj and v_proj
    assert len(set.union(*ours.values())) == 24
    assert set(trunk_roles.state("policy")) == {
        f"model.{place}.{layer}.self_attn.{module}.lora_{half}.weight"
        for layer in (0, 1)
        for module in ("q_proj", "v_proj")
        for half in "AB"
    }
    disturb(llama, "policy")
    trunk_roles.save("policy", tmp_path / "adapter")
    trunk_roles.load("again", tmp_path / "adapter")
    assert torch.equal(states(llama, "again"), states(llama, "policy"))
    assert not torch.equal(states(llama, "again"), states(llama, "value"))


def test_an_unknown_architecture_asks_for_targets(llama: Trunk, folders: dict[str, Path]) -> None:
    llama.model.config.model_type = "unheard-of"
    assert set(peft_config(LORA, llama.model).target_modules) == {"q_proj", "v_proj"}  # it has them
    gpt2 = load(folders["gpt2"]).model
    gpt2.config.model_type = "unheard-of"
    with pytest.raises(ModelError, match=r"no LoRA targets known for architecture 'unheard-of'.*lora\.targets"):
        peft_config(LORA, gpt2)


def test_unknown_and_repeated_roles_are_refused(llama: Trunk) -> None:
    llama.roles.add("policy", LORA)
    with pytest.raises(ModelError, match="unknown role 'value'; added: policy"):
        llama.hidden(IDS, KEEP, "value")
    with pytest.raises(ModelError, match="unknown role 'value'; added: policy"):
        score_rows(llama, "value", [[1]])
    with pytest.raises(ModelError, match="role 'policy' was added already"):
        llama.roles.add("policy", LORA)
    with pytest.raises(ModelError, match=r"does not fit architecture 'llama'.*nothing"):
        llama.roles.add("other", LoraConfig(targets=("nothing",)))
    assert llama.roles.names() == ["policy"]


def test_a_folder_without_adapter_is_refused(llama: Trunk, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"found no adapter_config\.json"):
        llama.roles.load("policy", tmp_path)


def test_adapters_of_other_models_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    trunk = load(folders["llama"])
    trunk.roles.add("policy", LORA)
    trunk.roles.save("policy", tmp_path / "adapter")
    with pytest.raises(ModelError, match="does not fit architecture 'gpt2'"):
        load(folders["gpt2"]).roles.load("policy", tmp_path / "adapter")
    for name, change, found in (
        ("deeper", {"num_hidden_layers": 3}, "shape None, expected"),
        ("shallower", {"num_hidden_layers": 1}, "expected None"),
        ("wider", {"hidden_size": 64}, r"shape \(4, 32\), expected \(4, 64\)"),
    ):
        other = load(tiny_model("llama", tmp_path / name, **change))
        with pytest.raises(ModelError, match=rf"does not fit this model in \d+ weights.*{found}"):
            other.roles.load("policy", tmp_path / "adapter")


def test_damaged_adapters_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    trunk = load(folders["llama"])
    trunk.roles.add("policy", LORA)
    trunk.roles.save("policy", tmp_path)
    whole = (tmp_path / ADAPTER_FILE).read_bytes()
    (tmp_path / ADAPTER_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="weights cannot be read"):
        trunk.roles.load("value", tmp_path)
    (tmp_path / ADAPTER_FILE).unlink()
    with pytest.raises(ModelError, match="weights cannot be read"):
        trunk.roles.load("value", tmp_path)
    assert trunk.roles.names() == ["policy"]


def test_saved_weights_carry_pefts_names(llama: Trunk, tmp_path: Path) -> None:
    llama.roles.add("policy", LORA)
    llama.roles.save("policy", tmp_path)
    prefix = "base_model.model.model.layers."
    assert set(load_file(tmp_path / ADAPTER_FILE)) == {
        f"{prefix}{layer}.self_attn.{target}_proj.lora_{half}.weight"
        for layer in (0, 1) for target in "qv" for half in "AB"
    }  # fmt: skip
