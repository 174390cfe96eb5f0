"""What other programs wrote is read as it is: text, lines, pages, headings, tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import PurePath

import pytest
from document_archive import FORMATS, Document, documents

from gptoss_mlx.library.text import Text

Read = Callable[[str, bytes], Text]


def squeezed(text: str) -> str:
    """A text without white space, hyphens and escapes, in one form of its characters."""
    text = unicodedata.normalize("NFKC", text).replace("\\", "").replace("-", "")
    return "".join(text.split())


def wrong_places(document: Document, text: Text) -> Iterator[str]:
    """What is not found, or elsewhere than it is."""
    whole = squeezed("".join(text.lines))
    for sentence in document.sentences:
        if squeezed(sentence.text) not in whole:
            yield f"no {sentence.text}"
        lines = [index for index, line in enumerate(text.lines) if sentence.key in line]
        if len(lines) != 1:
            yield f"{sentence.key} in lines {lines}"
            continue
        line = lines[0]
        if sentence.line not in (None, line + 1):
            yield f"{sentence.key} in line {line + 1}, not {sentence.line}"
        if sentence.page not in (None, text.page_of(line)):
            yield f"{sentence.key} on page {text.page_of(line)}, not {sentence.page}"
        if sentence.heading not in (None, *text.headings_of(line)[-1:]):
            yield f"{sentence.key} under {text.headings_of(line)}, not {sentence.heading}"
    lines_of_cells = [squeezed(line) for line in text.lines]
    for row in document.rows:
        if not any(all(squeezed(cell) in line for cell in row) for line in lines_of_cells):
            yield f"no row {row}"


def missing_headings(document: Document, text: Text) -> list[str]:
    """The headings that are not found, or not in their order."""
    found = [heading.text for heading in text.headings]
    wanted = [words for _, words in document.headings or ()]
    if document.name.startswith("code"):
        return [each for each in wanted if not any(one.endswith(each) for one in found)]
    rest = iter(found)
    return [each for each in wanted if each not in rest]


def wrong_levels(document: Document, text: Text) -> list[str]:
    """The headings that are not above those that stand under them."""
    if document.name.startswith("code"):
        return []
    levels = {heading.text: heading.level for heading in text.headings}
    found = [(level, levels.get(words, 0)) for level, words in document.headings or ()]
    return [
        f"{first} and {second}"
        for first in found
        for second in found
        if (first[0] < second[0]) != (first[1] < second[1])
    ]


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("name", FORMATS)
def test_the_documents_of_other_programs(name: str, half: int, read: Read) -> None:
    """Each sentence, row and heading is at its place. A PDF takes half a second."""
    wrong = {}
    for document in documents()[name][half::2]:
        text = read(PurePath(document.name).name, document.content)
        found = [
            *wrong_places(document, text),
            *missing_headings(document, text),
            *wrong_levels(document, text),
        ]
        if document.title not in (None, text.title):
            found.append(f"title {text.title}")
        if found:
            wrong[f"{document.name}, {document.program}"] = found

    assert wrong == {}


def test_how_many_documents_there_are() -> None:
    """30 of each format, by several programs."""
    for each in documents().values():
        assert len(each) >= 30
        assert len({document.program.partition(",")[0] for document in each}) >= 6
