"""``gptoss-mlx models``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.options import JsonOpt, complete_model
from gptoss_mlx.cli.output import print_json, print_rows, say
from gptoss_mlx.cli.progress import size_text
from gptoss_mlx.controls import escaped

if TYPE_CHECKING:
    from gptoss_mlx.store import StoredModel

__all__ = ["models"]

models = typer.Typer(rich_markup_mode=None, no_args_is_help=False)


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: JsonOpt = False) -> None:
    """List the models on this machine, or remove one.

    Those with a repository's name, USER/REPO, are in the Hugging Face cache.

    Example: gptoss-mlx models --json
    """
    if context.invoked_subcommand is not None:
        return
    from gptoss_mlx import store

    found = [*store.models(), *_cached()]
    if as_json:
        rows = [{**asdict(model), "path": str(model.path)} for model in found]
        print_json(rows)
        return
    if not found:
        say(f"There are no models in {store.models_folder()} yet.")
        say("Hint: gptoss-mlx download 20b")
        return
    table = [("NAME", "MODEL", "RECIPE", "BYTES", "STATE"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print_rows(
        ("  ".join(map(str.ljust, cells, widths)).rstrip(), state)
        for *cells, state in table
    )


@models.command("rm")
def remove_model(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name that `gptoss-mlx models` lists.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model from this machine.

    The download that it was converted from stays in the Hugging Face cache.

    Example: gptoss-mlx models rm gpt-oss-20b-q8
    """
    import sys

    from gptoss_mlx import store
    from gptoss_mlx.errors import AnswerError, ModelNotFoundError
    from gptoss_mlx.sharing.cached_models import find_cached

    if find_cached(name) is not None:
        raise ModelNotFoundError(
            f"{name} is in the Hugging Face cache, which other programs use too.",
            hint=f"hf cache rm model/{name}",
        )
    model = store.find_stored(name)
    if not yes:
        if not sys.stdin.isatty():
            raise AnswerError(
                f"{escaped(model.name)} is not removed without confirmation.",
                hint=f"gptoss-mlx models rm --yes {shlex.quote(model.name)}",
            )
        question = f"Remove {escaped(model.name)} ({size_text(model.nbytes)})?"
        if not typer.confirm(question, default=False, err=True):
            return
    store.remove(model)
    say(f"Removed {model.path}")


def _cached() -> list[StoredModel]:
    """List the models in the Hugging Face cache; where it cannot be used, say why."""
    from gptoss_mlx.errors import DownloadError
    from gptoss_mlx.sharing.cached_models import cached_models

    try:
        return cached_models()
    except DownloadError as error:
        say(f"The Hugging Face cache is left out: {error}")
        return []


def _row(model: StoredModel) -> tuple[str, str, str, str, str]:
    if model.unfinished:
        state = "unfinished: run the same command again"
    elif model.problem:
        state = f"broken: {model.problem}"
    else:
        state = "ready"
    return (
        escaped(model.name),
        model.size or ("other" if model.layers else "-"),
        escaped(model.recipe or "-"),
        size_text(model.nbytes),
        escaped(state),
    )
