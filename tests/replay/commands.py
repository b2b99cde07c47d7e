"""The commands that the workflows' code gives, function by function, in the order of the source.

`python -m tests.replay.commands` writes them to `commands.txt`, with which `test_commands.py` compares. It
sees what no recorded history goes through: a command that was added, removed or moved anywhere. Arguments
that may change freely (timeouts, retries, summaries, payloads) are not in it.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from contracts.activities.steps import StepActivities, step_activity_name
from workflows import steps
from workflows.registry import HOST_WORKFLOWS, WORKFLOWS

SOURCES = Path(steps.__file__).parent
COMMANDS = Path(__file__).parent / "commands.txt"
#: What of `workflow.` leaves a trace in a history, or waits for something that does.
_COMMANDS = frozenset(
    {
        "continue_as_new", "deprecate_patch", "execute_activity", "execute_activity_method",
        "execute_child_workflow", "execute_local_activity", "execute_local_activity_method",
        "get_external_workflow_handle", "patched", "sleep", "start_activity", "start_activity_method",
        "start_child_workflow", "start_local_activity", "start_local_activity_method", "upsert_memo",
        "upsert_search_attributes", "wait", "wait_condition",
    }
)  # fmt: skip


def sources() -> dict[str, str]:
    """The source of each module of the workflows, by its name below `workflows`."""
    names = {path: path.relative_to(SOURCES).with_suffix("").parts for path in sorted(SOURCES.rglob("*.py"))}
    return {".".join(parts): path.read_text(encoding="utf-8") for path, parts in names.items()}


@dataclass(frozen=True)
class _Call:
    """A call: what is called, how a command is written on the page, and the activities that it is given."""

    name: str
    command: str
    activities: str


@dataclass(frozen=True)
class _Module:
    """What the page needs of a module: names that it imports, and the calls of its functions, in order."""

    imports: tuple[str, ...]
    functions: Mapping[str, tuple[_Call, ...]]


def commands_of(texts: Mapping[str, str], table: tuple[steps.Step, ...] = steps.STEPS) -> str:
    """A page: for each workflow, the functions that it may run, and what each of them does in order."""
    modules = {name: _read(text) for name, text in texts.items()}
    lines: list[str] = []
    for workflow in (*WORKFLOWS, *HOST_WORKFLOWS):
        lines += [f"# {workflow.__name__}"]
        reached = sorted(_reached(workflow.__module__.removeprefix("workflows."), modules))
        bodies = {
            f"{module}.{name}": body for module in reached for name, body in modules[module].functions.items()
        }
        commanding = _commanding(bodies)
        for name, body in bodies.items():
            if done := list(_done(body, commanding)):
                lines += ["", name, *(f"    {one}" for one in done)]
        lines += [""]
    return "\n".join([*lines, "# The table of steps", "", *map(_row, table)]) + "\n"


@cache
def _read(text: str) -> _Module:
    tree = ast.parse(text)
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workflows"):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            imports += [name.removeprefix("workflows.") for name in names]
    return _Module(tuple(imports), {name: tuple(_calls(body)) for name, body in _functions(tree)})


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


def _calls(body: ast.AST) -> Iterator[_Call]:
    calls = [node for node in ast.walk(body) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0)):
        name = ast.unparse(call.func)
        first, _, last = name.rpartition(".")
        command = ""
        if first == "workflow" and last in _COMMANDS:
            arguments = call.args[:1] if "activity" in last or last == "patched" else []
            command = f"{name}({', '.join(map(ast.unparse, arguments))})"
        given = map(ast.unparse, call.args)
        yield _Call(name, command, ", ".join(each for each in given if "Activities." in each))


def _reached(module: str, modules: Mapping[str, _Module]) -> set[str]:
    """The module, and all of the workflows' that it imports, however indirectly."""
    found: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        if name in found or name not in modules:
            continue
        found.add(name)
        left += modules[name].imports
    return found


def _commanding(bodies: Mapping[str, tuple[_Call, ...]]) -> frozenset[str]:
    """The names of the functions that give commands, themselves or through others."""
    names: frozenset[str] = frozenset()
    while True:
        now = frozenset(
            name.rpartition(".")[2]
            for name, body in bodies.items()
            if next(_done(body, names), None) is not None
        )
        if now == names:
            return names
        names = now


def _done(body: tuple[_Call, ...], commanding: frozenset[str]) -> Iterator[str]:
    """What a function does in order: commands of Temporal's, and calls of functions that give some."""
    for call in body:
        first, _, last = call.name.rpartition(".")
        if call.command:
            yield call.command
        elif first != "workflow" and last in commanding:
            yield f"{call.name}({call.activities})"


def _row(step: steps.Step) -> str:
    methods = ("ensure", "remove", "inspect") if step.has_undo else ("ensure",)
    names = ", ".join(step_activity_name(step.name, getattr(StepActivities, each)) for each in methods)
    after = f"; undone after {', '.join(sorted(step.undo_after))}" if step.undo_after else ""
    return f"{step.name}: {names}{after}{'' if step.wanted is steps._always else '; if wanted'}"


if __name__ == "__main__":
    COMMANDS.write_text(commands_of(sources()), encoding="utf-8")
