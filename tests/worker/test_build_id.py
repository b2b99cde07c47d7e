"""The build id of a worker: what Temporal shows as the code that a workflow ran on."""

from pathlib import Path

from worker.runner import build_id


def test_build_id_changes_with_the_source_and_with_nothing_else(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for package in (one, other):
        package.mkdir()
        (package / "module.py").write_text("A = 1\n")
    first = build_id(one, other)
    assert build_id(one, other) == first
    (one / "notes.txt").write_text("no code")
    assert build_id(one, other) == first
    (other / "module.py").write_text("A = 2\n")
    assert build_id(one, other) != first
