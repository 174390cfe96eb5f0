"""``gptoss-mlx verify``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.options import JsonOpt, ModelArg
from gptoss_mlx.cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from gptoss_mlx.convert.release import ReleaseReport

__all__ = ["verify"]


def verify(
    model: ModelArg,
    against: Annotated[
        Path | None,
        typer.Option(
            readable=False,  # an error of our own says more
            metavar="SRC",
            help="Released checkpoint that the model was made from.",
            show_default=False,
        ),
    ] = None,
    release: Annotated[
        bool,
        typer.Option("--release", help="Compare with the sha256 that OpenAI's files have."),
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Check that a converted model is unchanged.

    Reads every byte and compares it with the manifest, and the manifest with its digest;
    NAME@DIGEST, the line that somebody has sent, must have that one. With --against,
    experts and everything else that the recipe keeps as released must have the source's
    bytes, and the rest is quantized again and compared.

    --release tells what is proved: released files that can be put together again
    from the model have the published sha256. Files that a recipe has changed are attested
    by what was recorded when they were converted; with --against they are proved too.

    Example: gptoss-mlx verify 20b --against ~/Downloads/gpt-oss-20b
    """
    from gptoss_mlx.cli.model_folder import model_folder
    from gptoss_mlx.cli.progress import byte_progress, size_text
    from gptoss_mlx.convert.release import verify_release
    from gptoss_mlx.convert.verify import verify_checkpoint
    from gptoss_mlx.manifest_digest import model_id, name_of
    from gptoss_mlx.sharing.cached_models import find_model
    from gptoss_mlx.sharing.published import published_of

    folder = model_folder(model, find_model)
    # First: it takes a moment, and the rest may take minutes.
    published = published_of(folder) if release else None
    with byte_progress("Verifying") as progress:
        report = verify_checkpoint(folder, against, progress=progress)
    released = None
    if published is not None:
        with byte_progress("Comparing with the release") as progress:
            released = verify_release(folder, published, against, progress=progress)
    digest = report.digest
    line = None if digest is None else model_id(name_of(folder), digest)
    if as_json:
        told = {"folder": str(folder), "model": line, **asdict(report)}
        print_json(told if released is None else {**told, "release": asdict(released)})
        return
    print_line(f"{folder}: verified")
    print_line(f"digest: {line or 'none, since its manifest is of format 1'}")
    print_line(
        f"manifest: {report.files} files, {report.tensors} tensors, "
        f"{size_text(report.nbytes)} match the recorded sha256"
    )
    if report.identical is not None:
        print_line(
            f"source: {report.identical} tensors have the same bytes, "
            f"{report.requantized} match after quantizing"
        )
    if released is not None:
        _print_release(released, folder, against)


def _print_release(report: ReleaseReport, folder: Path, against: Path | None) -> None:
    """Print which parts are proved, and which are attested."""
    proved = [name for name, claim in report.weights.items() if claim == "proved"]
    attested = [name for name, claim in report.weights.items() if claim == "attested"]
    print_line(f"release: {report.repository}, revision {report.revision}")
    if proved and against is not None:
        print_line(
            f"proved: {report.proved_tensors} tensors are made of "
            f"{_files(proved, report)} in {against}, which have the published sha256"
        )
    elif proved:
        print_line(
            f"proved: {report.proved_tensors} tensors, put together again to "
            f"{_files(proved, report)}, have the published sha256"
        )
    if attested:
        print_line(
            f"attested: the model was made of {_files(attested, report)} with the "
            "published sha256, as the manifest says"
        )
        print_line(
            f"attested: {report.attested_tensors} tensors keep their bytes of then, "
            f"{report.quantized_tensors} are quantized"
        )
    settings = ", ".join(["the settings in config.json", *report.small_files])
    print_line(f"proved: {settings} are as published")
    if report.own_files:
        print_line(f"written by convert: {', '.join(report.own_files)}")
    if report.other_files:
        print_line(f"not of the release: {', '.join(report.other_files)}")
    if attested:
        command = ["gptoss-mlx", "verify", str(folder), "--release", "--against", "SRC"]
        say(f"To prove it, with a download of the release: {shlex.join(command)}")


def _files(names: list[str], report: ReleaseReport) -> str:
    whole = len(names) == len(report.weights) > 1
    return f"the {len(names)} safetensors files" if whole else ", ".join(names)
