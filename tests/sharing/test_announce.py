"""Models announced on the local network; here on localhost only."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_folder import write_shared_folder

from gptoss_mlx.errors import ShareError
from gptoss_mlx.sharing.announce import SERVICE, announce, find_offers, own_addresses
from gptoss_mlx.sharing.peer import Offer
from gptoss_mlx.sharing.shared_model import SharedModel, open_shared

LOCALHOST = ["127.0.0.1"]


@pytest.fixture
def model(tmp_path: Path) -> SharedModel:
    """A description of a shared folder."""
    # Of its own digest, whatever else this machine announces.
    content = f"{tmp_path} {time.time()}".encode()
    write_shared_folder(tmp_path / "tiny-q8", {"config.json": content})
    with open_shared(tmp_path / "tiny-q8") as model:
        return model


def test_an_announced_model_is_found(model: SharedModel) -> None:
    """With its address, digest, bytes and recipe; and in a second or two."""
    began = time.monotonic()
    told: list[str] = []
    with announce([model], 8765, LOCALHOST, say=told.append, interfaces=LOCALHOST):
        offers = find_offers(
            10.0, interfaces=LOCALHOST, enough=lambda offers: bool(ours(offers, model))
        )
    (offer,) = ours(offers, model)

    assert offer.address.host == "127.0.0.1"
    assert offer.address.port == 8765
    assert (offer.name, offer.address.digest) == ("tiny-q8", model.digest)
    assert (offer.nbytes, offer.recipe) == (model.nbytes, "exact")
    assert time.monotonic() - began < 10
    assert told == []


def test_a_network_that_cannot_be_told_is_no_error(model: SharedModel) -> None:
    """The address works all the same."""
    told: list[str] = []
    with announce([model], 8765, LOCALHOST, say=told.append, interfaces=["192.0.2.1"]):
        until = time.monotonic() + 10
        while not told and time.monotonic() < until:
            time.sleep(0.01)

    (line,) = told
    assert line.startswith("Not announced on the network: ")


def without_network(monkeypatch: pytest.MonkeyPatch) -> str:
    """Wi-Fi is off, and there is no cable."""
    monkeypatch.setattr("ifaddr.get_adapters", list)
    return "this machine is on no network with IPv4"


def without_zeroconf(monkeypatch: pytest.MonkeyPatch) -> str:
    """The package was removed."""
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    return "the package zeroconf is not installed"


@pytest.mark.parametrize("damage", [without_network, without_zeroconf])
def test_without_a_network_pull_and_share_say_so(
    model: SharedModel,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[pytest.MonkeyPatch], str],
) -> None:
    """No traceback: a search is a named error, an announcement a line."""
    monkeypatch.setattr("gptoss_mlx.sharing.announce.INTERFACES", None)
    reason = damage(monkeypatch)
    told: list[str] = []

    with pytest.raises(ShareError) as error:
        find_offers(0.1)
    with announce([model], 8765, [], say=told.append):
        until = time.monotonic() + 10
        while not told and time.monotonic() < until:
            time.sleep(0.01)

    assert str(error.value) == f"The network cannot be searched: {reason}."
    assert told == [
        f"Not announced on the network: {reason}. The command works all the same."
    ]


def ours(offers: list[Offer], model: SharedModel) -> list[Offer]:
    """Leave out what other processes of this machine announce."""
    return [offer for offer in offers if offer.address.digest == model.digest]


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"name": "../evil"},
        {"name": "a\x1b[2J"},
        {"digest": "0"},
        {"bytes": "-1"},
        {"bytes": "9" * 30},
        {"bytes": "²"},
        {"recipe": None},
    ],
)
def test_a_strange_announcement_is_left_out(properties: dict[str, str | None]) -> None:
    """Anybody on the network may send one."""
    from zeroconf import ServiceInfo

    from gptoss_mlx.sharing.announce import _offer

    usual: dict[str, str | None] = {
        "name": "tiny",
        "digest": "0" * 64,
        "bytes": "3",
        "recipe": "q8",
    }
    told = {**usual, **properties} if properties else {}
    info = ServiceInfo(
        SERVICE,
        f"x.{SERVICE}",
        addresses=[socket.inet_aton("127.0.0.1")],
        port=1,
        properties=told,
    )

    assert _offer(info) is None


def test_own_addresses_are_not_of_this_machine_alone() -> None:
    """No loopback and no self-assigned address is told to another machine."""
    assert not [a for a in own_addresses() if a.startswith(("127.", "169.254."))]
