"""Files on disk: whole or not at all, errors that name file and line, a full disk told from other faults."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardlab import disk
from rewardlab.disk import (
    atomic_file,
    is_disk_full,
    is_read_only,
    make_folder,
    read_json,
    read_jsonl,
    read_only,
    write_atomic,
    write_json,
    write_jsonl,
)
from rewardlab.errors import DataError, InputError


def files(path: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in path.iterdir()}


class TestWriting:
    def test_makes_the_folders_above(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "a" / "b" / "c.txt", "text")
        assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"

    def test_a_failed_write_leaves_the_old_file_whole(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "c.jsonl", [{"a": 1}])

        def broken() -> Iterator[dict[str, int]]:
            yield {"a": 2}
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            write_jsonl(tmp_path / "c.jsonl", broken())
        assert files(tmp_path) == {"c.jsonl": '{"a": 1}\n'}

    def test_the_new_file_takes_its_place_in_one_move(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_atomic(tmp_path / "c.txt", "old")
        moved: list[str] = []
        monkeypatch.setattr(disk.os, "replace", lambda part, path: moved.append(Path(part).read_text()))
        write_atomic(tmp_path / "c.txt", "new")
        assert moved == ["new"]
        assert (tmp_path / "c.txt").read_text() == "old"

    @pytest.mark.parametrize("name", [".", "", "taken"])
    def test_a_folder_in_its_place_is_an_error_before_anything_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("taken").mkdir()
        with pytest.raises(IsADirectoryError), atomic_file(Path(name)):
            pytest.fail("the block must not run")
        assert [path.name for path in tmp_path.iterdir()] == ["taken"]

    def test_leaves_nothing_beside_the_file(self, tmp_path: Path) -> None:
        write_json(tmp_path / "c.json", {"λ": [1, None], "path": Path("x")})
        assert files(tmp_path) == {"c.json": '{\n  "λ": [\n    1,\n    null\n  ],\n  "path": "x"\n}\n'}

    def test_one_object_a_line(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "rows.jsonl", [{"text": "a\nb"}, {"text": "é\u2028"}])
        assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8").count("\n") == 2
        assert list(read_jsonl(tmp_path / "rows.jsonl")) == [{"text": "a\nb"}, {"text": "é\u2028"}]

    def test_a_folder_to_write_to_is_made_once(self, tmp_path: Path) -> None:
        for _ in range(2):
            make_folder(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []

    def test_a_folder_that_takes_no_file_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(dir: Path) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(disk, "TemporaryFile", full)
        with pytest.raises(InputError, match=r"out: cannot be written \(Read-only file system\)"):
            make_folder(tmp_path / "out")


class TestReading:
    def test_a_mark_of_the_byte_order_may_stand_in_front_of_the_file_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
        assert [row["a"] for row in read_jsonl(path)] == [1, 2]
        path.write_bytes(b'{"a": 1}\n\xef\xbb\xbf{"a": 2}\n')
        with pytest.raises(DataError, match="line 2: not JSON"):
            list(read_jsonl(path))

    def test_blank_lines_are_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n  \n{"a": 2}')
        assert [row["a"] for row in read_jsonl(tmp_path / "rows.jsonl")] == [1, 2]

    def test_a_last_line_that_was_cut_may_be_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a": 2')
        assert list(read_jsonl(tmp_path / "rows.jsonl", may_be_cut=True)) == [{"a": 1}]

    @pytest.mark.parametrize(
        ("line", "found"),
        [
            ('{"a": ', "not JSON"),
            ("[" * 100_000, "not JSON: nested too deeply"),
            ('{"a": "\\ud83d"}', r"not JSON: '\ud83d' is half of a character"),
            ("[1]", "found [1]"),
            ("3", "found 3"),
        ],
    )
    def test_errors_name_file_and_line(self, tmp_path: Path, line: str, found: str) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_text(f'{{"a": 1}}\n\n{line}\n')
        with pytest.raises(DataError) as caught:
            list(read_jsonl(path))
        assert str(caught.value).startswith(f"{path} line 3: ")
        assert found in str(caught.value)

    def test_both_halves_of_a_character_are_one(self, tmp_path: Path) -> None:
        (tmp_path / "rows.jsonl").write_text('{"a": "\\uD83D\\ude00"}\n')
        assert list(read_jsonl(tmp_path / "rows.jsonl")) == [{"a": "\N{GRINNING FACE}"}]

    def test_absent_and_undecodable_files_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe9"}\n')
        for path in (tmp_path / "absent.jsonl", tmp_path / "latin.jsonl"):
            with pytest.raises(DataError, match=path.name):
                list(read_jsonl(path))

    def test_json_errors_name_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "half.json").write_text('{"a":')
        (tmp_path / "deep.json").write_text("[" * 100_000)
        for name in ("half.json", "absent.json", "deep.json"):
            with pytest.raises(DataError, match=name):
                read_json(tmp_path / name)


def test_nothing_is_read_only_but_what_is_inside_a_dry_run() -> None:
    assert not is_read_only()
    with read_only():
        assert is_read_only()
    assert not is_read_only()


def _from(error: BaseException, cause: BaseException | None = None, context: BaseException | None = None) -> Exception:
    """An error that another one led to."""
    error.__cause__, error.__context__ = cause, context
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EACCES, "x"), False),
        (ValueError("x"), False),
        (RuntimeError(f"in a library: {os.strerror(errno.ENOSPC)} (9)"), True),
        (RuntimeError("in a library: os error 28"), True),
        (_from(ValueError("x"), cause=OSError(errno.ENOSPC, "x")), True),
        (_from(ValueError("x"), context=OSError(errno.ENOSPC, "x")), True),
        (_from(ValueError("x"), cause=KeyError("y")), False),
    ],
)
def test_a_full_disk_is_told_by_its_error_or_what_led_to_it(error: BaseException, is_full: bool) -> None:
    assert is_disk_full(error) is is_full


def test_a_file_and_its_name_are_on_the_disk_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content before the file takes its name, the folder's list of names after that."""
    done: list[str] = []
    replace, fsync = os.replace, os.fsync

    def synced(descriptor: int) -> None:
        done.append(
            "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"file of {os.fstat(descriptor).st_size}"
        )
        fsync(descriptor)

    monkeypatch.setattr(disk.os, "fsync", synced)
    monkeypatch.setattr(disk.os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    write_atomic(tmp_path / "c.txt", "four")
    assert done == ["file of 4", "replace", "folder"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc, which is not here")
def test_writing_leaves_no_file_open(tmp_path: Path) -> None:
    """Ten files, and the folder that each is synced in."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(10):
        write_atomic(tmp_path / f"{number}", "text")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
