from __future__ import annotations

import re
from collections import Counter

import pytest
import Stemmer
from search_corpus import LANGUAGES, Query, corpus, held_out_queries, queries

# What says nothing of the subject, in the rephrased queries.
SAYS_NOTHING = set(
    re.findall(
        r"\w+",
        "a after an and are as at be by do does for from how i if in is it its my no not of"
        " on one or so that the to up what when which who why with der die das den dem ein"
        " eine aus bei es für ich im in ist kann mein mich mit man nach nicht ohne sich und"
        " vom von was wann warum wenn werden wie wird zu zum",
    )
)
STEMMERS = {
    language: Stemmer.Stemmer("german" if language == "de" else "english")
    for language in LANGUAGES
}


def stems(text: str, language: str) -> set[str]:
    """Stems of words in Latin letters; runs of kanji and of katakana."""
    text = re.sub("[‐-]\n *", "", text)
    text = re.sub(r"(?<=[\u3040-\u9fff])\s+(?=[\u3040-\u9fff])", "", text)
    words = {word.lower() for word in re.findall(r"[^\W_\u3040-\u9fff]+", text)}
    stemmed = set(STEMMERS[language].stemWords(sorted(words - SAYS_NOTHING)))
    return stemmed | set(re.findall(r"[\u4e00-\u9fff]+|[\u30a0-\u30ff]{2,}", text))


@pytest.mark.parametrize(
    ("asked", "count", "rephrased"),
    [(queries(), 50, 17), (held_out_queries(), 25, 8)],
    ids=["tuned on", "held out"],
)
def test_each_language_has_as_many_queries_and_a_third_is_rephrased(
    asked: tuple[Query, ...], count: int, rephrased: int
) -> None:
    """The share of hard queries is the same for all."""
    assert Counter(query.language for query in asked) == dict.fromkeys(LANGUAGES, count)
    hard = Counter(query.language for query in asked if query.rephrased)
    assert hard == dict.fromkeys(LANGUAGES, rephrased)


def test_a_rephrased_query_shares_at_most_two_stems_with_its_passage() -> None:
    """Its words alone barely lead to the passage."""
    shared = {}
    for query in (*queries(), *held_out_queries()):
        if query.rephrased:
            lines = corpus()[query.name].lines[query.first_line : query.last_line + 1]
            common = stems("\n".join(lines), query.language)
            shared[query.text] = common & stems(query.text, query.language)

    assert {text: found for text, found in shared.items() if len(found) > 2} == {}


def test_the_held_out_queries_ask_for_other_passages() -> None:
    """What the search was tuned on tells nothing of them."""
    for other in held_out_queries():
        for query in queries():
            apart = (
                query.name != other.name
                or query.last_line < other.first_line
                or other.last_line < query.first_line
            )
            assert apart, (query, other)


def test_the_corpus_has_at_least_2000_passages() -> None:
    """It is large enough for the wrong ones to be in the way."""
    assert sum(len(text.lines) for text in corpus().values()) / 40 > 2000
