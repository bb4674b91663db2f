"""Section of the sampler: a server that draws the responses of training, in place of the sampler here."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from rewardlab.secret_values import without_secret
from rewardlab.section import Section


class SamplerConfig(Section):
    """Who draws responses while a method trains that samples (docs/scale.md)."""

    url: str | None = Field(
        None,
        description="server that draws the responses, such as http://127.0.0.1:8000 (`vllm serve --enable-lora`); "
        "default, or none: drawn here",
    )
    model: str | None = Field(None, description="name of the base model there; default: the first it lists")
    cap: float = Field(
        2.0, ge=1, description="largest weight of a token: its probability here divided by that in the server"
    )
    tolerance: float | None = Field(
        None,
        gt=0,
        description="largest difference of log-probabilities in the first step, root mean square over tokens, nats; "
        "default: what rounding explains",
    )
    timeout_s: float = Field(
        600.0, gt=0, description="seconds a request may take; all requests of a step are sent at once"
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        """The address of the server's root: ``/v1`` behind it is left out."""
        if value in (None, "none"):
            return None
        without_secret(value)
        try:
            parts = urlsplit(value)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_address = False
        if not is_address:
            raise ValueError("expected a web address such as http://127.0.0.1:8000")
        return value.rstrip("/").removesuffix("/v1").rstrip("/")
