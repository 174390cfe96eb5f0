"""The names under which a model opens documents, and those under which it opens none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from small_library import small_library

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.library.library import Library
from gptoss_mlx.tools.browser.library_pages import LibraryPages
from gptoss_mlx.tools.browser.tool import Browser

HEATING = "docs/letters/heating.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the documents."""
    return tmp_path_factory.mktemp("library") / "docs"


@pytest.fixture(scope="module")
def library(folder: Path) -> Iterator[Library]:
    """The documents, indexed; the folder also has what must not be read."""
    with small_library(folder) as made:
        (folder.parent / "secret.txt").write_text("secret words outside\n")
        (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
        yield made


def run(browser: Browser, function: str, **arguments: object) -> str:
    """Call the browser; a mistake is its message."""
    call = Message("assistant", json.dumps(arguments), recipient=f"browser.{function}")
    try:
        return browser.process(call)
    except ToolError as error:
        return f"Error: {error}"


@pytest.mark.parametrize(
    "form",
    [
        "{name}",
        "{quoted}",
        "view-source:{name}",
        "file://{path}",
        "file://localhost{path}",
        "file://{quoted_path}",
        "{path}",
        "view-source:file://{path}",
    ],
)
def test_a_document_has_several_addresses(
    form: str, library: Library, folder: Path
) -> None:
    """Its name and its path, percent-encoded or not."""
    path = str((folder / "letters" / "heating.md").resolve())
    names = {"name": HEATING, "quoted": quote(HEATING, safe=""), "path": path}
    url = form.format(**names, quoted_path=quote(path))

    assert LibraryPages(library).fetch(url).url == HEATING


def test_each_file_of_a_root_has_its_own_path(tmp_path: Path) -> None:
    """Also where two roots have one name, and where a root is a file."""
    for part in ("a", "b"):
        (tmp_path / part / "notes").mkdir(parents=True)
        (tmp_path / part / "notes" / "x.txt").write_text(f"words of {part}\n")
    (tmp_path / "alone.txt").write_text("words alone\n")
    roots = [tmp_path / "a" / "notes", tmp_path / "b" / "notes", tmp_path / "alone.txt"]
    with Library(*roots) as library:
        pages = LibraryPages(library)
        for name in library.names():
            assert pages.fetch(str(library.path_of(name))).url == name
        assert len(library.names()) == 3


TRICKS = [
    "docs/../secret.txt",
    "../secret.txt",
    "docs/link.txt",
    "{folder}/../secret.txt",
    "{folder}/link.txt",
    "{outside}",
    "file://{outside}",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "/etc/passwd",
    "view-source:/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "file://host{outside}",
    "%2e%2e/secret.txt",
    "docs/%2e%2e/secret.txt",
    "docs/..%2fsecret.txt",
    "docs%2f..%2fsecret.txt",
    "docs/./letters/../../secret.txt",
    "//etc/passwd",
    "~/.ssh/id_rsa",
    "$HOME/.bashrc",
    "docs/letters/heating.md/../../../secret.txt",
    "docs\x00/letters/heating.md",
    "https://example.com/",
    "http://[",
    "docs",
    "docs/",
    "",
    "\ud800",
    "x" * 100_000,
]


@pytest.mark.parametrize("trick", TRICKS, ids=[repr(t)[:40] for t in TRICKS])
def test_nothing_outside_the_library_is_opened(
    trick: str, library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is that there is no such document, and no such file is looked at."""
    outside = folder.parent / "secret.txt"
    looked_at: list[str] = []

    def look(self: Path, *_: object, **__: object) -> None:
        looked_at.append(str(self))
        raise AssertionError(f"opened {self}")

    url = trick.format(folder=folder, outside=outside) if "{" in trick else trick
    browser = Browser(LibraryPages(library))
    for function in ("open", "read_bytes", "resolve"):
        monkeypatch.setattr(Path, function, look)
    # The list of the roots, which the program has written itself.
    monkeypatch.setattr(Library, "roots", (folder.absolute(),))
    shown = run(browser, "open", id=url)

    assert "There is no such document." in shown
    assert "secret words" not in shown
    assert looked_at == []
