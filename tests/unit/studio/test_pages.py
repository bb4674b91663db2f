"""The studio's pages through a test client: what stands on them, what leads where, and what cannot be reached."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rewardlab.disk import write_json, write_jsonl
from rewardlab.studio import curves
from tests.support.studio import (
    SCRIPT,
    client_of,
    eval_run,
    ledger_row,
    links,
    pair_row,
    ppo_run,
    prediction,
    stage_folder,
    studio_of,
    text_of,
)

SMALL = {"labelled": 4, "prompts": 4, "validation": 2, "test": 2}
"""Rows of the sandbox that a page has to generate for a prompt."""


def sandbox_config(**other: object) -> dict[str, object]:
    """A configuration whose rows can be loaded."""
    return {"task": "sandbox-sentiment", "seed": 0, "format": "rationale", "data": SMALL, **other}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Runs of most kinds, made from each other."""
    runs = tmp_path / "runs"
    rows = [ledger_row(step, f"r{number}", "positive") for step in (1, 2) for number in range(3)]
    rows.append(ledger_row(2, "r0", None, sample=1, response="no idea"))
    ppo_run(runs, rows, "toy-p1", inputs={"start": "s1"})
    stage_folder(runs, "sft", "toy-s1", config={"task": "sandbox-sentiment", "seed": 0}, result={"rows": 4})
    stage_folder(runs, "pairs", "toy-q1", result={"pairs": 2}, files={"pairs.jsonl": [pair_row("a"), pair_row("b")]})
    eval_run(runs, "SFT-e1", [prediction("a", "positive"), prediction("b", "negative")], 0.5, inputs={"model": "s1"})
    eval_run(runs, "PPO-e2", [prediction("a", "negative"), prediction("b", "positive")], 0.5, inputs={"model": "p1"})
    return runs


def test_every_page_that_a_page_leads_to_is_there(root: Path) -> None:
    client = client_of(studio_of(root))
    waiting, seen = ["/", "/side?run=sft/toy-s1&run=ppo/toy-p1", "/difference?run=eval/SFT-e1&run=eval/PPO-e2"], set()
    while waiting:
        address = waiting.pop()
        answer = client.get(address)
        assert answer.status_code == 200, address
        seen.add(address)
        waiting += [each for each in links(answer.text) if each.startswith("/") and each not in seen | set(waiting)]
    kinds = {re.split(r"[/?]", address)[1] for address in seen}
    assert kinds >= {"", "run", "samples", "sample", "prompt", "side", "difference", "expression", "pairs", "assets"}


def test_pages_ask_nobody_else(root: Path) -> None:
    client = client_of(studio_of(root))
    for address in ("/", "/run/ppo/toy-p1", "/samples/ppo/toy-p1", "/sample/0/ppo/toy-p1"):
        answer = client.get(address)
        assert [each for each in links(answer.text) if not each.startswith("/")] == ["data:,"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_runs_are_filtered_and_sorted(root: Path) -> None:
    client = client_of(studio_of(root))

    def names(query: str) -> list[str]:
        return re.findall(r'name="run" value="([^"]*)"', client.get(f"/?{query}").text)

    assert len(names("")) == 5
    assert names("kind=eval&sort=method") == ["eval/PPO-e2", "eval/SFT-e1"]
    assert names("kind=eval&sort=method&falling=1") == ["eval/SFT-e1", "eval/PPO-e2"]
    assert names("q=toy+p1") == ["ppo/toy-p1"]
    assert names("status=running") == []
    assert len(names("sort=accuracy")) == 5  # what has no accuracy is last, and there


def test_only_what_is_running_loads_again(root: Path) -> None:
    client = client_of(studio_of(root))
    assert 'http-equiv="refresh"' not in client.get("/").text
    folder = stage_folder(root, "grpo", "toy-g1")
    write_json(folder / "heartbeat.json", {"seconds": 1})
    for address, is_running in (("/", True), ("/run/grpo/toy-g1", True), ("/run/ppo/toy-p1", False)):
        assert ('http-equiv="refresh"' in client.get(address).text) == is_running


def test_a_run_says_where_it_came_from_and_what_came_from_it(root: Path) -> None:
    page = client_of(studio_of(root)).get("/run/ppo/toy-p1").text
    before, _, after = page.partition("What came from it")
    assert "/run/sft/toy-s1" in links(before.partition("Where it came from")[2])
    assert "/run/eval/PPO-e2" in links(after)


def test_an_evaluation_without_texts_is_not_offered_for_reading(root: Path) -> None:
    """A report brings evaluations along without their predictions."""
    (root / "eval" / "PPO-e2" / "predictions.jsonl").unlink()
    client = client_of(studio_of(root))
    trained, own, other = (client.get(f"/run/{key}").text for key in ("ppo/toy-p1", "eval/PPO-e2", "eval/SFT-e1"))
    assert "/samples/eval/PPO-e2" not in links(trained)
    assert 'action="/side"' not in own
    assert 'action="/side"' not in other


def test_a_run_shows_a_chart_of_each_quantity_and_its_alarm(root: Path) -> None:
    alarm = {"step": 12, "since": 8, "window": 5, "reward_before": 0.1, "reward_after": 0.9, "gold_before": 0.8}
    alarm |= {"gold_after": 0.4, "p_value": 1e-6, "tests": 12}
    rows = [ledger_row(step, "r", "positive") for step in (1, 2, 3)]
    ppo_run(root, rows, "hacked-h1", result={"steps": 3, "hacking": {"judged": True, "alarm": alarm}})
    page = client_of(studio_of(root)).get("/run/ppo/hacked-h1").text
    titles = re.findall(r'aria-label="([^"]*)"', page)
    assert titles[1:] == ["trained reward, mean score", "part: rule", "KL to the reference (nats per response)"]
    assert "hacking alarm, step 12" in text_of(page)
    assert "from 0.8 to 0.4" in text_of(page)


def test_an_unfinished_run_raises_the_alarm_of_what_it_has_logged(root: Path) -> None:
    """Ten steps of 40 answers, all right and scored 0; then ten, all wrong and scored 1: no test can miss it."""
    rows = [
        ledger_row(step, f"r{number}", "positive" if step <= 10 else "negative", score=float(step > 10) + number / 100)
        for step in range(1, 21)
        for number in range(40)
    ]
    ppo_run(root, rows, "hacked-h2", result=None)
    assert "hacking alarm, step" in text_of(client_of(studio_of(root)).get("/run/ppo/hacked-h2").text)


def test_a_sample_shows_what_the_parser_reads_and_why(root: Path) -> None:
    page = text_of(client_of(studio_of(root)).get("/sample/6/ppo/toy-p1").text)
    assert 'no "The answer is:" in the response' in page
    assert "lenient no answer" in page
    assert "rule raw score 0" in page
    assert "total what the policy was trained on -0.6" in page


def test_a_sample_of_training_has_its_prompt_from_the_rows(root: Path) -> None:
    from rewardlab.config import RunConfig
    from rewardlab.pipeline import Pipeline
    from rewardlab.tasks.task import prompt_of

    config = RunConfig.model_validate(sandbox_config())
    row = Pipeline(config, root).splits["sandbox-sentiment"].prompts[0]
    ppo_run(root, [ledger_row(1, row.id, "positive")], "real-r1", config=config.model_dump(mode="json"))
    page = client_of(studio_of(root)).get("/sample/0/ppo/real-r1").text
    assert " ".join(prompt_of(row).split()) in text_of(page)


def test_all_responses_to_a_prompt_stand_side_by_side(root: Path) -> None:
    page = client_of(studio_of(root)).get("/prompt/ppo/toy-p1?task=sandbox-sentiment&id=r0").text
    assert re.findall(r"/sample/(\d+)/", page) == ["0", "3", "6"]


def test_two_evaluations_item_by_item(root: Path) -> None:
    """SFT has a right and b wrong, PPO the other way round: one item better, one worse; c is SFT's alone."""
    rows = [prediction("a", "positive"), prediction("b", "negative"), prediction("c", "positive")]
    eval_run(root, "SFT-e1", rows, 0.5, inputs={"model": "s1"})
    client = client_of(studio_of(root))
    page = client.get("/side?run=eval/SFT-e1&run=eval/PPO-e2").text
    told = text_of(page)
    for words in ("better with B: 1", "worse with B: 1", "both right: 0", "both wrong: 0", "A alone has 1 items"):
        assert words in told
    assert "Is a good?" in told
    better = client.get("/side?run=sft/toy-s1&run=ppo/toy-p1&change=better").text  # trained runs: their evaluations
    assert re.findall(r"sandbox-sentiment <code>(\w)</code>", better) == ["b"]


def test_runs_without_answers_cannot_be_compared_item_by_item(root: Path) -> None:
    client = client_of(studio_of(root))
    answer = client.get("/side?run=pairs/toy-q1&run=eval/PPO-e2")
    assert answer.status_code == 404
    assert "expected two evaluations" in text_of(answer.text)
    assert "choose two" in text_of(client.get("/side?run=eval/PPO-e2").text)


def test_difference_of_two_configurations(root: Path) -> None:
    ppo_run(root, [], "toy-p2", config={"task": "sandbox-sentiment", "seed": 1, "reward": {"expression": "label"}})
    page = client_of(studio_of(root)).get("/difference?run=ppo/toy-p1&run=ppo/toy-p2").text
    rows = re.findall(r"<code>([^<]*)</code></th><td>([^<]*)</td><td>([^<]*)</td>", page)
    shown = [("format", "rationale", "–"), ("made from.start", "s1", "–"), ("reward.expression", "rule", "label")]
    assert rows == [*shown, ("seed", "0", "1")]


def test_markup_in_texts_is_shown_as_text(root: Path) -> None:
    config = {"task": SCRIPT, "seed": 0, "reward": {"expression": SCRIPT}, "model": {"name": SCRIPT}}
    row = ledger_row(1, "i", SCRIPT, gold=SCRIPT, response=SCRIPT, task=SCRIPT, reason=SCRIPT, parts={SCRIPT: 1.0})
    ppo_run(root, [row, row], "bad-x1", config=config)
    eval_run(root, "bad-x2", [prediction("a", SCRIPT, gold=SCRIPT, response=SCRIPT, prompt=SCRIPT)], 1.0)
    pair = pair_row("a", SCRIPT, SCRIPT, chosen_label=SCRIPT, prompt=SCRIPT, task=SCRIPT)
    stage_folder(root, "pairs", "bad-x3", files={"pairs.jsonl": [pair]})
    client = client_of(studio_of(root))
    addresses = [
        *("/", "/run/ppo/bad-x1", "/samples/ppo/bad-x1", "/sample/0/ppo/bad-x1", "/sample/0/eval/bad-x2"),
        *("/pairs/pairs.jsonl/pairs/bad-x3", "/side?run=eval/bad-x2&run=eval/bad-x2"),
        "/difference?run=ppo/bad-x1&run=ppo/toy-p1",
    ]
    answers = [client.get(address) for address in addresses]
    answers.append(client.get("/prompt/ppo/bad-x1", params={"task": SCRIPT, "id": "i"}))
    answers.append(client.get("/", params={"q": SCRIPT, "sort": SCRIPT}))
    answers.append(client.get("/samples/ppo/bad-x1", params={"text": SCRIPT, "id": SCRIPT}))
    for answer in answers:
        assert answer.status_code == 200
        assert re.findall(r"<script(?! src=)", answer.text) == [], answer.url
        assert "<b>x</b>" not in answer.text
        assert "&lt;script&gt;alert(" in answer.text


@pytest.mark.parametrize(
    "address",
    [
        "/run/../../etc/passwd",
        "/run/%2e%2e/%2e%2e/secret",
        "/run//etc/passwd",
        "/run/ppo/toy-p1/../../../secret",
        "/samples/../secret",
        "/sample/0/../secret",
        "/pairs/..%2f..%2fsecret/pairs/toy-q1",
        "/pairs/config.json/pairs/toy-q1",
        "/pairs/pairs.jsonl/../secret",
        "/assets/..%2fapp.py",
        "/assets/../app.py",
        "/difference?run=../secret&run=ppo/toy-p1",
        "/side?run=../secret&run=eval/PPO-e2",
        "/sample/99/ppo/toy-p1",
        "/prompt/ppo/toy-p1?task=sandbox-sentiment&id=nobody",
        "/nothing",
    ],
)
def test_an_address_opens_runs_of_the_index_alone(root: Path, address: str) -> None:
    secret = root.parent / "secret"
    stage_folder(root.parent, "secret", ".", files={"samples.jsonl": [ledger_row(1, "a", "positive")]})
    assert (secret / "config.json").exists()
    answer = client_of(studio_of(root)).get(address)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "def build_app" not in answer.text


def test_only_names_of_this_machine_are_answered(root: Path) -> None:
    client = client_of(studio_of(root))
    assert client.get("/", headers={"host": "localhost:7860"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_damaged_file_is_a_page_that_names_it(root: Path) -> None:
    (root / "ppo" / "toy-p1" / "samples.jsonl").write_text("nonsense\n")
    answer = client_of(studio_of(root)).get("/samples/ppo/toy-p1")
    assert answer.status_code == 422
    assert "samples.jsonl: expected JSON Lines" in text_of(answer.text)


@pytest.mark.parametrize("may_run", [False, True])
def test_a_task_in_python_is_executed_only_when_that_is_allowed(root: Path, may_run: bool) -> None:
    mark = root.parent / "executed"
    (root.parent / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\ntask = None\n")
    config = {**sandbox_config(), "task": str(root.parent / "own.py")}
    ppo_run(root, [ledger_row(1, "a", "positive")], "own-o1", config=config)
    assert client_of(studio_of(root, runs_code=may_run)).get("/sample/0/ppo/own-o1").status_code == 200
    assert mark.exists() == may_run


def test_no_page_imports_torch(root: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.support.studio import client_of, studio_of, links\n"
        "client = client_of(studio_of(Path(sys.argv[1])))\n"
        "for address in ('/', '/run/ppo/toy-p1', '/samples/ppo/toy-p1', '/sample/0/ppo/toy-p1',\n"
        "                '/side?run=eval/SFT-e1&run=eval/PPO-e2', '/expression/ppo/toy-p1?reward=rule',\n"
        "                '/pairs/pairs.jsonl/pairs/toy-q1'):\n"
        "    assert client.get(address).status_code == 200, address\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_a_chart_is_drawn_once_and_before_somebody_asks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(curves, "draw", lambda panel: drawn.append(panel.title) or f"<svg>{panel.title}</svg>")
    curves._drawn.cache_clear()
    stage_folder(root, "ppo", "toy-d1", files={"metrics.jsonl": [{"step": 1, "reward/score": 1.0}]})
    (root / "ppo" / "toy-d1" / "metrics.jsonl").write_text("nonsense\n")
    studio = studio_of(root)
    studio.warm()  # the damaged run does not stop it
    count = len(drawn)
    assert count >= 3  # score, part and KL
    page = client_of(studio).get("/run/ppo/toy-p1").text
    assert "<svg>KL" in page
    assert len(drawn) == count
    with (root / "ppo" / "toy-p1" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 3, "reward/score": 9.0, "reward/part/rule": 0.5, "policy/kl": 0.1}\n')
    client_of(studio_of(root)).get("/run/ppo/toy-p1")
    assert len(drawn) == count + 3
    curves._drawn.cache_clear()


def test_a_run_says_on_which_machines_it_was_made(root: Path) -> None:
    folder = root / "sft" / "toy-s1"
    write_jsonl(folder / "attempts.jsonl", [{"started": 1.0, "node": "left"}, {"started": 2.0, "node": "right"}])
    (folder / "result.json").unlink()
    client = client_of(studio_of(root))
    assert "left, then right" in client.get("/run/sft/toy-s1").text
    assert text_of(client.get("/").text).count("running on right") == 1
