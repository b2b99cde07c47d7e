"""Groups of commands that import the module of a command when it runs, and not before."""

from collections import UserDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import click
from click.shell_completion import CompletionItem

from starter.cli.completion import complete_context
from starter.cli.connection_options import connection_parameters


@dataclass(frozen=True)
class CommandEntry:
    """One command: what the help of its group shows, and where the command is.

    Attributes:
        command: The command, or its place as "module:name", which is imported when the command runs.
        summary: One line for the help of the group.
        calls_api: Whether it takes the URL of the API and a token.
    """

    name: str
    command: str | click.Command
    summary: str
    section: str = "Commands"
    calls_api: bool = True

    def load(self) -> click.Command:
        """Import the command."""
        command = self.command
        if isinstance(command, str):
            module, _, name = command.partition(":")
            found: click.Command = getattr(import_module(module), name)
            command = found
        command.name = self.name
        known = {parameter.name for parameter in command.params}
        if self.calls_api and "token_file" not in known:
            command.params += connection_parameters(complete_context)
        return command


class LazyGroup(click.Group):
    """A group that imports a command when it is needed; its own help and completion need none."""

    entries: ClassVar[tuple[CommandEntry, ...]] = ()

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.commands = _Commands(self.entries)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (the library's interface)
        """Return the names of the commands, in the order of the help."""
        return [entry.name for entry in self.entries]

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 (the library's interface)
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the commands by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for entry in self.entries:
            sections.setdefault(entry.section, []).append((entry.name, entry.summary))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with the incomplete word."""
        commands = [
            CompletionItem(entry.name, help=entry.summary)
            for entry in self.entries
            if entry.name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


def group_class(entries: Iterable[CommandEntry], base: type[LazyGroup] = LazyGroup) -> type[LazyGroup]:
    """Return the class of a group with these commands."""
    return type(base.__name__, (base,), {"entries": tuple(entries)})


class _Commands(UserDict[str, click.Command]):
    """The commands of a group by name, each imported at its first use."""

    def __init__(self, entries: Iterable[CommandEntry]) -> None:
        super().__init__()
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self.data:
            self.data[name] = self._entries[name].load()
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
