"""Bad input is one line that says where and what to do, exit code 2, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardlab.disk import write_json
from tests.support.commands import MIXED, SMALL, Command, written
from tests.support.models import tiny_llama
from tests.support.runs import both, eval_folder


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("ppo", "--task", "agnwes"), ["unknown task 'agnwes'", "did you mean agnews?"]),
            (("ppo", "--task", "mr,sandbox-sentimant"), ["'sandbox-sentimant'", "sandbox-sentiment"]),
            (("ppo", "--task", ","), ["names no task"]),
            (("ppo", "--task", "absent.toml"), ["task file absent.toml: no such file"]),
            (("ppo", "--reward", "rule + lable"), ["column 8", "unknown reward 'lable'", "did you mean label"]),
            (("ppo", "--reward", "min(label, 5"), ["'min(label, 5'", "column 4", "never closed"]),
            (("ppo", "--reward", "rule +"), ["'rule +'", "column 7", "found the end"]),
            (("ppo", "--reward", "rule if rule"), ["column 6"]),
            (("ppo", "--reward", "mixed", "--lambda", "five"), ["--lambda 'five'", "(5)", "(q90)", "(1.5z)"]),
            (("ppo", "--reward", "mixed", "--lambda", "q101"), ["--lambda 'q101'", "q0 to q100"]),
            (("ppo", "--reward", "mixed", "--lambda", "nan"), ["--lambda 'nan'"]),
            (("ppo", "--reward", "mixed"), ["'mixed' needs lambda"]),
            (("ppo", "--lambda", "5"), ["--lambda 5", "'rule'", "neither mixed nor lam"]),
            (("ppo", "--reward", "mixed", "--lambda", "5", "--r2", "gold"), ["reward.r2", "'gold'"]),
            (("ppo", "--model", "./absent"), ["model './absent'", "no such folder"]),
            (("ppo", "--model", "sandbox-tinny"), ["'sandbox-tinny'", "no route to the hub", "sandbox-tiny"]),
            (("ppo", "--device", "gpu"), ["--device 'gpu'", "cuda:1"]),
            (("ppo", "--dtype", "float16"), ["model.dtype", "'float16'", "'bfloat16'"]),
            (("ppo", "--set", "ppo.clip=1", "--seed", "-1"), ["ppo.clip", "seed", "-1"]),
            (("ppo", "--set", "ppo.clip_ratio"), ["expected key=value"]),
            (("ppo", "--set", "ppo=3"), ["ppo", "found 3"]),
            (("ppo", "--config", "absent.toml"), ["absent.toml"]),
            (("ppo", "--init", "sft-rationale", "--format", "label"), ["--init sft-rationale", "--format rationale"]),
            (("sft", "--rationales", "--format", "label"), ["--rationales needs --format rationale"]),
            (("pair-gen", "--task", "agnews", "--annotator", "openai"), ["OPENAI_API_KEY is not set"]),
            (("pair-gen", "--task", "agnews", "--annotator", "sandbox"), ["--annotator sandbox", "agnews"]),
            (("annotate", "--annotator", "local"), ["--annotator local", "annotate.model"]),
            (("rm", "report", "absent"), ["absent: no finished reward model", "rewardlab rm train"]),
            (("annotate", "--batch", "now"), ["Invalid value for '--batch': 'now' is not one of 'submit', 'status'"]),
            (("pair-gen", "--annotator", "gpt"), ["unknown annotator 'gpt'; known: auto, bundled", "template"]),
            (("annotate", "--annotator", "opnai"), ["unknown annotator 'opnai'; did you mean openai?"]),
            (("annotate", "--set", "annotate.annotator=aut"), ["did you mean auto?"]),
            (("pair-gen", "--task", "agnews", "--source", "hub"), ["agnews", "no route to the hub", "--data DIR"]),
            (("pair-gen", "--task", "agnews", "--source", "local"), ["agnews", "--data DIR", "REWARDLAB_DATA"]),
            (("pair-gen", "--task", "agnews", "--data", "absent"), ["--data absent", "no such folder"]),
            (("eval", "--run", "absent"), ["absent: no finished run"]),
            (("compare",), ["no runs given"]),
            (("compare", "absent"), ["absent"]),
            (("suite", "run", "absent.toml"), ["absent.toml"]),
            (("tasks", "show", "agnwes"), ["did you mean agnews?"]),
            (("reward", "show", "lable"), ["did you mean label"]),
            (("nosuch",), ["No such command 'nosuch'. See rewardlab --help."]),
            (("ppo", "--stepz", "3"), ["No such option: --stepz"]),
            (("ppo", "--steps", "few"), ["'--steps'", "valid integer"]),
            (("ppo", "--format", "poem"), ["'--format'", "'poem'", "judgement"]),
            (("rm", "train", "--kind", "best"), ["'--kind'", "'best'", "ranked"]),
            (("ppo", "--task"), ["'--task' requires an argument"]),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_is_one_line_and_writes_nothing(
        self, rewardlab: Command, arguments: tuple[str, ...], said: list[str]
    ) -> None:
        found = rewardlab(*arguments).problem
        for text in said:
            assert text in found
        assert written() == []

    @pytest.mark.parametrize(
        "arguments",
        [
            ("ppo", "--task", "agnwes"),
            ("ppo", "--reward", "rule +"),
            ("ppo", "--lambda", "5"),
            ("ppo", "--model", "sandbox-tinny"),
            ("pair-gen", "--task", "agnews", "--annotator", "openai"),
            ("pair-gen", "--task", "agnews", "--source", "hub"),
        ],
    )
    def test_a_dry_run_says_the_same(self, rewardlab: Command, arguments: tuple[str, ...]) -> None:
        assert rewardlab(*arguments, "--dry-run").problem == rewardlab(*arguments).problem

    def test_several_wrong_settings_are_still_one_line(self, rewardlab: Command) -> None:
        found = rewardlab("ppo", "--set=ppo.lr=-1", "--set=rm.epochs=x", "--source", "moon").problem
        assert all(key in found for key in ("ppo.lr", "rm.epochs", "data.source"))

    def test_a_method_to_compare_with_is_looked_for_before_anything_is_printed(self, rewardlab: Command) -> None:
        for method in ("A", "B"):
            eval_folder(Path(method), method=method, columns={"toy": both(8, 9, 10)})
        done = rewardlab("compare", "A", "B", "--against", "nothing")
        assert "no method 'nothing' among the runs to compare against; found: A, B" in done.problem

    def test_a_model_folder_that_is_none(self, rewardlab: Command) -> None:
        Path("mine").mkdir()
        assert "model folder mine: found no config.json" in rewardlab("ppo", "--model", "mine").problem
        Path("mine/config.json").write_text("{}")
        assert "found no weights" in rewardlab("ppo", "--model", "mine").problem
        assert written() == ["mine", "mine/config.json"]

    def test_a_model_that_breaks_on_reading_is_one_line_too(self, rewardlab: Command) -> None:
        tiny_llama(Path("mine"))
        Path("mine/model.safetensors").write_bytes(b"not weights")
        done = rewardlab("ppo", "--model", "mine", "--init", "base", *SMALL)
        assert done.code == 2
        assert "Traceback" not in done.err
        assert "mine" in done.err.splitlines()[-1]

    def test_a_row_without_its_field_is_named_by_file_and_line(self, rewardlab: Command) -> None:
        Path("data/agnews").mkdir(parents=True)
        rows = [{"id": str(number), "text": f"row {number}", "label": "Sports"} for number in range(12)]
        del rows[4]["text"]
        Path("data/agnews/train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        before = written()
        found = rewardlab("pair-gen", "--task", "agnews", "--data", "data").problem
        assert "data/agnews/train.jsonl line 5: no field 'text'" in found
        assert written() == before

    def test_gold_labels_that_a_rule_would_need(self, rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        from dataclasses import replace

        from rewardlab.pipeline import rows

        real = rows.load_splits

        def without_gold(*arguments: object, **options: object) -> object:
            splits = real(*arguments, **options)  # type: ignore[arg-type]
            return replace(splits, prompts=[replace(example, label=None) for example in splits.prompts])

        monkeypatch.setattr(rows, "load_splits", without_gold)
        assert "8 of the 8 training prompts" in rewardlab("ppo", "--reward", "rule", *SMALL).problem
        assert rewardlab("ppo", "--reward", "label", "--dry-run", *SMALL).code == 0

    @pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
    def test_an_out_folder_that_holds_another_run(self, rewardlab: Command, dry: tuple[str, ...]) -> None:
        write_json(Path("mine/config.json"), {"stage": "ppo", "fingerprint": "0" * 12, "identity": {}})
        found = rewardlab(*MIXED, "--out", "mine", *dry).problem
        assert found.startswith("mine: holds another run (differs in ")
        assert written() == ["mine", "mine/config.json"]

    @pytest.mark.parametrize("fresh", [(), ("--fresh",)], ids=["plain", "fresh"])
    def test_an_out_folder_with_files_of_others(self, rewardlab: Command, fresh: tuple[str, ...]) -> None:
        Path("mine").mkdir()
        Path("mine/config.json").write_text('{"model_type": "llama"}')
        assert "mine: holds files that are no rewardlab run" in rewardlab(*MIXED, "--out", "mine", *fresh).problem
        assert written() == ["mine", "mine/config.json"]

    def test_out_given_a_file(self, rewardlab: Command) -> None:
        Path("mine").write_text("precious")
        assert "mine: holds files that are no rewardlab run" in rewardlab(*MIXED, "--out", "mine").problem
        assert Path("mine").read_text() == "precious"

    def test_runs_given_a_file(self, rewardlab: Command) -> None:
        Path("mine").write_text("precious")
        done = rewardlab("annotate", "--runs", "mine", *SMALL)
        assert done.code == 2
        assert "cannot be written (Not a directory); choose another --runs" in done.err.splitlines()[-1]

    @pytest.mark.parametrize("stored", ["{}", '{"config": 3}', '{"config": {"colour": "red"}}', "[]"])
    def test_a_run_folder_of_another_program(self, rewardlab: Command, stored: str) -> None:
        Path("mine").mkdir()
        Path("mine/config.json").write_text(stored)
        Path("mine/result.json").write_text("{}")
        assert rewardlab("eval", "--run", "mine").problem.startswith("mine: ")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('name = "x"\n', "method: field required"),
            ('name = "x"\n[[method]]\nstage = "dance"\n', "method.0.stage"),
            ('name = "x"\nseeds = []\n[[method]]\nstage = "base"\n', "seeds"),
            ('name = "x"\n[[method]]\nstage = "ppo"\nsettings = { "ppo.clip" = 1 }\n', "ppo.clip"),
            ('name = "x"\n[[method]]\nstage = "ppo"\nsettings = { "reward.lam" = 5 }\n', "neither mixed nor lam"),
            ("name = [\n", "not valid TOML"),
        ],
    )
    def test_a_broken_suite(self, rewardlab: Command, text: str, said: str) -> None:
        Path("suite.toml").write_text(text)
        assert said in rewardlab("suite", "run", "suite.toml").problem
        assert written() == ["suite.toml"]
