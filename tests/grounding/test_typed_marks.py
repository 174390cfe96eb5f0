from __future__ import annotations

import pytest

from gptoss_mlx.grounding.typed_marks import possible_mark, shown_typed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It is free [1].", "It is free (1)."),
        ("It is free [2?][3].", "It is free (2?)(3)."),
        ("It is free [1, 2] or [1-3].", "It is free (1, 2) or (1-3)."),
        ("It is free ［１］.", "It is free (１)."),
        (r"It is free \[1\].", "It is free (1)."),
        ("See [1](x) and [a] and [].", "See [1](x) and [a] and []."),
        ("Use `a[1]` here [1].", "Use `a[1]` here (1)."),
        ("A ` alone [1]", "A ` alone (1)"),
        ("```\na[1]\n```\n[1]", "```\na[1]\n```\n(1)"),
        ("Sources:\n[1] a.md:1", "Sources (the model's):\n(1) a.md:1"),
        ("**Sources:**", "**Sources (the model's):**"),
        ("## Sources: a", "## Sources (the model's): a"),
        ("Passages found:\na", "Passages found (the model's):\na"),
        ("The sources: a", "The sources: a"),
        ("```\nSources:\n```", "```\nSources:\n```"),
    ],
)
def test_what_a_model_typed_looks_unlike_a_checked_citation(text: str, shown: str) -> None:
    """However the text is cut."""
    assert shown_typed(text, 0, len(text)) == shown
    done, pieces = 0, ""
    for end in range(1, len(text) + 1):
        until = possible_mark(text[:end], done)
        pieces += shown_typed(text[:end], done, until)
        done = until
    assert pieces + shown_typed(text, done, len(text)) == shown


def test_little_of_it_is_held_back() -> None:
    """A bracket that goes on otherwise is shown at once."""
    assert possible_mark("see [the", 0) == 8
    assert possible_mark("see [1", 0) == 4
    assert possible_mark("see [1] ", 0) == 8
