"""Models, and the commands that name them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from gptoss_mlx.cli.first_model import choose_model
from gptoss_mlx.cli.output import print_line, say
from gptoss_mlx.cli.progress import byte_progress
from gptoss_mlx.device import Machine
from gptoss_mlx.store import resolve
from shown_places.errors_and_files import manifest
from shown_places.place import Shown, place


@contextmanager
def stored(shown: Shown) -> Iterator[Path]:
    """A folder of that name in the store."""
    model = shown.folder / "models" / shown.name
    model.mkdir(parents=True, exist_ok=True)
    manifest(dataclasses.replace(shown, folder=model), recipe=shown.text)
    with patch.dict("os.environ", {"GPTOSS_MLX_HOME": str(shown.folder)}):
        yield model
    (model / "manifest.json").unlink()
    model.rmdir()


@place("the table of models")
def _(shown: Shown) -> None:
    with stored(shown):
        shown.command("models")


@place("models as JSON")
def _(shown: Shown) -> None:
    with stored(shown):
        shown.command("models", "--json")


@place("a model that is none")
def _(shown: Shown) -> str:
    with patch.dict("os.environ", {"GPTOSS_MLX_HOME": str(shown.folder)}):
        return str(resolve(shown.text))


@place("models that are named like it")
def _(shown: Shown) -> str:
    with stored(shown), patch("difflib.get_close_matches", lambda *names, **_: names[1]):
        return str(resolve("model"))


@place("a model to verify")
def _(shown: Shown) -> None:
    with stored(shown) as model:
        shown.command("verify", str(model))


@place("a model to download")
def _(shown: Shown) -> None:
    shown.command("download", shown.text)


@place("a checkpoint to convert")
def _(shown: Shown) -> None:
    shown.command("convert", str(shown.folder / shown.name))


@place("a path that a command prints")
def _(shown: Shown) -> None:
    print_line(Path(shown.text))


@place("a notice")
def _(shown: Shown) -> None:
    say(f"{shown.text} is not the one released.")


@place("progress")
def _(shown: Shown) -> None:
    with byte_progress(shown.text) as progress:
        progress(1, 1)


@place("the offer of a model")
def _(shown: Shown) -> None:
    machine = Machine(shown.text, "gpu", "bfloat16", 10**9, 10**9)
    with patch.dict("os.environ", {"GPTOSS_MLX_HOME": str(shown.folder / "none")}):
        choose_model(machine, lambda *names, **options: Path(), may_offer=True)
