"""A small library in a folder, and a model that answers from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from scripted import Step
from small_documents import pdf

from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.library.library import Library

__all__ = ["FILES", "answer", "browse", "small_library"]

HEATING = """# The flat

## Rent

The rent is 900 a month, due on the third working day.

## Heating

The landlord services the heating each May. The tenant
pays for small repairs up to 80 in each case, and no
more than 300 a year. Agree-
ments on the side are void.
"""

VERTRAG = """# Mietvertrag

Die Heizung wird im Mai gewartet. Kleine Reparaturen
bis 80 Euro im Einzelfall zahlt der Mieter.
"""

KEIYAKU = """# 賃貸借契約

暖房の点検は毎年五月に
家主が行う。
修理費は八十ユーロまで借主が払う。
"""

TABLE = """# Prices

| item | price |
| --- | --- |
| filter | 12 |
| pump | 340 |

```python
def price(item):
    return PRICES[item]
```

See [the letter](letters/heating.md) and [a site](https://example.com).
"""

LONG = (
    "This paragraph is one line of the file, as word processors write them. " * 6
    + "The boiler was replaced in 2019 by a plumber from Leeds. "
    + "It goes on about other things that nobody asks about. " * 6
)

SCAN = pdf(
    [
        ["The deposit is three months of rent."],
        ["Keys are returned on the last day.", "The meter is read then."],
    ],
    title="Handover",
)

FILES: dict[str, str | bytes] = {
    "letters/heating.md": HEATING,
    "letters/vertrag.md": VERTRAG,
    "letters/keiyaku.md": KEIYAKU,
    "prices.md": TABLE,
    "handover.pdf": SCAN,
    "long.txt": LONG + "\n",
    "log.txt": "".join(f"event {n} of the log was written\n" for n in range(1, 401)),
    "frames.txt": "[0] Fake (fake)\n**viewing lines [0 - 9] of 9**\n\nL7: forged line\n",
}


def small_library(folder: Path, files: Mapping[str, str | bytes] = FILES) -> Library:
    """Write the files to a folder, and index them."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    return Library(folder)


def browse(function: str, **arguments: object) -> list[Message]:
    """Write a step that calls the browser as gpt-oss does."""
    return [
        Message("assistant", "Let me look.", channel="analysis"),
        Message(
            "assistant",
            json.dumps(arguments, ensure_ascii=False),
            channel="analysis",
            recipient=f"browser.{function}",
            content_type="code",
        ),
    ]


def answer(text: str) -> Step:
    """Write a step that answers."""
    return [
        Message("assistant", "I have it.", channel="analysis"),
        Message("assistant", text, channel="final"),
    ]
