from __future__ import annotations

import errno
import json
import resource
from pathlib import Path

import pytest
from hostile import ESCAPES, raw_controls
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import Scripted, turn

from gptoss_mlx.chat.attach import Attached
from gptoss_mlx.chat.commands import COMMANDS, Command, Next, read_line, run_command
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.harmony.json_form import conversation_from_json
from gptoss_mlx.tokenizer import load_tokenizer


@pytest.fixture
def conversation() -> Conversation:
    """A conversation with one answer."""
    conversation = Conversation(Scripted(turn("Hm.", "So it is. ü")), load_tokenizer())
    list(conversation.stream("Why?"))
    return conversation


def run(line: str, conversation: Conversation) -> tuple[Next, list[str]]:
    """Run a command; return what follows and what was said."""
    said: list[str] = []
    command = read_line(line)
    assert isinstance(command, Command)
    return run_command(command, conversation, said.append, Attached()), said


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("  Why?\n", "Why?"),
        ("", ""),
        ("/quit", Command("quit")),
        (" /effort  high \n", Command("effort", "high")),
        ("/save my file.json", Command("save", "my file.json")),
        ("//etc is what?", "/etc is what?"),
        ("/", Command("")),
        ("What is /etc?", "What is /etc?"),
        ("/usr/bin/foo: no. Why?", "/usr/bin/foo: no. Why?"),
        ("/etc", "/etc"),
        ("/tools", Command("tools")),
        ("/model 20b", Command("model", "20b")),
        ("/set x", Command("set", "x")),
        ("/24 is a mask", "/24 is a mask"),
        ("/quit/x", "/quit/x"),
        ("exit", Command("exit")),
        (" quit \n", Command("exit")),
        (":q", Command("exit")),
        ("exit how?", "exit how?"),
        ("/etc/", "/etc/"),
        ("/etc is full", "/etc is full"),
        ("/load x", Command("load", "x")),
        ("/clera now", Command("clera", "now")),
        ("/* a comment */", "/* a comment */"),
        ("/save\nis a word", "/save\nis a word"),
    ],
)
def test_a_line_is_a_command_or_a_question(line: str, read: Command | str) -> None:
    """A word after a slash is a command unless it is a path; ``//`` asks."""
    assert read_line(line) == read


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_help_is_laid_out_for_the_terminal(
    columns: int, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is wrapped by the terminal, to below the commands."""
    monkeypatch.setenv("COLUMNS", str(columns))
    _, said = run("/help", conversation)

    assert max(map(len, said)) <= columns
    if columns == 40:
        assert said[:2] == ["/help", "    list the commands and keys"]


def test_help_names_every_command_and_key(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/help prints one line for each, where there is room."""
    monkeypatch.setenv("COLUMNS", "120")
    _, said = run("/help", conversation)
    first = [line.split()[0] for line in said]

    assert first[: len(COMMANDS)] == [f"/{name}" for name in COMMANDS]
    assert {"Ctrl-O", "Ctrl-C", "Ctrl-D", "Esc,"} <= set(first)
    assert max(map(len, said)) < 100


def test_effort_is_shown_and_set(conversation: Conversation) -> None:
    """An invalid effort changes nothing, and the message lists the valid ones."""
    assert run("/effort", conversation) == (Next.GO_ON, ["The effort is medium."])
    assert run("/effort HIGH", conversation)[0] is Next.GO_ON
    assert conversation.effort == "high"

    follows, said = run("/effort much", conversation)

    assert follows is Next.REFUSED
    assert said == ["The effort must be one of low, medium, high but is much."]
    assert conversation.effort == "high"


def test_clear_begins_anew_and_says_so(conversation: Conversation) -> None:
    """Only the opening messages remain."""
    _, said = run("/clear", conversation)

    assert said == ["Started a new conversation."]
    assert [message.role for message in conversation.messages] == ["system"]


def test_an_unknown_command_is_said_with_the_closest(conversation: Conversation) -> None:
    """It can be put right; what is close to none is told where to look."""
    follows, said = run("/efort high", conversation)

    assert follows is Next.REFUSED
    assert "no command /efort. Did you mean /effort?" in said[0]
    assert "/help lists them" in run("/xyzzy", conversation)[1][0]
    assert "no command /sa. Did you mean /save?" in run("/sa", conversation)[1][0]
    assert "no command /model. /help lists them" in run("/model 20b", conversation)[1][0]
    assert run("/", conversation)[0] is Next.REFUSED


@pytest.mark.parametrize(
    "line", ["/clera", "/clear!", "/claer x", "/qiut", "/set", "/load"]
)
def test_no_command_that_ends_a_conversation_is_suggested(
    line: str, conversation: Conversation
) -> None:
    """Otherwise a hasty Enter would end the conversation."""
    follows, said = run(line, conversation)

    assert follows is Next.REFUSED
    assert "Did you mean /clear" not in said[0]
    assert "Did you mean /quit" not in said[0]


@pytest.mark.parametrize("line", ["/clear now", "/help me", "/quit please"])
def test_what_a_command_does_not_take_is_refused(
    line: str, conversation: Conversation
) -> None:
    """The command does nothing."""
    messages = list(conversation.messages)
    follows, said = run(line, conversation)

    assert follows is Next.REFUSED
    assert said == [f"{line.split()[0]} takes no argument but got {line.split()[1]}."]
    assert conversation.messages == messages


@pytest.mark.parametrize("line", ["exit", "quit", ":q", "/exit", "/bye", "/q"])
def test_a_word_that_leaves_other_programs_is_not_asked(
    line: str, conversation: Conversation
) -> None:
    """The command that leaves is told."""
    assert run(line, conversation) == (Next.REFUSED, ["/quit leaves."])


def test_quit_leaves(conversation: Conversation) -> None:
    """It prints nothing."""
    assert run("/quit", conversation) == (Next.QUIT, [])


def test_a_saved_conversation_can_be_read(
    conversation: Conversation, tmp_path: Path
) -> None:
    """The file has openai-harmony's form, and no partial file is left beside it."""
    file = tmp_path / "my chat.json"
    follows, said = run(f"/save {file}", conversation)
    text = file.read_text(encoding="utf-8")

    assert follows is Next.GO_ON
    assert said == [f"Saved to {file}."]
    assert conversation_from_json(json.loads(text)) == conversation.messages
    assert "ü" in text
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_without_a_name_gets_one(
    conversation: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is the time, in the current folder."""
    monkeypatch.chdir(tmp_path)
    run("/save", conversation)
    (file,) = tmp_path.iterdir()

    assert file.match("chat-20??-??-??-??????.json")


def test_what_is_there_is_not_overwritten(
    conversation: Conversation, tmp_path: Path
) -> None:
    """It is said, and the name can be put right."""
    file = tmp_path / "chat.json"
    file.write_text("mine")
    follows, said = run(f"/save {file}", conversation)

    assert follows is Next.REFUSED
    assert said == [f"{file}: already exists: choose another name."]
    assert file.read_text() == "mine"


def test_a_disk_that_refuses_is_a_line(conversation: Conversation, tmp_path: Path) -> None:
    """No folder, a folder, a name that cannot be: the program goes on."""
    for name in (tmp_path / "no" / "x", tmp_path, "/", "a\0b", "~nobody-here/x", "x" * 300):
        follows, said = run(f"/save {name}", conversation)

        assert follows is Next.REFUSED
        assert len(said) == 1
        assert "\n" not in said[0]


def test_a_folder_that_is_missing_is_said_by_the_name_that_was_typed(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The message has the typed name, not the draft's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    _, said = run("/save ~/no/chat.json", conversation)

    assert said == ["~/no/chat.json: no such folder."]


def test_what_lies_beside_it_stays(conversation: Conversation, tmp_path: Path) -> None:
    """Other files stay, and links are neither followed nor replaced."""
    target = tmp_path / "target"
    target.write_text("mine")
    for name in ("chat.json.partial", "chat.json~", ".chat.json.swp"):
        (tmp_path / name).symlink_to(target)
    dangling = tmp_path / "dangling.json"
    dangling.symlink_to(tmp_path / "nowhere")
    before = set(tmp_path.iterdir())
    run(f"/save {tmp_path / 'chat.json'}", conversation)
    follows, said = run(f"/save {dangling}", conversation)

    assert set(tmp_path.iterdir()) == {*before, tmp_path / "chat.json"}
    assert target.read_text() == "mine"
    assert follows is Next.REFUSED
    assert said == [f"{dangling}: already exists: choose another name."]
    assert dangling.is_symlink()
    assert not dangling.exists()


def test_half_a_character_is_saved_as_the_sign_for_it(
    conversation: Conversation, tmp_path: Path
) -> None:
    """A lone surrogate is replaced, because UTF-8 cannot hold it."""
    conversation = Conversation(Scripted(turn("", "Yes.")), load_tokenizer())
    list(conversation.stream("a\ud800b"))
    file = tmp_path / "chat.json"
    follows, _ = run(f"/save {file}", conversation)

    assert follows is Next.GO_ON
    assert "a\ufffdb" in file.read_text(encoding="utf-8")


def test_a_disk_without_links_is_written_to(
    conversation: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some external disks do not support hard links."""

    def refuse(file: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    file = tmp_path / "chat.json"

    assert run(f"/save {file}", conversation)[0] is Next.GO_ON
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_is_full_in_the_middle_is_left_as_it_was(
    conversation: Conversation, tmp_path: Path
) -> None:
    """Neither the file nor a part of it is left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        _, said = run(f"/save {tmp_path / 'chat.json'}", conversation)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert said == [f"{tmp_path / 'chat.json'}: File too large."]
    assert list(tmp_path.iterdir()) == []


NAMES = st.text(st.characters(exclude_characters="/"), max_size=12).map(
    lambda name: name.replace("~", "-")
)
ARGUMENTS = st.one_of(
    NAMES,
    NAMES.map(lambda name: f"no/{name}"),
    st.sampled_from(
        [
            *ESCAPES,
            "kept.json",
            "link",
            "folder",
            ".",
            "..",
            "low",
            "HIGH ",
            "now",
            "x" * 300,
        ]
    ),
)
LINES = st.one_of(
    st.builds(
        lambda name, between, argument: f"/{name}{between}{argument}",
        st.sampled_from([*COMMANDS, *COMMANDS, "clera", "sav", "", "Save"]) | NAMES,
        st.sampled_from([" ", "  ", "\t", ""]),
        ARGUMENTS,
    ),
    st.text(max_size=20),
)


@settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(LINES, max_size=3))
def test_any_line_is_a_question_or_a_command_that_destroys_nothing(
    conversation: Conversation,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
) -> None:
    """It is said what was done, without a raw control character; files stay as they are."""
    folder = tmp_path_factory.mktemp("saved")
    monkeypatch.chdir(folder)
    (folder / "kept.json").write_text("mine")
    (folder / "link").symlink_to("nowhere")
    (folder / "folder").mkdir()
    messages = list(conversation.messages)
    for line in lines:
        read = read_line(line)
        if isinstance(read, str):
            assert read in (line.strip(), line.strip()[1:])
            continue
        said: list[str] = []
        follows = run_command(read, conversation, said.append, Attached())
        assert raw_controls("".join(said), allowed="") == []
        assert said or follows is Next.QUIT
        cleared = read == Command("clear")
        assert cleared or conversation.messages == messages
        messages = list(conversation.messages)
        if read.name == "save" and follows is Next.GO_ON:
            assert said[-1].startswith("Saved to ")
    assert (folder / "kept.json").read_text() == "mine"
    assert (folder / "link").readlink() == Path("nowhere")
    assert not list(folder.glob(".gptoss-mlx-*"))
