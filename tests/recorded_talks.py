"""Conversations about files as they may be recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from played_turns import tokens_of
from scripted import Step, call
from small_library import answer, browse

from gptoss_mlx.harmony.messages import Message

__all__ = ["HEATING", "PDF", "QUESTION", "TALKS", "Talk"]

HEATING, VERTRAG = "docs/letters/heating.md", "docs/letters/vertrag.md"
KEIYAKU, PRICES, PDF = "docs/letters/keiyaku.md", "docs/prices.md", "docs/handover.pdf"

QUESTION = "Who services the heating?"
MAY = '"The landlord services the heating each May."'

Lines = tuple[str, int, int]


@dataclass(frozen=True)
class Talk:
    """A conversation as it may be recorded.

    Attributes:
        steps: What the model writes.
        shown: The answer for the user.
        status: The exit status.
        verified: Document and lines of the citations that hold.
        problems: What is wrong with the others, in words of it.
        results: In the tools' results, in words of each; the search that is made first
            among them.
        options: Of the command.
        forever: Whether the script begins anew at its end.
    """

    steps: Sequence[Step]
    shown: str
    status: int = 0
    verified: tuple[Lines, ...] = ()
    problems: tuple[str, ...] = ()
    results: tuple[str, ...] | None = None
    options: tuple[str, ...] = ()
    forever: bool = False


def raw(text: str) -> list[int]:
    """A step in which special tokens are written as such."""
    return tokens_of(text)


TALKS = {
    "search, open, find, answer": Talk(
        [
            browse("search", query="landlord heating"),
            browse("open", id=0, cursor=1),
            browse("find", pattern="small repairs", cursor=2),
            answer(f"{MAY}【2†L8】 Repairs cost up to 80【3†L1】."),
        ],
        f"{MAY}[1] Repairs cost up to 80[2].",
        verified=((HEATING, 9, 9), (HEATING, 10, 10)),
        results=("Search Results", "Search Results", "(docs/letters", "match at L9"),
    ),
    "the answer is in the first search": Talk(
        [answer("The landlord services it each May【0†L5-L6】.")],
        "The landlord services it each May[1].",
        verified=((HEATING, 5, 10),),
        results=("Search Results",),
    ),
    "open the first result": Talk(
        [browse("open", id=0), answer(f"{MAY} 【1†L8】")],
        f"{MAY} [1]",
        verified=((HEATING, 9, 9),),
    ),
    "bad JSON, then well": Talk(
        [
            raw(
                "<|channel|>analysis to=browser.open code<|message|>"
                '{"id": 0, "cursor": }<|call|>'
            ),
            browse("open", id=0),
            answer("In May【1†L8】."),
        ],
        "In May[1].",
        verified=((HEATING, 9, 9),),
        results=("Search Results", "The arguments must be JSON", "L8: The landlord"),
    ),
    "an unknown cursor": Talk(
        [browse("open", id=0, cursor=5), browse("open", id=0), answer("May【1†L8】.")],
        "May[1].",
        verified=((HEATING, 9, 9),),
        results=("Search", "Cursor `5` is out of range", "L8: The landlord"),
    ),
    "a recipient among functions": Talk(
        [call("functions.browser.open", '{"id": 0}'), answer("May【1†L8】.")],
        "May[1].",
        verified=((HEATING, 9, 9),),
    ),
    "a function that is not there": Talk(
        [call("browser.read", '{"id": 0}'), answer("I cannot open it.")],
        "I cannot open it.",
        status=3,
        results=("Search", "There is no function 'read'"),
    ),
    "a tool that is not there": Talk(
        [call("python", "open('x')"), answer("May【0†L5】.")],
        "May[1].",
        verified=((HEATING, 5, 9),),
        results=("Search", "There is no tool 'python'"),
    ),
    "a call on commentary": Talk(
        [
            raw(
                "<|channel|>commentary to=browser.open <|constrain|>json<|message|>"
                '{"id": "docs/letters/heating.md"}<|call|>'
            ),
            answer("Rent is 900【1†L4】."),
        ],
        "Rent is 900[1].",
        verified=((HEATING, 5, 5),),
    ),
    "it says what it does": Talk(
        [
            [
                Message("assistant", "I look at it 【0†L4】.", channel="commentary"),
                *browse("open", id=0)[1:],
            ],
            answer("Rent is 900【1†L4】."),
        ],
        "Rent is 900[2].",
        verified=((HEATING, 5, 5),),
    ),
    "two searches": Talk(
        [
            browse("search", query="Kleine Reparaturen"),
            browse("open", id=0, cursor=1),
            answer("Laut Vertrag „wird im Mai gewartet“【2†L2】."),
        ],
        "Laut Vertrag „wird im Mai gewartet“[1].",
        verified=((VERTRAG, 3, 3),),
    ),
    "no citation": Talk(
        [browse("open", id=0), answer("The landlord does, in May.")],
        "The landlord does, in May.",
        status=3,
    ),
    "a page that was never opened": Talk(
        [answer("The landlord, in May【4†L8】.")],
        "The landlord, in May[1?].",
        status=3,
        problems=("cursor 4 was not opened",),
    ),
    "lines beyond the view": Talk(
        [browse("open", id=0, num_lines=3, loc=0), answer("In May【1†L8】.")],
        "In May[1?].",
        status=3,
        problems=("line 8 was not shown",),
    ),
    "a quotation with another word": Talk(
        [browse("open", id=0), answer('"services the boiler each May"【1†L8】')],
        '"services the boiler each May"[1?]',
        status=3,
        problems=("the quoted words are not in these lines",),
    ),
    "Japanese": Talk(
        [
            browse("open", id=KEIYAKU),
            answer("「暖房の点検は毎年五月に家主が行う」【1†L2-L3】。"),
        ],
        "「暖房の点検は毎年五月に家主が行う」[1]。",
        verified=((KEIYAKU, 3, 4),),
    ),
    "a PDF": Talk(
        [browse("open", id=PDF), answer('"Keys are returned on the last day"【1†L1】.')],
        '"Keys are returned on the last day"[1].',
        verified=((PDF, 2, 2),),
    ),
    "a table and code": Talk(
        [browse("open", id=PRICES), answer("340【1†L5】, from a table【1†L8-L9】.")],
        "340[1], from a table[2].",
        verified=((PRICES, 6, 6), (PRICES, 9, 10)),
    ),
    "some hold": Talk(
        [browse("open", id=0), answer("900【1†L4】, 950【9†L4】, again【1†L4】.")],
        "900[1], 950[2?], again[1].",
        verified=((HEATING, 5, 5),),
        problems=("cursor 9",),
    ),
    "a loop": Talk([browse("open", id=0, loc=0)], "", status=3, forever=True),
    "an empty answer": Talk([browse("open", id=0), answer("")], "", status=3),
    "without a first search": Talk(
        [
            browse("search", query="heating landlord"),
            browse("open", id=0),
            answer("May【1†L8】, not【2†L8】."),
        ],
        "May[1], not[2?].",
        verified=((HEATING, 9, 9),),
        problems=("cursor 2",),
        results=("Search Results", "L8: The landlord"),
        options=("--no-prefetch",),
    ),
    "without any search": Talk(
        [answer("I do not know.")],
        "I do not know.",
        status=3,
        results=(),
        options=("--no-prefetch",),
    ),
    "a path out of the library": Talk(
        [
            browse("open", id="file:///etc/passwd"),
            browse("open", id="docs/../../secret.txt"),
            answer("There is no such file【0†L5】."),
        ],
        "There is no such file[1].",
        verified=((HEATING, 5, 9),),
        results=("Search", "There is no such document", "There is no such document"),
    ),
}
