"""Ensures that the README and the pages of docs/ say what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from pydantic import BaseModel

from contracts.environment.models import Phase
from contracts.templates.template import Template
from contracts.temporal.search_attributes import ALL as SEARCH_ATTRIBUTES
from starter.cli.errors import Code
from tools.reference import updated_pages
from worker.settings.loading import load_settings

ROOT = Path(__file__).parent.parent
#: Written by runs of tests, and true of the code as it was then.
RESULTS = {"docs/reference/chaos-results.md", "docs/reference/protections.md"}
#: Options that every command has, or Typer adds.
ALWAYS = {"--help", "--install-completion", "--output"}
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if page.name != "CHANGELOG.md"
)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_generated_reference_is_current() -> None:
    old = [path.name for path, text in updated_pages() if text != path.read_text(encoding="utf-8")]
    assert not old, f"run make reference: {old} differ from the code"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page))
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing, f"{page} links to {missing}"


@pytest.mark.parametrize("page", sorted(set(PAGES) - RESULTS))
def test_files_in_pages_exist(page: str) -> None:
    """Ensures that pages name modules and files where they are."""
    packages = "activities|clients|contracts|deploy|docs|embedded|starter|tests|tools|worker|workflows"
    named = re.findall(rf"`((?:{packages})/[A-Za-z0-9_./-]+)", text_of(page))
    # Written by deploy/prepare.py.
    missing = [name for name in named if not (ROOT / name).exists() and name != "deploy/secrets"]
    assert not missing, f"{page} names {missing}"


def test_commands_in_pages_exist() -> None:
    known = set(re.findall(r"^### moorage ([a-z-]+)$", text_of("docs/reference/cli.md"), re.MULTILINE))
    for page in PAGES:
        used = set(re.findall(r"(?:`|\$ )moorage ([a-z][a-z-]*)", text_of(page)))
        assert used <= known, f"{page} uses commands that do not exist: {used - known}"


def test_options_in_pages_exist() -> None:
    """Ensures that examples use options that their command has."""
    sections = re.split(r"^### moorage ?", text_of("docs/reference/cli.md"), flags=re.MULTILINE)[1:]
    known = {section.split("\n", 1)[0]: set(re.findall(r"--[a-z-]+", section)) for section in sections}
    for page in PAGES:
        for line in re.findall(r"(?:`|\$ )moorage ([^`\n#]+)", text_of(page)):
            words = line.split()
            command = next((name for name in (" ".join(words[:2]), words[0]) if name in known), "")
            unknown = set(re.findall(r"(?<!\S)--[a-z-]+", line)) - known[command] - known[""] - ALWAYS
            assert not unknown, f"{page}: moorage {line} uses {unknown}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_in_pages_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of("Makefile"), re.MULTILINE))
    used = set(re.findall(r"(?:`|\$ )make ([a-z0-9-]+)", text_of(page)))
    assert used <= targets, f"{page} names targets that do not exist: {used - targets}"


@pytest.mark.parametrize("page", PAGES)
def test_settings_in_pages_exist(page: str) -> None:
    known = re.findall(r"^\| `(MOORAGE_[A-Z_<>a-z]+)`", text_of("docs/reference/settings.md"), re.MULTILINE)
    forms = [name.replace("<name>", "([A-Z0-9]+|<name>)") for name in known]
    used = set(re.findall(r"\bMOORAGE_[A-Z0-9_]+(?:<name>[A-Z0-9_]+)?", text_of(page)))
    unknown = {
        name
        for name in used
        if not any(
            re.fullmatch(form, name.removesuffix("_FILE")) or re.fullmatch(form, name) for form in forms
        )
        and not any(form.startswith(name.rstrip("_") + "_") for form in forms)
    }
    assert not unknown, f"{page} names settings that do not exist: {unknown}"


def test_settings_of_the_setup_page_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", text_of("docs/how-to/setup.md"), re.DOTALL)
    text = "\n".join(blocks).replace("/etc/moorage", str(tmp_path)).replace("…", "A" * 43 + "=")
    (tmp_path / "moorage.toml").write_text(text)
    for name in ("rafay-api-key", "scim-token"):
        (tmp_path / name).write_text("a-secret\n")
    settings = load_settings({"MOORAGE_CONFIG": str(tmp_path / "moorage.toml")})
    assert settings.identity
    assert settings.sso


def test_template_fields_are_documented() -> None:
    documented = re.findall(r"^\| `([a-z_.]+)` \|", text_of("docs/reference/templates.md"), re.MULTILINE)
    # The name of a template is the name of its file.
    assert set(documented) == set(fields_of(Template)) - {"name"}


def test_search_attributes_and_phases_are_documented() -> None:
    page = text_of("docs/reference/search-attributes.md")
    assert re.findall(r"^\| `(Env[A-Za-z]+)` \|", page, re.MULTILINE) == [
        key.name for key in SEARCH_ATTRIBUTES
    ]
    # An orphaned environment has no workflow any more that could say so.
    assert {phase for phase in Phase if f"`{phase}`" in page} == set(Phase) - {Phase.ORPHANED}


def test_exit_codes_are_documented() -> None:
    codes = re.findall(r"^\| (\d+) \|", text_of("docs/reference/cli.md"), re.MULTILINE)
    assert list(map(int, codes)) == list(Code)


def test_reference_rewrites_only_what_is_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "settings.md"
    page.write_text(
        "By hand.\n\n<!-- made by `make reference`: settings -->\nold\n<!-- end -->\n\nBy hand too.\n"
    )
    (tmp_path / "other.md").write_text("No part is generated.")
    [(path, text)] = updated_pages(tmp_path)
    assert path == page
    assert re.fullmatch(
        r"By hand\.\n\n<!-- .* -->\n\n\| .* \|\n\n<!-- end -->\n\nBy hand too\.\n", text, re.DOTALL
    )
    assert "MOORAGE_INSTALLATION" in text


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the path of each field that has no fields itself."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        optional = [one for one in get_args(kind) if one is not NoneType]
        if len(optional) == 1 and NoneType in get_args(kind):
            [kind] = optional
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields_of(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
