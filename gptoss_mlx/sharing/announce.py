"""Announces shared models on the local network by mDNS, and finds them.

Source: https://www.rfc-editor.org/rfc/rfc6763
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gptoss_mlx.errors import ShareError
from gptoss_mlx.sharing.peer import Offer, parse_offer

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

    from gptoss_mlx.sharing.shared_model import SharedModel

__all__ = ["SEARCH_S", "SERVICE", "announce", "find_offers", "own_addresses"]

SERVICE = "_gptoss-mlx._tcp.local."
SEARCH_S = 2.5
"""Seconds in which machines of the local network answer."""
MAX_OFFERS = 100
FAREWELL_S = 5.0

INTERFACES: Sequence[str] | None = None
"""Addresses of the networks to announce and search on; None: all."""

_VIRTUAL = ("docker", "br-", "veth", "virbr", "utun", "awdl", "llw", "bridge", "vmnet")


def own_addresses() -> list[str]:
    """Return this machine's IPv4 addresses on networks, the likeliest first."""
    import ifaddr

    found: list[tuple[bool, bool, str]] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if not ip.is_IPv4:
                continue
            address = ipaddress.ip_address(str(ip.ip))
            if not address.is_loopback and not address.is_link_local:
                is_virtual = adapter.nice_name.startswith(_VIRTUAL)
                found.append((is_virtual, not address.is_private, str(address)))
    return [address for *_, address in sorted(found, key=lambda entry: entry[:2])]


@contextmanager
def announce(
    models: Sequence[SharedModel],
    port: int,
    addresses: Sequence[str],
    *,
    say: Callable[[str], None],
    interfaces: Sequence[str] | None = None,
) -> Iterator[None]:
    """Announce models until the context ends. It begins at once: this takes a second.

    Args:
        models: What is shared.
        port: The server's port.
        addresses: The server's IPv4 addresses.
        say: Called with a sentence if the system allows no announcement.
        interfaces: Addresses of the networks to announce on. None: ``INTERFACES``.
    """
    ended = threading.Event()

    def work() -> None:
        try:
            with _opened(interfaces) as zeroconf:
                for model in models:
                    zeroconf.register_service(_service(model, port, addresses))
                ended.wait()
        except Exception as error:  # whatever it is, the models are served
            say(
                f"Not announced on the network: {_reason(error)}. The command works all "
                "the same."
            )

    # In a thread of its own, since a signal must not interrupt a registration.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(FAREWELL_S)


def _service(model: SharedModel, port: int, addresses: Sequence[str]) -> ServiceInfo:
    from zeroconf import ServiceInfo

    # No name of the machine: the system announces that itself.
    token = secrets.token_hex(4)
    return ServiceInfo(
        SERVICE,
        f"{model.name[:40]}-{token}.{SERVICE}",
        addresses=[socket.inet_aton(address) for address in addresses],
        port=port,
        properties={
            "name": model.name,
            "digest": model.digest,
            "bytes": str(model.nbytes),
            "recipe": model.recipe[:40],
        },
        server=f"gptoss-mlx-{token}.local.",
    )


def find_offers(
    seconds: float = SEARCH_S,
    *,
    interfaces: Sequence[str] | None = None,
    enough: Callable[[list[Offer]], bool] = lambda offers: False,
) -> list[Offer]:
    """Return the models that machines on the local network announce, by name.

    Args:
        seconds: How long to listen.
        interfaces: Addresses of the networks to listen on. None: ``INTERFACES``.
        enough: Called with what was found so far; whether to stop listening.

    Raises:
        ShareError: The system allows no search.
    """
    found: dict[str, Offer] = {}
    changed = threading.Event()

    class Listener:
        """Keeps what is announced."""

        def add_service(self, zeroconf: Zeroconf, service: str, name: str) -> None:
            info = zeroconf.get_service_info(service, name, timeout=1000)
            offer = None if info is None else _offer(info)
            if offer is not None and len(found) < MAX_OFFERS:
                found[name] = offer
                changed.set()

        def update_service(self, zeroconf: Zeroconf, service: str, name: str) -> None:
            self.add_service(zeroconf, service, name)

        def remove_service(self, zeroconf: Zeroconf, service: str, name: str) -> None:
            found.pop(name, None)

    until = time.monotonic() + seconds
    try:
        with _opened(interfaces) as zeroconf:
            from zeroconf import ServiceBrowser

            listener: Any = Listener()
            browser = ServiceBrowser(zeroconf, SERVICE, listener)
            while (left := until - time.monotonic()) > 0 and not enough([*found.values()]):
                changed.wait(min(left, 0.2))
                changed.clear()
            browser.cancel()
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise ShareError(
            f"The network cannot be searched: {_reason(error)}.",
            hint="Name the address: gptoss-mlx pull http://ADDRESS:PORT/NAME",
        ) from error
    return sorted(found.values(), key=lambda offer: (offer.name, offer.address.url))


@contextmanager
def _opened(interfaces: Sequence[str] | None) -> Iterator[Zeroconf]:
    from zeroconf import InterfaceChoice, IPVersion, Zeroconf

    given = INTERFACES if interfaces is None else interfaces
    # zeroconf says neither of these plainly, and leaves a socket open.
    if given is None and not own_addresses():
        raise OSError(errno.ENETDOWN, "this machine is on no network with IPv4")
    for address in given or ():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
            ours.bind((address, 0))
    chosen: Any = InterfaceChoice.All if given is None else list(given)
    zeroconf = Zeroconf(interfaces=chosen, ip_version=IPVersion.V4Only)
    try:
        yield zeroconf
    finally:
        zeroconf.close()


def _reason(error: Exception) -> str:
    """Describe why mDNS does not work here."""
    if isinstance(error, ImportError):
        return f"the package {error.name} is not installed"
    return getattr(error, "strerror", None) or str(error) or repr(error)


def _offer(info: ServiceInfo) -> Offer | None:
    """Read an announcement, which anybody on the network may have sent."""
    texts: dict[str, object] = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in info.properties.items()
        if value is not None
    }
    nbytes = texts.get("bytes")
    if not isinstance(nbytes, str) or not nbytes.isdecimal():
        return None
    hosts = info.parsed_addresses()
    if not hosts or info.port is None or len(nbytes) > 18:
        return None
    return parse_offer(hosts[0], info.port, {**texts, "bytes": int(nbytes)})
