"""The exceptions that rewardlab raises on purpose, and nothing else.

The command line prints any :class:`RewardlabError` as one line, without a traceback, and exits with its
``exit_code``; every other exception is a bug and is left to crash loudly.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RewardlabError(Exception):
    """Base of all errors a user can act on. The message says where, what was found, what was expected.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.load_task("agnwes")
        ... except rl.RewardlabError as error:
        ...     print(error)
        unknown task 'agnwes'; did you mean agnews?
    """

    exit_code = 1


class InputError(RewardlabError):
    """The user's input cannot be used: an option, a name, a file. Exit code 2.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.load_task("tickets.toml")
        ... except rl.InputError as error:
        ...     print(error.exit_code)
        2
    """

    exit_code = 2


class ConfigError(InputError):
    """A configuration value is missing, unknown or out of range.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.Lab(settings={"ppo.step": 30})
        ... except rl.ConfigError as error:
        ...     print(error)
        configuration: unknown setting ppo.step = 30; did you mean ppo.steps?
    """


class UnknownNameError(InputError):
    """A name that no registry has; the message lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")
        self.near = near


class DataError(InputError):
    """A data row or file does not have what its task needs. The message names file and line.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.score("rule", "agnews", ["The answer is: Sports"])
        ... except rl.DataError as error:
        ...     print(error)
        reward 'rule' needs gold labels; response 0 has none: give labels= or examples=
    """


class ExpressionError(InputError):
    """A reward expression cannot be read; the message shows the position."""


class RunFolderError(InputError):
    """A run folder holds something else than what the command asked for.

    Example:
        >>> import rewardlab as rl
        >>> try:
        ...     rl.Run("runs")
        ... except rl.RunFolderError as error:
        ...     print(error)
        runs: no finished run; give a folder below runs/ that holds a result.json
    """


class ModelError(InputError):
    """A model name or folder cannot be loaded."""


class ShapeError(RewardlabError):
    """Tensors whose shapes do not fit together."""


class AnnotationError(RewardlabError):
    """The annotator cannot be reached, or failed too often."""


class TrainingError(RewardlabError):
    """Training cannot go on: an invariant is broken, a reward raised, a loss is not finite."""
