from __future__ import annotations

import ast
import errno
import os
import re
import sys
from pathlib import Path

import pytest

from gptoss_mlx import errors

PUBLIC: list[type[errors.GptOssError]] = [
    value for name in errors.__all__ if isinstance(value := getattr(errors, name), type)
]


def drawn_tree() -> dict[str, str]:
    """Each class of the tree in the docstring of errors.py, with its parent."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for indent, name in re.findall(
        r"^( *)[*+-] (\w+)$", errors.__doc__ or "", re.MULTILINE
    ):
        path = [(depth, above) for depth, above in path if depth < len(indent)]
        parents[name] = path[-1][1] if path else "Exception"
        path.append((len(indent), name))
    return parents


@pytest.mark.parametrize("error", PUBLIC)
def test_every_error_has_a_hint_that_is_a_sentence(
    error: type[errors.GptOssError],
) -> None:
    """A hint can be printed as it is: it starts with a capital and is one line."""
    assert re.fullmatch(r"[A-Z].* .*", error.hint)


@pytest.mark.parametrize("error", PUBLIC)
def test_every_hint_ends_as_a_sentence_or_with_a_command(
    error: type[errors.GptOssError],
) -> None:
    """A full stop ends it, unless a command to copy does."""
    assert error.hint.endswith(".") or re.search(r": [a-z]\S*[^.]*$", error.hint)


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    """The docstring of errors.py shows every public error under its real parent."""
    classes = {error.__name__: error.__mro__[1].__name__ for error in PUBLIC}

    assert drawn_tree() == classes


def test_every_error_of_the_module_is_public() -> None:
    """A class that is not in __all__ could not be caught by name."""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }

    assert defined == {error.__name__ for error in PUBLIC}


def test_a_hint_of_its_own_replaces_that_of_the_class() -> None:
    """The hint given where an error is raised is the one that is shown."""
    error = errors.ConfigError("No.", hint="Do this instead.")

    assert error.hint == "Do this instead."
    assert error.__notes__ == ["Hint: Do this instead."]


def test_a_name_that_is_no_text_can_be_printed() -> None:
    """The bytes of a file's name that are not UTF-8 are shown escaped."""
    error = errors.StorageError(os.fsdecode(b"b\xe4d: No such file."))

    assert str(error) == r"b\udce4d: No such file."


def caught_names() -> set[str]:
    """The names that ``except`` has in the product."""
    root = Path(errors.__file__).parent.parent
    return {
        name.id
        for folder in ("gptoss_mlx", "convert")
        for file in (root / folder).rglob("*.py")
        for handler in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(handler, ast.ExceptHandler) and handler.type is not None
        for name in ast.walk(handler.type)
        if isinstance(name, ast.Name)
    }


def test_every_error_differs_from_its_parent() -> None:
    """In its hint or its fields, or because it is caught: otherwise a message is enough."""
    caught = caught_names()
    for error in PUBLIC:
        if error is not errors.GptOssError and error.__name__ not in caught:
            assert {"hint", "__init__", "_shown"} & set(vars(error)), error


def test_no_two_errors_give_the_same_hint() -> None:
    """But for those that are caught, and one that has its parent's."""
    caught = caught_names()
    hints = [
        error.hint
        for error in PUBLIC
        if "hint" in vars(error) and error.__name__ not in caught
    ]

    assert len(set(hints)) == len(hints)


@pytest.mark.parametrize(
    ("platform", "code", "names_access"),
    [
        ("darwin", errno.EPERM, True),
        ("darwin", errno.EACCES, False),
        ("linux", errno.EPERM, False),
    ],
)
def test_what_macos_forbids_names_full_disk_access(
    monkeypatch: pytest.MonkeyPatch, platform: str, code: int, names_access: bool
) -> None:
    """It is how the user's Documents can be read; a file's mode is another matter."""
    monkeypatch.setattr(sys, "platform", platform)

    with pytest.raises(errors.NoPermissionError) as caught, errors.storage_errors("/x"):
        raise PermissionError(code, "Operation not permitted", "/x")

    assert ("Full Disk Access" in caught.value.hint) is names_access
