from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gptoss_mlx.cli.app import main

Run = Callable[..., tuple[int, str, str]]

CHAT = {
    "messages": [
        {"role": "user", "content": "Why <|end|>?"},
        {"role": "assistant", "channel": "analysis", "content": "Hm."},
        {"role": "assistant", "channel": "final", "content": "So."},
    ]
}
USER = "<|start|>user<|message|>Why <|end|>?<|end|>"
ANALYSIS = "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>So."


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program with a stdin; return exit status, stdout and stderr."""

    def _run(stdin: object, *arguments: str) -> tuple[int, str, str]:
        data = stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        monkeypatch.setattr(sys, "argv", ["gptoss-mlx", "harmony", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _run


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], USER + FINAL + "<|end|><|start|>assistant"),
        (["--no-drop"], USER + ANALYSIS + FINAL + "<|end|><|start|>assistant"),
        (["--training"], USER + ANALYSIS + FINAL + "<|return|>"),
    ],
)
def test_render_prints_the_text(run: Run, options: list[str], text: str) -> None:
    """For completion with the documented dropping, unless asked for otherwise."""
    assert run(CHAT, "render", "-", "--text", *options) == (0, text + "\n", "")


def test_render_prints_token_ids_of_a_file(run: Run, tmp_path: Path) -> None:
    """As a JSON list; text that spells a special token is not encoded as one."""
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(CHAT))
    code, out, _ = run(b"", "render", str(file))
    tokens = json.loads(out)

    assert code == 0
    assert tokens[:2] == [200006, 1428]
    assert tokens[-2:] == [200006, 173781]
    assert [token for token in tokens if token >= 199_998].count(200007) == 2


def test_parse_prints_the_messages_of_render(run: Run) -> None:
    """With their tokens; the open header at the end is an empty message, not an error."""
    _, rendered, _ = run(CHAT, "render", "-", "--no-drop")
    code, out, _ = run(rendered.encode(), "parse", "-")
    *messages, following = json.loads(out)["messages"]

    assert code == 0
    assert [m["content"][0]["text"] for m in messages] == ["Why <|end|>?", "Hm.", "So."]
    assert [m.get("channel") for m in messages] == [None, "analysis", "final"]
    assert not any(m["malformed"] for m in [*messages, following])
    assert following["content"] == [{"type": "text", "text": ""}]
    shown = [token for m in [*messages, following] for token in m["tokens"]]
    assert shown == json.loads(rendered)


def test_parse_of_an_answer_begins_with_the_role(run: Run) -> None:
    """The ids after <|start|>assistant are a message of the assistant."""
    tokens = [200005, 17196, 200008, 24912, 200002]
    _, out, _ = run(tokens, "parse", "-", "--role", "assistant")
    (message,) = json.loads(out)["messages"]

    assert (message["role"], message["channel"]) == ("assistant", "final")
    assert message["tokens"] == tokens
    assert not message["malformed"]


@pytest.mark.parametrize(
    ("command", "stdin", "said"),
    [
        ("render", b"{", "stdin must be JSON"),
        ("render", b"\xff", "stdin must be JSON"),
        ("render", b"[" * 5000 + b"]" * 5000, "nested"),
        ("render", [1], 'an object with a list "messages" but is [1].'),
        ("render", {"messages": [3]}, "messages[0] must be an object but is 3."),
        ("render", {"messages": [{"role": "bob"}]}, "messages[0].role must be one of"),
        ("render", {"messages": [{"role": "user"}]}, "messages[0].content must be"),
        (
            "render",
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0].content[0].type must be one of text,",
        ),
        (
            "render",
            {"messages": [{"role": "tool", "content": "x"}]},
            "must have a name but has none.",
        ),
        (
            "render",
            {"messages": [{"role": "user", "content": [{"type": "system_content"}]}]},
            "SystemContent must be in a message of role 'system'",
        ),
        (
            "render",
            b"[1" + b"0" * 5000 + b"]",
            "stdin must be JSON: a number in it has over",
        ),
        ("parse", {}, "stdin must hold a list of token ids."),
        ("parse", [1, "a"], "but number 1 is 'a'."),
        ("parse", [True], "but number 0 is True."),
        ("parse", [201088], "from 0 to 201087 but number 0 is 201088."),
    ],
)
def test_bad_input_is_one_line_and_a_hint(
    run: Run, command: str, stdin: object, said: str
) -> None:
    """The error says what must be where, and what is there."""
    code, out, err = run(stdin, command, "-")

    assert (code, out) == (1, "")
    assert said in err
    assert [line.split(": ")[0] for line in err.splitlines()] == ["Error", "Hint"]


@pytest.mark.parametrize("command", ["render", "parse"])
@pytest.mark.parametrize("stdin", [b"{", b"[1" + b"0" * 5000 + b"]", {"a": 1}])
def test_the_hint_names_the_command_that_was_given(
    run: Run, command: str, stdin: object
) -> None:
    """The command's help describes the file."""
    _, _, err = run(stdin, command, "-")

    assert err.splitlines()[1].endswith(f": gptoss-mlx harmony {command} --help")
    assert "set_int_max" not in err


def test_a_file_that_is_not_there_is_named(run: Run) -> None:
    """The hint is what to do about it."""
    assert run(b"", "render", "nope.json")[2] == (
        "Error: nope.json: No such file or directory.\n"
        "Hint: Name a file to read, or - for stdin.\n"
    )


def test_the_commands_do_not_load_mlx() -> None:
    """They work where there is no model, and start quickly."""
    code = (
        "import sys; sys.argv = ['x', 'harmony', 'render', '-', '--text']\n"
        "from gptoss_mlx.cli.app import app\n"
        "try: app()\n"
        "finally: print('mlx.core' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input='{"messages": []}',
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "<|start|>assistant\nFalse\n"
