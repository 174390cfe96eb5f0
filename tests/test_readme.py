"""The README is true: what it shows is what happens."""

from __future__ import annotations

import re

import pytest
from shown_sessions import ROOT, sessions, shell
from typer.testing import CliRunner

from gptoss_mlx.cli.app import app

README = (ROOT / "README.md").read_text()


def test_commands_print_what_the_readme_shows() -> None:
    """Every `$ command` is followed by its real output."""
    assert sessions(README)
    for command, output in sessions(README):
        assert shell(command) == output


def test_make_has_the_targets_that_are_named() -> None:
    """Every `make target` of the README and of CONTRIBUTING is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", text, re.MULTILINE))

    assert {"chat", "test"} <= named
    assert {t for t in named if not re.search(rf"^{t}:", makefile, re.MULTILINE)} == set()


@pytest.mark.parametrize(
    "command", re.findall(r"^    gptoss-mlx ([a-z]+)", README, re.MULTILINE)
)
def test_commands_that_are_named_exist(command: str) -> None:
    """Every command of the README has a help text with an example."""
    result = CliRunner().invoke(app, [command, "--help"])

    assert result.exit_code == 0
    assert "Example: gptoss-mlx" in result.stdout or "| gptoss-mlx" in result.stdout


def test_the_python_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of the README are those of the example, and run as they are."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})  # noqa: S102 - it is our own README

    assert capsys.readouterr().out.startswith("gpt-oss is OpenAI's family of")
    assert code in (ROOT / "examples" / "ask.py").read_text()


def test_the_tree_names_what_is_there() -> None:
    """Every line is a folder, and none of the package's is left out."""
    tree = README.split("## What is where")[1].split("[docs/")[0]
    entries = re.findall(r"^ {4}( {2})?(\w+)/", tree, re.MULTILINE)
    named = {f"gptoss_mlx/{name}" if inner else name for inner, name in entries}
    packages = {
        f"gptoss_mlx/{path.parent.name}" for path in ROOT.glob("gptoss_mlx/*/__init__.py")
    }

    assert all((ROOT / name).is_dir() for name in named)
    assert packages <= named
