"""``gptoss-mlx harmony``: prompts as token ids, and token ids as messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gptoss_mlx.cli.output import print_text

__all__ = ["harmony"]

harmony = typer.Typer(no_args_is_help=True)

FileArg = Annotated[
    Path,
    typer.Argument(
        readable=False,  # an error of our own says more
        metavar="FILE",
        help="File to read, or - for stdin.",
        show_default=False,
    ),
]


@harmony.callback()
def _harmony() -> None:
    """Show prompts and answers as the model reads and writes them.

    Example: gptoss-mlx harmony render chat.json --text
    """


@harmony.command()
def render(
    file: FileArg,
    text: Annotated[bool, typer.Option("--text", help="Print the text.")] = False,
    no_drop: Annotated[
        bool, typer.Option("--no-drop", help="Keep the reasoning of answered turns.")
    ] = False,
    training: Annotated[
        bool,
        typer.Option(
            "--training", help="End with <|return|>, not with the assistant's turn."
        ),
    ] = False,
) -> None:
    """Print the token ids of a conversation, up to the assistant's next turn.

    FILE holds JSON as openai_harmony.Conversation.to_json writes it:
    {"messages": [{"role": "user", "content": "Hi"}]}

    Example: gptoss-mlx harmony render chat.json --text
    """
    # Imported here so that --help does not wait for it.
    import json

    from gptoss_mlx.harmony.json_form import conversation_from_json
    from gptoss_mlx.harmony.render import render_conversation, render_for_training
    from gptoss_mlx.tokenizer import load_tokenizer

    messages = conversation_from_json(_read_json(file, "render"))
    tokenizer = load_tokenizer()
    if training:
        tokens = render_for_training(messages, tokenizer, drop=not no_drop)
    else:
        tokens = render_conversation(messages, tokenizer, drop=not no_drop)
    print_text(tokenizer.decode(tokens) if text else json.dumps(tokens))


@harmony.command()
def parse(
    file: FileArg,
    role: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE",
            help="The speaker's role, if the ids begin after <|start|> and the role.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the messages in a list of token ids, as JSON.

    FILE holds the list: [200006, 1428, 200008, 12194, 200007]. Every message has its
    tokens; a malformed one has a note on how it was read.

    Example: gptoss-mlx harmony render chat.json | gptoss-mlx harmony parse -
    """
    import re

    from gptoss_mlx.controls import json_text
    from gptoss_mlx.errors import HarmonyError
    from gptoss_mlx.harmony.json_form import message_to_json
    from gptoss_mlx.harmony.messages import ROLES
    from gptoss_mlx.harmony.parse import parse as parse_tokens
    from gptoss_mlx.tokenizer import load_tokenizer

    known = next((known for known in ROLES if known == role), None)
    if role is not None and known is None:
        raise HarmonyError(
            f"--role must be one of {', '.join(ROLES)} but is {role!r}.",
            hint="Use the role at the end of the prompt, usually assistant.",
        )
    messages = [
        {
            **message_to_json(read.message),
            "malformed": read.malformed,
            "problem": read.problem,
            "tokens": list(read.tokens),
        }
        for read in parse_tokens(
            _tokens(_read_json(file, "parse"), file), load_tokenizer(), role=known
        )
    ]
    shown = json_text({"messages": messages})
    # Token ids on one line. JSON texts contain no line breaks.
    numbers = re.compile(r"\[\n\s+(\d[\d,\s]*)\n\s+\]")
    print_text(numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", shown))


def _read_json(file: Path, command: str) -> object:
    """Read a file, or stdin, for one of these commands.

    Raises:
        HarmonyError: It cannot be read, or is not JSON.
    """
    import json
    import sys

    from gptoss_mlx.errors import HarmonyError

    name = _name(file)
    try:
        data = sys.stdin.buffer.read() if name == "stdin" else file.read_bytes()
    except OSError as error:
        raise HarmonyError(
            f"{name}: {error.strerror}.", hint="Name a file to read, or - for stdin."
        ) from error
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error)
        if isinstance(error, RecursionError):
            reason = "it is nested too deep"
        elif not isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
            reason = f"a number in it has over {sys.get_int_max_str_digits():,} digits"
        raise HarmonyError(
            f"{name} must be JSON: {reason}.", hint=_hint(command)
        ) from error
    return value


def _hint(command: str) -> str:
    return f"See the form of the file: gptoss-mlx harmony {command} --help"


def _name(file: Path) -> str:
    return "stdin" if str(file) == "-" else str(file)


def _tokens(value: object, file: Path) -> list[int]:
    from gptoss_mlx.errors import HarmonyError
    from gptoss_mlx.tokenizer import VOCAB_SIZE

    hint = _hint("parse")
    if not isinstance(value, list):
        raise HarmonyError(f"{_name(file)} must hold a list of token ids.", hint=hint)
    for i, token in enumerate(value):
        whole = isinstance(token, int) and not isinstance(token, bool)
        if not whole or not 0 <= token < VOCAB_SIZE:
            raise HarmonyError(
                f"{_name(file)} must hold token ids from 0 to {VOCAB_SIZE - 1} "
                f"but number {i} is {token!r:.60}.",
                hint=hint,
            )
    return value
