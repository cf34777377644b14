"""Completion: what Tab offers in a real bash, and that zsh and fish are told the same."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import Run

from busgate.ops.arguments import new_parser
from busgate.ops.completion import SHELLS
from busgate.ops.parser import Command, Parser

ASK = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
compopt() { :; } # works only while Tab is pressed
_busgate
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(script: Path, *words: str) -> list[str]:
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", script, *words],
        cwd=script.parent, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.fixture
def script(tmp_path: Path, run: Run) -> Path:
    done = run("completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "completion.bash"
    path.write_text(done.stdout)
    return path


def test_bash_completes_commands_options_words_and_files(script: Path) -> None:
    (script.parent / "my gate.toml").touch()

    assert set(offered(script, "busgate", "")) == {*new_parser().commands, "--help", "--version"}
    assert offered(script, "busgate", "dem") == ["demo"]
    assert offered(script, "busgate", "edge", "--admin") == ["--admin-port"]
    assert offered(script, "busgate", "edge", "--log-level", "") == ["debug", "info", "warning", "error"]
    assert offered(script, "busgate", "config", "sh") == ["show"]
    assert offered(script, "busgate", "completion", "f") == ["fish"]
    assert offered(script, "busgate", "check", "--config", "my") == ["my gate.toml"]


def test_bash_offers_nothing_where_only_a_person_knows(script: Path) -> None:
    assert offered(script, "busgate", "edge", "--port", "") == [""]
    assert offered(script, "busgate", "nothing", "") == [""]


def test_what_is_hidden_in_help_is_not_offered() -> None:
    assert not any("--child" in make(new_parser()) for make in SHELLS.values())


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_every_option_stands_in_the_script(shell: str) -> None:
    parser = new_parser()
    text = SHELLS[shell](parser)

    for name, command in parser.commands.items():
        if shell == "fish":
            part = "\n".join(line for line in text.splitlines() if f"from {name}'" in line)
            options = {f"--{option}" for option in re.findall(r" -l (\S+)", part)}
        else:
            part = "\n".join(re.findall(rf"^ +{name}\) (.*);;$", text, re.MULTILINE))
            options = set(re.findall(r"(--[\w-]+)", part))
        assert options == {option for each in command.options for option in each.option_strings if option[1] == "-"}


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_no_text_of_help_breaks_out_of_its_quotes(text: str) -> None:
    def fill(parser: Parser) -> None:
        parser.add_argument("--option", metavar="VALUE", help=text)

    parser = Parser(prog="busgate")
    parser.add_groups({"All": [Command("run", text, fill)]})

    for line in SHELLS["fish"](parser).splitlines():
        assert line.replace("\\\\", "").replace("\\'", "").count("'") % 2 == 0
    rules = [line for line in SHELLS["zsh"](parser).split("\n") if "_arguments" in line]
    assert len(shlex.split(rules[0])) == 6  # run) _arguments -h --help --option ;;


def test_an_unknown_shell_is_told(run: Run) -> None:
    done = run("completion", "tcsh")

    assert done.returncode == 2
    assert "invalid choice: 'tcsh'" in done.stderr
