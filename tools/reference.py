"""Write the generated parts of docs/reference, and the settings in the schema of the chart's values.

`make reference` rewrites each part between its two markers; `make docs` refuses a page that is out of date.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

import moorage
from activities.notices.cloud_events import DATA_SCHEMA, NoticeData, NoticeEvent
from starter.api.problem_details import ProblemType
from starter.cli.app import build
from tools import chart_schema
from worker.settings.reference import settings_table

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"

_BLOCK = re.compile(r"(<!-- made by `make reference`: ([a-z-]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def main() -> None:
    """Rewrite the pages, or with --check exit with code 1 if one is out of date."""
    parser = argparse.ArgumentParser(prog="make reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="Write nothing; exit with 1 if a page is old.")
    check = parser.parse_args().check
    stale = [path for path, text in updated_pages() if text != path.read_text(encoding="utf-8")]
    for path, text in updated_pages() if not check else ():
        path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date: run make reference' if check else 'rewritten'}")
    sys.exit(bool(stale) and check)


def updated_pages(folder: Path = REFERENCE) -> Iterator[tuple[Path, str]]:
    """Yield each page with a generated part, and the schemas, with the text that they should have."""
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if _BLOCK.search(text):
            yield path, _BLOCK.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", text)
    if folder == REFERENCE:
        yield chart_schema.SCHEMA, chart_schema.updated_schema()
        yield REFERENCE / "notice-event.schema.json", notice_schema()


def problem_types() -> str:
    """Return the table of the API's problem types."""
    rows = [f"| `urn:moorage:problem:{type}` | {type.description} |" for type in ProblemType]
    return "\n".join(["| type | title |", "| --- | --- |", *rows])


def notice_schema() -> str:
    """Return the JSON schema of the events that a webhook gets."""
    schema = NoticeEvent.model_json_schema(mode="serialization")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": DATA_SCHEMA}
    return json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n"


def notice_fields() -> str:
    """Return the table of the data of such an event."""
    rows = [f"| `{name}` | {field.description} |" for name, field in NoticeData.model_fields.items()]
    return "\n".join(["| field of `data` | meaning |", "| --- | --- |", *rows])


def commands() -> str:
    """Return every command with its arguments and options, as `--help` has them."""
    app = build(moorage.COMMANDS)
    return "\n".join(_describe(app, click.Context(app, info_name="moorage"))).strip()


PARTS: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "commands": commands,
    "problem-types": problem_types,
    "notice-fields": notice_fields,
}


def _describe(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the lines about a command, then those about its subcommands."""
    yield from ("", f"### {context.command_path}", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from (paragraph.strip("\n"), "")
    if command.epilog and command.epilog.startswith("\b"):
        # The examples, whose paragraph keeps its line breaks, below a line with a backspace and a heading.
        yield from ("```text", *(line.strip() for line in command.epilog.splitlines()[2:]), "```", "")
    elif command.epilog:
        yield from (command.epilog, "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f"Usage: `{context.command_path} {usage}`", "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and (not isinstance(parameter, click.Option) or "--help" not in parameter.opts):
            names, meaning = (" ".join(text.split()) for text in record)
            yield f"- `{names}`: {meaning}"
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _describe(child, click.Context(child, parent=context, info_name=name))


if __name__ == "__main__":
    main()
