"""TRL's reward functions as rewards: which columns they get, in which shape, and whether they read gold labels.

TRL calls ``function(prompts=, completions=, completion_ids=, trainer_state=, log_extra=, log_metric=, **columns)``.
Here there are no token ids, no trainer and no completions table, so a function that cannot do without them is refused.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from rewardlab.code_identity import names_read
from rewardlab.errors import ConfigError, TrainingError
from rewardlab.rewards.background import wait_for
from rewardlab.rewards.functions import FunctionReward, Judgement, parameters, reads_gold, takes_a_batch
from rewardlab.tasks.task import OPENINGS, prompt_of
from rewardlab.types import Example

TRLFunction = Callable[..., Any]
"""A TRL ``reward_funcs`` callable: keyword lists in, one float or None per completion out."""

GIVEN = ("prompts", "completions", "label", "id", "task")
"""Columns that each function gets; the fields of the examples' tasks come to them."""
NOT_GIVEN = ("completion_ids", "trainer_state", "log_extra", "log_metric", "environments")
"""What TRL's trainers add, and rewardlab does not have."""
_ASKED_BY_NAME = {"completions", *NOT_GIVEN}
_TEXTS, _TURNS = re.compile(r"\[(builtins\.)?str\]"), re.compile(r"list\[list|dict|mapping|message", re.IGNORECASE)
_KEYS_OF_TURNS = frozenset({"content", "role"})


class TRLFunctionReward(FunctionReward):
    """A TRL function as a reward; made by :func:`from_trl`.

    Attributes:
        columns: Columns beside :data:`GIVEN` that it cannot do without: fields of the task.
    """

    def __init__(self, name: str, function: TRLFunction, *, needs_gold: bool, chat: bool) -> None:
        super().__init__(name, self._judge, needs_gold=needs_gold)
        self.columns = tuple(each for each in _required(function) if each not in GIVEN)
        self._trl = function
        self._chat = chat

    def _judge(self, examples: Sequence[Example], responses: Sequence[str]) -> Sequence[Judgement]:
        columns = _columns(examples, responses, self._chat)
        withheld = _Withheld(self.name, len(responses))
        if not self.needs_gold:
            columns["label"] = withheld
        check_columns(self.name, self.columns, columns)
        try:
            judged = self._trl(**_accepted(self._trl, columns))
            given: Sequence[Judgement] = list(wait_for(judged) if inspect.isawaitable(judged) else judged)
        except Exception as error:
            shape = "conversations (chat=False gives texts)" if self._chat else "texts (chat=True gives conversations)"
            error.add_note(f"it was given completions as {shape} and the columns {', '.join(columns)}")
            raise
        finally:
            if withheld.was_read:
                withheld.refuse()
        return given


class _Withheld(Sequence[Any]):
    """The column ``label`` of a reward that counts as gold-free: looking into it ends the step."""

    def __init__(self, name: str, rows: int) -> None:
        self.was_read = False
        self._name = name
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: Any) -> NoReturn:
        self.was_read = True
        self.refuse()

    def refuse(self) -> NoReturn:
        raise TrainingError(
            f"reward {self._name!r} reads the column 'label' and does not say so; give it a parameter called label, "
            "an attribute needs_gold = True, or register it with needs_gold=True"
        )


def from_trl(
    name: str, function: TRLFunction, *, needs_gold: bool | None = None, chat: bool | None = None
) -> TRLFunctionReward:
    """Use a TRL-style callable as a reward; an asynchronous one is awaited.

    It receives ``prompts``, ``completions``, ``label``, ``id``, ``task`` and every field of the examples' tasks as
    columns; a field that a row lacks is None there. It does not receive :data:`NOT_GIVEN`.

    Args:
        name: How tables and ledgers call it.
        function: TRL ``reward_funcs`` callable.
        needs_gold: Whether it reads labels. None: what its attribute ``needs_gold`` says, else whether its code names
            ``label`` (:func:`rewardlab.code_identity.names_read`). A function for which that is False and which
            looks into the column all the same ends the step with an error.
        chat: Hand prompts and completions as lists of messages, as TRL does for conversational data. None: what its
            annotation of ``completions`` says, else whether its code names ``content`` or ``role``.
    Raises:
        ConfigError: It cannot do without something that rewardlab does not have.
    """
    if wanted := [each for each in _required(function) if each in NOT_GIVEN]:
        raise ConfigError(
            f"reward {name!r} needs {', '.join(wanted)}, which only TRL's trainers have; there are "
            f"{', '.join(GIVEN)} and the task's fields: use those, or give the parameter a default"
        )
    if needs_gold is None:
        needs_gold = reads_gold(function)
    return TRLFunctionReward(
        name, function, needs_gold=needs_gold, chat=_wants_turns(function) if chat is None else chat
    )


def check_columns(name: str, wanted: Iterable[str], there: Iterable[str]) -> None:
    """Raise ConfigError when a reward cannot do without columns that are not there."""
    known = list(there)
    if missing := [each for each in wanted if each not in known]:
        raise ConfigError(
            f"reward {name!r} needs the column {', '.join(map(repr, missing))}; the columns are {', '.join(known)}: "
            "rename its parameter, or the task's field"
        )


def is_trl_style(function: Callable[..., Any]) -> bool:
    """True when the signature takes by name what TRL alone hands over, or anything by name and no batch by position."""
    found = parameters(function)
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in found.values())
    return bool(_ASKED_BY_NAME & found.keys()) or (takes_any and not takes_a_batch(function))


def _required(function: TRLFunction) -> list[str]:
    """Names of the parameters that have no default."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found: Mapping[str, inspect.Parameter] = parameters(function)
    return [name for name, each in found.items() if each.kind in by_name and each.default is inspect.Parameter.empty]


def _accepted(function: TRLFunction, columns: Mapping[str, Any]) -> dict[str, Any]:
    """All columns, or those that a function without ``**kwargs`` takes."""
    found = parameters(function)
    takes_all = not found or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in found.values())
    return {name: column for name, column in columns.items() if takes_all or name in found}


def _wants_turns(function: TRLFunction) -> bool:
    """True when completions are read as lists of messages."""
    given = parameters(function).get("completions")
    said = "" if given is None else str(given.annotation)
    if _TEXTS.search(said) or _TURNS.search(said):
        return not _TEXTS.search(said)
    return bool(_KEYS_OF_TURNS & names_read(function))


def _columns(examples: Sequence[Example], responses: Sequence[str], chat: bool) -> dict[str, Any]:
    prompts: list[Any] = [prompt_of(example) + OPENINGS[example.format] for example in examples]
    completions: list[Any] = list(responses)
    if chat:
        prompts = [[{"role": "user", "content": prompt_of(example)}] for example in examples]
        completions = [[{"role": "assistant", "content": response}] for response in responses]
    fields = dict.fromkeys(name for example in examples for name in example.fields)
    columns: dict[str, Any] = {"prompts": prompts, "completions": completions}
    columns |= {name: [getattr(example, name) for example in examples] for name in ("label", "id", "task")}
    return columns | {name: [each.fields.get(name) for each in examples] for name in fields if name not in columns}
