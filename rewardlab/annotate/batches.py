"""Questions through the provider's Batch API: cheaper, answered within a day, same journal.

``submit`` uploads what the journal cannot answer and no earlier batch has asked, ``status`` shows the state of batches,
``fetch`` moves their answers into the journal. Batches are remembered in ``batches.jsonl`` beside the journal. A batch
carries the digest of its requests, so that one whose creation was not remembered (a crash in between) is found again
instead of being paid for twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rewardlab.annotate.base import BatchPending, request_key
from rewardlab.annotate.completion import read_completion
from rewardlab.annotate.endpoint import CHAT_PATH, KEPT, Call
from rewardlab.annotate.event_loop import run_to_end
from rewardlab.annotate.journal import Journal, JournalWriter
from rewardlab.annotate.moderation import says_withheld
from rewardlab.annotate.money import Spending, booked_tokens, estimated
from rewardlab.annotate.retry import MODERATING, BadBody
from rewardlab.errors import AnnotationError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

logger = logging.getLogger(__name__)

BATCHES_FILE = "batches.jsonl"
PART_REQUESTS = 50_000
PART_BYTES = 100_000_000
"""Largest input file; OpenAI takes 50 000 requests and 200 MB."""
DIGEST = "rewardlab_requests"
"""Name of the batch's metadata that holds the digest of its requests."""
RETRIES = 5
FETCHED = "/fetched"
"""Ends the key under which a batch is marked as fetched."""
WINDOW: Literal["24h"] = "24h"
ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})

Failed = dict[str, dict[str, Any]]


class Batches:
    """The batches of one journal.

    Args:
        connect: Makes a client.
        journal: Where answers are kept.
        spending: The ledger.
        author: What every record says besides the answer.
        redact: Takes secrets out of an error's text.
    """

    def __init__(
        self,
        connect: Callable[[], AsyncOpenAI],
        journal: Journal,
        spending: Spending,
        author: Mapping[str, str],
        redact: Callable[[str], str],
    ) -> None:
        self.connect = connect
        self.journal = journal
        self.spending = spending
        self.author = author
        self.redact = redact
        self._known = Journal(journal.path.with_name(BATCHES_FILE))

    def run(self, action: Literal["submit", "status", "fetch"], calls: Sequence[Call]) -> Failed:
        """Do one of the three for the calls that the journal cannot answer.

        Returns:
            After ``fetch``: records of the requests that failed. The other two never return.
        Raises:
            BatchPending: It was submitted; or its status.
            AnnotationError: The endpoint refused, batches still run, or requests are in no batch.
        """
        from openai import OpenAIError

        work: dict[str, Callable[[AsyncOpenAI, Sequence[Call]], Coroutine[Any, Any, Failed]]] = {
            "submit": self._submit,
            "status": self._status,
            "fetch": self._fetch,
        }
        try:
            return run_to_end(self._connected(work[action], calls))
        except OpenAIError as error:
            reason = self.redact(f"{type(error).__name__}: {error}")
            raise AnnotationError(f"--batch {action}: the endpoint answered {reason}. {KEPT}") from error

    def open_keys(self) -> frozenset[str]:
        """The requests that are being answered in batches."""
        return frozenset(key for batch in self._open() for key in batch["keys"])

    def check_none_open(self, calls: Sequence[Call]) -> None:
        """Raise AnnotationError when some of these are in an open batch: they would be paid twice."""
        keys = {call.key for call in calls}
        found = self._open_for(calls)
        if found:
            count = sum(len(keys.intersection(batch["keys"])) for batch in found)
            names = ", ".join(batch["key"] for batch in found)
            raise AnnotationError(
                f"{count} of these requests are in batches that were not fetched ({names}); "
                f"--batch fetch gets their answers; without {self._known.path} they would be asked, and paid, again"
            )

    async def _connected(
        self, work: Callable[[AsyncOpenAI, Sequence[Call]], Coroutine[Any, Any, Failed]], calls: Sequence[Call]
    ) -> Failed:
        async with self.connect() as client:
            return await work(client.with_options(max_retries=RETRIES), calls)

    async def _submit(self, client: AsyncOpenAI, calls: Sequence[Call]) -> Failed:
        asked = self.open_keys()
        new = [call for call in calls if call.key not in asked]
        self.spending.check(sum(self._worst(call) for call in calls))
        submitted = [await self._submit_part(client, part) for part in _parts(new)]
        names = f" (batches: {', '.join(submitted)})" if submitted else ""
        raise BatchPending(
            f"{len(new)} requests submitted{names}, {len(calls) - len(new)} were submitted before; "
            "--batch status shows their state, --batch fetch gets their answers"
        )

    async def _submit_part(self, client: AsyncOpenAI, part: Sequence[Call]) -> str:
        digest = request_key([call.key for call in part])
        batch = await self._found(client, digest) or await _create(client, part, digest)
        sizes = [[call.prompt_tokens, call.response_tokens] for call in part]
        self._known.append(batch.id, {"keys": [call.key for call in part], "sizes": sizes})
        return batch.id

    async def _found(self, client: AsyncOpenAI, digest: str) -> Batch | None:
        """A batch of the same requests that is not remembered here."""
        async for batch in client.batches.list(limit=100):
            if (batch.metadata or {}).get(DIGEST) == digest and batch.id not in self._known:
                return batch
        return None

    async def _status(self, client: AsyncOpenAI, calls: Sequence[Call]) -> Failed:
        lines = [_state(await client.batches.retrieve(batch["key"])) for batch in self._open_for(calls)]
        raise BatchPending("; ".join(lines) or f"no batch is open; {len(calls)} requests have no answer yet")

    async def _fetch(self, client: AsyncOpenAI, calls: Sequence[Call]) -> Failed:
        failed: Failed = {}
        running: list[str] = []
        for known in self._open_for(calls):
            batch = await client.batches.retrieve(known["key"])
            if batch.status in RUNNING:
                running.append(_state(batch))
            else:
                failed |= await self._fetch_one(client, batch, known)
        if running:
            raise AnnotationError(f"--batch fetch: not yet: {'; '.join(running)}. Fetch again later")
        unasked = sum(call.key not in self.journal and call.key not in failed for call in calls)
        if unasked:
            raise AnnotationError(
                f"--batch fetch: {unasked} requests are in no open batch; --batch submit asks them in one, the command "
                "without --batch asks them now"
            )
        return failed

    async def _fetch_one(self, client: AsyncOpenAI, batch: Batch, known: Mapping[str, Any]) -> Failed:
        """Move a finished batch's answers into the journal; returns what has none."""
        answers: dict[str, dict[str, Any]] = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            answers |= self._answers((await client.files.content(file)).text, batch)
        lost = {"text": "", "finish": "failed", "error": f"batch {batch.id} is {batch.status} without this answer"}
        keys, sizes = known["keys"], known.get("sizes", ())
        records = {key: {**self.author, **answers.get(key, lost), "batch": batch.id} for key in keys}
        for key, size in zip(keys, sizes, strict=False):  # older notes of batches have no sizes
            if records[key]["finish"] != "failed":
                records[key] = estimated(records[key], *size)
        with self.journal.writer() as writer:
            for key, record in records.items():
                self._keep(writer, key, record)
        self._known.append(f"{batch.id}{FETCHED}", {})
        return {key: {"key": key, **row} for key, row in records.items() if row["finish"] == "failed"}

    def _answers(self, text: str, batch: Batch) -> dict[str, dict[str, Any]]:
        """Key -> raw record of an output or error file; a line that names no request is passed over."""
        found: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(text.split("\n"), 1):
            row = _row(line)
            if row is not None:
                record = _record(row)
                found[row["custom_id"]] = record | (
                    {"error": self.redact(record["error"])} if "error" in record else {}
                )
            elif line.strip():
                logger.warning("batch %s, line %d: it names no request and is passed over", batch.id, number)
        return found

    def _keep(self, writer: JournalWriter, key: str, record: Mapping[str, Any]) -> None:
        self.spending.add(*booked_tokens(record), is_batch=True)
        if record["finish"] != "failed" and key not in self.journal:
            writer.write(key, record)

    def _open(self) -> list[dict[str, Any]]:
        """The remembered batches that were not fetched."""
        fetched = {key.removesuffix(FETCHED) for key in self._known if key.endswith(FETCHED)}
        names = [key for key in self._known if not key.endswith(FETCHED) and key not in fetched]
        return [self._known.get(name) or {} for name in names]

    def _open_for(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        """Those of them that hold a request of these; other commands look after the rest."""
        keys = {call.key for call in calls}
        return [batch for batch in self._open() if not keys.isdisjoint(batch["keys"])]

    def _worst(self, call: Call) -> float:
        price = self.spending.price
        return price.cost_usd(call.prompt_tokens, call.response_tokens, is_batch=True) if price else 0.0


async def _create(client: AsyncOpenAI, part: Sequence[Call], digest: str) -> Batch:
    lines = "".join(_line(call) for call in part)
    file = await client.files.create(file=(f"{digest}.jsonl", lines.encode()), purpose="batch")
    once = client.with_options(max_retries=0)  # a repeated creation would be a second, paid batch
    return await once.batches.create(
        input_file_id=file.id, endpoint=ENDPOINT, completion_window=WINDOW, metadata={DIGEST: digest}
    )


def _line(call: Call) -> str:
    return json.dumps({"custom_id": call.key, "method": "POST", "url": f"/v1{CHAT_PATH}", "body": call.body}) + "\n"


def _parts(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """The calls in files of a size that the endpoint takes."""
    part: list[Call] = []
    size = 0
    for call in calls:
        length = len(_line(call))
        if part and (len(part) == PART_REQUESTS or size + length > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(call)
        size += length
    if part:
        yield part


def _row(line: str) -> dict[str, Any] | None:
    """One line of an output or error file; None when it does not name its request."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("custom_id"), str) else None


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """The raw record of a line, an answer or a failure with its reason, whatever the line says."""
    response = row.get("response")
    response = response if isinstance(response, Mapping) else {}
    body = response.get("body")
    try:
        if response.get("status_code") == 200:
            return read_completion(body)
        reason = row.get("error") or (body.get("error") if isinstance(body, Mapping) else None) or body
    except BadBody as error:
        reason = str(error)
    code, said = (reason.get("code"), reason.get("message")) if isinstance(reason, Mapping) else (None, reason)
    is_moderated = response.get("status_code") in {None, *MODERATING} and says_withheld(reason)
    finish = "content_filter" if is_moderated else "failed"
    return {"text": "", "finish": finish, "error": str(said or code or "no reason given")}


def _state(batch: Batch) -> str:
    counts = batch.request_counts
    done = f", {counts.completed} of {counts.total} answered, {counts.failed} failed" if counts else ""
    return f"batch {batch.id} is {batch.status}{done}"
