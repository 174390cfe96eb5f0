"""What the share server answers: a list of models, and bytes of the files they list.

    GET /                    [{"name": ..., "digest": ..., "bytes": ..., "recipe": ...}],
                             or a page that says the same to a browser
    GET /NAME[@DIGEST]       the page for a browser, as the QR code has its address
    GET /NAME/manifest.json
    GET /NAME/manifest.sha256
    GET /NAME/FILE           a file that the manifest lists; whole, or one range of it

Source: https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gptoss_mlx.manifest_digest import model_id
from gptoss_mlx.sharing.share_page import page_response, wants_page

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from gptoss_mlx.sharing.shared_model import SharedFile, SharedModel

__all__ = ["make_app"]

READ_BYTES = 1 << 20
MIN_READ_BYTES = 16 << 10
BUFFER_BYTES = 3 << 20
"""Bytes that all answers together hold in memory, while not too many are under way."""

_RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{1,19})?|-(\d{1,19}))")

Sent = Callable[[str, str, int, int], None]
"""Called with the client's address, ``NAME/FILE``, the bytes sent, and its length."""


def make_app(
    models: Sequence[SharedModel], *, sent: Sent, say: Callable[[str], None]
) -> Starlette:
    """Return the application that serves ``models``.

    Args:
        models: Open models, with different names.
        sent: Called after each piece that was sent.
        say: Called with a sentence about a file that cannot be read any more.
    """
    files = {
        f"{model.name}/{name}": file
        for model in models
        for name, file in model.files.items()
    }
    listing = [
        {"name": m.name, "digest": m.digest, "bytes": m.nbytes, "recipe": m.recipe}
        for m in models
    ]
    pages = {
        path: model
        for model in models
        for path in (model.name, model_id(model.name, model.digest))
    }
    buffers = _Buffers()
    told: set[str] = set()

    def say_once(line: str) -> None:
        # Clients try again, over several connections.
        if line not in told:
            told.add(line)
            say(line)

    async def list_models(request: Request) -> Response:
        if wants_page(request.headers.get("accept", "")):
            return _page(models, request)
        return JSONResponse(listing, headers={"vary": "accept"})

    async def model_page(request: Request) -> Response:
        model = pages.get(request.path_params["model"])
        if model is None or not wants_page(request.headers.get("accept", "")):
            return _not_found()
        return _page([model], request)

    async def file_bytes(request: Request) -> Response:
        name = f"{request.path_params['model']}/{request.path_params['file']}"
        file = files.get(name)
        if file is None:
            return _not_found()
        wanted = request.headers.get("range")
        condition = request.headers.get("if-range")
        if condition is not None and condition != f'"{file.sha256}"':
            wanted = None
        span = _span(wanted, file.nbytes)
        if span is None:
            headers = {"content-range": f"bytes */{file.nbytes}"}
            return Response(status_code=416, headers=headers)
        return _FileBytes(name, file, span, wanted is not None, buffers, sent, say_once)

    routes = [
        Route("/", list_models),
        Route("/{model}", model_page),
        Route("/{model}/{file}", file_bytes),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


def _not_found() -> Response:
    return PlainTextResponse("Not Found", status_code=404)


def _page(models: Sequence[SharedModel], request: Request) -> Response:
    # Not the Host header, which is whatever the client says.
    host, port = request.scope["server"]
    return page_response(models, host, port)


def _span(wanted: str | None, nbytes: int) -> tuple[int, int] | None:
    """Return the first byte and the end of a range; None for one that is not served.

    Several ranges in one request are not served: nobody needs them, and small ones that
    overlap cost more than they carry.
    """
    if wanted is None:
        return 0, nbytes
    found = _RANGE.fullmatch(wanted)
    if found is None:
        return None
    if found[3] is not None:
        start, end = max(0, nbytes - int(found[3])), nbytes
    else:
        start = int(found[1])
        end = min(nbytes, int(found[2]) + 1) if found[2] is not None else nbytes
    return (start, end) if start < end else None


class _Buffers:
    """Decides how much each answer may hold in memory.

    Clients that do not read make answers wait with a full buffer. The more is held, the
    smaller is the next piece, so that others are still served.
    """

    def __init__(self) -> None:
        self._free = BUFFER_BYTES

    def take(self) -> int:
        nbytes = min(READ_BYTES, max(MIN_READ_BYTES, self._free // 3))
        self._free -= nbytes
        return nbytes

    def give_back(self, nbytes: int) -> None:
        self._free += nbytes


class _FileBytes(Response):
    """A part of a file, read a piece at a time in another thread."""

    def __init__(
        self,
        name: str,
        file: SharedFile,
        span: tuple[int, int],
        is_part: bool,
        buffers: _Buffers,
        sent: Sent,
        say: Callable[[str], None],
    ) -> None:
        start, end = span
        headers = {
            "content-length": str(end - start),
            "accept-ranges": "bytes",
            "x-content-type-options": "nosniff",
        }
        if file.sha256:
            headers["etag"] = f'"{file.sha256}"'
        if is_part:
            headers["content-range"] = f"bytes {start}-{end - 1}/{file.nbytes}"
        self.status_code = 206 if is_part else 200
        self.media_type = "application/octet-stream"
        self.background = None
        self.init_headers(headers)
        self._name, self._file, self._span = name, file, span
        self._buffers, self._sent, self._say = buffers, sent, say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        if scope["method"] == "HEAD" or self._span[0] == self._span[1]:
            await send({"type": "http.response.body", "body": b""})
            return
        left = asyncio.create_task(_until_gone(receive))
        try:
            await self._stream(scope, send, left)
        finally:
            left.cancel()

    async def _stream(self, scope: Scope, send: Send, left: asyncio.Task[None]) -> None:
        place, end = self._span
        client = scope["client"][0] if scope.get("client") else "?"
        loop = asyncio.get_running_loop()
        held = [0]  # the piece before this one may still be in the connection's buffer
        try:
            while place < end and not left.done():
                held.append(self._buffers.take())
                nbytes = min(held[-1], end - place)
                try:
                    piece = await loop.run_in_executor(None, self._file.read, place, nbytes)
                except OSError as error:
                    self._say(f"{self._name}: cannot be read: {error.strerror}.")
                    raise
                if not piece:
                    self._say(f"{self._name}: is shorter than when sharing began.")
                    raise EOFError(self._name)
                place += len(piece)
                more = place < end
                await send({"type": "http.response.body", "body": piece, "more_body": more})
                self._buffers.give_back(held.pop(0))
                self._sent(client, self._name, len(piece), self._file.nbytes)
        finally:
            self._buffers.give_back(sum(held))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
