from __future__ import annotations

import re
from collections import Counter

import Stemmer
from search_corpus import LANGUAGES, corpus, queries

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


def test_each_language_has_fifty_queries_and_a_third_is_rephrased() -> None:
    """The share of hard queries is the same for all."""
    assert Counter(query.language for query in queries()) == dict.fromkeys(LANGUAGES, 50)
    rephrased = Counter(query.language for query in queries() if query.rephrased)
    assert rephrased == dict.fromkeys(LANGUAGES, 17)


def test_a_rephrased_query_shares_at_most_two_stems_with_its_passage() -> None:
    """Its words alone barely lead to the passage."""
    shared = {}
    for query in queries():
        if query.rephrased:
            lines = corpus()[query.name].lines[query.first_line : query.last_line + 1]
            common = stems("\n".join(lines), query.language)
            shared[query.text] = common & stems(query.text, query.language)

    assert {text: found for text, found in shared.items() if len(found) > 2} == {}


def test_the_corpus_has_at_least_2000_passages() -> None:
    """It is large enough for the wrong ones to be in the way."""
    assert sum(len(text.lines) for text in corpus().values()) / 40 > 2000
