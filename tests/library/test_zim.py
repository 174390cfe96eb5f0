from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_zim import write_zim

from gptoss_mlx.errors import DocumentNotFoundError, StorageError, UnreadableDocumentError
from gptoss_mlx.library.library import Library
from gptoss_mlx.library.text import Heading, Link, Text
from gptoss_mlx.library.zim import ZimArchive

HTML = "text/html"
PAGE = "<html><head><title>{0}</title></head><body><h1>{0}</h1>{1}</body></html>"
ITEMS: list[tuple[str, str, str, str | bytes]] = [
    ("Boiler", "Boiler", HTML, PAGE.format("Boiler", (
        "<p>A boiler heats water.</p><h2>Care</h2><p>It is serviced every May, and the "
        "flue is swept. See <a href='Chimney%20sweep#fee'>the sweep</a>.</p>"))),
    ("Chimney sweep", "Chimney sweep", HTML, PAGE.format("Chimney sweep", (
        "<p>The sweep asks for ninety euros.</p>"))),
    ("de/Heizkessel", "Heizkessel", HTML, PAGE.format("Heizkessel", (
        "<p>Der Heizkessel wird jedes Jahr gewartet.</p>"))),
    ("暖房", "暖房", HTML, PAGE.format("暖房", (
        "<p>大家さんは暖房を五月に点検します。</p><p>家賃は九万円です。</p>"))),
    ("供暖", "供暖", HTML, PAGE.format("供暖", "<p>房东每年五月检修锅炉并支付费用。</p>")),
    ("notes.txt", "Notes", "text/plain", "A note on kettles.\nAnd tea."),
    ("logo.png", "Logo", "image/png", b"\x89PNG"),
    ("huge", "Huge", "text/plain", "a" * ((32 << 20) + 1)),
    *((f"Place {n}", f"Place {n}", HTML, PAGE.format(f"Place {n}", (
        f"<p>A village with a boiler, a church and {n} houses.</p>"))) for n in range(60)),
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive in several languages."""
    path = tmp_path_factory.mktemp("zim") / "site.zim"
    write_zim(path, ITEMS, redirects={"Kettle": "Boiler", "Again": "Kettle"})
    return path


@pytest.fixture(scope="module")
def archive(path: Path) -> ZimArchive:
    """The same, open."""
    return ZimArchive(path)


@pytest.mark.parametrize(
    ("query", "name", "line"),
    [
        ("boiler", "Boiler", 0),
        ("When is the boiler at home serviced, and who pays the man for it?", "Boiler", 3),
        ("what does the chimney sweep cost in euros", "Chimney sweep", 0),
        ("Wann wird der Heizkessel gewartet?", "de/Heizkessel", 1),
        ("暖房はいつ点検しますか。", "暖房", 1),
        ("家賃はいくらですか", "暖房", 2),
        ("锅炉什么时候检修？", "供暖", 1),
        ("village of 37 houses", "Place 37", 1),
    ],
)
def test_a_question(query: str, name: str, line: int, archive: ZimArchive) -> None:
    """Its answer comes first, though no article has all of its words."""
    hit = archive.search(query, 5)[0]

    assert (hit.name, hit.best_line, hit.page) == (name, line, None)
    assert hit.text.split("\n")[line - hit.first_line] == archive.text(name).lines[line]
    assert hit.title == archive.text(name).title


@pytest.mark.parametrize("query", ["", "zebra", "OR zebra NOT", '"', "*", "title:x", "\0"])
def test_a_query_without_an_answer(query: str, archive: ZimArchive) -> None:
    """Nothing is found, whatever the index's own syntax makes of it."""
    assert archive.search(query) == []


def test_how_much_is_found(archive: ZimArchive) -> None:
    """At most what was asked for, the best first."""
    hits = archive.search("boiler village", 3)

    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_an_article(archive: ZimArchive) -> None:
    """It has headings, and links as it has them."""
    text = archive.text("Boiler")

    assert text == Text(
        "Boiler",
        (
            "Boiler", "A boiler heats water.", "Care",
            "It is serviced every May, and the flue is swept. See the sweep.",
        ),
        (Heading(0, 1, "Boiler"), Heading(2, 2, "Care")),
        links=(Link(3, 53, 62, "Chimney%20sweep#fee"),),
    )  # fmt: skip
    assert archive.text("notes.txt").lines == ("A note on kettles.", "And tea.")
    assert archive.text("notes.txt").title == "Notes"


def test_a_redirection(archive: ZimArchive) -> None:
    """It is followed, twice too."""
    assert archive.text("Kettle") == archive.text("Again") == archive.text("Boiler")
    assert archive.has("Again")


@pytest.mark.parametrize(
    "name", ["Teapot", "", "../site.zim", "/etc/passwd", "\udcff", "\0"]
)
def test_what_is_not_there(name: str, archive: ZimArchive) -> None:
    """A name is only a key of the archive."""
    assert not archive.has(name)
    with pytest.raises(DocumentNotFoundError):
        archive.text(name)


@pytest.mark.parametrize(
    ("name", "reason"), [("logo.png", "is no text"), ("huge", "is over 32 MB")]
)
def test_what_is_no_article(name: str, reason: str, archive: ZimArchive) -> None:
    """It is named, with the reason."""
    with pytest.raises(UnreadableDocumentError) as caught:
        archive.text(name)

    assert caught.value.reason == f"{name} in it {reason}"


def test_what_is_known_of_an_archive(
    archive: ZimArchive, tmp_path: Path, path: Path
) -> None:
    """Its title and its language; without them, the file's name and English."""
    write_zim(tmp_path / "a.zim", ITEMS[:1], language="deu", title="")

    assert (archive.title, archive.language) == ("A site", "en")
    other = ZimArchive(tmp_path / "a.zim")
    assert (other.title, other.language) == ("a.zim", "de")


def test_an_archive_without_a_full_text_index(tmp_path: Path) -> None:
    """Titles are searched."""
    write_zim(tmp_path / "a.zim", ITEMS[:5], indexed=False)
    archive = ZimArchive(tmp_path / "a.zim")

    assert archive.search("What is a chimney sweep?")[0].name == "Chimney sweep"
    assert archive.search("暖房")[0].name == "暖房"
    assert archive.search("euros") == []


def test_an_archive_in_a_library(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is searched and its links are followed under its label."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    with Library(path) as library:
        assert library.search("boiler serviced")[0].name == "site.zim/Boiler"
        [link] = library.text("site.zim/Boiler").links
        assert library.linked("site.zim/Boiler", link.target) == "site.zim/Chimney sweep"
        assert library.path_of("site.zim/Boiler") == path


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"ZIM\x04", b"ZIM\x04" + bytes(999)]
)
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    """It is refused with a reason."""
    path = tmp_path / "a.zim"
    path.write_bytes(content)

    with pytest.raises(UnreadableDocumentError) as caught:
        ZimArchive(path)

    assert caught.value.reason.startswith(("is no ZIM archive", "is damaged: "))


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    """The system's reason is given."""
    with pytest.raises(StorageError):
        ZimArchive(tmp_path / "a.zim")


def test_a_cut_archive(path: Path, tmp_path: Path) -> None:
    """It is damaged, wherever it ends."""
    content = path.read_bytes()
    for part in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "a.zim").write_bytes(content[: int(len(content) * part)])
        with pytest.raises(UnreadableDocumentError) as caught:
            ZimArchive(tmp_path / "a.zim")
        assert caught.value.reason.startswith("is damaged: ")


def test_libzim_is_not_installed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the command that installs it."""
    imported = builtins.__import__

    def refuse(wanted: str, *more: Any, **names: Any) -> Any:
        if wanted.startswith("libzim"):
            raise ImportError
        return imported(wanted, *more, **names)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UnreadableDocumentError) as caught:
        ZimArchive(path)

    assert caught.value.reason == "needs libzim: pip install libzim"


# Its arguments are the archive, the first seed and how many follow.
READ_DAMAGED = """
import json, random, sys
from pathlib import Path
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.library.zim import ZimArchive
path = Path(sys.argv[1])
content = path.read_bytes()
found = []
for seed in map(int, sys.argv[2:]):
    chance = random.Random(seed)
    data = bytearray(content)
    for _ in range(chance.randrange(1, 40)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    other = path.with_name(f"damaged-{seed}.zim")
    other.write_bytes(data)
    try:
        archive = ZimArchive(other)
        archive.search("boiler serviced in May")
        for name in ("Boiler", "Kettle", "notes.txt"):
            archive.has(name)
            archive.text(name)
        found.append("read")
    except GptOssError as error:
        found.append(str(error))
print(json.dumps(found))
"""


def test_a_damaged_archive(tmp_path: Path) -> None:
    """It is read, or refused with a reason, and the process goes on."""
    path = tmp_path / "site.zim"
    write_zim(path, ITEMS[:5], redirects={"Kettle": "Boiler"})
    done = subprocess.run(
        [sys.executable, "-c", READ_DAMAGED, str(path), *map(str, range(40))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]

    found = json.loads(done.stdout)
    assert len(found) == 40
    assert len(set(found)) > 2
