"""Annotators by name, and which of them a run uses. ``rewardlab annotators`` lists them.

Another package brings one by the entry-point group ``rewardlab.annotators``: a subclass of
:class:`rewardlab.annotate.base.Annotator` under its own name. ``auto`` takes the first of rewardlab's own that can
work, in the order below: the oracle, a hosted model where there is a key, and so on down to the template. One
from another package is taken when it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from rewardlab.annotate.base import Ability, Annotator
from rewardlab.annotate.bundled import BundledAnnotator
from rewardlab.annotate.hosted import OpenAIAnnotator
from rewardlab.annotate.local import LocalAnnotator
from rewardlab.annotate.oracle import SandboxAnnotator
from rewardlab.annotate.template import TemplateAnnotator
from rewardlab.code_identity import code_hashes
from rewardlab.config import RunConfig
from rewardlab.errors import ConfigError, InputError, UnknownNameError
from rewardlab.registry import Registry

AUTO = "auto"
"""Leaves the choice to :func:`choose_annotator`."""

annotators: Registry[type[Annotator]] = Registry("annotator", group="rewardlab.annotators")

_built_in: tuple[type[Annotator], ...] = (
    SandboxAnnotator,
    OpenAIAnnotator,
    LocalAnnotator,
    BundledAnnotator,
    TemplateAnnotator,
)
for _kind in _built_in:
    annotators.add(_kind.name, _kind)


@dataclass(frozen=True, slots=True)
class Choice:
    """An annotator and the reason it was chosen; the reason is one line for the user."""

    kind: type[Annotator]
    reason: str

    @property
    def name(self) -> str:
        """The annotator's."""
        return self.kind.name


def find_annotator(name: str) -> type[Annotator]:
    """The annotator of that name.

    Raises:
        UnknownNameError: There is none.
        ConfigError: What a package brings under that name is no annotator.
    """
    if name not in annotators.every():
        raise UnknownNameError("annotator", name, [AUTO, *annotators])
    kind = annotators.get(name)
    if not isinstance(kind, type) or not issubclass(kind, Annotator) or getattr(kind, "name", "") != name:
        raise ConfigError(
            f"annotator {name!r}: found {kind!r}, expected a subclass of rewardlab.annotate.Annotator with that name"
        )
    return kind


def named_annotator(config: RunConfig) -> type[Annotator] | None:
    """The annotator that ``annotate.annotator`` names; None for ``auto``. Raises as :func:`find_annotator` does."""
    name = config.annotate.annotator
    return None if name == AUTO else find_annotator(name)


def choose_annotator(
    config: RunConfig, tasks: Collection[str], written: Collection[str] = (), *, may_lack_key: bool = False
) -> Choice:
    """The annotator that the configuration names, or the best one available.

    Args:
        config: ``annotate`` is read, and ``model``, the local annotator's default.
        tasks: Names of the tasks to annotate.
        written: Those whose rows come from the bundled sample and were written for (``bundled.written_tasks``).
        may_lack_key: For a plan that is only shown: the key of a hosted model may be missing.
    Raises:
        UnknownNameError: No annotator has that name.
        InputError: The annotator that was asked for cannot work here, or batches are asked of one that has none.
    """
    named = named_annotator(config)
    if named is None:
        choice = _best(config, tasks, written)
    else:
        if not may_lack_key:
            named.check_access()
        named.check(config, tasks, written)
        choice = Choice(named, f"asked for by annotate.annotator = {named.name!r}")
    if config.annotate.batch and not choice.kind.has_batches:
        having = " or ".join(name for name in annotators if annotators.get(name).has_batches)
        raise InputError(
            f"--batch {config.annotate.batch}: only hosted models are asked in batches, and this run would ask "
            f"{choice.name} ({choice.reason}); add --annotator {having}, or leave --batch"
        )
    return choice


def _best(config: RunConfig, tasks: Collection[str], written: Collection[str]) -> Choice:
    """The first that can work here; the template always can."""
    for kind in map(annotators.get, annotators):
        if kind.auto_reason:
            with suppress(InputError):
                kind.check_access()
                kind.check(config, tasks, written)
                model = config.annotate.model or config.model.name
                return Choice(kind, kind.auto_reason.format(model=model))
    raise ConfigError("annotate.annotator = 'auto': no annotator is available here; name one of `rewardlab annotators`")


def check_ability(kind: type[Annotator], ability: Ability) -> None:
    """Raise ConfigError for an annotator that cannot do what a stage asks of it."""
    if ability not in kind.abilities():
        able = [name for name in annotators.every() if ability in find_annotator(name).abilities()]
        raise ConfigError(f"annotator {kind.name} cannot {ability}; expected one of {', '.join(able)}")


def annotator_code(kind: type[Annotator]) -> tuple[dict[str, str], dict[str, str]]:
    """Hash of the code of an annotator that is not rewardlab's own, and of one without a hash the reason; by name."""
    return code_hashes({kind.name: partial(annotators.code_hash, kind.name, kind)})
