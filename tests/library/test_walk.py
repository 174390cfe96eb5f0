from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from gptoss_mlx.library import walk as walking
from gptoss_mlx.library.walk import walk


def make(root: Path, *paths: str) -> None:
    """Make files with a line each."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("text\n")


def found(root: Path, without: Iterable[Path] = ()) -> list[str]:
    """The paths of what would be read."""
    return sorted(each.path for each in walk(root, set(without)) if each.reason is None)


def skipped(root: Path) -> dict[str, str]:
    """The paths of what is skipped, and why."""
    return {each.path: each.reason for each in walk(root) if each.reason is not None}


def test_what_git_ignores_is_left_out(tmp_path: Path) -> None:
    """Rules of nested files, negated, anchored, damaged and strange ones: as git does."""
    names = (
        "a.log keep.log top build/x build/keep.log sub/top sub/a.log sub/deep/a.log"
        " sub/deep/b.txt sub/deep/c.txt sub/build docs/a/b/c docs/a/c docs/x #x !y ä.txt"
        " sub/all/x [z b\\c"
    )
    make(tmp_path, "with space ", *names.split())
    (tmp_path / ".gitignore").write_text(
        "# a comment\n*.log\n!keep.log\nbuild/\n/top\ndocs/**/c\nwith space\\ \r\n\\#x\n"
        "\\!y\n!\n[\n[z-a]\nä.*\nx\\\n\n"
    )
    (tmp_path / "sub" / ".gitignore").write_text("!a.log\nall/\n!all/x\ndeep/[bc].txt\n")
    (tmp_path / "sub" / "deep" / ".gitignore").write_text("a.log\n!c.txt\n")
    git = ["git", "-c", "core.excludesFile=/dev/null", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert found(tmp_path) == sorted(listed.split("\0")[:-1])
    assert len(found(tmp_path)) == 11


@pytest.mark.parametrize("kind", ["folder", "link", "bytes", "long"])
def test_a_gitignore_that_is_none(tmp_path: Path, kind: str) -> None:
    """It ignores nothing, and reading it does not fail."""
    path = tmp_path / "root" / ".gitignore"
    make(tmp_path, "root/a.txt", "outside")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "outside").write_text("*\n")
        path.symlink_to(tmp_path / "outside")
    else:
        path.write_bytes(b"\xff\xfe*\0" if kind == "bytes" else b"*.txt\n" * 300_000)

    assert "a.txt" in found(tmp_path / "root")


def test_rules_that_would_take_minutes(tmp_path: Path) -> None:
    """They are left out, since a folder from elsewhere may have them."""
    make(tmp_path, "a" * 200, "/".join("a" * 100), "b-1-2.log")
    (tmp_path / ".gitignore").write_text(
        "*a" * 20 + "*b\n" + "**/a/" * 20 + "b\n*-*-*.log\n**/a/**/a/**/c\n"
    )
    began = time.process_time()

    assert len(found(tmp_path)) == 3
    assert time.process_time() - began < 2


def test_what_programs_keep_for_themselves_is_not_seen(tmp_path: Path) -> None:
    """Neither found nor listed as skipped."""
    make(
        tmp_path,
        *(".git/config", ".hg/a", ".svn/a", "__pycache__/a.pyc", ".DS_Store", "a/._b.txt"),
        *("a/.hidden", "sub/.git", "sub/x"),
    )

    assert found(tmp_path) == ["a/.hidden", "sub/x"]
    assert skipped(tmp_path) == {}


def test_a_lock_file_of_office_is_skipped_as_such(tmp_path: Path) -> None:
    """It has the name of the document that is open, and is none; a folder may have it."""
    make(tmp_path, "~$Contract.docx", "~$folder/a.txt")

    assert found(tmp_path) == ["~$folder/a.txt"]
    assert skipped(tmp_path) == {"~$Contract.docx": "an Office lock file"}


def test_a_package_of_a_mac_is_one_thing(tmp_path: Path) -> None:
    """It is skipped as a whole; a file with such a suffix is not."""
    make(
        tmp_path,
        *("Mail.app/Contents/Info.plist", "My.photoslibrary/a.txt", "old.pages/index.xml"),
        "notes.app",
    )

    assert found(tmp_path) == ["notes.app"]
    assert skipped(tmp_path) == {
        "Mail.app": "a program",
        "My.photoslibrary": "a photo library",
        "old.pages": "Pages is not supported yet",
    }


def test_links_never_lead_out_of_a_root(tmp_path: Path) -> None:
    """Nor in a circle; what they lead to within it is found once."""
    root = tmp_path / "root"
    make(tmp_path, "root/a/x.txt", "outside/secret.txt", "root2/y")
    targets: dict[str, str | Path] = {
        "loop": ".",
        "a/up": "..",
        "self": "self",
        "twin.txt": "a/x.txt",
        "gone": "nothing",
        "secret.txt": "../outside/secret.txt",
        "outside": tmp_path / "outside",
        "prefix": tmp_path / "root2",
        "passwd": "/etc/passwd",
    }
    for name, target in targets.items():
        (root / name).symlink_to(target)

    assert found(root) == ["a/x.txt"]
    assert skipped(root) == {
        "gone": "a link that leads nowhere",
        "self": "a link that leads nowhere",
        **dict.fromkeys(
            ["outside", "passwd", "prefix", "secret.txt"],
            "a link that leads out of the folder",
        ),
    }


def test_what_is_no_file(tmp_path: Path) -> None:
    """Pipes, sockets and devices are skipped, and not opened."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(tmp_path)  # a socket's path is short
        server.bind("socket")
        os.chdir(before)

    assert skipped(tmp_path) == {"pipe": "a pipe", "socket": "a socket"}
    assert [each.reason for each in walk(Path("/dev/null"))] == ["a device"]


def test_other_roots_are_left_out(tmp_path: Path) -> None:
    """A folder or file that is a root of its own is found there."""
    make(tmp_path, "a/x", "b/x", "c")

    assert found(tmp_path, [tmp_path / "a", tmp_path / "c"]) == ["b/x"]
    assert [each.path for each in walk(tmp_path / "c")] == [""]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """They are found as the system gives them."""
    if sys.platform == "darwin":
        pytest.skip("macOS has no such names")
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9") / "x\ny").write_text("text")

    assert found(tmp_path) == ["caf\udce9/x\ny"]


def test_folders_deeper_than_pythons_stack(tmp_path: Path) -> None:
    """What has too long a path is skipped with the reason."""
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1_500):
            Path("dddd").mkdir()
            os.chdir("dddd")
        (reason,) = skipped(tmp_path).values()
    finally:
        os.chdir(before)
        # pytest cannot remove it.
        subprocess.run(["rm", "-rf", str(tmp_path / "dddd")], check=True)
    assert reason == f"cannot be read: {os.strerror(errno.ENAMETOOLONG).lower()}"


def test_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is the system's; on a Mac it names Full Disk Access. The rest is found."""
    make(tmp_path, "closed/x", "open/x")
    scandir = os.scandir

    for platform, code, reason in (
        ("linux", errno.EPERM, "cannot be read: operation not permitted"),
        ("darwin", errno.EACCES, "cannot be read: operation not permitted"),
        ("darwin", errno.EPERM, "macOS forbids it: allow your terminal Full Disk Access"),
    ):

        def refuse(path: Path, code: int = code) -> object:
            if path.name == "closed":
                raise PermissionError(code, "Operation not permitted", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        monkeypatch.setattr(sys, "platform", platform)
        assert skipped(tmp_path) == {"closed": reason}
        assert found(tmp_path) == ["open/x"]


def test_a_root_that_is_gone(tmp_path: Path) -> None:
    """It raises, so that nobody takes it for empty."""
    with pytest.raises(FileNotFoundError):
        list(walk(tmp_path / "nothing"))


def test_a_file_that_is_only_in_icloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not opened, which would fetch it; what was read of it earlier is kept."""
    make(tmp_path, "a.txt", "b/c.txt", ".d.txt.icloud")
    monkeypatch.setattr(walking, "is_placeholder", lambda name, _: name in ("a.txt", "b"))

    assert skipped(tmp_path) == {
        "a.txt": "an iCloud placeholder",
        "b": "an iCloud placeholder",
    }
    assert all(each.keep for each in walk(tmp_path) if each.reason is not None)
