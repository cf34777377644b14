"""A parser that knows its commands by group, and whose errors are one line with the near word and the place of help."""

import argparse
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_WIDTH = 13
_UNSURE = 0.6


class Parser(ArgumentParser):
    """An argument parser of one command, or of all.

    `arguments` are its options and positionals, `commands` its sub-commands by name, in the order of the help,
    `about` says in a few words what it does.
    """

    def __init__(self, **settings: Any) -> None:
        self.arguments: list[Action] = []
        self.commands: dict[str, Parser] = {}
        self.about = ""
        self._words: dict[str, Sequence[str]] = {}
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def add_argument(self, *names: str, words: Sequence[str] = (), **settings: Any) -> Action:
        """As usual. `words` are the values that are completed, where others are checked later, or are few of many."""
        action = super().add_argument(*names, **settings)
        self.arguments.append(action)
        self._words[action.dest] = words
        return action

    def words_of(self, action: Action) -> Sequence[str]:
        """The values of an argument that are known beforehand."""
        return self._words[action.dest] or list(action.choices or ())

    @property
    def options(self) -> Iterator[Action]:
        """What begins with a dash and is shown in help."""
        return (action for action in self.arguments if action.option_strings and action.help != argparse.SUPPRESS)

    @property
    def positionals(self) -> Iterator[Action]:
        return (action for action in self.arguments if not action.option_strings)

    def add_groups(self, groups: "dict[str, list[Command]]") -> None:
        """Take in all sub-commands, and list them by group in the help."""
        commands = self.add_subparsers(
            dest="command", required=True, metavar="COMMAND", prog=self.prog, help=argparse.SUPPRESS
        )
        listing = []
        for title, members in groups.items():
            listing.append(f"\n{title}:")
            for command in members:
                parser = commands.add_parser(command.name, description=f"{command.text}.")
                parser.about = command.text
                command.fill(parser)
                self.commands[command.name] = parser
                listing.append(f"  {command.name:{_WIDTH}}{command.text}")
        self.description = "\n".join([self.description or "", *listing])

    def parse(self, argv: Sequence[str]) -> Namespace:
        """The options of the sub-command that is named. Ends the process with exit code 2 when there is none such."""
        if argv and not argv[0].startswith("-") and argv[0] not in self.commands:
            self.error(f"there is no command {argv[0]!r}{_near(argv[0], self.commands)}")
        options, unknown = self.parse_known_args(argv)
        if unknown:
            parser = self.commands[options.command]
            parser.error(_unknown(unknown[0].partition("=")[0], parser))
        return options

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """As usual, but an output that cannot be written is no secret."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"busgate: {message}; see {self.prog} --help\n")


class ShowVersion(Action):
    """Prints the version of busgate and ends."""

    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - slow, and only for this

        print(f"busgate {version('busgate')}")
        parser.exit()


class Command:
    """A sub-command: its name, what it does in a few words, and the function that gives its parser its arguments."""

    def __init__(self, name: str, text: str, fill: Callable[[Parser], None]) -> None:
        self.name = name
        self.text = text
        self.fill = fill


def _unknown(word: str, parser: Parser) -> str:
    if not word.startswith("-"):
        return f"{word!r} is one argument too many"
    return f"there is no option {word}{_near(word, [name for each in parser.options for name in each.option_strings])}"


def _near(word: str, known: Sequence[str] | dict[str, Parser]) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=_UNSURE)
    return f", did you mean {close[0]}?" if close else ""
