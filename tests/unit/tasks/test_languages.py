"""Labels in every script, accents in both forms, and negation by language. Every expectation is worked by hand."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from rewardlab.annotate.claims import claimed_labels, is_refusal
from rewardlab.errors import ConfigError
from rewardlab.tasks import tasks
from rewardlab.tasks.languages import LANGUAGES
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.task import declare
from rewardlab.tasks.user import load_task
from rewardlab.types import Example
from tests.support.labels import labelled, readings

READ = {
    "这条评论的情感是正面的。": ("正面", "负面"),
    "答案是负面": ("负面", "正面"),
    "非常正面": ("正面", "负面"),
    "毫无疑问是正面": ("正面", "负面"),
    "不仅是正面": ("正面", "负面"),
    "这部电影不错，正面": ("正面", "负面"),
    "「正面」": ("正面", "负面"),
    "答案是：否": ("否", "是"),
    "答案：是。": ("是", "否"),
    "是的": ("是", "否"),
    "아니오, 하네": ("아니오", "네"),
    "네, 맞습니다": ("네", "아니오"),
    "这是不安全的内容": ("不安全", "安全"),
    "答案是positive。": ("positive", "negative"),
    "このレビューはポジティブです。": ("ポジティブ", "ネガティブ"),
    "ﾎﾟｼﾞﾃｨﾌﾞ": ("ポジティブ", "ネガティブ"),
    "이 리뷰는 긍정적입니다.": ("긍정", "부정"),
    "ความคิดเห็นนี้เป็นบวก": ("บวก", "ลบ"),
    "यह सकारात्मक है।": ("सकारात्मक", "नकारात्मक"),
    "التعليق إيجابي.": ("إيجابي", "سلبي"),
    "STRASSE": ("Straße", "Weg"),
    "ΘΕΤΙΚΌΣ": ("θετικός", "αρνητικός"),
    "OLUMSUZ, KARARSIZ değil": ("olumsuz", "olumlu"),
    "İYİ": ("iyi", "kötü"),
    "great👍": ("👍", "👎"),
    "👍🏽": ("👍", "👎"),
    "Nein, er ist harmlos": ("harmlos", "toxisch"),
    "Das ist toxisch, nicht gut": ("toxisch", "harmlos"),
    "C'est un avis négatif": ("négatif", "positif"),
    "No, es negativo": ("negativo", "positivo"),
    "un comentario positivo": ("positivo", "negativo"),
    "Nein, nicht so": ("nein", "ja"),
    "Non, pas du tout": ("non", "oui"),
}
DENIED = {
    "de": ("toxisch", ["nicht toxisch", "Der Kommentar ist nicht toxisch.", "keineswegs toxisch", "weder toxisch noch",
                       "nicht besonders toxisch", "kein toxisch", "Toxisch ist der Kommentar nicht."]),
    "fr": ("positif", ["Ce n'est pas positif", "pas du tout positif", "jamais positif", "positif n'est pas correct",
                       "sans être positif", "aucun positif"]),
    "es": ("positivo", ["no es positivo", "no es un comentario positivo", "nunca positivo", "ningún positivo",
                       "nada positivo", "para nada positivo", "no me parece positivo", "no lo considero positivo"]),
    "it": ("positivo", ["non è positivo", "mai positivo", "senza essere positivo"]),
    "pt": ("positivo", ["não é positivo", "nunca foi positivo", "sem positivo"]),
    "nl": ("positief", ["niet positief", "geen positief bericht", "positief is niet juist"]),
    "sv": ("positiv", ["inte positiv", "aldrig positiv"]),
    "da": ("positiv", ["ikke positiv", "positiv er den ikke"]),
    "fi": ("positiivinen", ["ei ole positiivinen"]),
    "pl": ("pozytywny", ["nie jest pozytywny", "nie pozytywny"]),
    "cs": ("pozitivní", ["není pozitivní"]),
    "ru": ("положительный", ["не положительный", "Это не очень положительный отзыв"]),
    "uk": ("позитивний", ["не позитивний"]),
    "el": ("θετικός", ["δεν είναι θετικός"]),
    "hu": ("pozitív", ["nem pozitív"]),
    "tr": ("olumlu", ["olumlu değil", "olumlu bir yorum değil", "Olumlu değildir."]),
    "ar": ("إيجابي", ["ليس إيجابي", "غير إيجابي"]),
    "he": ("חיובי", ["לא חיובי", "אינו חיובי"]),
    "fa": ("مثبت", ["مثبت نیست"]),
    "hi": ("सकारात्मक", ["सकारात्मक नहीं है"]),
    "vi": ("tích cực", ["không tích cực", "không phải là tích cực"]),
    "id": ("positif", ["tidak positif", "bukan positif"]),
    "zh": ("正面", ["不是正面", "并非正面", "不太正面", "没有正面情绪", "正面是错误的", "這不是一條正面的評論"]),
    "ja": ("ポジティブ", ["ポジティブではない", "ポジティブではありません。", "ポジティブなレビューではありません"]),
    "ko": ("긍정", ["긍정이 아닙니다", "긍정적이지 않다", "비긍정"]),
    "th": ("บวก", ["ไม่เป็นบวก", "ไม่ใช่บวก"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "labels"), READ.items())
def test_labels_are_read_in_their_script(text: str, labels: tuple[str, str]) -> None:
    assert readings(labelled(*labels), [text]) == [labels[0]]


@pytest.mark.parametrize("code", DENIED)
class TestNegation:
    def test_denied_labels_are_malformed(self, code: str) -> None:
        label, texts = DENIED[code]
        task = labelled(label, "qqq")
        assert readings(task, [label, label.upper()]) == [label] * 2
        assert [text for text in texts if task.parse(text, "label").value is not None] == []

    def test_a_task_that_names_another_language_reads_them(self, code: str) -> None:
        label, texts = DENIED[code]
        for languages in ((), ("sw",)):
            assert set(readings(labelled(label, "qqq", languages=languages), texts)) == {label}

    def test_a_task_that_names_it_does_not(self, code: str) -> None:
        label, texts = DENIED[code]
        assert set(readings(labelled(label, "qqq", languages=(code,)), texts)) == {None}

    def test_the_filter_does_not_take_a_denied_label_for_a_claim(self, code: str) -> None:
        label, texts = DENIED[code]
        task = declare(labelled(label, "qqq"))
        assert [claimed_labels(Example(task.name, "1", {}), text) for text in texts] == [[]] * len(texts)
        assert claimed_labels(Example(task.name, "1", {}), label) == [label]
        del tasks._entries[task.name]


def test_words_of_other_languages_are_no_negations_unless_named() -> None:
    text = "a tale of sin, positive; sin positive"
    assert labelled("positive", "negative").parse(text, "label").value == "positive"
    assert labelled("positive", "negative", languages=("es",)).parse(text, "label").value is None


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"languages 'xx' not known; expected some of en, de, fr"):
        labelled("a", "b", languages=("xx",))


def test_every_language_denies_and_announces() -> None:
    for code, row in LANGUAGES.items():
        assert row.far or row.near or row.denials or row.before or row.after, code
        assert row.answer, code


class TestAccents:
    FORMS = ("NFC", "NFD")

    @pytest.mark.parametrize("declared", FORMS)
    @pytest.mark.parametrize("written", FORMS)
    def test_both_forms_are_one_text_everywhere(self, tmp_path: Path, declared: str, written: str) -> None:
        def here(text: str) -> str:
            return unicodedata.normalize(declared, text)

        text = unicodedata.normalize(written, "Négatif")
        (tmp_path / "t.toml").write_text(
            f'name = "accents"\nfields = ["text"]\ntemplate = "{{text}}"\nlabels = ["{here("négatif")}", "positif"]\n'
            f'refused = ["{here("mêlé")}"]\n[aliases]\n'
            f'"{unicodedata.normalize("NFD", "négatif")}" = ["{here("fâché")}"]\n',
            encoding="utf-8",
        )
        task = load_task(tmp_path / "t.toml")
        label = task.labels[0]
        assert task.parse(text, "label").value == label
        assert task.parse(text.lower(), "label").strict == label
        assert task.parse(unicodedata.normalize(written, "fâché"), "label").value == label
        assert task.parse(unicodedata.normalize(written, "mêlé"), "label").value is None
        assert task.parse(f"Bon.\n\n The answer is: {text}", "rationale").value == label
        assert task.parse(f"{text} </Judgement>", "judgement").value == label
        assert read_label(text.lower(), task) == label
        assert claimed_labels(Example("accents", "1", {}), f"C'est {text}.") == [label]
        del tasks._entries["accents"]

    def test_a_label_without_its_accent_is_another_word(self) -> None:
        task = labelled("négatif", "positif")
        assert readings(task, ["negatif"]) == [None]
        with pytest.raises(RowProblem):
            read_label("negatif", task)

    def test_declared_in_code(self) -> None:
        task = labelled(unicodedata.normalize("NFD", "négatif"), "positif")
        assert read_label("négatif", task) == task.labels[0] == task.parse("négatif", "label").strict


@pytest.mark.parametrize(
    "text",
    [
        "Es tut mir leid, aber das Etikett passt nicht.",
        "**Tut mir leid**, das geht nicht.",
        "Je suis désolé, je ne peux pas.",
        "De\u0301sole\u0301, non.",
        "Lo siento, no puedo argumentar eso.",
        "К сожалению, я не могу.",
        "抱歉，我无法为此辩护。",
        "申し訳ありませんが、できません。",
        "죄송합니다만 할 수 없습니다.",
        "Maalesef bunu yapamam.",
    ],
)
def test_refusals_in_other_languages(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Der Autor schreibt, es tut ihm leid.",
        "影评人说抱歉，但很喜欢。",
        "Als Kino ein Fest.",
        "Désoléement drôle.",
    ],
)
def test_rationales_in_other_languages_are_none(text: str) -> None:
    assert not is_refusal(text)
