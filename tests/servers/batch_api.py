"""Files and batches as the Batch API has them: a batch is answered when a test says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from email import message_from_bytes, policy
from typing import Any

from tests.servers.http_server import Reply, Request

Behave = Callable[[str, dict[str, Any]], Reply]


class BatchApi:
    """The state behind ``/v1/files`` and ``/v1/batches``.

    Args:
        behave: (behaviour, chat request body) -> the reply to it.
    Attributes:
        files: File id -> content.
        batches: Batch id -> batch.
        limit: Requests of a batch that are answered before it expires; None is all.
    """

    def __init__(self, behave: Behave) -> None:
        self._behave = behave
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.limit: int | None = None

    def respond(self, behaviour: str, path: str, request: Request) -> Reply:
        """The reply to a request for files or batches."""
        match (request.method, *path.split("/")):
            case ("POST", "files"):
                return Reply.of(self._file(self._add(_uploaded(request))))
            case ("GET", "files", id, "content"):
                return Reply(self.files[id], kind="application/jsonl")
            case ("POST", "batches"):
                return Reply.of(self._create(behaviour, request.json()))
            case ("GET", "batches"):
                newest_first = list(reversed(self.batches.values()))
                return Reply.of({"object": "list", "data": newest_first, "has_more": False})
            case ("GET", "batches", id):
                return Reply.of(self.batches[id])
        return Reply.of({"error": {"message": "no such path", "code": "not_found"}}, 404)

    def finish(self) -> None:
        """Answer every batch that is under way."""
        for batch in self.batches.values():
            if batch["status"] == "in_progress":
                self._answer(batch)

    def _create(self, behaviour: str, asked: dict[str, Any]) -> dict[str, Any]:
        id = f"batch_{len(self.batches) + 1}"
        lines = self.files[asked["input_file_id"]].splitlines()
        self.batches[id] = {
            "id": id,
            "object": "batch",
            "created_at": 0,
            "status": "in_progress",
            "behaviour": behaviour,
            **asked,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        return self.batches[id]

    def _answer(self, batch: dict[str, Any]) -> None:
        rows = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        answered = rows[: self.limit]
        lines: dict[bool, list[str]] = {True: [], False: []}
        for row in answered:
            reply = self._behave(batch["behaviour"], row["body"])
            body = {"status_code": reply.status, "request_id": "r", "body": json.loads(reply.body)}
            line = {"id": "l", "custom_id": row["custom_id"], "response": body, "error": None}
            lines[reply.status == 200].append(json.dumps(line))
        batch["status"] = "completed" if len(answered) == len(rows) else "expired"
        batch["request_counts"] |= {"completed": len(lines[True]), "failed": len(lines[False])}
        for name, is_good in (("output_file_id", True), ("error_file_id", False)):
            batch[name] = self._add("\n".join(lines[is_good]).encode()) if lines[is_good] else None

    def _add(self, content: bytes) -> str:
        id = f"file_{len(self.files) + 1}"
        self.files[id] = content
        return id

    def _file(self, id: str) -> dict[str, Any]:
        common = {"object": "file", "created_at": 0, "filename": "requests.jsonl", "status": "processed"}
        return {"id": id, "bytes": len(self.files[id]), "purpose": "batch", **common}


def _uploaded(request: Request) -> bytes:
    """The file in a multipart form."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    form = message_from_bytes(head + request.body, policy=policy.HTTP)
    (file,) = [part for part in form.iter_parts() if part.get_filename()]
    content = file.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content
