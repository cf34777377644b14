"""Completion of the command line for bash, zsh and fish, made from its parser.

The scripts are complete in themselves: to press Tab starts no Python.
"""

from argparse import Action
from collections.abc import Callable, Iterable, Iterator

from .parser import Parser

_BASH = """\
# Completion of {name} for bash: eval "$({name} completion bash)"
_{name}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $prev" in
{values}
        esac
        case "${{COMP_WORDS[1]}}" in
{options}
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -F _{name} {name}
"""
_ZSH = """\
#compdef {name}
# Completion of {name} for zsh: eval "$({name} completion zsh)", after compinit; or as the file _{name} in your fpath
_{name}() {{
    local -a commands
    commands=({commands})
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local chosen=$words[2]
    shift words
    (( CURRENT-- ))
    case $chosen in
{options}
    esac
}}
if [[ $funcstack[1] == _{name} ]]; then _{name} "$@"; else compdef _{name} {name}; fi
"""


def bash(parser: Parser) -> str:
    """A script to evaluate in bash 4 or later."""
    values, options = [], []
    for name, command in parser.commands.items():
        free: list[str] = []
        for action in command.options:
            if action.nargs != 0:
                patterns = [f'"{name} {option}"' for option in action.option_strings]
                if _is_file(action):
                    reply = 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return'
                elif words := command.words_of(action):
                    reply = f'mapfile -t COMPREPLY < <(compgen -W "{" ".join(words)}" -- "$cur"); return'
                else:
                    free += patterns
                    continue
                values.append(f"            {'|'.join(patterns)}) {reply} ;;")
        if free:
            values.append(f"            {'|'.join(free)}) return ;;")
        options.append(f'            {name}) words="{" ".join(_words(command))}" ;;')
    commands = " ".join([*parser.commands, *_names(parser)])
    return _BASH.format(name=parser.prog, commands=commands, values="\n".join(values), options="\n".join(options))


def zsh(parser: Parser) -> str:
    """A script to evaluate in zsh, or a file of its fpath."""
    commands = " ".join(_quoted(f"{name}:{command.about}") for name, command in parser.commands.items())
    options = []
    for name, command in parser.commands.items():
        rules = [_rule(command, action, option) for action in command.options for option in action.option_strings]
        rules += [
            _quoted(f"{'*' if action.nargs == '*' else ''}:{_bare(str(action.metavar))}:{_choice(command, action)}")
            for action in command.positionals
        ]
        options.append(f"        {name}) _arguments {' '.join(rules)} ;;")
    return _ZSH.format(name=parser.prog, commands=commands, options="\n".join(options))


def fish(parser: Parser) -> str:
    """A script to source in fish, or a file of its folder of completions."""
    return "\n".join(_fish_lines(parser)) + "\n"


SHELLS: dict[str, Callable[[Parser], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _fish_lines(parser: Parser) -> Iterator[str]:
    head = f"complete -c {parser.prog}"
    yield f"# Completion of {parser.prog} for fish: {parser.prog} completion fish | source"
    yield f"{head} -f"
    for option in _names(parser):
        yield f"{head} -n __fish_use_subcommand -l {option.removeprefix('--')}"
    for name, command in parser.commands.items():
        yield f"{head} -n __fish_use_subcommand -a {name} -d {_fish_quoted(command.about)}"
        seen = f"{head} -n '__fish_seen_subcommand_from {name}'"
        for action in command.options:
            flags = " ".join(map(_fish_flag, action.option_strings))
            yield f"{seen} {flags}{_fish_value(command, action)} -d {_fish_quoted(str(action.help))}"
        for action in command.positionals:
            if words := command.words_of(action):
                yield f"{seen} -a {_fish_quoted(' '.join(words))}"


def _fish_flag(option: str) -> str:
    return f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"


def _fish_value(command: Parser, action: Action) -> str:
    if action.nargs == 0:
        return ""
    if _is_file(action):
        return " -r -F"
    words = command.words_of(action)
    return f" -x -a {_fish_quoted(' '.join(words))}" if words else " -x"


def _names(parser: Parser) -> list[str]:
    return [option for action in parser.options for option in action.option_strings if option.startswith("--")]


def _words(command: Parser) -> Iterable[str]:
    yield from (word for action in command.positionals for word in command.words_of(action))
    yield from _names(command)


def _is_file(action: Action) -> bool:
    return action.metavar == "FILE"


def _rule(command: Parser, action: Action, option: str) -> str:
    rule = f"{option}[{_bare(str(action.help))}]"
    if action.nargs != 0:
        rule += f":{_bare(str(action.metavar))}:{_choice(command, action)}"
    return _quoted(rule)


def _choice(command: Parser, action: Action) -> str:
    if _is_file(action):
        return "_files"
    words = command.words_of(action)
    return f"({' '.join(words)})" if words else " "


def _bare(text: str) -> str:
    """A text in a rule of zsh, where these have a meaning."""
    return "".join(f"\\{c}" if c in "[]:\\" else c for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
