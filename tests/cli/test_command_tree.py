"""Every command of the tree: its help, its examples, its options, and what it imports."""

import pkgutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import moorage
from starter.cli import commands as command_modules
from starter.cli.app import build
from starter.cli.arguments.options import EnumChoice
from starter.cli.client.contexts import Context, change_contexts, with_context
from starter.cli.client.credentials.store import Tokens, save_tokens
from starter.cli.lazy_group import LazyGroup

#: Options whose values only the user knows: numbers, files, free text, times and addresses.
FREE = {
    "code", "codes_file", "starts", "ends", "seats",
    "wave", "stop_after",
    "url", "token_file", "ca_file", "ttl", "by", "until", "reason", "file", "bind", "port", "limit", "state",
    "api_port", "ui_port", "issuer", "address", "count", "temporal_port", "after", "schedule",
    "collaborators", "folder", "life", "person",
}  # fmt: skip
#: The name of a new environment, or of a new context.
NEW_NAMES = {("book", "event"), ("request", "name"), ("login", "name")}
#: Commands whose output is for a program: a shell, and kubectl.
WITHOUT_OUTPUT = {"completion", "credential"}

ROOT = build(moorage.COMMANDS)


def commands(group: click.Command = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command."""
    if isinstance(group, LazyGroup):
        for name, command in group.commands.items():
            yield (*path, name)
            yield from commands(command, (*path, name))


PATHS = list(commands())


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = ROOT
    for name in path:
        assert isinstance(command, LazyGroup)
        command = command.commands[name]
    return command


def test_tree_has_every_command() -> None:
    """Ensures that the table of commands is complete, and each command can be imported."""
    assert {path[0] for path in PATHS} == {
        "templates", "request", "list", "show", "watch", "kubeconfig", "credential", "extend", "history",
        "collaborators", "transfer", "capacity", "pools", "delete", "cancel", "completion", "teardown",
        "freeze", "thaw", "sweep", "up", "worker", "api", "codec-server", "setup", "doctor", "login",
        "logout", "whoami", "context", "leavers", "sleep", "wake", "reconcile",
        "resize", "upgrade", "snapshot", "restore", "book", "bookings", "seat",
    }  # fmt: skip
    assert {path[1] for path in PATHS if path[:1] == ("context",) and path[1:]} == {"list", "use", "remove"}
    assert {path[1] for path in PATHS if path[:1] == ("templates",) and path[1:]} == {"show", "check", "try"}


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_has_a_summary_and_an_example_that_parses(path: tuple[str, ...]) -> None:
    """Ensures that `--help` says what the command does, and that its examples are valid."""
    shown = CliRunner().invoke(ROOT, [*path, "--help"])
    assert shown.exit_code == 0, shown.output
    command = command_at(path)
    first_line = (command.help or "").splitlines()[0]
    assert first_line.endswith("."), first_line
    lines = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
    assert lines, "no example"
    for line in lines:
        assert line in shown.output, "the help breaks the line of an example"
        words = line.partition("moorage " + " ".join(path))[2].split(" > ")[0]
        assert "moorage" in line, line
        command.make_context(path[-1], _split(words), resilient_parsing=False, parent=_parent())


def _split(words: str) -> list[str]:
    import shlex

    return shlex.split(words.rstrip(')"') if words.count('"') % 2 else words)


def _parent() -> click.Context:
    return click.Context(ROOT, info_name="moorage")


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_parameters_have_help_and_completion(path: tuple[str, ...]) -> None:
    """Ensures that each option has a help text, and completion if its values are known."""
    for parameter in command_at(path).params:
        if isinstance(parameter, click.Option):
            assert parameter.hidden or (parameter.help or "").rstrip(")").endswith((".", "team")), parameter
            if parameter.is_flag:
                continue
        if parameter.name in FREE or (path[0], parameter.name) in NEW_NAMES:
            continue
        has_values = isinstance(parameter.type, click.Choice)
        assert has_values or parameter._custom_shell_complete is not None, f"{path}: {parameter.name}"


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_commands_take_output(path: tuple[str, ...]) -> None:
    """Ensures that each command that prints data has --output with table and json."""
    if path[-1] in WITHOUT_OUTPUT:
        return
    [option] = [parameter for parameter in command_at(path).params if parameter.name == "output"]
    assert isinstance(option.type, EnumChoice)
    assert {"table", "json"} <= set(map(str, option.type.choices))


#: Packages of the server, the worker and the tables of a terminal, which no such command needs.
HEAVY = (
    "temporalio", "kubernetes", "fastapi", "starlette", "uvicorn", "pydantic", "pydantic_core", "rich",
    "yaml", "typer", "prometheus_client", "structlog", "asyncio", "truststore", "keyring", "filelock",
)  # fmt: skip
IMPORTS = (
    "import sys, moorage\n"
    "sys.argv = ['moorage', *sys.argv[1:]]\n"
    "try: moorage.main()\n"
    "except SystemExit: pass\n"
    f"print('imported:', *sorted(set({HEAVY!r} + ('httpx',)) & set(sys.modules)))\n"
)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], []),
        (["--version"], []),
        (["list", "--help"], []),
        (["request", "--help"], []),
        (["list"], ["httpx"]),
        (["templates", "-o", "json"], ["httpx"]),
        (["show", "demo"], ["httpx"]),
        (["request", "demo", "small"], ["httpx"]),
        (["collaborators", "demo", "add", "bob@example.com"], ["httpx"]),
        (["kubeconfig", "demo"], ["httpx", "yaml"]),
        (["credential", "demo", "--life", "l", "--person", "bob@example.com"], ["httpx"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_developer_commands_import_no_server(arguments: list[str], allowed: list[str]) -> None:
    """Ensures that a developer's command does not pay for the imports of a server."""
    environment = {"MOORAGE_URL": "http://127.0.0.1:1", "MOORAGE_TOKEN": "t", "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].split()[1:] == allowed, done.stderr


def test_no_module_of_a_command_imports_a_server() -> None:
    """Ensures that the same holds of every command, and of its help, before it calls anything."""
    modules = [f"starter.cli.commands.{each.name}" for each in pkgutil.iter_modules(command_modules.__path__)]
    script = f"import sys, {', '.join(modules)}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_command_with_a_valid_sign_in_imports_neither_keyring_nor_lock(tmp_path: Path) -> None:
    """Ensures that a person who has signed in pays for the keyring only when the token is renewed."""
    environ = {"HOME": str(tmp_path)}
    context = Context("prod", "http://127.0.0.1:1")
    change_contexts(lambda contexts: with_context(contexts, context), environ)
    tokens = Tokens(
        url=context.url, issuer=context.url, client_id="m", token_endpoint=context.url, access_token="t",
        expires_at=time.time() + 3600, is_in_keyring=True,
    )  # fmt: skip
    save_tokens(context, tokens, environ)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, "list"],
        env={**environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].split()[1:] == ["httpx"], done.stderr
    assert "cannot reach the API at http://127.0.0.1:1" in done.stderr
