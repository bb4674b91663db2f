"""One contract for every architecture: the checks of ``rewardlab doctor`` on tiny random models, built in code.

Each check has a fault that it finds, in ``tests/unit/doctor/test_doctor.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from rewardlab.config_loading import load_config
from rewardlab.doctor.examine import CHECKS, examine
from rewardlab.doctor.probe import ProbeModel
from rewardlab.doctor.verdict import Verdict
from rewardlab.models import frozen, load_trunk
from tests.support.models import FAMILIES, UNUSUAL, tiny_model, tiny_tokenizer, tiny_vision_model


@dataclass(frozen=True)
class Case:
    """A family with a critic, a dtype, settings, a tokenizer, a generation config and an architecture of its own."""

    family: str
    critic: str = "adapter"
    dtype: str = "float32"
    is_chat: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    is_small_onednn: bool = False
    is_vision: bool = False


CASES = {
    **{family: Case(family) for family in FAMILIES},
    **{family: Case(family) for family in UNUSUAL if family != "falcon_h1"},
    "deepseek_v3, bfloat16": Case("deepseek_v3", dtype="bfloat16"),
    "gemma3, images": Case("gemma3", is_vision=True),
    "gemma2, head, warm": Case("gemma2", critic="head", settings={"ppo.temperature": 1.7}),
    "llama, head": Case("llama", critic="head", is_chat=True),
    "gpt2, head": Case("gpt2", critic="head"),
    "llama, bfloat16": Case("llama", dtype="bfloat16"),
    "gpt2, bfloat16": Case("gpt2", dtype="bfloat16"),
    "qwen2, warm": Case("qwen2", is_chat=True, settings={"ppo.temperature": 1.7}),
    "llama, other generation config": Case(
        "llama", generation={"repetition_penalty": 3.0, "top_k": 1, "do_sample": True}
    ),
    "llama through oneDNN": Case("llama", is_small_onednn=True),
    "mistral, short window": Case("mistral", changes={"sliding_window": 24}),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(", ", "-").replace(" ", "_"))
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """What every check says of one case."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("case")
    with pytest.MonkeyPatch.context() as patch:
        if case.is_small_onednn:
            patch.setattr(frozen, "SMALLEST", 1)
        build = tiny_vision_model if case.is_vision else tiny_model
        build(case.family, folder / "model", tiny_tokenizer(chat=case.is_chat), **case.changes)
        config = load_config(
            {
                "model.name": str(folder / "model"),
                "model.dtype": case.dtype,
                "model.device": "cpu",
                "model.max_prompt_tokens": 96,
                "ppo.value": case.critic,
                **case.settings,
            }
        )
        trunk = load_trunk(config.model)
        for name, value in case.generation.items():
            setattr(trunk.model.generation_config, name, value)
        return {verdict.check.name: verdict for verdict in examine(ProbeModel(trunk, config, folder / "run"))}


@pytest.mark.parametrize("check", [check.name for check in CHECKS])
def test_the_model_passes(verdicts: dict[str, Verdict], check: str) -> None:
    finding = verdicts[check].finding
    skipped = {"chat template", "one beginning"}
    assert finding.outcome == "passed" or (finding.outcome == "skipped" and check in skipped), finding.text


def test_checks_have_names_of_their_own_and_say_what_to_do() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.claim and check.advice for check in CHECKS)
