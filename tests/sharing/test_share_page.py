"""The page that the share server has for a browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from shared_folder import CONFIG, Served, serve_apart, status_of, write_shared_folder
from starlette.applications import Starlette
from starlette.types import Message, Scope

from gptoss_mlx.manifest_digest import digest_of, model_id
from gptoss_mlx.sharing.share_app import make_app
from gptoss_mlx.sharing.share_page import wants_page
from gptoss_mlx.sharing.shared_model import SharedModel

BROWSER = (
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
)
HOSTILE = "<script src=//x>alert(1)</script>\"'&\x1b[31m\u202e"


class Page(HTMLParser):
    """What a page has: its elements, their attributes, and its text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, str | None] = {}
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.tags.add(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.texts.append(data)


def head_and_body(answer: bytes) -> tuple[str, str]:
    """The two parts of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def body_of(app: Starlette, path: str, *, accept: str) -> str:
    """What an app answers to one request, without a socket."""
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(b"accept", accept.encode())],
        "server": ("127.0.0.1", 8765),
        "client": ("127.0.0.1", 50_000),
    }
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        parts.append(message.get("body", b""))

    asyncio.run(app(scope, receive, send))
    return b"".join(parts).decode()


def test_a_browser_gets_the_name_and_the_command(served: Served) -> None:
    """With the address at which it has reached this machine, whatever host it names."""
    digest = digest_of(served.folder)
    name = model_id("tiny-q8", digest)

    answer = served.get("/", BROWSER)

    head, body = head_and_body(answer)
    assert status_of(answer) == 200
    assert "content-type: text/html; charset=utf-8" in head
    assert f"gptoss-mlx pull http://127.0.0.1:{served.port}/{name}<" in body
    for shown in ("<h1>tiny-q8</h1>", "33.6 MB", "exact", digest, "uv tool install ."):
        assert shown in body


@pytest.mark.parametrize("path", ["/tiny-q8@{}", "/tiny-q8"])
def test_the_address_in_the_qr_code_has_the_page(served: Served, path: str) -> None:
    """It is that of the model, with its digest; without Accept nothing is there."""
    path = path.format(digest_of(served.folder)[:32])

    assert "gptoss-mlx pull http://" in served.body(path, BROWSER).decode()
    assert status_of(served.get(path)) == 404


def test_another_digest_has_no_page(served: Served) -> None:
    """Whoever follows an old address is not told of another model."""
    assert status_of(served.get(f"/tiny-q8@{'0' * 32}", BROWSER)) == 404


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/json", "text/html;q=0", "text/html;q=0.5, application/json"],
)
def test_a_program_gets_the_list_as_before(served: Served, accept: str) -> None:
    """``pull`` sends ``*/*``, curl too: only a browser names text/html."""
    answer = served.get("/", *([f"Accept: {accept}"] if accept else []))

    head, body = head_and_body(answer)
    assert "content-type: application/json" in head
    assert [entry["name"] for entry in json.loads(body)] == ["tiny-q8"]


@pytest.mark.parametrize(
    "accept", ["text/html", "TEXT/HTML ; q=1", "*/*;q=0.1,text/html;q=.x"]
)
def test_text_html_asks_for_the_page(accept: str) -> None:
    """However it is written; a quality that is none counts as 1."""
    assert wants_page(accept)


def test_head_has_the_length_and_no_body(served: Served) -> None:
    """The same headers as GET."""
    got, body = head_and_body(served.get("/", BROWSER))

    head, nothing = head_and_body(served.get("/", BROWSER, method="HEAD"))

    assert nothing == ""
    assert f"content-length: {len(body.encode())}" in head
    assert re.sub("date: .*", "", head) == re.sub("date: .*", "", got)


def test_the_page_stands_alone(served: Served) -> None:
    """No script, no address to load from, and a policy that allows its own style alone."""
    head, body = head_and_body(served.get("/", BROWSER))

    page = Page(body)
    style = re.search("<style>(.*?)</style>", body, re.DOTALL)
    assert style is not None
    known = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{known}'; base-uri 'none'" in head
    assert not page.tags & {"script", "a", "img", "link", "iframe", "form", "object"}
    assert not {"href", "src", "style", "onclick"} & set(page.attributes)
    for line in ("x-content-type-options: nosniff", "referrer-policy: no-referrer"):
        assert line in head


def test_a_hostile_folder_and_recipe_are_shown_as_text(tmp_path: Path) -> None:
    """The name has no character that HTML or a shell reads; the recipe is escaped."""
    folder = tmp_path / "<script>alert(1)<" / 'b onclick="x" $(id) \'&amp; \u202e'
    write_shared_folder(folder, {"config.json": CONFIG})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["recipe"] = HOSTILE
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with serve_apart(folder) as (port, process):
        body = Served(port, process, folder).body("/", BROWSER).decode()

    page = Page(body)
    assert "<h1>b-onclick-x-id-amp</h1>" in body
    assert not page.tags & {"script", "b"}
    assert "onclick" not in page.attributes
    assert r"<script src=//x>alert(1)</script>" in html.unescape(body)
    assert "\x1b" not in body
    assert "\u202e" not in body


def test_every_field_of_a_model_is_escaped() -> None:
    """Also those that have no such characters today."""
    model = SharedModel(HOSTILE, HOSTILE, HOSTILE, 0, {})
    app = make_app([model], sent=lambda *_: None, say=lambda _: None)

    page = Page(body_of(app, "/", accept="text/html"))
    assert "script" not in page.tags
    assert HOSTILE.partition("\x1b")[0] in "".join(page.texts)
