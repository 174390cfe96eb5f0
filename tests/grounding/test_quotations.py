from __future__ import annotations

import pytest

from gptoss_mlx.grounding.quotations import HIDDEN
from gptoss_mlx.grounding.scope import MAX_HELD, scope_of


def quoted(text: str, *, finished: bool = True) -> list[str] | None:
    """What the last ``†`` of a text is checked against; the one before it ends at ``‡``."""
    start = text.rindex("†")
    begin = text.rfind("‡", 0, start) + 1
    following = text.find("‡", start)
    scope = scope_of(
        text.replace("†", HIDDEN).replace("‡", HIDDEN),
        begin,
        (start, start + 1),
        None if following < 0 else following,
        finished=finished,
    )
    return (
        None if scope is None else [" ".join(words.split()) for words in scope.quotations]
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('He said "the heating runs" †', ["the heating runs"]),
        ("He said “the heating runs”.†", ["the heating runs"]),
        ("Er sagt „die Heizung wird z. B. gewartet“†", ["die Heizung wird z. B. gewartet"]),
        ("Er sagt „die Heizung läuft” †", ["die Heizung läuft"]),
        ("«le chauffage marche» †", ["le chauffage marche"]),
        ("»die Heizung läuft« †", ["die Heizung läuft"]),
        ("‹le chauffage marche› †", ["le chauffage marche"]),
        ("It says ‘the tenant’s heating runs’ †", ["the tenant’s heating runs"]),
        ("Er sagt ‚die Heizung läuft‘ †", ["die Heizung läuft"]),
        ("It says 'the tenant's heating runs' †", ["the tenant's heating runs"]),
        ("It is the tenants' flat and the owners' house †", []),
        ("In the '90s the owners' house was sold †", []),
        ("<q>the heating runs</q> †", ["the heating runs"]),
        ("It says `the heating runs each May`†", ["the heating runs each May"]),
        ("“`the heating runs`”†", ["`the heating runs`"]),
        ("“he said “it runs” to us” †", ["he said “it runs” to us"]),
        ("彼は「暖房は五月に」と言った†。", ["暖房は五月に"]),
        ("彼は『暖房は五月に』と言った†", ["暖房は五月に"]),
        ('契約には"暖房は五月に"とある†', ["暖房は五月に"]),
        ('It says"the heating runs" †', ["the heating runs"]),
        ('"One two" and "three four" †', ["One two", "three four"]),
        ('A "word" alone †', []),
        ('It is "940" †', ["940"]),
        ("「五月」に †", []),
        ('a 12" pipe and a 3" one †', []),
        ('call `print("one two")` now †', []),
        ('a " alone †', []),
        ('One "a b\n\nc d" two three four †', []),
    ],
)
def test_quotations_are_found_in_marks_of_several_kinds(
    text: str, words: list[str]
) -> None:
    """Single words are left out, and so are code, apostrophes and inches."""
    assert quoted(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('It says "a b c". The rent is 900 †', []),
        ('It says "a b c." The rent is 900 †', []),
        ('It says "no. One two. Three." †', ["no. One two. Three."]),
        ('"A b c." he said †', ["A b c."]),
        ('On 5. Mai "a b" was †', ["a b"]),
        ("“a b c” Really? Yes †", ["a b c"]),
        ("“a b c” (lease. page 3)†", ["a b c"]),
        ("“a b c”:\n- †", ["a b c"]),
        ("“a b c.”\n\n— Lease of 12 March 2024, under Heating †", ["a b c."]),
        ("It says:\n\n“a b c”\n\n†", ["a b c"]),
        ("> a b c\n\n†", ["a b c"]),
        ("> a b\n> c d\n\nThis is what the lease says †.", ["a b c d"]),
        ("> a b c\n> — Lease, page 3 †", ["a b c"]),
        ("> a b c †\n", ["a b c"]),
        ("> a b c\n\nOther words are here.\n\nThe rent is 900 †.", []),
        ("It says “a b c†.”", ["a b c."]),
        ("It says “a b c†.", ["a b c."]),
        ("“a b† c d” it says.", ["a b c d"]),
        ("The lease†: “a b c.” More.", ["a b c."]),
        ("The lease† says “a b c”, it is written. “D e f” is not.", ["a b c"]),
        ("The lease says†:\n\n> a b c\n\nMore “d e f”.", ["a b c"]),
        ("The lease says†:\n“a b c”\n“d e f”", ["a b c"]),
        ("The lease†. “a b c” is not of it.", []),
        ("“a b c”‡ and “d e f”†", ["d e f"]),
        ("“a b c”† and “d e f”‡", ["a b c"]),
        ("As†: “a b c”, and “d e f”‡", ["a b c"]),
        ("As†: “a b c”‡", []),
    ],
)
def test_a_quotation_belongs_to_the_citation_beside_it(text: str, words: list[str]) -> None:
    """Before it in the sentence, around it, after it, or in lines of its own."""
    assert quoted(text) == words


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("The lease†", False),
        ("The lease†.", True),
        ("The lease†, and", False),
        ("The lease†, and more. A", True),
        ("The lease† and\n", True),
        ("The lease†:\n", False),
        ("The lease†:\n\n> a b c\n", False),
        ("The lease†:\n\n> a b c\n\n", True),
        ("The lease†: “a b. C", False),
        ("The lease†: “a b. C.” ", False),
        ("It says “a b†. C", False),
        (f"The lease† {'w' * MAX_HELD}", True),
        ("The lease†: “a b” c‡", True),
    ],
)
def test_a_citation_is_held_back_until_its_sentence_is_known(
    text: str, known: bool
) -> None:
    """At most for 600 characters."""
    assert (quoted(text, finished=False) is not None) == known
