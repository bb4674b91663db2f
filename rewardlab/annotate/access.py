"""Where annotators are reached: key and address of a hosted one, model of a local one. Settings alone are read."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from rewardlab.annotate.prompting import prompt_versions
from rewardlab.config import TINY_MODEL, AnnotateConfig, ModelConfig
from rewardlab.errors import ConfigError, InputError
from rewardlab.secret_values import may_hold_secret


def local_model_config(config: AnnotateConfig, model: ModelConfig) -> ModelConfig:
    """The model section of the local annotator; one with a model of its own has a chat template of its own.

    Raises:
        ConfigError: Only the embedded model is configured.
    """
    name = config.model or model.name
    if name == TINY_MODEL:
        raise ConfigError(
            f"--annotator local: {TINY_MODEL} was trained on the sandbox language alone, not on instructions; "
            "give annotate.model (a hub id, a folder, smollm2-135m-q4), or --annotator bundled, template or sandbox"
        )
    if name == model.name:
        return model
    own = {"chat_template_arguments": config.chat_template_arguments}
    return model.model_copy(update={"name": name, **own, "chat_template_suffix": config.chat_template_suffix})


def asked_with(config: AnnotateConfig) -> dict[str, Any]:
    """What the answers of any model depend on, beside the model: prompts, sampling, further fields."""
    return {"prompts": prompt_versions(), **sampled_with(config)}


def sampled_with(config: AnnotateConfig) -> dict[str, Any]:
    """As :func:`asked_with`, without the prompts."""
    return {
        "temperature": config.temperature,
        "annotator_tokens": config.max_new_tokens,
        **({"extra_body": config.extra_body} if config.extra_body else {}),
    }


def endpoint(config: AnnotateConfig) -> str | None:
    """Where a hosted annotator is asked; None is the SDK's own default.

    Raises:
        ConfigError: It is no web address, or has a user, a password or a query.
    """
    url = config.base_url or os.environ.get("OPENAI_BASE_URL", "").strip()
    if not url:
        return None
    origin = "annotate.base_url" if config.base_url else "$OPENAI_BASE_URL"
    if may_hold_secret(url):
        raise ConfigError(f"{origin}: has a user, a password or a query; put the key into OPENAI_API_KEY")
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{origin}: {url!r} is no web address; expected one such as http://127.0.0.1:8000/v1")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


KEY_VARIABLE = "OPENAI_API_KEY"


def api_key() -> str:
    """The key from the environment; raises InputError with the alternatives when there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise InputError(
            f"--annotator openai: {KEY_VARIABLE} is not set; export it (any text will do for a local endpoint), "
            "or choose --annotator local, template or sandbox"
        )
    return key
