"""Files that change while Moorage runs: a good change is taken over, a bad one changes nothing."""

from pathlib import Path

import pytest

from starter.auth.policy import Principal
from starter.auth.tokens import load_tokens, write_tokens
from starter.catalogue.loader import load_catalogue
from starter.config_files import reloading
from starter.config_files.reloading import Reloaded
from starter.config_files.yaml_source import FilesUnusable
from tests.clients.test_safe_yaml import bomb
from tests.starter.test_catalogue import GOOD

ADA = Principal(person="Ada", email="ada@example.com", teams=("payments",))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_SECONDS", 0.0)


def test_a_token_that_is_taken_out(tmp_path: Path) -> None:
    """Ensures that a token that was removed from the file is no longer accepted."""
    file = tmp_path / "tokens.yaml"
    write_tokens(file, [("one", ADA), ("two", ADA)])
    tokens = Reloaded(file, load_tokens)
    assert tokens.current().principal_of("two") == ADA
    write_tokens(file, [("one", ADA)])
    assert tokens.current().principal_of("two") is None
    assert tokens.current().principal_of("one") == ADA


def test_a_file_that_breaks(tmp_path: Path) -> None:
    """Ensures that a broken change keeps the last good value and is reported until it is corrected."""
    file = tmp_path / "small.yaml"
    file.write_text(GOOD)
    catalogue = Reloaded(tmp_path, load_catalogue)
    file.write_text("oops")
    assert catalogue.current().get("small")
    assert "is not a template" in catalogue.problems[0]
    file.write_text(GOOD.replace("For a test", "Mended"))
    mended = catalogue.current().get("small")
    assert mended is not None
    assert mended.description == "Mended."
    assert catalogue.problems == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("description: " + "[" * 5000, "is nested in more than 100 levels"),
        ("[" * 200_000, "is nested in more than 100 levels"),
        (bomb(14), "holds aliases that add more than"),
        ("a: &a [*a]", "anchor"),
        ("a: .inf", "holds a number that JSON does not have"),
        ("? [a, b]\n: c", "holds a key that is a list"),
    ],
    ids=["deep", "deeper", "aliases", "a circle", "infinity", "a key that is a list"],
)
def test_a_file_with_absurd_content(tmp_path: Path, text: str, problem: str) -> None:
    """Ensures that what used to end the reload unseen is a problem with its file like any other."""
    file = tmp_path / "small.yaml"
    file.write_text(GOOD)
    catalogue = Reloaded(tmp_path, load_catalogue)
    file.write_text(text)
    assert catalogue.current().get("small")
    assert catalogue.problems[0].startswith(f"{file}:")
    assert problem in catalogue.problems[0]


def test_a_fault_of_ours_in_a_reload_is_reported(tmp_path: Path) -> None:
    """Ensures that the value stays in force, and that the problem can be read."""
    file = tmp_path / "small.yaml"
    file.write_text(GOOD)

    def load(path: Path) -> str:
        if "oops" in path.read_text():
            raise RecursionError("planted")
        return "good"

    value = Reloaded(file, load)
    file.write_text("oops")
    assert value.current() == "good"
    assert value.problems == (f"{file} cannot be read: RecursionError, a fault of Moorage",)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    """Ensures that a file that vanishes is a problem, and the last good value stays."""
    file = tmp_path / "tokens.yaml"
    write_tokens(file, [("one", ADA)])
    tokens = Reloaded(file, load_tokens)
    file.unlink()
    assert tokens.current().principal_of("one") == ADA
    assert "cannot be read" in tokens.problems[0]


def test_a_bad_start(tmp_path: Path) -> None:
    """Ensures that an invalid file at the start is an error."""
    with pytest.raises(FilesUnusable):
        Reloaded(tmp_path, load_catalogue)
