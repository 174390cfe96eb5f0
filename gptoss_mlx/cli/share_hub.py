"""``gptoss-mlx share --hub USER/REPO``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gptoss_mlx.cli.output import print_line, say
from gptoss_mlx.controls import escaped

if TYPE_CHECKING:
    from gptoss_mlx.sharing.publish import Upload

__all__ = ["share_to_hub"]


def share_to_hub(
    model: str, folder: Path, repository: str, *, private: bool, yes: bool
) -> None:
    """Upload a folder to the Hub after a question, and print its address."""
    from gptoss_mlx.cli.download import interrupted_once
    from gptoss_mlx.sharing.publish import plan_upload

    command = ["gptoss-mlx", "share", model, "--hub", repository]
    command += ["--private"] if private else []
    again = shlex.join(command)
    upload = plan_upload(folder, repository, private=private)
    if not upload.missing and not upload.outdated:
        say(f"Already there: {upload.edition.model_id}")
        print_line(upload.url)
        return
    _tell(upload)
    if not yes and not _may_upload(upload, again):
        return
    with interrupted_once(), _bars_only_in_a_terminal():
        try:
            upload.run(again=again, say=say, step=_progress)
        except (KeyboardInterrupt, SystemExit):
            say(f"Stopped. To continue: {again}")
            raise
    say(f"Uploaded: {upload.edition.model_id}")
    print_line(upload.url)


def _tell(upload: Upload) -> None:
    from gptoss_mlx.cli.progress import size_text
    from gptoss_mlx.sharing.publish import LARGE_BYTES

    files = upload.edition.files
    small = []
    for name in upload.missing:
        if (nbytes := files[name].nbytes) >= LARGE_BYTES:
            say(f"  {name}, {size_text(nbytes)}")
        else:
            small.append(name)
    if small:
        say(f"  {', '.join(small)}")
    there = len(files) - len(upload.missing)
    if there:
        say(f"{there} of {len(files)} files are there already.")
    if upload.outdated:
        say(f"Weights there that are not of this model: {', '.join(upload.outdated)}")


def _may_upload(upload: Upload, again: str) -> bool:
    """Ask whether the files may be uploaded.

    Raises:
        AnswerError: There is nobody to ask.
    """
    from gptoss_mlx.cli.progress import size_text
    from gptoss_mlx.errors import AnswerError

    if not sys.stdin.isatty():
        raise AnswerError(
            "Nothing is uploaded without confirmation.", hint=f"{again} --yes"
        )
    who = "for you alone" if upload.private else "for everybody to see"
    to = f"the new repository {upload.repository}" if upload.is_new else upload.repository
    question = f"Upload {len(upload.missing)} files ({size_text(upload.nbytes)}) to {to}"
    if upload.outdated:
        question += f", and remove {len(upload.outdated)} there"
    return typer.confirm(escaped(f"{question}, {who}?"), default=False, err=True)


def _progress(task: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Show a task; in a terminal, huggingface_hub shows a bar for each file itself."""
    from gptoss_mlx.cli.progress import byte_progress

    if task == "Uploading" and sys.stderr.isatty():
        return nullcontext(lambda done, total: None)
    return byte_progress(task)


@contextmanager
def _bars_only_in_a_terminal() -> Iterator[None]:
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
