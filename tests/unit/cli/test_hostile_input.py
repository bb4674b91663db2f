"""Input that nobody types by chance: one line, exit code 2, at once, and no key of anybody repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewardlab.annotate.money import price_of
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError, ExpressionError
from rewardlab.rewards import plan_reward
from rewardlab.tasks.task import Task
from tests.support.commands import Command, written

DIGITS = "9" * 5000
TASK = """
name = "tickets"
fields = ["text"]
labels = ["bug", "wish"]
template = "Which is it? {text}"
"""
NUMERIC = TASK.replace('labels = ["bug", "wish"]', "numeric_range = [0, 5]")


def task_file(text: str) -> Path:
    path = Path("tickets.toml")
    path.write_text(text)
    return path


class TestNumbers:
    """Too long for Python, too large for a device, or none."""

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            (f"seed={DIGITS}", "--set seed: a whole number of more than 64 bits"),
            ("seed=99999999999999999999", "--set seed: a whole number of more than 64 bits"),
            (f"model.chat_template_arguments={{n = {DIGITS}}}", "chat_template_arguments: a whole number of more"),
            ("ppo.lr=nan", "ppo.lr: "),
            ("ppo.lr=inf", "ppo.lr: expected a finite number, found inf"),
            ("ppo.clip_ratio=inf", "ppo.clip_ratio: expected a finite number, found inf"),
            ("ppo.score_clip=nan", "ppo.score_clip: "),
            ("ppo.value_clip=1e999", "ppo.value_clip: expected a finite number, found inf"),
            ("reward.lam=nan", "--lambda 'nan': expected a number"),
            ("model.chat_template_arguments={t = inf}", "chat_template_arguments: expected a finite number"),
        ],
        ids=lambda text: text[:30],
    )
    def test_in_a_setting(self, rewardlab: Command, setting: str, said: str) -> None:
        found = rewardlab("ppo", "--reward", "rule", "--set", setting, "--dry-run").problem
        assert said in found
        assert len(found) < 300
        assert written() == []

    @pytest.mark.parametrize("option", [("--lambda", "inf"), ("--lambda", DIGITS), ("--seed", "9" * 30)])
    def test_in_an_option(self, rewardlab: Command, option: tuple[str, str]) -> None:
        found = rewardlab("ppo", "--reward", "mixed", *option, "--dry-run").problem
        assert option[0].removeprefix("--")[:4] in found
        assert len(found) < 300

    def test_in_files(self, rewardlab: Command) -> None:
        Path("rewardlab.toml").write_text(f"seed = {DIGITS}")
        assert "rewardlab.toml: not valid TOML: a whole number" in rewardlab("sft", "--dry-run").problem
        Path("rewardlab.toml").unlink()
        Path("prices.toml").write_text(f'["m"]\nprompt = {DIGITS}\nresponse = 1')
        with pytest.raises(ConfigError, match=r"prices\.toml: not valid TOML: a whole number"):
            price_of("m", Path("prices.toml"))
        Path("suite.toml").write_text(f'name = "s"\nseeds = [{DIGITS}]\n[[method]]\nstage = "base"')
        assert "suite.toml: not valid TOML: a whole number" in rewardlab("suite", "run", "suite.toml").problem
        task_file(NUMERIC.replace("5]", f"{DIGITS}]"))
        assert "tickets.toml: not valid TOML: a whole number" in rewardlab("tasks", "show", "tickets.toml").problem

    @pytest.mark.parametrize(
        ("name", "row"),
        [
            ("train.jsonl", f'{{"text": "a", "label": {DIGITS}}}'),
            ("train.json", f'[{{"text": "a", "label": {DIGITS}}}]'),
            ("train.csv", f"text,label\na,{DIGITS}"),
        ],
    )
    def test_in_rows(self, rewardlab: Command, name: str, row: str) -> None:
        task_file(NUMERIC)
        Path(name).write_text(row)
        found = rewardlab("tasks", "show", "tickets.toml").problem
        assert name in found
        assert "5000 digits" in found or "is not a number from 0 to 5" in found
        assert len(found) < 300

    @pytest.mark.parametrize("bounds", ["[nan, 5]", "[0, nan]", "[0, inf]", "[-inf, inf]", "[0, 1e999]"])
    def test_as_bounds_of_a_task(self, rewardlab: Command, bounds: str) -> None:
        task_file(NUMERIC.replace("[0, 5]", bounds))
        assert "expected a finite number" in rewardlab("tasks", "show", "tickets.toml").problem

    @pytest.mark.parametrize("bounds", [(float("nan"), 5.0), (0.0, float("inf")), (0, 10**400)])
    def test_as_bounds_of_a_task_in_python(self, bounds: tuple[float, float]) -> None:
        texts: dict[Any, str] = dict.fromkeys(("label", "rationale", "judgement"), "{text}")
        with pytest.raises(ConfigError, match="numeric_range"):
            Task("t", ("text",), texts, numeric_range=bounds)

    @pytest.mark.parametrize(
        ("expression", "said"),
        [
            ("clip(label, 0 / 0, 5)", "column 13: 0 / 0 bounds nothing: division by zero"),
            ("clip(label, 1, 1e308 * 10)", "column 16: 1e+308 * 10 bounds nothing: the number is too large"),
            ("clip(label, 1, 1e999)", "column 16: the number is too large"),
            (f"clip(label, 1, {'9' * 400})", "column 16: the number is too large"),
        ],
    )
    def test_as_bounds_in_a_reward(self, expression: str, said: str) -> None:
        with pytest.raises(ExpressionError) as caught:
            plan_reward(load_config({"reward.expression": expression}, NO_FILE).reward)
        assert said in str(caught.value)


class TestTemplates:
    @pytest.mark.parametrize(
        "field", ["{text:d}", "{text!x}", "{text!r}", "{text:>300000000}", "{text:{text}}", "{text!s:>9}"]
    )
    def test_a_format_is_refused_when_the_task_is_read(self, rewardlab: Command, field: str) -> None:
        task_file(TASK.replace("{text}", field))
        found = rewardlab("tasks", "show", "tickets.toml").problem
        assert f"{field} has a format; write {{text}}" in found
        assert found.startswith("task file tickets.toml: ")

    def test_in_a_python_task_too(self, rewardlab: Command) -> None:
        lines = (
            "from rewardlab.tasks.task import Task",
            "texts = dict.fromkeys(('label', 'rationale', 'judgement'), 'Is it? {text:>300000000}')",
            "task = Task('tickets', ('text',), texts, ('bug', 'wish'))",
        )
        Path("tickets.py").write_text("\n".join(lines))
        assert "{text:>300000000} has a format" in rewardlab("tasks", "show", "tickets.py").problem

    def test_plain_braces_stay(self, rewardlab: Command) -> None:
        task_file(TASK.replace("{text}", "{{a:d}} {text}"))
        assert "{{a:d}} {text}" in rewardlab("tasks", "show", "tickets.toml").out


class TestHalvesOfCharacters:
    def test_an_argument(self, rewardlab: Command) -> None:
        found = rewardlab("sft", "--task", "bad\udcff").problem
        assert "argument 3, 'bad\\\\udcff', is no text in UTF-8" in found
        assert written() == []

    @pytest.mark.parametrize(
        "row", ['{"text": "cut \\ud83d", "label": "bug"}', '{"text": "a", "label": "bug", "cut \\ud83d": 1}']
    )
    @pytest.mark.parametrize("shape", ["{}", "[{}]"])
    def test_rows(self, rewardlab: Command, row: str, shape: str) -> None:
        task_file(TASK)
        name = "train.json" if shape == "[{}]" else "train.jsonl"
        Path(name).write_text(shape.replace("{}", row))
        found = rewardlab("tasks", "show", "tickets.toml").problem
        assert name in found
        assert "half of a character" in found

    def test_preferences_and_reviews(self, rewardlab: Command) -> None:
        Path("pairs.jsonl").write_text('{"prompt": "p", "chosen": "a \\ud83d", "rejected": "b"}')
        found = rewardlab("pairs", "import", "pairs.jsonl").problem
        assert "pairs.jsonl line 1" in found
        assert "half of a character" in found

    def test_a_review_from_another_tool(self, tmp_path: Path) -> None:
        from rewardlab.annotate.review_formats import import_reviews
        from rewardlab.errors import DataError

        path = tmp_path / "records.json"
        path.write_text('[{"id": "k", "responses": {"verdict": [{"value": "accept \\ud83d"}]}}]')
        with pytest.raises(DataError, match=r"records\.json: not JSON .*half of a character"):
            import_reviews(path, "argilla", [])

    def test_a_review_that_was_typed(self, tmp_path: Path) -> None:
        from rewardlab.annotate.review import Review, ReviewItem, read_reviews, store_review

        item = ReviewItem("k", "t", "1", "bug", "", "text", True, None)
        store_review(tmp_path, item, Review("k", "edit", "better \udcff words", "me"))
        assert read_reviews(tmp_path)["k"].edited == "better � words"

    def test_an_annotators_answer_is_mended_and_kept(self) -> None:
        from rewardlab.annotate.completion import as_annotation

        record = {"key": "k", "annotator": "openai", "model": "m", "text": "good \ud83d", "finish": "stop"}
        assert as_annotation(record).text == "good �"
        refused = as_annotation({**record, "refusal": "no \ud83d"})
        assert refused.reason == "no �"


class TestDepthAndNumber:
    def test_a_deep_file(self, rewardlab: Command) -> None:
        Path("rewardlab.toml").write_text("x = " + "[" * 20_000)
        assert "rewardlab.toml: not valid TOML: nested more than" in rewardlab("sft", "--dry-run").problem
        Path("rewardlab.toml").write_text(".".join("a" * 20_000) + " = 1")
        assert "rewardlab.toml: not valid TOML: line 1: a dotted key" in rewardlab("sft", "--dry-run").problem

    def test_a_long_key_on_the_command_line(self, rewardlab: Command) -> None:
        found = rewardlab("sft", "--set", ".".join("a" * 20_000) + "=1").problem
        assert "a key of more than 32 parts" in found
        assert len(found) < 300

    def test_twenty_thousand_unknown_keys_name_ten_and_compare_no_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from rewardlab import config_loading

        compared: list[str] = []
        monkeypatch.setattr(config_loading, "nearest", lambda key: compared.append(key) or [])  # type: ignore[func-returns-value]
        with pytest.raises(ConfigError) as caught:
            load_config({f"ppo.x{number}": 1 for number in range(20_000)}, NO_FILE)
        assert str(caught.value).endswith("and 19990 more problems")
        assert len(compared) == 10

    def test_in_a_task_file_too(self, rewardlab: Command) -> None:
        task_file(TASK + "\n".join(f"x{number} = 1" for number in range(2000)))
        found = rewardlab("tasks", "show", "tickets.toml").problem
        assert found.endswith("and 1990 more problems")
        assert len(found) < 2500

    def test_a_value_and_a_section_of_one_name_are_still_told(self) -> None:
        with pytest.raises(ConfigError, match=r"ppo is given as 1 and as a section, in ppo\.lr; keep one"):
            load_config({"ppo": 1, "ppo.lr": 0.1}, NO_FILE)


class TestKeysOfOthers:
    """A key that stands in the wrong place is not repeated: logs are shared."""

    @pytest.mark.parametrize(
        "setting",
        [
            "annotate.api_key=sk-hunter2hunter2",
            "annotate.api_key=hunter2",
            "annotate.openai_key=hunter2",
            "annotate.auth_token=hunter2",
            "annotate.Password=hunter2",
            'annotate.headers={Authorization = "hunter2"}',
            'annotate.headers={x = "Bearer hunter2"}',
            "annotate.extra=sk-hunter2hunter2",
            "annotate.concurrency=sk-hunter2hunter2",
            "annotate.extra=hf_hunter2hunter2",
            "annotate.base=https://bob:hunter2@host/v1",
            "sk-hunter2hunter2",
        ],
    )
    def test_in_a_setting(self, rewardlab: Command, setting: str) -> None:
        done = rewardlab("annotate", "--set", setting)
        assert done.code == 2
        assert "hunter2" not in done.err + done.out
        assert setting.partition("=")[0][:9] in done.err or setting.startswith("sk-")

    def test_in_a_file(self, rewardlab: Command) -> None:
        Path("rewardlab.toml").write_text('[annotate]\napi_key = "hunter2"\n[annotate.more]\nsecret = ["hunter2"]')
        found = rewardlab("annotate").problem
        assert "unknown setting annotate.api_key = '...'" in found
        assert "hunter2" not in found

    def test_other_values_are_shown(self, rewardlab: Command) -> None:
        found = rewardlab("annotate", "--set", "annotate.tokens=12", "--set", "annotate.modle=gpt").problem
        assert "annotate.tokens = 12" in found
        assert "annotate.modle = 'gpt'" in found


def test_json_that_was_stored_with_a_half_is_refused_by_file(tmp_path: Path) -> None:
    from rewardlab.disk import read_json
    from rewardlab.errors import DataError

    path = tmp_path / "result.json"
    path.write_text(json.dumps({"text": "\ud83d"}))
    with pytest.raises(DataError, match=r"result\.json: expected a JSON file: .*half of a character"):
        read_json(path)


def test_a_cut_text_of_a_reward_is_stored(tmp_path: Path) -> None:
    from rewardlab.disk import read_json, read_jsonl, write_json, write_jsonl
    from rewardlab.runs import RunFolder

    folder, row = RunFolder(tmp_path, "ppo", {}), {"reason": "cut \ud83d"}
    folder.append("samples.jsonl", row)
    write_jsonl(tmp_path / "rows.jsonl", [row])
    write_json(tmp_path / "one.json", row)
    for found in (*read_jsonl(tmp_path / "samples.jsonl"), *read_jsonl(tmp_path / "rows.jsonl")):
        assert found == {"reason": "cut �"}
    assert read_json(tmp_path / "one.json") == {"reason": "cut �"}


def test_standard_input_that_is_no_utf8_is_named(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO('{"prompt": "p", "response": "a \udcff"}\n'))
    done = rewardlab("reward", "score", "--input", "-", "--task", "sandbox-sentiment", "--reward", "rule")
    assert done.code == 2
    assert "half of a character" in done.err
