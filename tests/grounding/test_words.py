from __future__ import annotations

import pytest

from gptoss_mlx.grounding.words import has_words, words_of


@pytest.mark.parametrize(
    ("quotation", "lines"),
    [
        ("The heating", "in THE  heating\nsystem"),
        ("heating system", "the heating\nsystem"),
        ("agreements on", "agree-\nments on"),
        ("long-term lease", "a long-\nterm lease"),
        ("softhyphen word", "soft\xadhyphen word"),
        ("long term – lease", "long term — lease"),
        ("the tenant’s flat", "the tenant's flat"),
        ("he said 'no' to it", "he said “no” to it"),
        ("the heating … for years", "the heating system runs for years"),
        ("the heating […] for years", "the heating system runs for years"),
        ("the heating [...] for years", "the heating system runs for years"),
        ("… the heating runs …", "the heating runs"),
        ("pays ... the rent", "The tenant pays ... the rent."),
        ("a b … c d … e f", "a b c d x c d e f"),
        ("Profit [1] was", "Profit [1] was 5 %"),
        ("[t]he heating", "The heating"),
        ("runs in May,", "it runs in May and"),
        ("**bold** words", "bold words"),
        ("bold words", "some **bold** `words`"),
        ("one two three", "| one | two three |"),
        ("The tenant pays", "> The tenant\n> pays"),
        ("暖房は毎年五月に", "暖房は毎年\n五月に行う"),
        ("暖房は毎…行う家主が", "暖房は毎年五月に行う家主が"),
        ("全角123の", "全角１２３ の"),
        ("ＡＢＣ ｄｅｆ", "abc def"),
        ("Straße am Markt", "STRASSE am Markt"),
        ("find the file", "ﬁnd the ﬁle"),
        ("−5 degrees", "at -5 degrees"),
        ("2-3 days", "in 2–3 days"),
        ("1,104 euros", "above 1,104 euros."),
        ("1 104 euros", "above 1\xa0104 euros"),
        ("in 2019 300 people", "in 2019 300 people"),
        ("area is 10² metres", "The area is 10² metres"),
        ("f(x)*2 and 3*4", "of f(x)*2 and 3*4 euros"),
    ],
)
def test_words_are_found_however_they_are_set(quotation: str, lines: str) -> None:
    """Case, spaces, line ends, dashes, marks, tables and Markdown make no difference."""
    assert has_words(quotation, words_of(lines))


@pytest.mark.parametrize(
    ("quotation", "lines"),
    [
        ("the boiler runs", "the heating runs"),
        ("heating system", "heating systems"),
        ("eating system", "heating system"),
        ("system heating", "heating system"),
        ("pays the tenant", "The landlord pays. The tenant does not."),
        ("暖房は六月に", "暖房は五月に"),
        ("we were paid", "we we're paid"),
        ("they resign it", "they re-sign it"),
        ("12 pump", "| filter | 12 |\n| pump | 340 |"),
    ],
)
def test_other_words_are_not(quotation: str, lines: str) -> None:
    """One word's difference is enough, and so is their order."""
    assert not has_words(quotation, words_of(lines))


@pytest.mark.parametrize(
    ("quotation", "lines"),
    [
        ("up to 8", "up to 80"),
        ("104 euros", "1,104 euros"),
        ("104 euros", "1 104 euros"),
        ("104 euros", "1'104 euros"),
        ("above 1", "above 1,104 euros"),
        ("3 percent", "0.3 percent"),
        ("5 percent", ".5 percent"),
        ("Section 12", "Section 12.3"),
        ("2.3 applies", "12.3 applies"),
        ("20 degrees", "-20 degrees"),
        ("20 degrees", "−20 degrees"),
        ("5 euros", "-$5 euros"),
        ("3 days", "2–3 days"),
        ("102 metres", "10² metres"),
        ("10 metres", "10² metres"),
        ("103 m", "10^3 m"),
        ("5×10 m", "5×10³ m"),
        ("5 volts", "1e-5 volts"),
        ("2 hours", "1½ hours"),
        ("34 euros", "3*4 euros"),
        ("of ab and", "of a_b and"),
        ("30 o'clock", "12:30 o'clock"),
        ("八十ユーロ", "五百八十ユーロ"),
        ("3 を払う", "3万 を払う"),
    ],
)
def test_a_number_is_not_found_in_another(quotation: str, lines: str) -> None:
    """Its sign, its marks and its exponent belong to it."""
    assert not has_words(quotation, words_of(lines))


@pytest.mark.parametrize(
    ("quotation", "lines"),
    [
        ("system runs … the heating", "the heating system runs"),
        ("the … runs well", "the heating runs well"),
        ("the heating … well", "the heating runs well"),
        ("暖房…行う家主が", "暖房は毎年五月に行う家主が"),
        ("the old … the new", f"the old {'word ' * 41}the new"),
        ("the tenant does … pay for", "the tenant does not pay for"),
        ("er zahlt … die Kosten", "er zahlt nicht die Kosten"),
        ("[The tenant pays]", "The landlord pays"),
        ("The tenant does [always] pay", "The tenant does not pay"),
        ("…", "some words"),
        ("[…]", "some words"),
        ("“” .", "some words."),
        ("_", "some words."),
    ],
)
def test_an_ellipsis_does_not_stand_for_everything(quotation: str, lines: str) -> None:
    """Nor do brackets; and without a word nothing is quoted."""
    assert not has_words(quotation, words_of(lines))


def test_40_words_may_be_left_out() -> None:
    """Punctuation is not counted."""
    assert has_words("the old … the new", words_of(f"the old {'word, ' * 40}the new"))
