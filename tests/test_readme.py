"""Ensures that the README says what is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from worker.settings import load_settings
from worker.settings_table import settings_table

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md")


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page))
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing, f"{page} links to {missing}"


def test_every_command_in_the_readme_is_one() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "moorage", "--help"], capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"^  ([a-z-]+) {2,}[A-Z]", told.stdout, re.MULTILINE))
    used = set(re.findall(r"(?:`|\$ )moorage ([a-z-]+)", text_of("README.md")))
    assert used <= known, f"the README uses commands that there are not: {used - known}"


def test_the_settings_in_the_readme_are_those_of_the_code() -> None:
    table = settings_table()
    assert table in text_of("README.md"), "put what python -m worker.settings prints into the README"


def test_the_settings_of_the_first_hour_can_be_used(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", text_of("docs/setup.md"), re.DOTALL)
    text = "\n".join(blocks).replace("/etc/moorage", str(tmp_path)).replace("…", "A" * 43 + "=")
    (tmp_path / "moorage.toml").write_text(text)
    for name in ("rafay-api-key", "scim-token"):
        (tmp_path / name).write_text("a-secret\n")
    settings = load_settings({"MOORAGE_CONFIG": str(tmp_path / "moorage.toml")})
    assert settings.identity
    assert settings.sso


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_is_one(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of("Makefile"), re.MULTILINE))
    used = set(re.findall(r"(?:`|\$ )make ([a-z0-9-]+)", text_of(page)))
    assert used <= targets, f"{page} names targets that there are not: {used - targets}"
