"""The name by which the program was called, in what it says."""

import sys

import pytest

from starter.cli.terminal.program_name import as_called, program_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("moorage list", "kubectl moorage list"),
        ("sign in: moorage login URL", "sign in: kubectl moorage login URL"),
        ('eval "$(moorage completion bash)"', 'eval "$(kubectl moorage completion bash)"'),
        ("MOORAGE_CONFIG=moorage.toml moorage setup", "MOORAGE_CONFIG=moorage.toml kubectl moorage setup"),
        ("moorage --help and moorage list", "moorage --help and kubectl moorage list"),
        ("/opt/moorage/bin/moorage list", "/opt/moorage/bin/moorage list"),
        ("a bug of Moorage", "a bug of Moorage"),
        ('pipx install --force "moorage[server]"', 'pipx install --force "moorage[server]"'),
        ("https://moorage.example.com", "https://moorage.example.com"),
    ],
)
def test_commands_in_a_text(monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    """Ensures that only commands get the words of the plugin, and only if it was called."""
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-moorage"])
    assert (program_name(), as_called(text)) == ("kubectl moorage", expected)
    for program in ("/usr/local/bin/moorage", "moorage", "/usr/lib/kubectl-moorage/moorage"):
        monkeypatch.setattr(sys, "argv", [program])
        assert (program_name(), as_called(text)) == ("moorage", text)
