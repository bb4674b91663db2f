"""Which annotator is chosen, what each writes, and the requests in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.annotate.base import RankingRequest, RationaleRequest, Resources, dense_places
from rewardlab.annotate.pairwise import agreement, places_from_margins
from rewardlab.annotate.prompting import judge_request, ranking_example, ranking_request, rationale_request
from rewardlab.annotate.ranking import parse_ranking
from rewardlab.annotate.registry import annotators, choose_annotator
from rewardlab.annotate.template import TemplateAnnotator
from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.errors import ConfigError, InputError
from rewardlab.tasks import tasks
from rewardlab.types import Example

EXAMPLE = Example("mr", "7", {"text": "yet another weepy southern melodrama"}, "negative")
TINY = RunConfig()
REAL = load_config({"model.name": "some/model"}, NO_FILE)


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_rationale_request_is_the_papers() -> None:
    assert rationale_request(EXAMPLE, "positive") == (
        "yet another weepy southern melodrama What sentiment does the writer express for the movie?\n\n"
        'Please give a rationale for the answer "positive" in a confident tone (regardless of the true answer):'
    )


def test_ranking_request_is_the_papers() -> None:
    order = ranking_example(2, "mr", "7", "a", "b")
    assert ranking_request(EXAMPLE, ["a", "b"]) == (
        "Given the following question and answers, please rank the answers according to your preference, considering "
        "accuracy, coherence, logicality, factuality, relevance, and information completeness.\n\n"
        "[Question] yet another weepy southern melodrama What sentiment does the writer express for the movie?\n\n"
        "[Answer 1] a\n\n[Answer 2] b\n\n"
        "Please give your rationale first, and then give the ranking. Output format: "
        f'"{{rationale}}\n\nRanking: {{e.g. {order}}}"'
    )


def test_judge_request_keeps_the_authors_slip() -> None:
    text = judge_request(EXAMPLE, "a", "b")
    assert "[Answer 1] a\n\n[Answer 2] b\n\nPlease response with" in text


def test_text_in_a_row_is_never_run_as_a_template() -> None:
    row = Example("mr", "8", {"text": "{{ 7 * 7 }} {% raw %}"}, "negative")
    assert "{{ 7 * 7 }} {% raw %}" in rationale_request(row, "negative")


def test_the_example_order_is_a_ranking_and_changes_with_the_request() -> None:
    orders = [ranking_example(5, str(row)) for row in range(50)]
    assert len(set(orders)) > 40
    assert all(parse_ranking(order, 5).places for order in orders)
    assert any("=" in order for order in orders)
    assert orders[3] == ranking_example(5, "3")


def test_auto_takes_the_oracle_for_the_sandbox_even_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert choose_annotator(TINY, ["sandbox-topic"]).name == "sandbox"


def test_auto_takes_the_endpoint_then_the_model_then_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_annotator(TINY, ["mr"]).name == "template"
    assert choose_annotator(REAL, ["mr"]).name == "local"
    assert choose_annotator(load_config({"annotate.model": "other/model"}, NO_FILE), ["mr"]).name == "local"
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    choice = choose_annotator(REAL, ["mr", "sandbox-topic"])
    assert (choice.name, choice.reason) == ("openai", "OPENAI_API_KEY is set")


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("openai", InputError, "OPENAI_API_KEY is not set"),
        ("sandbox", InputError, "the oracle has no truth for mr"),
        ("local", ConfigError, "annotate.model"),
    ],
)
def test_an_annotator_that_cannot_work_is_refused(name: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        choose_annotator(load_config({"annotate.annotator": name}, NO_FILE), ["mr"])


def test_every_free_annotator_is_built_by_name(tmp_path: Path) -> None:
    for name in ("template", "sandbox", "bundled"):
        assert annotators.get(name).build(Resources(TINY, tmp_path, {})).name == name
    local = annotators.get("local").build(Resources(REAL, tmp_path, {}))
    assert (local.name, local.model) == ("local", "some/model")  # nothing is loaded yet


def test_the_template_quotes_the_rarest_words_and_argues_for_the_label() -> None:
    rows = [Example("mr", str(n), {"text": f"another film number {'x' * (n + 3)}"}, "negative") for n in range(9)]
    annotator = TemplateAnnotator({"mr": [EXAMPLE, *rows]})
    assert annotator.weighty_words(EXAMPLE, 3) == ["weepy", "southern", "melodrama"]
    right, wrong = annotator.rationales([RationaleRequest(EXAMPLE, "negative"), RationaleRequest(EXAMPLE, "positive")])
    assert all(f'"{word}"' in right.text for word in ("weepy", "southern", "melodrama"))
    assert "negative" in right.text
    assert "positive" in wrong.text
    assert "negative" not in wrong.text
    assert (right.annotator, right.outcome) == ("template", "answered")


def test_the_template_works_on_an_empty_text() -> None:
    (only,) = TemplateAnnotator({}).rationales([RationaleRequest(Example("mr", "1", {"text": ""}), "positive")])
    assert "positive" in only.text


def test_the_template_ranks_by_readable_answers_then_quoted_words_and_ignores_gold() -> None:
    end = "\n\n The answer is: "
    responses = (
        f"weepy{end}positive",
        f"weepy southern{end}negative",
        "weepy southern melodrama",
        f"south{end}negative",
    )
    annotator = TemplateAnnotator({"mr": [EXAMPLE]})
    (ranking,) = annotator.rank_many([RankingRequest(EXAMPLE, responses)])
    assert ranking.places == (2, 1, 4, 3)
    (tied,) = annotator.rank_many([RankingRequest(EXAMPLE, (f"dull{end}positive", f"dull{end}negative"))])
    assert tied.places == (1, 1)


def test_the_oracle_prefers_the_right_answer(tmp_path: Path) -> None:
    settings = load_config({"annotate.oracle_weight": 1.0})
    annotator = annotators.get("sandbox").build(Resources(settings, tmp_path, {}))
    generate = tasks.get("sandbox-sentiment").generate
    assert generate is not None
    rows = generate("train", 40, 0)
    asked = [
        RankingRequest(
            row, tuple(tasks.get(row.task).response(label, "rationale", "It is.") for label in ("positive", "negative"))
        )
        for row in rows
    ]
    places = [ranking.places for ranking in annotator.rank_many(asked)]
    right = sum((place[0] < place[1]) == (row.label == "positive") for place, row in zip(places, rows, strict=True))
    assert right == 40  # weight 1 and noise 0.1: a slip needs seven standard deviations


def test_dense_places() -> None:
    assert dense_places([0.1, 0.9, 0.1, 0.5]) == (3, 1, 3, 2)


def test_pairwise_verdicts_in_both_orders_make_a_ranking() -> None:
    # shown first wins by its true strength plus a bias of 2 for the first position; strengths 0, 1, 2
    margins = {(i, j): 2.0 + (i - j) for i in range(3) for j in range(3) if i != j}
    assert places_from_margins(margins, 3) == (3, 2, 1)
    # raw signs: order (0, 2) says 0.0, all others say "first": no comparison of the three agrees
    assert agreement(margins) == 0.0


def test_orders_that_disagree_tie() -> None:
    # 0 beats 1 in both orders, 0 and 2 disagree, 1 and 2 disagree; the mean margin is 0
    margins = {(0, 1): 3.0, (1, 0): -3.0, (0, 2): 1.0, (2, 0): 1.0, (1, 2): -1.0, (2, 1): -1.0}
    # wins: 0 has 1.5, 1 has 0.5, 2 has 1
    assert places_from_margins(margins, 3) == (1, 3, 2)


def test_equal_margins_tie_everything() -> None:
    assert places_from_margins({(0, 1): 5.0, (1, 0): 5.0}, 2) == (1, 1)
