"""The catalogue: a folder of YAML files, one template a file, named like the file; read strictly or not."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from contracts.naming import is_name
from contracts.template import Template, too_small
from starter.located import Document, FileProblem, FilesUnusable
from starter.sentences import did_you_mean

#: The catalogue that Moorage brings along.
STARTER_TEMPLATES = Path(__file__).parent / "templates"
_ENDINGS = (".yaml", ".yml")


class Catalogue:
    """The templates by name, in the order of their names."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self._templates: Mapping[str, Template] = {
            template.name: template for template in sorted(templates, key=lambda one: one.name)
        }

    def get(self, name: str) -> Template | None:
        """The template of exactly this name."""
        return self._templates.get(name)

    def offered_to(self, teams: Iterable[str], *, everything: bool = False) -> list[Template]:
        """The templates that somebody of these teams may ask for; all of them with `everything`."""
        mine = set(teams)
        return [
            template
            for template in self._templates.values()
            if everything or not template.teams or mine & set(template.teams)
        ]


def load_catalogue(folder: Path) -> Catalogue:
    """The catalogue in `folder`; `FilesUnusable` with every problem of every file if there is one."""
    templates: dict[str, Template] = {}
    origins: dict[str, Path] = {}
    problems: list[FileProblem] = []
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    except OSError as error:
        raise FilesUnusable(
            [FileProblem(folder, 1, "", f"the folder of templates cannot be read: {error.strerror}")]
        ) from None
    if not files:
        problems.append(
            FileProblem(folder, 1, "", "holds no template: put a file such as small.yaml into it")
        )
    for file in files:
        try:
            template = _load_template(file)
        except FilesUnusable as unusable:
            problems += unusable.problems
            continue
        if template.name in templates:
            first = origins[template.name].name
            problems.append(FileProblem(file, 1, "", f"{first} is the template {template.name} already"))
        templates[template.name] = template
        origins[template.name] = file
    if problems:
        raise FilesUnusable(problems)
    return Catalogue(templates.values())


def _load_template(file: Path) -> Template:
    name = file.stem
    if not is_name(name):
        raise FilesUnusable(
            [
                FileProblem(
                    file,
                    1,
                    "",
                    f'a template is named like its file, and "{name}" cannot be a name: at most 30 '
                    "lower-case letters, digits and hyphens, beginning with a letter",
                )
            ]
        )
    document = Document(file)
    content = document.content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise FilesUnusable([document.problem((), 'is not a template: write one "field: value" a line')])
    if content.get("name", name) != name:
        raise FilesUnusable(
            [document.problem(("name",), f"the file is {file.name}, so the name is {name}: leave it out")]
        )
    try:
        template = Template.model_validate({**content, "name": name}, extra="forbid")
    except ValidationError as error:
        raise FilesUnusable(document.problems_of(error, Template)) from None
    if small := too_small(template.size):
        raise FilesUnusable([document.problem(("size", field), words) for field, words in small.items()])
    return template


def unknown_template(name: str, offered: Iterable[Template]) -> str:
    """The sentence for a template that is not offered, with the one that may have been meant."""
    return f'there is no template "{name}"{did_you_mean(name, [one.name for one in offered])}'
