"""No import cycles: neither between modules, nor between the packages and modules of one folder."""

import importlib
from collections.abc import Iterable, Mapping
from functools import cache

import grimp
import pytest

PACKAGES = ("contracts", "workflows", "activities", "clients", "worker", "starter", "embedded", "tools")


@cache
def imports() -> grimp.ImportGraph:
    # Without its cache, which goes by the times of files: a checkout may restore older ones.
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def on_cycles(edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the nodes on cycles, and those between two cycles."""
    left = {node: set(targets) - {node} for node, targets in edges.items()}
    while True:
        targets = set().union(*left.values()) if left else set()
        ends = {node for node, to in left.items() if not to & left.keys() or node not in targets}
        if not ends:
            return set(left)
        left = {node: to & left.keys() - ends for node, to in left.items() if node not in ends}


def folder_edges(folder: str) -> dict[str, set[str]]:
    """Return which children of a package import which of its other children, directly."""
    graph = imports()
    owners = {
        module: child
        for child in graph.find_children(folder)
        for module in (child, *graph.find_descendants(child))
    }
    edges: dict[str, set[str]] = {child: set() for child in owners.values()}
    for module, owner in owners.items():
        for imported in graph.find_modules_directly_imported_by(module):
            if (other := owners.get(imported, owner)) != owner:
                edges[owner].add(other)
    return edges


def test_modules_have_no_import_cycle() -> None:
    """Ensures that a module can be understood, and imported, without a module that needs it."""
    graph = imports()
    assert on_cycles({each: graph.find_modules_directly_imported_by(each) for each in graph.modules}) == set()


FOLDERS = sorted({module.rpartition(".")[0] for module in imports().modules} - {""})


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_have_no_import_cycle(folder: str) -> None:
    """Ensures that the packages and modules of a folder can be put into layers."""
    assert on_cycles(folder_edges(folder)) == set()


def test_cycles_are_found() -> None:
    """Ensures that the search finds a cycle, and nothing else."""
    assert on_cycles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"], "e": []}) == {"b", "c"}
    assert on_cycles({"a": ["b", "c"], "b": ["c"], "c": []}) == set()


def test_benchmarks_can_be_imported() -> None:
    """Ensures that what has another name now is found before the next measurement."""
    importlib.import_module("benchmarks.__main__")
    importlib.import_module("benchmarks.host")
