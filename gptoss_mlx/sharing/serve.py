"""Serves converted folders read-only over HTTP/1.1, with ranges, to the local network."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_mlx.errors import ShareError
from gptoss_mlx.sharing.fetchers import Fetchers
from gptoss_mlx.sharing.shared_model import SharedModel, open_shared

if TYPE_CHECKING:
    import uvicorn

__all__ = ["PORT", "ShareServer", "serve"]

PORT = 8765
MAX_CONNECTIONS = 512
MAX_HEADER_BYTES = 16 << 10
IDLE_S = 15.0
"""Seconds after which a connection without progress is closed."""
START_S = 10.0
GOODBYE_S = 1

# macOS gives a terminal's programs 256 open files.
OPEN_FILES = 2 * MAX_CONNECTIONS

_SILENT_LOGS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"null": {"class": "logging.NullHandler"}},
    "loggers": {
        name: {"handlers": ["null"], "propagate": False}
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access")
    },
}


class ShareServer:
    """A running server.

    Attributes:
        models: What it serves.
        port: The port that it listens on.
        fetchers: Who has fetched what.
    """

    def __init__(
        self,
        models: Sequence[SharedModel],
        listening: socket.socket,
        say: Callable[[str], None],
    ) -> None:
        self.models = models
        self.port: int = listening.getsockname()[1]
        self.fetchers = Fetchers()
        self._server = _make_server(models, self.fetchers, say)
        self._socket = listening
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the server's thread, and wait until it answers.

        Raises:
            ShareError: It does not start.
        """
        _allow_open_files()
        self._thread.start()
        for _ in range(round(START_S / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            self._thread.join(0.01)
        if not self._server.started:
            raise ShareError("The server must start but does not.")

    def stop(self) -> None:
        """Close all connections, and wait for the end of the thread."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        sweeping = asyncio.create_task(_close_idle(self._server))
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            sweeping.cancel()
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            self._socket.close()


@contextmanager
def serve(
    *folders: Path,
    host: str = "0.0.0.0",  # noqa: S104 - it is for the network
    port: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[ShareServer]:
    """Serve converted folders until the context ends.

    Only the files that their manifests list can be read, and only as they were when the
    context began: each is opened once.

    Args:
        folders: Converted folders, with different names.
        host: Address to listen on.
        port: 0: any free one. None: ``PORT``, or any free one if that is in use.
        say: Called with a sentence about a file that cannot be read any more.

    Raises:
        ShareError: The address or the port cannot be used.
        VerifyError: A folder has no manifest, or a file has another length.
        StorageError: A file cannot be opened, or is not a file of the folder.
    """
    with ExitStack() as stack:
        models = [stack.enter_context(open_shared(folder)) for folder in folders]
        listening = _listen(host, PORT if port is None else port, again=port is None)
        server = ShareServer(models, listening, say)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _listen(host: str, port: int, *, again: bool) -> socket.socket:
    """Listen on a port; with ``again``, on any free one if it is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        # Two sockets may be bound to a port, but only one listens.
        listening.listen()
    except (OSError, OverflowError, UnicodeError) as error:
        listening.close()
        if again and getattr(error, "errno", None) == errno.EADDRINUSE:
            return _listen(host, 0, again=False)
        reason = getattr(error, "strerror", None) or str(error)
        in_use = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        raise ShareError(
            f"{host}, port {port}, cannot be used: {reason}.",
            hint=None
            if in_use
            else "Name an address of this machine, or leave out --host.",
        ) from error
    return listening


def _make_server(
    models: Sequence[SharedModel], fetchers: Fetchers, say: Callable[[str], None]
) -> uvicorn.Server:
    import uvicorn

    from gptoss_mlx.sharing.share_app import make_app

    config = uvicorn.Config(
        make_app(models, sent=fetchers.sent, say=say),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=_SILENT_LOGS,
        access_log=False,
        server_header=False,
        # Otherwise a client may choose the address that is shown for it.
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=round(IDLE_S),
        timeout_graceful_shutdown=GOODBYE_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    return uvicorn.Server(config)


async def _close_idle(server: uvicorn.Server) -> None:
    """Close connections without progress: uvicorn waits for them without end."""
    loop = asyncio.get_running_loop()
    seen: dict[Any, tuple[object, float]] = {}
    while True:
        await asyncio.sleep(1.0)
        now = loop.time()
        connections: list[Any] = list(server.server_state.connections)
        states = {connection: _state(connection) for connection in connections}
        seen = {
            connection: seen[connection]
            if connection in seen and seen[connection][0] == state
            else (state, now)
            for connection, state in states.items()
        }
        for connection, (state, since) in seen.items():
            if state is not None and now - since > IDLE_S:
                connection.transport.abort()


def _state(connection: Any) -> object:
    """Return what stays the same while a client sends no request or reads no answer.

    None while an answer waits for this machine.
    """
    cycle, waiting = connection.cycle, connection.transport.get_write_buffer_size()
    if cycle is None or cycle.response_complete or waiting:
        return id(cycle), waiting
    return None


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
