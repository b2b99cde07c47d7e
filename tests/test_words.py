"""The check of words in `make lint`."""

import pytest

from tools.words import problems


@pytest.mark.parametrize(
    "line",
    [
        "def client_is_told() -> None:",  # words: allow
        "# Nobody asks.",  # words: allow
        'raise E("of its own")',  # words: allow
        "PATIENCE = 3",  # words: allow
    ],
)
def test_words_of_the_list_are_found_in_names_comments_and_messages(line: str) -> None:
    """Ensures that parts of names and phrases count, in any case."""
    [problem] = problems("a.py", f"x = 1\n{line}")
    assert problem.startswith("a.py:2: ")


@pytest.mark.parametrize("line", ["untold = 1", "marshall(x)", "told = 1  # words: allow"])
def test_other_words_and_allowed_lines_are_accepted(line: str) -> None:
    """Ensures that a word within another is none of the list, and that a line can say that it needs one."""
    assert list(problems("a.py", line)) == []
