from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gptoss_mlx.cli import fit as command
from gptoss_mlx.cli import fit_table
from gptoss_mlx.cli.app import app
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.errors import ContextError, ConvertError, GptOssError, PlotError
from gptoss_mlx.fit.drawn_traces import draw_trace
from gptoss_mlx.fit.table import Cell, Table
from gptoss_mlx.fit.traces import save_trace

MAC = ("--memory", "16GB", "--wired", "10.67GiB")


def fit(*arguments: str) -> str:
    """Run the command; return its stdout."""
    result = CliRunner().invoke(app, ["fit", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def fit_json(*arguments: str) -> dict[str, Any]:
    """Run the command with --json; return what it prints."""
    printed: dict[str, Any] = json.loads(fit("--json", *arguments))
    return printed


def test_what_fits_a_mac_of_16_gb() -> None:
    """Both models, each recipe: weights, what is beside them, and the verdicts."""
    lines = fit(*MAC).splitlines()

    assert lines[0] == (
        "another Mac: 17.2 GB of memory, of which a program may use 11.5 GB."
    )
    assert [line for line in lines if line.startswith("gpt-oss-")] == [
        f"gpt-oss-{size}: {title}"
        for size in ("20b", "120b")
        for title in ("weights, GB", "beside the weights, GB", "does it fit?")
    ]
    rows = [line.split() for line in lines]
    assert ["q8", "10.15", "0.68", "0.62", "0.62", "0.02", "12.08"] in rows
    assert ["keys", "and", "values", "0.10", "0.41", "0.81", "3.22"] in rows
    small = [line for line in lines if line.startswith("small")][1]
    assert "with 12,800 MB, or streams 91 %, 23/s" in small
    assert lines[-2].startswith("with N MB: it fits after sudo sysctl iogpu.wired_limit_mb")
    assert not any(line != line.rstrip() for line in lines)


def test_an_assumed_limit_is_called_so() -> None:
    """With the share; a limit that is named, or read here, is not assumed."""
    assert "(assumed: 2/3 of it, as macOS 15 recommends)" in fit("--memory", "16GB")
    assert "(assumed: 3/4 of it" in fit("20b", "--memory", "96GB")
    assert fit_json("20b", "--memory", "16GB")["machine"]["limit_is_assumed"] is True
    assert fit_json("20b", *MAC)["machine"]["limit_is_assumed"] is False
    assert fit_json("20b")["machine"]["limit_is_assumed"] is False


def test_json_has_the_bytes() -> None:
    """They add up, and say more than the table."""
    printed = fit_json("20b", *MAC, "--context", "5000", "--context", "4096")

    (model,) = printed["models"]
    assert [one["recipe"] for one in model["recipes"]] == ["exact", "q8", "q6", "small"]
    for recipe in model["recipes"]:
        weights = dict(recipe["weights"])
        total = weights.pop("total_bytes")
        assert total == sum(weights.values())
        assert [plan["context_tokens"] for plan in recipe["contexts"]] == [4096, 5000]
        for plan in recipe["contexts"]:
            parts = ("keys_values", "room_and_snapshots", "transient", "freed", "program")
            beside = sum(plan[f"{part}_bytes"] for part in parts)
            assert plan["total_bytes"] == total + beside
    q8 = model["recipes"][1]["contexts"][0]
    assert (q8["verdict"], q8["wired_limit_mb"]) == ("raise", 13_200)
    assert q8["resident_experts"] == 28
    assert q8["resident_fraction"] == pytest.approx(28 / 32, abs=1e-4)


def test_this_machine_is_read() -> None:
    """Without options it is the machine here, and --wired changes its limit alone."""
    here = fit_json("20b")["machine"]
    wired = fit_json("20b", "--wired", "2GiB")["machine"]

    assert wired == {**here, "limit_bytes": 2 << 30}


def test_a_recipe_of_one_s_own(tmp_path: Path) -> None:
    """A TOML file beside a name; a wrong one is refused as convert does."""
    mine = tmp_path / "mine.toml"
    mine.write_text('[weights]\n"*" = 4\n')
    printed = fit_json("20b", *MAC, "--recipe", str(mine), "--recipe", "q8")
    recipes = printed["models"][0]["recipes"]

    assert [one["recipe"] for one in recipes] == ["mine", "q8"]
    assert recipes[0]["weights"]["total_bytes"] == pytest.approx(11.18e9, rel=0.002)
    mine.write_text('[weights]\n"*.mlp.*" = 4\n')
    with pytest.raises(ConvertError, match="which every recipe keeps as released"):
        fit("20b", "--recipe", str(mine))


def test_a_converted_folder_has_its_own_recipe() -> None:
    """Its size on the disk is what its weights take in bf16; another recipe is refused."""
    folder = open_demo(print).folder
    (model,) = fit_json(str(folder), "--memory", "16GB")["models"]

    (recipe,) = model["recipes"]
    assert (model["model"], recipe["recipe"]) == ("demo", "exact")
    assert recipe["contexts"][0]["verdict"] == "fits"
    with pytest.raises(ConvertError, match="keeps its own recipe"):
        fit(str(folder), "--recipe", "q8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "much"], "must be an amount of memory, as 8GB, but is 'much'"),
        (["--memory", "16GB", "--wired", "17GiB"], "it must be at most the memory"),
        (
            ["--memory", "16GB", "--wired", "17.2GB"],
            "17,179,869,184 bytes), but is 17,200,",
        ),
        (["--memory", "16GB", "--wired", "10.7"], "--wired: must have a unit, as 10.7GB"),
        (["--memory", "16"], "--memory: must have a unit, as 16GB, but is '16'"),
        (["--memory", "16,5GB"], "but is '16,5GB'"),
        (["--memory", f"{'9' * 400}GB"], "--memory: must be up to 1,000TB"),
        (["--bandwidth", "0"], "--bandwidth: must be from 1GB/s"),
        (["--ssd", "9" * 400], "--ssd: must be from 0.001GB/s to 1,000GB/s"),
        (["--simulate", "--bandwidth", "0"], "--bandwidth: must be from 1GB/s"),
        (["--simulate", "--memory", "16GB", "--wired", "17GiB"], "it must be at most the"),
        (["--plot", "fit.pdf"], "the name must end in .png or .svg"),
        (["--plot", "none/x.png"], "--plot: the folder none is missing"),
        (["--plot", f"{__file__}/x.png"], "is missing"),
        (["--context", "0"], "--context"),
    ],
)
def test_what_is_wrong_with_an_option(arguments: list[str], message: str) -> None:
    """Bad usage, with the value; nothing is printed that would be lost."""
    result = CliRunner().invoke(app, ["fit", "20b", *arguments])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in " ".join(result.stderr.split())


def test_a_context_or_model_that_there_is_not() -> None:
    """Named errors."""
    with pytest.raises(ContextError, match="must have up to 131,072 tokens"):
        fit("20b", "--context", "200000")
    with pytest.raises(GptOssError, match="nowhere"):
        fit("nowhere")


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_a_picture(tmp_path: Path, name: str, begins: bytes) -> None:
    """Beside the table, as the name's ending says; the same bytes each time."""
    pictures = []
    for _ in range(2):
        assert "does it fit?" in fit(*MAC, "--plot", str(tmp_path / name))
        pictures.append((tmp_path / name).read_bytes())

    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(begins)


def test_without_what_draws_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line says what to install, and the table is printed anyway."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = CliRunner().invoke(app, ["fit", "20b", "--plot", str(tmp_path / "a.png")])

    assert "does it fit?" in result.stdout
    assert isinstance(result.exception, PlotError)
    assert result.exception.hint == "Install what draws it: pip install matplotlib"


def test_what_is_named_of_a_picture_s_folder_is_expanded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``~`` is the user's, as it is for MODEL; the same for a trace."""
    monkeypatch.setenv("HOME", str(tmp_path))
    fit("20b", *MAC, "--plot", "~/a.svg")
    trace = draw_trace("flat", layers=24, experts=32, chosen=4, tokens=2)
    save_trace(trace, tmp_path / "t.jsonl")

    assert (tmp_path / "a.svg").is_file()
    assert "as recorded" in fit("--simulate", *MAC, "--trace", "~/t.jsonl")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('no')", "must be installed but is not"),
        ("raise ValueError('Key backend: is not valid')", "fails: 'Key backend: is not va"),
        ("raise SystemError('of another Python')", "must work but fails"),
        ("", "must be installed but is not"),
    ],
)
def test_with_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, said: str
) -> None:
    """Whatever it raises is a named error, and the backend stays as it was."""
    (tmp_path / "matplotlib.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("MPLBACKEND", "nosuch")
    result = CliRunner().invoke(app, ["fit", "20b", "--plot", str(tmp_path / "a.png")])

    assert isinstance(result.exception, PlotError)
    assert said in str(result.exception)
    assert os.environ["MPLBACKEND"] == "nosuch"


def test_a_backend_that_there_is_not_does_not_matter(tmp_path: Path) -> None:
    """No window is opened. The user's own style does not matter either."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\n")
    command = [sys.executable, "-m", "gptoss_mlx", "fit", "20b", *MAC, "--plot"]
    pictures = []
    for name, added in (
        ("a.svg", {}),
        ("b.svg", {"MPLBACKEND": "nosuch", "MATPLOTLIBRC": str(tmp_path)}),
    ):
        path = tmp_path / name
        done = subprocess.run(
            [*command, path], env={**os.environ, **added}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        pictures.append(path.read_bytes())

    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("columns", [20, 40, 80, 100, 300])
def test_in_a_terminal_it_is_coloured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    """And no wider than the terminal, in which no amount is broken or cut."""
    monkeypatch.setattr(fit_table, "_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    command.fit("20b", memory="16GB", wired="10.67GiB")
    printed = capsys.readouterr().out

    assert "\x1b[33m" in printed
    plain = re.sub(r"\x1b\[[\d;]*m", "", printed)
    assert "…" not in plain
    for said in ("with 13,900 MB,", "or streams 81 %, 20/s", "streams 56 %, 14/s", "0.81"):
        assert said in plain
    if columns >= 40:
        tables = [line for line in plain.splitlines() if ":" not in line]
        assert max(map(len, tables)) <= columns
    assert ("with 12,800 MB, or streams" in plain) is (columns == 300)


def test_names_in_a_table_obey_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder may have any name."""
    monkeypatch.setattr(fit_table, "_is_terminal", lambda: True)
    fit_table.print_table(
        Table("a\x1b[2J", ("b\x1b[3J", "c"), ((Cell("d\x1b"), Cell("e")),))
    )

    assert "\x1b" not in re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)


def test_a_title_that_is_longer_than_its_table_is_one_line() -> None:
    """Where it is piped."""
    folder = open_demo(print).folder

    assert "demo: beside the weights, GB\n" in fit(str(folder), "--context", "1")


def test_the_speeds_are_those_of_the_figures_that_are_named() -> None:
    """Else an M4's for another Mac, which the note says."""
    note = "an estimate for an M4's 120 GB/s of memory and 2.9 of the SSD; name another's "
    usual = fit("20b", *MAC)
    named = fit("20b", *MAC, "--bandwidth", "400GB/s", "--ssd", "5.8GB/s")
    mixed = fit("20b", *MAC, "--bandwidth", "400")

    assert f"{note}with --bandwidth and --ssd.\n" in usual
    assert "or streams 88 %, 22/s" in usual
    assert "an estimate for 400 GB/s of memory and 5.8 of the SSD.\n" in named
    assert "or streams 88 %, 47/s" in named
    assert "for 400 GB/s of memory and an M4's 2.9 of the SSD; name another's " in mixed


def test_json_has_the_figures_of_the_speeds() -> None:
    """And whether they are an M4's."""
    usual = fit_json("20b", *MAC, "--ssd", "5.8GB/s")["estimates"]
    faster = fit_json("20b", *MAC, "--ssd", "5.8GB/s", "--bandwidth", "273GB/s")

    assert usual["memory_bytes_per_s"] == 120e9
    assert (usual["memory_is_assumed"], usual["disk_is_assumed"]) == (True, False)
    assert faster["estimates"]["memory_bytes_per_s"] == 273e9
    assert faster["estimates"]["disk_bytes_per_s"] == 5.8e9
    speeds = [
        one["models"][0]["recipes"][1]["contexts"][0]["streamed_tokens_per_s"]
        for one in (fit_json("20b", *MAC), faster)
    ]
    assert speeds[0] < speeds[1]


def test_json_tells_the_whole_model_from_the_streamed_one() -> None:
    """The table's longest context is the whole model's."""
    printed = fit_json("20b", *MAC, "--recipe", "q8", "--context", "4096")
    (plan,) = printed["models"][0]["recipes"][0]["contexts"]
    limit = printed["machine"]["limit_bytes"]
    assert plan["longest_context_tokens_whole"] == 0
    assert 4_096 <= plan["longest_context_tokens_streamed"] < 131_072
    assert plan["streamed_total_bytes"] <= limit < plan["total_bytes"]
    assert "longest_context_tokens" not in plan

    for memory in ("64GB", "4GB"):  # whole, or not at all
        printed = fit_json("20b", "--memory", memory, "--recipe", "q8")
        for plan in printed["models"][0]["recipes"][0]["contexts"]:
            assert plan["longest_context_tokens_streamed"] is None
            assert plan["streamed_total_bytes"] is None


def test_recipes_of_one_name_are_refused(tmp_path: Path) -> None:
    """With both paths; the same file twice is one recipe."""
    paths = [tmp_path / folder / "mine.toml" for folder in "ab"]
    for path, bits in zip(paths, (4, 8), strict=True):
        path.parent.mkdir()
        path.write_text(f'[weights]\n"*" = {bits}\n')
    twice = ["--recipe", str(paths[0]), "--recipe", f"{tmp_path}/a/../a/mine.toml"]

    with pytest.raises(ConvertError, match=r"a/mine\.toml and .*b/mine\.toml are both"):
        fit("20b", "--recipe", str(paths[0]), "--recipe", str(paths[1]))
    (model,) = fit_json("20b", *MAC, *twice, "--recipe", "q8", "--recipe", "q8")["models"]
    assert [one["recipe"] for one in model["recipes"]] == ["mine", "q8"]


def test_a_name_means_the_same_with_and_without_simulate() -> None:
    """A released model with its recipe, and the demo, which is made."""
    (model,) = fit_json("20B-small", *MAC)["models"]
    assert (model["model"], [one["recipe"] for one in model["recipes"]]) == (
        "gpt-oss-20b",
        ["small"],
    )
    assert "20b small: memory" in fit("20B-small", "--simulate", *MAC)
    (model,) = fit_json("demo", *MAC)["models"]
    assert [one["recipe"] for one in model["recipes"]] == ["exact"]
    assert "demo: memory 120 GB/s" in fit("demo", "--simulate", *MAC)
    with pytest.raises(ConvertError, match="has a recipe in its name") as caught:
        fit("20b-q8", "--recipe", "small")
    assert caught.value.hint == "gptoss-mlx fit 20b --recipe small"


def test_a_simulation_in_json_is_json_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the demo's making says goes to stderr."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    result = CliRunner().invoke(
        app, ["fit", "demo", "--simulate", "--bandwidth", "120", "--json"]
    )

    assert "Unpacking" in result.stderr
    assert json.loads(result.stdout)["model"] == "demo"


def test_simulate_shows_the_speed_for_each_share() -> None:
    """With the figures that are named; 20b unless another model is."""
    lines = fit(
        *("--simulate", *MAC, "--bandwidth", "120GB/s", "--ssd", "2.9GB/s"),
        *("--resident", "50%", "--resident", "75%"),
    ).splitlines()

    assert lines[0].startswith("20b q8: memory 120 GB/s, a program may use 11.5 of 17.2 GB")
    assert [line.split()[0] for line in lines[2:4]] == ["50%", "75%"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--resident", "50%"], "--resident: it needs --simulate"),
        (["--trace", "a"], "--trace: it needs --simulate"),
        (["--simulate", "--recipe", "q8"], "--recipe: it cannot be used with --simulate"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: list[str], said: str) -> None:
    """Exit 2, with the option's name."""
    result = CliRunner().invoke(app, ["fit", *options])

    assert result.exit_code == 2
    assert said in result.stderr
