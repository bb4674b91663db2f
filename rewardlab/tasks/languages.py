"""What the reading of answers takes from a language: how it denies a label, and how it announces an answer.

One row a language, by its ISO 639-1 code. All rows count unless a task names its own (``languages = ["de"]`` in a task
file); an empty list reads no negation and no announcement. Words are written in their usual form; they are compared as
``text.fold`` folds them. A word that is itself an answer of the task ("no", "nein") denies nothing there.

Columns
    far      denies a label that follows within three words: "nicht sehr positiv"
    near     denies the very next word: "ohne Toxizität", "kein"
    verbs    with ``denials``: withdraws the label in front, "positiv ist er nicht"; without verbs the denial may stand
             alone, as in languages that put it last: "olumlu değil"
    answer   in front of a colon: announces the answer, "Die Antwort ist:"
    refusal  begins a text whose writer will not argue, "Es tut mir leid"; English has a pattern of its own (claims.py)

A language without spaces gives regular expressions (``before``, ``after``) in place of words: "不是正面".
Words that mean something else in another of the languages ("sin", "nu") are read only where a task names the language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """How one language denies and announces; see the module for the columns.

    Attributes:
        far, near, verbs, denials: Words, separated by commas.
        answer: Phrases in front of a colon, separated by commas.
        refusal: Phrases that begin a refusal, separated by commas.
        before, after: Regular expressions that touch the label, over folded text; at most a few characters wide.
        named_only: Words of ``far`` and ``near`` that count only where a task names the language.
    """

    far: str = ""
    near: str = ""
    verbs: str = ""
    denials: str = ""
    answer: str = ""
    before: str = ""
    after: str = ""
    named_only: str = ""
    refusal: str = ""


_HAN = r"[\u3400-\u9fff]"

LANGUAGES: Mapping[str, Language] = {
    "en": Language(
        far="not, never, neither, nor, hardly, barely, scarcely, cannot, isnt, arent, wasnt, dont, doesnt, didnt, "
        "cant, wont",
        near="no, non, un\u2010, far from, anything but, opposite of, rather than, instead of, other than, less than, "
        "more than, no longer",
        verbs="is, was, seems, would be",
        denials="not, wrong, incorrect, false",
        answer="the answer is",
    ),
    "de": Language(
        refusal="es tut mir leid, tut mir leid, entschuldigung, ich kann das nicht, als ki",
        far="nicht, nie, niemals, keineswegs, keinesfalls, mitnichten, kaum, weder, kein, keine, keinen, keinem, "
        "keiner, keines, nichts",
        near="ohne, nein, anstatt, statt, alles andere als, weit entfernt von",
        verbs="ist, war, wäre, scheint, wirkt, stimmt, trifft, passt, sind",
        denials="nicht, falsch, unzutreffend, inkorrekt, keineswegs, nie",
        answer="die antwort ist, die antwort lautet, meine antwort ist, antwort",
    ),
    "fr": Language(
        refusal="je suis désolé, désolé, je regrette, je ne peux pas, en tant qu'ia, en tant que modèle",
        far="pas, sans être, jamais, aucunement, nullement, guère, ni",
        near="non, sans, aucun, aucune, plus, plutôt que, loin d'être, nullement",
        verbs="est, était, n'est, n'était, semble, serait",
        denials="pas, faux, fausse, incorrect, incorrecte, inexact, erroné",
        answer="la réponse est, la réponse finale est, ma réponse est, réponse finale, réponse",
        named_only="plus",
    ),
    "es": Language(
        refusal="lo siento, disculpa, no puedo, como modelo de lenguaje, como ia",
        far="nunca, jamás, sin ser, tampoco, ni, no es, no son, no era, no fue, no está, no parece, no sería, "
        "no estuvo, no resulta, no creo, no me parece, no considero, no lo, "
        "no la, no diría, no se, no hay, nada, en absoluto",
        near="no, sin, ningún, ninguna, lejos de, en vez de, en lugar de",
        verbs="es, era, fue, parece, sería, está",
        denials="falso, falsa, incorrecto, incorrecta, erróneo",
        answer="la respuesta es, la respuesta final es, mi respuesta es, respuesta final, respuesta",
        named_only="sin",
    ),
    "it": Language(
        refusal="mi dispiace, mi scuso, non posso, come modello linguistico",
        far="mai, né, senza essere, nemmeno, neppure, non è, non sono, non era, non sembra, non risulta, non si, "
        "non credo, non penso, non mi sembra, per niente, per nulla",
        near="non, senza, nessun, nessuna, invece di, anziché, lontano da, tutt'altro che",
        verbs="è, era, sembra, sarebbe",
        denials="falso, falsa, sbagliato, sbagliata, errato, errata",
        answer="la risposta è, la risposta finale è, risposta finale, risposta",
    ),
    "pt": Language(
        refusal="desculpe, sinto muito, lamento, não posso, como modelo de linguagem",
        far="não, sem ser, nunca, jamais, tampouco, nem, nada",
        near="sem, nenhum, nenhuma, longe de, em vez de",
        verbs="é, era, foi, parece, seria",
        denials="falso, falsa, incorreto, incorreta, errado, errada",
        answer="a resposta é, a resposta final é, resposta final, resposta",
    ),
    "nl": Language(
        refusal="het spijt me, sorry, ik kan niet, ik kan dit niet, als ai",
        far="niet, nooit, nauwelijks, geen, geenszins",
        near="zonder, nee, allesbehalve, in plaats van",
        verbs="is, was, lijkt",
        denials="niet, onjuist, fout, incorrect",
        answer="het antwoord is, het antwoord luidt, antwoord",
    ),
    "sv": Language(
        refusal="jag beklagar, tyvärr, jag kan inte",
        far="inte, aldrig, icke, knappast, varken, ej",
        near="utan, ingen, inget, inga, nej, långt ifrån",
        verbs="är, var, verkar",
        denials="inte, fel, felaktigt",
        answer="svaret är, svar",
    ),
    "da": Language(
        refusal="jeg beklager, desværre kan jeg ikke, jeg kan ikke",
        far="ikke, aldrig, hverken, næppe",
        near="uden, ingen, intet, nej",
        verbs="er, var, virker",
        denials="ikke, forkert",
        answer="svaret er, svar",
    ),
    "no": Language(
        refusal="jeg beklager, dessverre kan jeg ikke, jeg kan ikke",
        far="ikke, ikkje, aldri, verken, neppe",
        near="uten, utan, ingen, nei",
        verbs="er, var, virker",
        denials="ikke, ikkje, feil, galt",
        answer="svaret er, svar",
    ),
    "fi": Language(
        refusal="valitettavasti en voi, olen pahoillani, en voi",
        far="ei, eivät, en ole, ei ole, eikä, tuskin",
        near="ilman",
        verbs="on, oli",
        denials="väärin, virheellinen",
        answer="vastaus on, vastaus",
    ),
    "pl": Language(
        refusal="przepraszam, przykro mi, nie mogę",
        far="nie, nigdy, ani, bynajmniej",
        near="bez, żaden, żadna, żadne",
        verbs="jest, był, była",
        denials="błędne, fałszywe, niepoprawne, nieprawidłowe",
        answer="odpowiedź to, odpowiedź brzmi, odpowiedź",
    ),
    "cs": Language(
        refusal="omlouvám se, bohužel, nemohu",
        far="není, nikdy, nejsou, nebyl, nebyla, nebylo, ani, nikoli, nikoliv",
        near="ne, bez, žádný, žádná, žádné",
        verbs="je, byl, byla",
        denials="špatně, nesprávné, chybné",
        answer="odpověď je, odpověď zní, odpověď",
    ),
    "ru": Language(
        refusal="извините, к сожалению, я не могу, как языковая модель",
        far="не, нельзя, никогда, ни, вовсе не, отнюдь не, едва ли, вряд ли",
        near="нет, без, вместо",
        verbs="это, было, является",
        denials="неверно, неправильно, ошибка",
        answer="ответ, мой ответ, правильный ответ",
    ),
    "uk": Language(
        refusal="вибачте, на жаль, я не можу",
        far="не, ніколи, ні, ані, навряд чи",
        near="немає, без, замість",
        verbs="це, було",
        denials="неправильно, невірно, помилка",
        answer="відповідь, моя відповідь",
    ),
    "bg": Language(far="не, никога, нито", near="без, няма", answer="отговорът е, отговор"),
    "sk": Language(far="nie, nie je, nikdy, ani", near="bez, žiadny, žiadna, žiadne", answer="odpoveď je, odpoveď"),
    "hr": Language(far="nije, nisu, nikada, niti", near="ne, bez", answer="odgovor je, odgovor"),
    "sr": Language(
        far="nije, nisu, nikada, niti, није, нису, никада", near="ne, bez, не, без", answer="odgovor, одговор"
    ),
    "sl": Language(far="ni, niso, nikoli", near="ne, brez", answer="odgovor je, odgovor", named_only="ni"),
    "ca": Language(
        far="mai, no és, no són, no era, no sembla", near="no, sense, cap", answer="la resposta és, resposta"
    ),
    "ro": Language(
        far="nu, nu e, nu este, nu sunt, nu pare, niciodată, nici",
        near="fără, niciun, nicio",
        answer="răspunsul este, răspuns",
        named_only="nu",
    ),
    "hu": Language(
        far="nem, soha, sem",
        near="nincs, nélkül",
        denials="nem, helytelen, téves",
        verbs="az, volt",
        answer="a válasz, válasz",
    ),
    "el": Language(far="δεν, μη, μην, ποτέ, ούτε", near="όχι, χωρίς", answer="η απάντηση είναι, απάντηση"),
    "tr": Language(
        refusal="üzgünüm, maalesef, özür dilerim",
        far="hiç de, asla",
        near="gayri",
        denials="değil, değildir, değildi, yanlış, yanlıştır, olamaz, sayılmaz",
        answer="cevap, yanıt, doğru cevap",
    ),
    "ar": Language(
        refusal="آسف, عذرا, عذراً, لا أستطيع, لا يمكنني",
        far="ليس, ليست, لا, لم, لن, ليسوا, ما هو, ما هي",
        near="غير, بلا, بدون, عدم, دون",
        denials="غير صحيح, خطأ, خاطئ",
        verbs="هو, هي, هذا",
        answer="الإجابة, الإجابة هي, الجواب, الجواب هو",
    ),
    "he": Language(
        far="לא, אינו, אינה, אין, איננו, איננה, מעולם לא", near="בלי, ללא", answer="התשובה היא, התשובה, תשובה"
    ),
    "fa": Language(far="نه, هرگز", near="غیر, بدون, بی", denials="نیست, نبود, نمی‌باشد, غلط است", answer="پاسخ, جواب"),
    "ur": Language(far="نہ, کبھی نہیں", near="غیر, بغیر", denials="نہیں, غلط", answer="جواب, جواب یہ ہے"),
    "hi": Language(
        refusal="क्षमा करें, माफ़ कीजिए, मुझे खेद है",
        far="न, कभी नहीं",
        near="बिना, गैर, ग़ैर",
        denials="नहीं, नही, गलत, ग़लत",
        answer="उत्तर, उत्तर है, जवाब",
    ),
    "bn": Language(denials="নয়, না, নেই, ভুল", answer="উত্তর"),
    "ta": Language(denials="இல்லை, அல்ல, தவறு", answer="பதில்"),
    "te": Language(denials="కాదు, లేదు, తప్పు", answer="సమాధానం"),
    "vi": Language(
        refusal="xin lỗi, tôi xin lỗi, tôi không thể, rất tiếc",
        far="không, chẳng, chưa, không phải",
        near="thiếu",
        verbs="là",
        denials="sai",
        answer="câu trả lời là, câu trả lời, đáp án là, đáp án",
    ),
    "id": Language(
        refusal="maaf, mohon maaf, saya tidak bisa, saya tidak dapat",
        far="tidak, bukan, tak, jangan, belum",
        near="tanpa",
        verbs="adalah, itu",
        denials="salah",
        answer="jawabannya adalah, jawaban, jawabannya",
        named_only="tak",
    ),
    "ms": Language(far="tidak, bukan, tak", near="tanpa", answer="jawapannya ialah, jawapan", named_only="tak"),
    "tl": Language(far="hindi", near="walang", answer="ang sagot ay, sagot", named_only="hindi"),
    "sw": Language(far="si, sio, siyo, haina, hapana, wala", near="bila", answer="jibu ni, jibu", named_only="si"),
    "zh": Language(
        refusal="抱歉, 很抱歉, 对不起, 對不起, 我无法, 我無法, 我不能, 作为一个人工智能, 作为人工智能, 作为ai",
        before=rf"(?:不(?![仅僅但过過错錯愧管论論光只得禁断斷少久容])|沒(?![错錯想])|没(?![错錯想])|非(?![常凡])"
        rf"|[无無](?![疑论論可比限])|未(?![来來免])|莫非|否)(?:{_HAN}(?<![但而])){{0,7}}$",
        after=rf"(?:{_HAN}{{0,6}}?(?:不对|不對|不正确|不正確|错误|錯誤|不成立|是错|是錯|不是))",
        answer="答案, 答案是, 答案为, 答案為, 最终答案, 最終答案, 最终答案是, 回答, 回答是, 结论, 結論",
    ),
    "ja": Language(
        refusal="申し訳, すみません, ごめんなさい, お答えできません",
        before=r"(?:非|不|無|未|反)$",
        after=r"(?:的|系|性)?(?:な(?:もの|内容|感情|意見|コメント|評価|レビュー)?)?(?:だ|である)?(?:と)?"
        r"(?:では|じゃ|とは|には|で|は|が|も|と|く){0,3}"
        r"(?:な[いかく]|無い|ありません|あるまい|(?:言|い)え(?:ない|ません)|(?:思|おも)(?:え|わ)(?:ない|ません)|違[うい]|間違)",
        answer="答え, 答えは, 回答, 回答は, 解答, 解答は, 結論, 結論は, 最終的な答え",
    ),
    "ko": Language(
        refusal="죄송, 미안, 저는 할 수 없",
        far="안, 못, 결코, 전혀",
        before=r"(?:비|불|무|반)$",
        after=r"(?:적)?(?:인)?(?: ?(?:것|의견|내용|댓글|리뷰|평가))?(?:이|가|은|는|도|하지|이지|지|으로|로)?"
        r"(?: ?볼 수)? ?(?:아니|아닌|아닙|않|없|못|틀렸|틀린)",
        answer="정답, 정답은, 답, 답은, 답변, 답변은, 최종 답변",
    ),
    "th": Language(
        refusal="ขออภัย, ขอโทษ, ฉันไม่สามารถ",
        before=r"(?:ไม่(?!เพียง|ว่า|ต้องสงสัย)|มิ(?=ใช่|ได้)|ไร้|ปราศจาก)[\u0e00-\u0e7f]{0,20}$",
        after=r"(?:[\u0e00-\u0e7f]{0,12}?(?:ไม่ถูก|ไม่ใช่|ผิด))",
        answer="คำตอบ, คำตอบคือ, คำตอบที่ถูกต้องคือ",
    ),
    "km": Language(before=r"(?:មិន|អត់)[\u1780-\u17ff]{0,20}$", answer="ចម្លើយ"),
    "lo": Language(before=r"(?:ບໍ່)[\u0e80-\u0eff]{0,20}$", answer="ຄຳຕອບ"),
    "my": Language(after=r"(?:[\u1000-\u109f]{0,12}?(?:မဟုတ်|မရှိ))", answer="အဖြေ"),
}
"""ISO 639-1 code -> how that language denies and announces."""


def split_words(words: str) -> tuple[str, ...]:
    """The entries of one column.

    >>> split_words("no, far from")
    ('no', 'far from')
    """
    return tuple(word.strip() for word in words.split(",") if word.strip())
