from __future__ import annotations

import pytest

from gptoss_mlx.device import macos_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("15.6.1", (15, 6, 1)),
        ("26.0", (26, 0)),
        ("14", (14,)),
        ("", ()),
        ("15.x", ()),
        ("15.", ()),
    ],
)
def test_a_version_of_macos(text: str, version: tuple[int, ...]) -> None:
    """Numbers, or nothing where it is another system or another text."""
    assert macos_version(text) == version


def test_macos_26_as_an_older_python_is_told_it() -> None:
    """It is called 16 there; there is no other 16."""
    assert macos_version("16.1") == (26, 1)
