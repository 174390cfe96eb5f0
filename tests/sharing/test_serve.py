from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import refused
from shared_folder import CONFIG, Served, status_of, write_shared_folder

from gptoss_mlx.errors import ShareError, VerifyError, WrongFileError
from gptoss_mlx.manifest_digest import digest_of
from gptoss_mlx.sharing.serve import serve
from gptoss_mlx.sharing.shared_model import shared_name

BIG_BYTES = 32 << 20


def test_the_models_are_listed(served: Served) -> None:
    """With the digest of the manifest, the bytes and the recipe."""
    size = len(CONFIG) + BIG_BYTES

    assert json.loads(served.body("/")) == [
        {
            "name": "tiny-q8",
            "digest": digest_of(served.folder),
            "bytes": size,
            "recipe": "exact",
        }
    ]


def test_the_manifest_has_its_sum_beside_it(served: Served) -> None:
    """In the format of sha256sum, so that it can be checked without this program."""
    manifest = served.body("/tiny-q8/manifest.json")

    assert manifest == (served.folder / "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    assert served.body("/tiny-q8/manifest.sha256") == f"{digest}  manifest.json\n".encode()


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-", slice(0, None)),
        ("bytes=3-9", slice(3, 10)),
        ("bytes=3-3", slice(3, 4)),
        ("bytes=-4", slice(-4, None)),
        ("bytes=-4000", slice(0, None)),
        ("bytes=20-9999", slice(20, None)),
    ],
)
def test_one_range_is_served(served: Served, wanted: str, span: slice) -> None:
    """From either end, and not beyond the file's."""
    answer = served.get("/tiny-q8/config.json", f"Range: {wanted}")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert (status_of(answer), body) == (206, CONFIG[span])
    first = CONFIG.index(CONFIG[span])
    last = f"bytes {first}-{first + len(body) - 1}/{len(CONFIG)}"
    assert f"content-range: {last}".encode() in head


def test_a_range_of_another_version_is_answered_with_the_whole_file(
    served: Served,
) -> None:
    """If-Range is compared with the file's sha256, which is its ETag."""
    tag = hashlib.sha256(CONFIG).hexdigest()
    wanted, path = "Range: bytes=3-9", "/tiny-q8/config.json"

    assert served.body(path, wanted, 'If-Range: "another"') == CONFIG
    assert served.body(path, wanted, f'If-Range: "{tag}"') == CONFIG[3:10]


def test_head_and_an_empty_file_have_no_body(served: Served) -> None:
    """Their length is told all the same."""
    head = served.get("/tiny-q8/config.json", method="HEAD")
    empty = served.get("/tiny-q8/empty")

    assert f"content-length: {len(CONFIG)}".encode() in head
    assert head.endswith(b"\r\n\r\n")
    assert b"content-length: 0" in empty
    assert (status_of(head), status_of(empty)) == (200, 200)


def longer(folder: Path) -> None:
    """A file has grown."""
    (folder / "config.json").write_bytes(CONFIG + b"\n")


def linked(folder: Path) -> None:
    """A file is a link out of the folder."""
    (folder / "config.json").rename(folder.parent / "elsewhere")
    (folder / "config.json").symlink_to(folder.parent / "elsewhere")


def piped(folder: Path) -> None:
    """A file is a pipe, which is opened when somebody writes to it."""
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (longer, VerifyError, "{}/config.json: must have 26 bytes but has 27."),
        (
            linked,
            WrongFileError,
            "{}/config.json: must be a file of the folder but is a link, a folder, a pipe "
            "or a device.",
        ),
        (
            piped,
            WrongFileError,
            "{}/config.json: must be a file of the folder but is a link, a folder, a pipe "
            "or a device.",
        ),
        (
            lambda folder: (folder / "manifest.json").unlink(),
            VerifyError,
            "{} must have a manifest.json but has none.",
        ),
    ],
)
def test_a_folder_unlike_its_manifest_is_not_served(
    tmp_path: Path,
    change: Callable[[Path], None],
    error: type[VerifyError],
    message: str,
) -> None:
    """A link could lead out of the folder, whatever it is called."""
    folder = tmp_path / "tiny"
    write_shared_folder(folder, {"config.json": CONFIG})
    change(folder)

    def open_it(folder: Path) -> None:
        with serve(folder, host="127.0.0.1", port=0):
            pass

    refused(open_it, folder, error, message.format(folder))


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The hint has another one."""
    write_shared_folder(tmp_path / "tiny", {"config.json": CONFIG})

    def use(port: int) -> None:
        with serve(tmp_path / "tiny", host="127.0.0.1", port=port):
            pass

    with serve(tmp_path / "tiny", host="127.0.0.1", port=0) as server:
        told = f"127.0.0.1, port {server.port}, cannot be used: Address already in use."
        refused(use, server.port, ShareError, told)


def test_an_address_that_is_not_of_this_machine(tmp_path: Path) -> None:
    """Another port would not help."""
    write_shared_folder(tmp_path / "tiny", {"config.json": CONFIG})

    def use(host: str) -> None:
        with serve(tmp_path / "tiny", host=host, port=8765):
            pass

    reason = os.strerror(errno.EADDRNOTAVAIL)
    told = f"192.0.2.77, port 8765, cannot be used: {reason}."
    error = refused(use, "192.0.2.77", ShareError, told)
    assert error.hint == "Name an address of this machine, or leave out --host."


def test_what_is_fetched_is_recorded(tmp_path: Path) -> None:
    """By address and file, with its percentage."""
    write_shared_folder(tmp_path / "tiny", {"a": b"x" * 1000})

    with serve(tmp_path / "tiny", host="127.0.0.1", port=0) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"GET /tiny/a HTTP/1.1\r\nHost: x\r\nRange: bytes=0-249\r\n"
                b"Connection: close\r\n\r\n"
            )
            while connection.recv(1 << 16):
                pass
        (fetch,) = server.fetchers.since(0)

    assert (fetch.client, fetch.file, fetch.percent) == ("127.0.0.1", "tiny/a", 25)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("gpt-oss-20b-q8", "gpt-oss-20b-q8"),
        ("my model (2)", "my-model-2"),
        ("$(rm -rf ~)", "rm--rf"),
        ("\u00e9", "model"),
        ("-.-", "model"),
    ],
)
def test_a_name_on_the_network_needs_no_quotes(folder: str, name: str) -> None:
    """It stands in a command and in a URL."""
    assert shared_name(Path("/nowhere") / folder) == name


def test_a_file_that_was_cut_is_told_once(tmp_path: Path) -> None:
    """A client tries again, over several connections."""
    folder = tmp_path / "tiny"
    write_shared_folder(folder, {"config.json": CONFIG})
    told: list[str] = []
    with serve(folder, host="127.0.0.1", port=0, say=told.append) as server:
        os.truncate(folder / "config.json", 3)
        for wanted in ("bytes=0-", "bytes=9-"):
            with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
                head = (
                    f"GET /tiny/config.json HTTP/1.1\r\nHost: x\r\nRange: {wanted}\r\n\r\n"
                )
                connection.sendall(head.encode())
                while connection.recv(1 << 16):
                    pass

    assert told == ["tiny/config.json: is shorter than when sharing began."]
