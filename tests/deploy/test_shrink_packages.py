"""The packages of an image after they were made smaller: the same content under the same names."""

import os
from pathlib import Path

from deploy import shrink_packages

LARGE = b"\x7fELF" + bytes(shrink_packages.LEAST_BYTES)


def test_copies_of_a_library_become_links_to_the_one_with_the_whole_version(tmp_path: Path) -> None:
    """Ensures that each name still has the content, in one file, and that a copied folder keeps its links."""
    names = ("libhelm_c.so", "libhelm_c.so.0", "libhelm_c.so.0.2.2")
    for name in names:
        (tmp_path / name).write_bytes(LARGE)
    done = list(shrink_packages.link_copies(tmp_path))
    assert {copy.name: original.name for copy, original in done} == dict.fromkeys(names[:2], names[2])
    assert all((tmp_path / name).read_bytes() == LARGE for name in names)
    assert [os.readlink(tmp_path / name) for name in names[:2]] == [names[2]] * 2
    assert not (tmp_path / names[2]).is_symlink()
    assert list(shrink_packages.link_copies(tmp_path)) == []


def test_other_files_stay(tmp_path: Path) -> None:
    """Ensures that neither small files, nor equal ones of other folders, nor different ones are touched."""
    files = {
        "a/small.py": b"",
        "a/small_too.py": b"",
        "a/large.so": LARGE,
        "a/other.so": LARGE[:-1] + b"x",
        "b/large.so": LARGE,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert list(shrink_packages.link_copies(tmp_path)) == []
    assert not [name for name in files if (tmp_path / name).is_symlink()]
