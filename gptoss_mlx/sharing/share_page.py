"""The page for a browser, such as a phone's that has read the QR code of ``share``.

It stands alone: no script, no picture, no link to elsewhere. Its Content-Security-Policy
allows nothing but its own style.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.responses import Response

from gptoss_mlx.controls import escaped
from gptoss_mlx.sharing.address import Address
from gptoss_mlx.sharing.pull import pull_command

if TYPE_CHECKING:
    from gptoss_mlx.sharing.shared_model import SharedModel

__all__ = ["page_response", "wants_page"]

STYLE = """
:root { color-scheme: light dark; font: 17px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 42rem; padding: 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; }
dt { opacity: 0.7; }
dd { margin: 0 0 0.5rem; overflow-wrap: anywhere; }
code { font: 0.9rem/1.5 ui-monospace, monospace; }
pre { background: #8882; border-radius: 0.5rem; padding: 0.75rem; }
pre code { overflow-wrap: anywhere; white-space: pre-wrap; }
pre code { -webkit-user-select: all; user-select: all; }
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{models}
<h2>If gptoss-mlx is not there yet</h2>
<p>It runs on a Mac with Apple silicon, or on Linux, and is not on PyPI. In a clone of its
repository:</p>
<pre><code>uv tool install .</code></pre>
<p>or <code>pipx install .</code></p>
</body>
</html>
"""

MODEL = """\
<h1>{name}</h1>
<dl>
<dt>Size</dt><dd>{size}</dd>
<dt>Recipe</dt><dd>{recipe}</dd>
<dt>Digest</dt><dd><code>{digest}</code></dd>
</dl>
<p>A machine on this network shares this model. It is used on a computer, not on a phone. To
fetch it there, on the same network, in a terminal:</p>
<pre><code>{command}</code></pre>
<p>Every byte is compared with the digest. This page came unencrypted: to be sure, compare
the command with the one that <code>gptoss-mlx share</code> shows.</p>
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "vary": "accept",
}

_QUALITY = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def wants_page(accept: str) -> bool:
    """Whether an ``Accept`` header asks for a web page, at least as much as for JSON.

    Only ``text/html`` itself asks for one: ``*/*`` comes from programs.
    """
    page = _quality(accept, "text/html")
    return page > 0 and page >= _quality(accept, "application/json")


def page_response(models: Sequence[SharedModel], host: str, port: int) -> Response:
    """Return the page that describes models, and how to fetch them.

    Args:
        models: The models.
        host: The address of this machine at which the browser has reached it.
        port: The port there.
    """
    shown = "\n".join(_described(model, host, port) for model in models)
    title = _text(", ".join(model.name for model in models))
    content = PAGE.format(title=title, style=STYLE, models=shown)
    return Response(content, media_type="text/html", headers=HEADERS)


def _described(model: SharedModel, host: str, port: int) -> str:
    address = Address(host, port, model.name, model.digest)
    size = model.nbytes
    return MODEL.format(
        name=_text(model.name),
        size=f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB",
        recipe=_text(model.recipe),
        digest=_text(model.digest),
        command=_text(pull_command(address)),
    )


def _text(text: str) -> str:
    return html.escape(escaped(text))


def _quality(accept: str, media_type: str) -> float:
    for entry in accept.split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        if kind.lower() == media_type:
            found = (_QUALITY.fullmatch(parameter) for parameter in parameters)
            return next((float(match[1]) for match in found if match), 1.0)
    return 0.0
