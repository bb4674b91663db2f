"""The journal keeps every answer that was paid for, whatever happens to the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rewardlab.annotate.base import request_key
from rewardlab.annotate.journal import Journal
from rewardlab.errors import RunFolderError

WRITER = """
import sys
from pathlib import Path
from rewardlab.annotate.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(100000):
    journal.append(str(number), {"text": "x" * 50})
    print(number, flush=True)
"""


def test_what_is_appended_is_there_next_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    Journal(path).append("k", {"text": "Zürich \u2028 a\nb"})
    again = Journal(path)
    assert again.get("k") == {"key": "k", "text": "Zürich \u2028 a\nb"}
    assert "k" in again
    assert len(again) == 1
    assert again.get("other") is None


def test_a_torn_last_line_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append("a", {"text": "1"})
    journal.append("b", {"text": "2"})
    path.write_bytes(path.read_bytes()[:-5])
    torn = path.read_bytes()
    again = Journal(path)
    assert "a" in again
    assert "b" not in again
    assert "not finished" in caplog.text
    assert path.read_bytes() == torn  # reading changes nothing
    again.append("b", {"text": "2"})
    assert "cut off 21 bytes" in caplog.text
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"key": "a", "text": "1"}\n{"key": "b", "text": "2"}')
    journal = Journal(path)
    assert journal.get("b") == {"key": "b", "text": "2"}
    journal.append("c", {})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b", "c"]
    assert list(Journal(path)) == ["a", "b", "c"]


def test_a_long_torn_line_is_cut_off_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"key": "a"}\n{"key": "b", "text": "' + b"x" * 200_000)
    Journal(path).append("c", {})
    assert path.read_bytes() == b'{"key": "a"}\n{"key": "c"}\n'


def test_what_follows_a_line_that_met_a_full_disk_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the second line is written, then the disk is full; the third one finds room again."""
    path = tmp_path / "journal.jsonl"
    write = os.write

    def half_full(file: int, data: bytes) -> int:
        if data.startswith(b"{"):
            return write(file, data[:20])
        raise OSError(28, "No space left on device")

    with Journal(path).writer() as writer:
        writer.write("a", {})
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", half_full)
            with pytest.raises(RunFolderError, match=r"cannot be written \(No space left on device\)"):
                writer.write("b", {"text": "half of it"})
        writer.write("c", {"text": "paid"})
    assert list(Journal(path)) == ["a", "c"]
    assert Journal(path).get("c") == {"key": "c", "text": "paid"}


def test_a_journal_that_cannot_be_created_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        Journal(tmp_path / "file" / "journal.jsonl").append("a", {})


@pytest.mark.parametrize("line", ['{"key": null}', '{"key": ["z"]}', "[" * 200_000, '"key"'])
def test_odd_lines_are_no_records(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(f'{line}\n{{"key": "a"}}\n')
    assert list(Journal(path)) == ["a"]


def test_a_line_that_is_no_record_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"key": "a"}\nnonsense\n[1]\n{"no": "key"}\n\n{"key": "b"}\n')
    assert len(Journal(path)) == 2
    assert "line 2" in caplog.text


def test_a_line_torn_by_another_process_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append("a", {})
    with path.open("ab") as other:
        other.write(b'{"key": "torn')  # killed after we had opened the journal
    journal.append("b", {"text": "whole"})
    assert journal.get("b") == {"key": "b", "text": "whole"}
    assert Journal(path).get("b") == {"key": "b", "text": "whole"}
    assert "torn" not in Journal(path)


def test_a_line_that_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path).writer() as writer:
        writer.write("a", {})
        with path.open("ab") as slow:
            slow.write(b'{"key": ')
        assert len(Journal(path)) == 1
        assert path.read_bytes().endswith(b'{"key": ')


AUTHOR = {"annotator": "openai", "model": "m"}


def test_journals_merge_without_asking_twice(tmp_path: Path) -> None:
    left, right = tmp_path / "left.jsonl", tmp_path / "right.jsonl"
    Journal(left).append("a", {"text": "mine"})
    for key in "ab":
        Journal(right).append(key, {**AUTHOR, "text": "theirs"})
    journal = Journal(left)
    assert journal.merge(right) == 1
    assert journal.merge(right) == 0
    assert journal.merge(left) == 0
    theirs = {"key": "b", **AUTHOR, "text": "theirs"}
    assert [Journal(left).get(key) for key in "ab"] == [{"key": "a", "text": "mine"}, theirs]


def test_what_is_merged_stays_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text(json.dumps({"key": "a", **AUTHOR}) + '\n{"key": "b", "te')
    before = source.read_bytes()
    source.chmod(0o400)
    assert Journal(tmp_path / "into.jsonl").merge(source) == 1
    assert source.read_bytes() == before


@pytest.mark.parametrize("record", [{"decision": "accept"}, {"keys": ["a"]}, {"annotator": "openai"}])
def test_what_no_annotator_answered_is_not_merged(tmp_path: Path, record: dict[str, object]) -> None:
    source, into = tmp_path / "source.jsonl", tmp_path / "into.jsonl"
    source.write_text(json.dumps({"key": "good", **AUTHOR}) + "\n" + json.dumps({"key": "bad", **record}) + "\n")
    with pytest.raises(RunFolderError, match="the record 'bad' is no annotator's answer"):
        Journal(into).merge(source)
    assert not into.exists()


def test_merging_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such journal"):
        Journal(tmp_path / "a.jsonl").merge(tmp_path / "b.jsonl")


def test_the_first_answer_to_a_question_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("a", {"text": "first"})
    journal.append("a", {"text": "second"})
    assert journal.get("a") == Journal(journal.path).get("a") == {"key": "a", "text": "first"}


def test_journals_merge_by_concatenation(tmp_path: Path) -> None:
    left, right = tmp_path / "left.jsonl", tmp_path / "right.jsonl"
    Journal(left).append("a", {})
    Journal(right).append("b", {})
    left.write_bytes(left.read_bytes() + right.read_bytes())
    assert len(Journal(left)) == 2


def test_an_answer_is_synced_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(path.read_bytes()))
    Journal(path).append("a", {})
    assert synced == [b"", b'{"key": "a"}\n']  # the new file's name in its folder, then the line


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def write(thread: int) -> None:
        for number in range(20):
            journal.append(f"{thread}-{number}", {"text": "y" * 200})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Journal(journal.path)) == 80


def test_kill_9_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    root = str(Path(__file__).resolve().parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    reported = 49 + len(process.stdout.read().splitlines())
    process.wait()
    process.stdout.close()
    assert all(str(number) in Journal(path) for number in range(reported))


def test_keys_depend_on_every_part_of_the_request() -> None:
    base = {"model": "m", "messages": [{"role": "user", "content": "q"}], "temperature": 0.7}
    assert request_key(base) == request_key(dict(reversed(base.items())))
    others = [{**base, "model": "n"}, {**base, "temperature": 0.8}, {**base, "messages": []}]
    assert len({request_key(each) for each in [base, *others]}) == 4
