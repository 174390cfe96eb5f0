from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gptoss_mlx

# Prints the seconds that the import takes, and what MLX it brings.
IMPORT = """
import sys, time
began = time.perf_counter()
import gptoss_mlx
print(time.perf_counter() - began, {"mlx", "numpy"} & set(sys.modules) or "nothing")
"""


@pytest.mark.parametrize("name", gptoss_mlx.__all__)
def test_every_name_that_the_package_offers_is_there(name: str) -> None:
    """Each is what the module that defines it has, and ``dir`` lists it."""
    found = getattr(gptoss_mlx, name)

    module = gptoss_mlx._MODULES.get(name)
    assert module is None or found is getattr(sys.modules[module], name)
    assert name in dir(gptoss_mlx)


def test_type_checkers_see_what_the_package_offers() -> None:
    """The table of names is what is imported for them, and what __all__ lists."""
    source = Path(gptoss_mlx.__file__).read_text(encoding="utf-8")
    imported = {
        alias.name: node.module
        for branch in ast.parse(source).body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert imported == gptoss_mlx._MODULES
    assert sorted(gptoss_mlx.__all__) == sorted([*imported, "__version__"])


def test_a_name_that_the_package_does_not_offer() -> None:
    """It is an AttributeError, as in other packages."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gptoss_mlx.nothing  # noqa: B018


def test_importing_the_package_is_quick() -> None:
    """It takes 0.1 s at most, and MLX waits until something is asked for."""
    shown = [
        subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(3)
    ]

    # The quickest, because other processes may have the machine's attention.
    assert min(float(seconds) for seconds, _ in shown) <= 0.1
    assert {brought for _, brought in shown} == {"nothing"}
