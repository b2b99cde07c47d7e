"""Where the CLI finds the API and a token, and that a token is shown only where it belongs."""

import json
from pathlib import Path

import pytest

from starter.cli.client.connection import Connection, find_connection
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code


def write_connection(folder: Path, connection: dict[str, str], mode: int = 0o600) -> None:
    file = folder / "connection.json"
    file.write_text(json.dumps(connection))
    file.chmod(mode)


@pytest.fixture
def stack_runs(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a user on whose machine a stack runs."""
    connection = {"url": "http://127.0.0.1:1", "token": "stack-token", "person": "alice@example.com"}
    write_connection(tmp_path, connection)
    return {"MOORAGE_STATE": str(tmp_path)}


def test_a_stack_that_runs(stack_runs: dict[str, str]) -> None:
    """Ensures that beside a running stack nothing needs to be set."""
    found = find_connection(ConnectionOptions(), stack_runs)
    assert found == Connection("http://127.0.0.1:1", "stack-token")
    assert "stack-token" not in repr(found)


def test_variables_win_over_a_stack(stack_runs: dict[str, str], tmp_path: Path) -> None:
    """Ensures that options win over variables, and both over a stack."""
    file = tmp_path / "token"
    file.write_text("from-file\n")
    variables = stack_runs | {"MOORAGE_URL": "https://moorage.example/", "MOORAGE_TOKEN": "from-variable"}
    assert find_connection(ConnectionOptions(), variables) == Connection(
        "https://moorage.example", "from-variable"
    )
    options = ConnectionOptions("https://other.example", file)
    assert find_connection(options, variables) == Connection("https://other.example", "from-file")
    by_file = stack_runs | {"MOORAGE_URL": "https://moorage.example", "MOORAGE_TOKEN_FILE": str(file)}
    assert find_connection(ConnectionOptions(), by_file).token == "from-file"


def test_the_token_of_a_stack_stays_with_it(stack_runs: dict[str, str]) -> None:
    """Ensures that the token of the local stack is never shown to another API."""
    with pytest.raises(CliError, match="no token for https://other") as refused:
        find_connection(ConnectionOptions("https://other.example"), stack_runs)
    assert refused.value.code is Code.NOT_ALLOWED, "other than without a sign-in"


def test_the_variables_are_for_their_installation() -> None:
    """Ensures that the token of MOORAGE_URL is not sent to another URL that an option names."""
    variables = {"MOORAGE_URL": "https://moorage.example", "MOORAGE_TOKEN": "t"}
    with pytest.raises(CliError, match="no token for https://other"):
        find_connection(ConnectionOptions("https://other.example"), variables)
    assert find_connection(ConnectionOptions("https://MOORAGE.example:443/"), variables).token == "t"
    assert find_connection(ConnectionOptions("https://x.example"), {"MOORAGE_TOKEN": "t"}).token == "t"


@pytest.mark.parametrize(
    ("url", "mode"), [("http://elsewhere.example:1", 0o600), ("http://127.0.0.1:1", 0o644)]
)
def test_a_file_that_came_with_a_folder(tmp_path: Path, url: str, mode: int) -> None:
    """Ensures that a token is not shown where a file says that others may write, or that leads elsewhere."""
    write_connection(tmp_path, {"url": url, "token": "t"}, mode)
    with pytest.raises(CliError, match="no URL of the API is set"):
        find_connection(ConnectionOptions(), {"MOORAGE_STATE": str(tmp_path), "MOORAGE_TOKEN": "mine"})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "no URL of the API is set"),
        ({"MOORAGE_URL": "moorage.example", "MOORAGE_TOKEN": "t"}, "is not a URL"),
        ({"MOORAGE_URL": "http://x", "MOORAGE_TOKEN": "a\nb"}, "invalid characters"),
        ({"MOORAGE_URL": "http://x", "MOORAGE_TOKEN_FILE": "/nowhere"}, "cannot read the token file"),
        ({"MOORAGE_URL": "http://moorage..test", "MOORAGE_TOKEN": "t"}, "its host has an empty part"),
        ({"MOORAGE_URL": f"http://{'a' * 64}.test", "MOORAGE_TOKEN": "t"}, "its host has an empty part"),
        ({"MOORAGE_URL": "http://", "MOORAGE_TOKEN": "t"}, "it has no host"),
        ({"MOORAGE_URL": "http://x:port", "MOORAGE_TOKEN": "t"}, "is not a URL"),
        ({"MOORAGE_URL": "http://x:99999", "MOORAGE_TOKEN": "t"}, "is not a URL"),
        ({"MOORAGE_URL": "http://[::1", "MOORAGE_TOKEN": "t"}, "is not a URL"),
    ],
)
def test_what_is_missing(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    """Ensures that what is missing or wrong is said, with exit code 2."""
    with pytest.raises(CliError, match=expected) as failed:
        find_connection(ConnectionOptions(), {"MOORAGE_STATE": str(tmp_path), **variables})
    assert failed.value.code == 2


def test_a_token_file_as_editors_write_it(tmp_path: Path) -> None:
    """Ensures that a byte order mark is no part of the token, and that more than a token is refused."""
    file = tmp_path / "token"
    variables = {"MOORAGE_URL": "http://x", "MOORAGE_TOKEN_FILE": str(file)}
    file.write_bytes(b"\xef\xbb\xbfabc\r\n")
    assert find_connection(ConnectionOptions(), variables).token == "abc"
    for content, expected in (
        (b"abc\ndef\n", "has 2 lines"),
        (b"\xff\xfea\0b\0", "is not text"),
        (b"a\0b", "characters"),
    ):
        file.write_bytes(content)
        with pytest.raises(CliError, match=expected) as failed:
            find_connection(ConnectionOptions(), variables)
        assert "abc" not in str(failed.value)


def test_the_authorities(tmp_path: Path) -> None:
    """Ensures that the option wins over the variable, and that a sentence can name the one that was taken."""
    variables = {"MOORAGE_URL": "https://x", "MOORAGE_TOKEN": "t", "MOORAGE_CA_FILE": "/b"}
    found = find_connection(ConnectionOptions(), variables)
    assert (found.ca_file, found.ca_setting) == (Path("/b"), "MOORAGE_CA_FILE")
    found = find_connection(ConnectionOptions(ca_file=Path("/a")), variables)
    assert (found.ca_file, found.ca_setting) == (Path("/a"), "--ca-file")
