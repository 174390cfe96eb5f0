"""``gptoss-mlx share``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.options import ModelArg
from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from gptoss_mlx.sharing.serve import ShareServer

__all__ = ["share"]

# What it means to listen on every network.
ANY_HOST = "0.0.0.0"  # noqa: S104

PortOpt = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65535,
        help="Port to listen on.  [default: 8765, or any free one]",
        show_default=False,
    ),
]
HostOpt = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="This machine's address to listen on.  [default: all]",
        show_default=False,
    ),
]
ToOpt = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Copy it there instead, for instance to an external disk.",
        show_default=False,
    ),
]
HubOpt = Annotated[
    str | None,
    typer.Option(
        metavar="USER/REPO",
        help="Upload it to the Hugging Face Hub instead.",
        show_default=False,
    ),
]
PrivateOpt = Annotated[
    bool, typer.Option("--private", help="With --hub: only you can see it.")
]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="With --hub: do not ask.")]


def share(
    model: ModelArg,
    port: PortOpt = None,
    host: HostOpt = None,
    to: ToOpt = None,
    hub: HubOpt = None,
    private: PrivateOpt = False,
    yes: YesOpt = False,
) -> None:
    """Share a converted model: on the local network, on a disk, or on the Hub.

    On the network, prints the command for the other machine, and serves the model's
    files, which anybody there can then read, until Ctrl-C. Nothing else of this machine
    can be read, and nothing written.

    With --to, copies the model's folder and reads the copy back. With --hub, uploads it
    with a model card, after a question. After an interruption, the same command continues.

    Example: gptoss-mlx share 20b
    """
    from gptoss_mlx.cli.model_folder import model_folder

    _check_options(host, port, to, hub, private or yes)
    folder = model_folder(model, _find)
    if to is not None:
        from gptoss_mlx.cli.share_disk import share_to_disk

        share_to_disk(model, folder, Path(to))
        return
    if hub is not None:
        from gptoss_mlx.cli.share_hub import share_to_hub

        share_to_hub(model, folder, hub, private=private, yes=yes)
        return
    share_on_network(folder, host=host or ANY_HOST, port=port)


def _find(model: str) -> Path:
    """Return a model's folder.

    Raises:
        ShareError: Its files are links, into the Hugging Face cache.
        ModelNotFoundError: There is no such model.
    """
    from gptoss_mlx.errors import ModelNotFoundError, ShareError
    from gptoss_mlx.sharing.cached_models import find_cached
    from gptoss_mlx.store import resolve

    try:
        return resolve(model)
    except ModelNotFoundError:
        if find_cached(model) is None:
            raise
    raise ShareError(
        f"{model} must be in the store to be shared, but is in the Hugging Face cache.",
        hint=f"On the other machine: gptoss-mlx download {model}",
    )


def _check_options(
    host: str | None, port: int | None, to: str | None, hub: str | None, asks: bool
) -> None:
    """Refuse options of two ways to share, and empty ones.

    Raises:
        BadParameter: There are some.
    """
    network = host is not None or port is not None
    if (to is not None) + (hub is not None) + network > 1:
        raise typer.BadParameter(
            "--to is for a disk, --hub for the Hub, --host and --port are for the network: "
            "name one of them."
        )
    if asks and hub is None:
        raise typer.BadParameter("--private and --yes are for --hub.")
    # As from "$DISK" that is not set: it is not meant to be this folder, or all networks.
    for option, value in (("--to", to), ("--host", host), ("--hub", hub)):
        if value is not None and not value.strip():
            raise typer.BadParameter("must not be empty.", param_hint=option)


def share_on_network(folder: Path, *, host: str, port: int | None) -> None:
    """Serve and announce a folder until Ctrl-C, and show who fetches what."""
    from gptoss_mlx.cli.fetch_view import show_fetches
    from gptoss_mlx.macos import awake, firewall_hint
    from gptoss_mlx.sharing.announce import announce, own_addresses
    from gptoss_mlx.sharing.serve import serve

    try:
        with ExitStack() as stack:
            stack.enter_context(awake())
            server = stack.enter_context(serve(folder, host=host, port=port, say=say))
            addresses = own_addresses() if host == ANY_HOST else [host]
            _tell(folder, server, addresses)
            if hint := firewall_hint():
                say(hint)
            networks = None if host == ANY_HOST else [host]
            stack.enter_context(
                announce(
                    server.models, server.port, addresses, say=say, interfaces=networks
                )
            )
            show_fetches(server.fetchers)
    except KeyboardInterrupt:
        say("Stopped sharing.")


def _tell(folder: Path, server: ShareServer, addresses: list[str]) -> None:
    from gptoss_mlx.cli.progress import size_text
    from gptoss_mlx.sharing.address import Address
    from gptoss_mlx.sharing.pull import pull_command

    (model,) = server.models
    say(f"Sharing {folder}, {size_text(model.nbytes)}, until Ctrl-C.")
    if not addresses:
        say("This machine has no address on a network, so only it can reach the model.")
    first, *others = addresses or ["127.0.0.1"]
    address = Address(first, server.port, model.name, model.digest)
    say("On the other machine:")
    print_line(pull_command(address))
    if others:
        say(f"If {first} cannot be reached from there: {', '.join(others)}")
    if sys.stderr.isatty():
        import segno

        say("A phone that reads this shows the command, and how to install gptoss-mlx:")
        segno.make(address.url, error="l").terminal(out=sys.stderr, compact=True)
