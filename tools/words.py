"""A check of the words in code and documentation: the field's terms instead of our own.

It reads names, docstrings, comments, messages and pages alike. The list holds only words that have an
unambiguous replacement; CONTRIBUTING.md has the rules behind it.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: What not to write, as a pattern, and what to write instead.
WORDS = {
    "whoever": "name the actor: the caller, the user, the worker",
    "somebody": "name the actor: a user, an operator, another client",
    "nobody": "name the actor: no user, no caller",
    "begun": "started",
    "anew": "again",
    "shall": "must, or will",
    "told": "notified, reported, or configured",
    "unwind": "compensate",
    "patience": "timeout",
    "of its own": "own, or separate",
    "by now": "leave it out",
}
#: Files in which words of the list are not ours: recorded histories, data, and the list itself.
EXEMPT_FILES = re.compile(r"/histories/|^tools/words\.py$|^LICENSE$|^CHANGELOG\.md$")
#: Files that are read, by their ends.
READ = (".py", ".md", ".yaml", ".yml", ".toml", "Makefile", "Dockerfile")
#: A line that needs a word of the list says so with this comment.
ALLOW = "words: allow"

# An underscore ends a word too, so that parts of names are found.
_PATTERN = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(WORDS)})(?![A-Za-z])", re.IGNORECASE)


def problems(name: str, text: str) -> Iterator[str]:
    """Yield each word of the list in the text as `file:line: word: what to write`."""
    if not _PATTERN.search(text):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if ALLOW not in line:
            for found in _PATTERN.finditer(line):
                yield f'{name}:{number}: "{found[0]}": write {WORDS[found[0].lower()]}'


def main() -> int:
    """Print all problems of the tracked files; return 1 if there are any."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    found = [
        problem
        for name in listed.splitlines()
        if name.endswith(READ) and not EXEMPT_FILES.search(name)
        for problem in problems(name, Path(name).read_text())
    ]
    print("\n".join(found) or "no word of the list")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
