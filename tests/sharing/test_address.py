"""The short line that names a model, and addresses."""

from __future__ import annotations

import pytest

from gptoss_mlx.errors import DownloadError
from gptoss_mlx.manifest_digest import model_id
from gptoss_mlx.sharing.address import Address, parse_address

DIGEST = "3f2a" * 8


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tiny-q8", (None, 8765, "tiny-q8", None)),
        (f"tiny-q8@{DIGEST}", (None, 8765, "tiny-q8", DIGEST)),
        (f"tiny-q8@{DIGEST.upper()}", (None, 8765, "tiny-q8", DIGEST)),
        ("10.0.0.5", ("10.0.0.5", 8765, None, None)),
        ("10.0.0.5/tiny", ("10.0.0.5", 8765, "tiny", None)),
        ("10.0.0.5:99", ("10.0.0.5", 99, None, None)),
        (f"http://10.0.0.5:99/tiny@{DIGEST}", ("10.0.0.5", 99, "tiny", DIGEST)),
        ("studio.local", ("studio.local", 8765, None, None)),
        ("localhost", ("localhost", 8765, None, None)),
        ("http://[fe80::1]:99/tiny/", ("fe80::1", 99, "tiny", None)),
        ("  http://studio/tiny ", ("studio", 8765, "tiny", None)),
    ],
)
def test_what_may_be_typed(
    text: str, address: tuple[str | None, int, str | None, str | None]
) -> None:
    """A name, an address or both, with a digest or without."""
    assert parse_address(text, port=8765) == Address(*address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "https://10.0.0.5/tiny",
        "http:///tiny",
        "http://10.0.0.5/a/b",
        "http://10.0.0.5/../tiny",
        "http://10.0.0.5/tiny?x",
        "http://10.0.0.5/tiny#x",
        "http://user:secret@10.0.0.5/tiny",
        "http://10.0.0.5:99999/tiny",
        "http://[fe80/tiny",
        "ftp://10.0.0.5/tiny",
        "file:///etc/passwd",
        "tiny@3f2a",
        "tiny@latest",
        f"tiny@{'0' * 65}",
        "two words",
        ".hidden",
        "-rf",
    ],
)
def test_what_has_another_form_is_refused(text: str) -> None:
    """With the form that it must have."""
    with pytest.raises(DownloadError) as caught:
        parse_address(text, port=8765)
    assert str(caught.value).startswith(("A shared model must be", "A digest must be"))


def test_the_short_line_has_half_of_the_digest() -> None:
    """128 bits, which nobody can forge."""
    assert model_id("tiny", "ab" * 32) == f"tiny@{'ab' * 16}"
    address = Address("fe80::1", 99, "tiny", "ab" * 32)
    assert address.url == f"http://[fe80::1]:99/tiny@{'ab' * 16}"
