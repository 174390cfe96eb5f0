"""docs/memory.md is true: what it shows is what happens."""

from __future__ import annotations

from shown_sessions import ROOT, sessions, shell

DOCUMENT = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")


def test_commands_print_what_the_document_shows() -> None:
    """Every `$ command` is followed by its real output, on any machine."""
    assert len(sessions(DOCUMENT)) >= 3
    for command, output in sessions(DOCUMENT):
        assert shell(command) == output, command


def test_the_picture_is_there() -> None:
    """It has the parts and the limit."""
    assert (ROOT / "docs" / "memory.svg").read_text(encoding="utf-8").startswith("<?xml")
