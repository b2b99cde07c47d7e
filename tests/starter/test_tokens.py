"""Tokens: who they let in, and what a file of them must be like."""

import hashlib
import os
from pathlib import Path

import pytest

from clients import private_files
from starter.auth.policy import Principal, Role
from starter.auth.tokens import load_tokens, new_token, read_email, write_tokens
from starter.config_files.yaml_source import FilesUnusable

ADA = Principal(person="Ada Lovelace", email="ada@example.com", teams=("payments",))
SHA = hashlib.sha256(b"a token").hexdigest()
GOOD = f"""\
tokens:
  - sha256: {SHA}
    person: Ada Lovelace
    email: Ada@Example.com
    teams: [payments]
"""


def file_with(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    file = tmp_path / "tokens.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_who_is_let_in(tmp_path: Path) -> None:
    """Ensures that a token leads to its person, whose address is in lower case, and no other text does."""
    tokens = load_tokens(file_with(tmp_path, GOOD))
    assert tokens.principal_of("a token") == ADA
    for other in ("", "a toke", "a token ", "A token", SHA, "a tokén"):
        assert tokens.principal_of(other) is None


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """Ensures that a written file is for its owner only, holds no token, and lets the right people in."""
    boss = Principal(person="Bo", email="bo@example.com", teams=("ops", "x"), role=Role.PLATFORM)
    first, second = new_token(), new_token()
    file = tmp_path / "tokens.yaml"
    write_tokens(file, [(first, ADA), (second, boss)])
    assert file.stat().st_mode & 0o777 == 0o600
    assert first not in file.read_text()
    tokens = load_tokens(file)
    assert (tokens.principal_of(first), tokens.principal_of(second)) == (ADA, boss)
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.yaml"]


@pytest.mark.parametrize(
    ("change", "to", "expected"),
    [
        (SHA, "secret-token", "tokens.yaml:2:5: tokens.0.sha256: is not a SHA-256 in hex"),
        ("Ada@Example.com", "ada", 'tokens.yaml:4:5: tokens.0.email: "ada" is not an e-mail address'),
        ("[payments]", "[]", "tokens.yaml:5:5: tokens.0.teams: "),
        ("[payments]", "payments", 'tokens.yaml:5:5: tokens.0.teams: "payments" is not a list'),
        ("person:", "persom:", 'tokens.0.persom: there is no such field: did you mean "person"?'),
        ("    person: Ada Lovelace\n", "", "tokens.yaml:2:5: tokens.0.person: is missing"),
        ("person: Ada Lovelace", "role: boss", "tokens.yaml:3:5: tokens.0.role: "),
        ("tokens:", "token:", "tokens.yaml:1:1: tokens: is missing"),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, change: str, to: str, expected: str) -> None:
    """Ensures that each mistake is reported with its line, and that a possible token is not quoted."""
    with pytest.raises(FilesUnusable) as unusable:
        load_tokens(file_with(tmp_path, GOOD.replace(change, to)))
    assert expected in str(unusable.value)
    assert "secret-token" not in str(unusable.value)


def test_one_token_for_two_people(tmp_path: Path) -> None:
    """Ensures that a token cannot stand for two people."""
    twice = GOOD + GOOD.removeprefix("tokens:\n").replace("Ada@", "eve@")
    with pytest.raises(FilesUnusable, match=r"tokens\.yaml:6:5: tokens\.1\.sha256: the same token"):
        load_tokens(file_with(tmp_path, twice))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o600, None),
        (0o400, None),
        (0o640, None),
        (0o644, "may read .*chmod 600, .*defaultMode: 0440"),
        (0o660, "write .*defaultMode: 0440"),
        (0o602, "can write"),
    ],
)
def test_the_mode_of_the_file(tmp_path: Path, mode: int, expected: str | None) -> None:
    """Ensures that a file is refused that others could read, or write themselves into."""
    file = file_with(tmp_path, GOOD, mode)
    if expected is None:
        assert load_tokens(file).principal_of("a token")
        return
    with pytest.raises(FilesUnusable, match=expected):
        load_tokens(file)


def test_a_file_that_is_not_its_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that another user's file is refused, and that a FIFO does not block."""
    file = file_with(tmp_path, GOOD)
    monkeypatch.setattr(private_files, "_owner", lambda _: 0)
    assert load_tokens(file).principal_of("a token")
    monkeypatch.setattr(private_files, "_owner", lambda _: 987654)
    with pytest.raises(FilesUnusable, match=r"cannot be read: it belongs to another user \(uid 987654\)"):
        load_tokens(file)
    file.unlink()
    os.mkfifo(file, 0o600)
    monkeypatch.undo()
    with pytest.raises(FilesUnusable):
        load_tokens(file)


def test_a_mounted_file(tmp_path: Path) -> None:
    """Ensures that a Secret as Kubernetes mounts it is read, behind two links."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..data").symlink_to("..2026")
    file_with(tmp_path / "..2026", GOOD, 0o440)
    (tmp_path / "mounted.yaml").symlink_to("..data/tokens.yaml")
    assert load_tokens(tmp_path / "mounted.yaml").principal_of("a token") == ADA


@pytest.mark.parametrize(
    "text", ["ada@example.com", "a.b+c@localhost", "x@sub.example.test", "o'neil@example.com"]
)
def test_an_address(text: str) -> None:
    """Ensures that what people have as addresses is accepted, also at home and in closed networks."""
    assert read_email(text.upper()) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a b@example.com",
        "a@b@c",
        "a@-x.com",
        "a@x..y",
        'a"@x.com',
        "a@x.com\n",
        "a" * 65 + "@example.com",
        "a@" + "x" * 64 + ".com",
        "a@" + "x." * 127 + "com",
    ],
)
def test_no_address(text: str) -> None:
    """Ensures that what is no address is refused with a sentence."""
    with pytest.raises(ValueError, match="is not an e-mail address: write one like"):
        read_email(text)
