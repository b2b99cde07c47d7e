"""Ensures that completion offers no value that a shell would take for more than itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from starter.auth.tokens import read_email
from starter.cli.completion import offered

#: What kubectl's completion for bash does with values that have no description: Cobra's own lines.
COBRA = """
completions=("$@"); cur=""; IFS=$'\\n'
read -ra COMPREPLY -d '' < <(compgen -W "${completions[*]}" -- "$cur")
printf '%s\\n' "${COMPREPLY[@]}"
"""
PLAIN = ["ada@example.com", "ada.b+c@example.com", "demo-1", "k3x.example.com:8443", "Ärzte", "payments, eu"]


def test_plain_values_are_offered() -> None:
    assert offered(reversed(PLAIN), "") == sorted(PLAIN)
    assert offered(PLAIN, "ada@") == ["ada@example.com"]


@pytest.mark.parametrize(
    "value",
    [
        "`touch ran`@example.com",
        "$(touch ran)",
        "${HOME}",
        "a;touch ran",
        "a|touch ran",
        "a&touch ran",
        "a>ran",
        "o'brien@example.com",
        'team "a"',
        "~root",
        "*",
        "team [a-z]",
        "team{a,b}",
        "!!",
        "#a",
        "a\\",
        "a\nb",
        "a\tb",
        "\x1b[2J",
        "--token-file=/etc/passwd",
        "_activeHelp_ sign in at evil.example",
        ":0",
        "",
        7,
        None,
        ["demo"],
    ],
)
def test_other_values_are_left_out(value: object) -> None:
    assert offered(["demo", value], "") == ["demo"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_no_value_runs_a_command(tmp_path: Path) -> None:
    """Ensures that, with what kubectl's bash does: the address is one that the API accepts of a directory."""
    address = read_email("`touch`@example.com")
    values = [address, "`touch ran`", "$(touch ran)", *PLAIN]
    command = ["bash", "-c", COBRA, "bash", *offered(values, "")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not list(tmp_path.iterdir())
    assert sorted(done.stdout.splitlines()) == sorted(PLAIN)
