from __future__ import annotations

import unicodedata

import pytest

from gptoss_mlx.library.words import analyzer, language_of, plain


def words(text: str, language: str = "en") -> list[str]:
    """Return the terms of the words."""
    return analyzer(language).terms(text).words.split()


def parts(text: str, language: str = "en") -> list[str]:
    """Return the terms of their parts."""
    return analyzer(language).terms(text).parts.split()


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        ("Heating", "heats", "en"),
        ("STRASSE", "Straße", "de"),
        ("Menü", "Menue", "de"),
        ("Häuser", "Haus", "de"),
        ("größere", "groessere", "de"),
        (unicodedata.normalize("NFD", "Schlüssel"), "Schlüssel", "de"),
        ("café", "cafe", "en"),
        ("ＬＩＮＵＸ", "linux", "ja"),
        ("ﾌﾟﾛｸﾞﾗﾑ", "プログラム", "ja"),
        ("plat\u2010\n   form", "platform", "en"),
        ("Umgebungs\u00advariable", "Umgebungsvariable", "de"),
        ("プリ\n    ン ト", "プリント", "ja"),
    ],
)
def test_spellings_of_one_word(one: str, other: str, language: str) -> None:
    """They are one term."""
    assert words(one, language) == words(other, language)


@pytest.mark.parametrize(
    ("text", "whole", "pieces"),
    [
        ("loadTestsFromTestCase", ["loadtestsfromtestcase"], ["load", "test", "case"]),
        ("get_code_object", ["getcodeobject"], ["get", "code", "object"]),
        ("HTTPServer", ["httpserver"], ["http", "server"]),
        ("md5sum", ["md5sum"], ["md", "5", "sum"]),
        ("ssh-copy-id", ["ssh", "copi", "id"], ["sshcopyid"]),
        ("non-\n    blocking", ["non", "block"], ["nonblock"]),
    ],
)
def test_an_identifier_or_a_word_with_hyphens(
    text: str, whole: list[str], pieces: list[str]
) -> None:
    """It is found whole and by its parts."""
    assert words(text) == whole
    assert set(pieces) <= set(parts(text))


def test_text_without_spaces() -> None:
    """It is pairs of characters, without those of hiragana alone."""
    assert words("暗号化された行", "ja") == ["暗号", "号化", "化さ", "た行"]
    assert words("行", "ja") == ["行"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The landlord pays for the heating, which is in the house.", "en"),
        ("Der Vermieter bezahlt die Heizung, die nicht im Haus ist.", "de"),
        ("Le bailleur paie le chauffage qui est dans la maison avec nous.", "fr"),
        ("大家が暖房費を払います。", "en"),
        ("", "en"),
        ("def main(self): return self.i in la", "en"),
    ],
)
def test_the_language_of_a_text(text: str, language: str) -> None:
    """It is that of most stop words; where there are few, English."""
    assert language_of(text) == language


def test_text_of_many_scripts_is_split_without_error() -> None:
    """Every character of Unicode passes, those without a meaning too."""
    text = "".join(map(chr, range(0x11000)))
    assert plain(text)
    assert words(text)


def test_each_ideograph_is_a_part() -> None:
    """What shares one ideograph with a query is found, if by little."""
    assert analyzer("en").terms("切断する").parts == "切 断"
