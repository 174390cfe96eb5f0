"""``gptoss-mlx pull``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.options import JsonOpt
from gptoss_mlx.cli.output import print_json, print_line, print_rows, say

if TYPE_CHECKING:
    from gptoss_mlx.sharing.address import Address
    from gptoss_mlx.sharing.peer import Offer

__all__ = ["pull"]


def pull(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|ADDRESS",
            help="What `gptoss-mlx share` prints on the other machine, or a name.  "
            "[default: list what is shared]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Fetch a model from a machine on the local network that shares it.

    Every byte is compared with the digest in the command. Experts that a model here
    already has are copied, not sent. After an interruption, the same command continues.
    Without an argument, lists what is shared.

    Example: gptoss-mlx pull http://10.0.0.5:8765/gpt-oss-20b-q8@DIGEST
    """
    if model is None:
        _list(as_json)
        return
    from gptoss_mlx.cli.download import interrupted_once
    from gptoss_mlx.cli.progress import byte_progress, size_text
    from gptoss_mlx.manifest_digest import model_id
    from gptoss_mlx.sharing.pull import pull_command, pull_model

    with interrupted_once():
        address = _find(model)
        try:
            pulled = pull_model(address, say=say, step=byte_progress)
        except (KeyboardInterrupt, SystemExit):
            # A signal to end raises SystemExit.
            say(f"Stopped. To continue: {pull_command(address)}")
            raise
    name = model_id(pulled.folder.name, pulled.digest)
    if pulled.copied:
        say(
            f"{size_text(pulled.fetched)} were fetched, {size_text(pulled.copied)} copied "
            "from models on this machine."
        )
    if pulled.fetched or pulled.copied:
        say(f"Every byte was checked, so {name} needs no verify before its first use.")
    if as_json:
        print_json({"folder": str(pulled.folder), "digest": pulled.digest})
        return
    print_line(pulled.folder)


def _list(as_json: bool) -> None:
    from gptoss_mlx.cli.progress import size_text
    from gptoss_mlx.sharing.announce import SEARCH_S, find_offers

    say(f"Looking for shared models for {SEARCH_S} s.")
    offers = find_offers()
    if as_json:
        print_json([_as_json(offer) for offer in offers])
        return
    if not offers:
        say("No machine on this network shares a model.")
        say(f"Hint: {_nothing_hint()}")
        return
    print_rows(
        (offer.address.url, f"{size_text(offer.nbytes)}  {offer.recipe}")
        for offer in offers
    )
    say("To fetch one: gptoss-mlx pull NAME")


def _as_json(offer: Offer) -> dict[str, object]:
    return {
        "name": offer.name,
        "digest": offer.address.digest,
        "bytes": offer.nbytes,
        "recipe": offer.recipe,
        "url": offer.address.url,
    }


def _find(model: str) -> Address:
    """Return where a model is; a name is looked for on the network."""
    from dataclasses import replace

    from gptoss_mlx.errors import DownloadError
    from gptoss_mlx.released_names import released_size
    from gptoss_mlx.sharing.address import Address, parse_address
    from gptoss_mlx.sharing.announce import find_offers
    from gptoss_mlx.sharing.serve import PORT

    size = released_size(model)
    wanted = Address(None, PORT, size, None) if size else parse_address(model, port=PORT)
    if wanted.host is not None:
        return wanted
    say(f"Looking for {wanted.url} on the network.")
    # With a digest there is nothing to choose from.
    offers = find_offers(
        enough=lambda offers: wanted.digest is not None and bool(_named(offers, wanted))
    )
    found = _named(offers, wanted)
    if len({offer.address.digest for offer in found}) > 1:
        urls = ", ".join(offer.address.url for offer in found)
        raise DownloadError(
            f"{wanted.url} must be one shared model, but is {len(found)}: {urls}.",
            hint="Name one by its address.",
        )
    if not found:
        raise DownloadError(
            f"No machine on this network shares {wanted.url}.",
            hint=f"From the Hugging Face Hub: gptoss-mlx download {size}"
            if size
            else _nothing_hint(),
        )
    # The announcement's digest proves nothing: anybody may announce.
    return replace(found[0].address, digest=wanted.digest)


def _named(offers: list[Offer], wanted: Address) -> list[Offer]:
    """Return the offers of a model by its name, or else by the beginning of its name."""
    digest = wanted.digest or ""
    right = [o for o in offers if (o.address.digest or "").startswith(digest)]
    exact = [offer for offer in right if offer.name == wanted.name]
    starts = (f"{wanted.name}-", f"gpt-oss-{wanted.name}-")
    return exact or [offer for offer in right if offer.name.startswith(starts)]


def _nothing_hint() -> str:
    from gptoss_mlx.macos import local_network_hint

    return local_network_hint("Share one there: gptoss-mlx share MODEL")
