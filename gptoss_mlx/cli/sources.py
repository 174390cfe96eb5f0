"""What an answer stands on, printed after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from gptoss_mlx.grounding.answer import GroundedAnswer
    from gptoss_mlx.grounding.citations import Citation
    from gptoss_mlx.library.index import Hit

__all__ = ["check_sources", "sources_json", "write_sources"]


def write_sources(answer: GroundedAnswer) -> None:
    """Print the sources, or the passages found, to stdout after the answer."""
    from gptoss_mlx.grounding.sources import source_lines

    lines = source_lines(answer.citations, answer.passages)
    if lines and answer.text.strip():
        print_line("")
    for line in lines:
        print_line(line)


def check_sources(answer: GroundedAnswer) -> None:
    """End with status 3 if no source of the answer holds, and say why."""
    from gptoss_mlx.grounding.answer import UNVERIFIED

    if answer.is_verified:
        return
    if answer.note is not None:
        say(answer.note)
    elif not answer.text.strip():
        say("The model ended without an answer.")
    elif answer.citations:
        say("None of the sources holds.")
    else:
        say("The answer names no source.")
    raise typer.Exit(UNVERIFIED)


def sources_json(answer: GroundedAnswer) -> dict[str, Any]:
    """Return the citations and passages for ``--json``. Lines are counted from 1."""
    return {
        "citations": [_citation(citation) for citation in answer.citations],
        "passages": [_passage(hit) for hit in answer.passages],
    }


def _citation(citation: Citation) -> dict[str, Any]:
    return {
        "number": citation.number,
        "document": citation.document,
        "path": None if citation.path is None else str(citation.path),
        "first_line": citation.first_line,
        "last_line": citation.last_line,
        "page": citation.page,
        "headings": list(citation.headings),
        "quote": citation.quote,
        "verified": citation.verified,
        "problem": citation.problem,
    }


def _passage(hit: Hit) -> dict[str, Any]:
    return {
        "document": hit.name,
        "title": hit.title,
        "first_line": hit.first_line + 1,
        "last_line": hit.last_line + 1,
        "best_line": hit.best_line + 1,
        "page": hit.page,
        "headings": list(hit.headings),
        "score": hit.score,
        "text": hit.text,
    }
