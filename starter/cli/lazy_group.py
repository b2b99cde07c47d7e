"""Groups of commands that import the module of a command when it runs, and not before."""

from collections import UserDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any, ClassVar

import click
from click.shell_completion import CompletionItem

from starter.cli.command_context import report_errors
from starter.cli.completion import complete_context
from starter.cli.connection_options import connection_parameters
from starter.cli.errors import Output
from starter.cli.extras import Extra, is_installed, require
from starter.cli.terminal.program_name import as_called


class _CalledFormatter(click.HelpFormatter):
    """Writes help with the commands as the user calls them."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(as_called(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms and what they mean."""
        called = [(term, as_called(meaning)) for term, meaning in rows]
        super().write_dl(called, col_max, col_spacing)


class _CalledContext(click.Context):
    """A context whose help names the program as it was called."""

    formatter_class = _CalledFormatter


@dataclass(frozen=True)
class CommandEntry:
    """One command: what the help of its group shows, and where the command is.

    Attributes:
        command: The command, or its place as "module:name", which is imported when the command runs.
        summary: One line for the help of the group.
        calls_api: Whether it takes the URL of the API and a token.
        extra: The extra of the package without which the command cannot run; its help needs none.
    """

    name: str
    command: str | click.Command
    summary: str
    section: str = "Commands"
    calls_api: bool = True
    extra: Extra | None = None

    @property
    def help_line(self) -> str:
        """The summary, with the extra if it is missing."""
        if self.extra is None or is_installed(self.extra):
            return self.summary
        return f"{self.summary.rstrip('.')} (needs moorage[{self.extra}])."

    def load(self) -> click.Command:
        """Import the command."""
        command = self.command
        if isinstance(command, str):
            module, _, name = command.partition(":")
            found: click.Command = getattr(import_module(module), name)
            command = found
        command.name = self.name
        command.context_class = _CalledContext
        known = {parameter.name for parameter in command.params}
        if self.calls_api and "token_file" not in known:
            command.params += connection_parameters(complete_context)
        if self.extra is not None:
            _require_extra(command, self.extra)
        return command


def _require_extra(command: click.Command, extra: Extra) -> None:
    """Make the command end with an error where the extra is not installed."""
    run = command.callback
    if run is None or hasattr(run, "extra"):
        return

    @wraps(run)
    def run_with_extra(*arguments: Any, **options: Any) -> Any:
        with report_errors(options.get("output", Output.TABLE)):
            require(extra, click.get_current_context().command_path)
        return run(*arguments, **options)

    run_with_extra.extra = extra  # type: ignore[attr-defined]
    command.callback = run_with_extra


class LazyGroup(click.Group):
    """A group that imports a command when it is needed; its own help and completion need none."""

    context_class = _CalledContext
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
            sections.setdefault(entry.section, []).append((entry.name, entry.help_line))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with the incomplete word."""
        commands = [
            CompletionItem(entry.name, help=entry.help_line)
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
