"""Ensures that the consoles of a page are read as people read them, and that output is compared strictly."""

import pytest

from starter.cli.client.slow_notice import SLOW_NOTICE as NOTICE
from tests.runbook.consoles import Command, Situation, parts_of

PAGE = """# Page

<!-- situation: all is lost -->

```console
$ moorage show demo
name:   demo

ends:   …
$ moorage teardown demo \\
    --now
```

Text with `$ moorage list` in it.

```sh
moorage list
```

1. A step:

    ```console
    $ moorage list
    …
    ```
"""


def test_parts_are_in_the_order_of_the_page() -> None:
    assert parts_of(PAGE) == [
        Situation("all is lost", 3),
        Command("moorage show demo", 6, ("name: demo", "ends: …")),
        Command("moorage teardown demo --now", 10),
        Command("moorage list", 23, ("…",)),
    ]


def test_console_without_a_command_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="line 2: a console begins with a command: demo"):
        parts_of("```console\ndemo\n```\n")


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        (["demo is gone"], "demo is gone\n"),
        (["demo   is  gone"], "\n  demo is gone  \n\n"),
        (["in …"], "in 24m (Fri)\n"),
        (["…"], ""),
        (["…", "last"], "one\ntwo\nlast\n"),
        (["first", "…", "last"], "first\nlast\n"),
        (["a …b", "…"], "a b\n"),
        (["100 % (*.md)"], "100 % (*.md)\n"),
        (["demo is gone"], f"{NOTICE}\ndemo is gone\n"),
        (["first", "last"], f"first\n{NOTICE}\nlast\n{NOTICE}\n"),
    ],
)
def test_output_is_what_the_page_says(expected: list[str], printed: str) -> None:
    assert Command("x", 1, tuple(" ".join(line.split()) for line in expected)).prints(printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        (["demo is gone"], "demo is gone\nmore\n"),
        (["demo is gone"], "more\ndemo is gone\n"),
        (["demo is gone"], "demo is going\n"),
        (["demo … gone"], "demo is\ngone\n"),
        (["first", "…", "last"], "first\nlast but one\n"),
        (["x"], ""),
        (["a.md"], "abmd\n"),
        (["demo is gone"], f"{NOTICE} demo is gone\n"),
        (["demo is gone"], "waiting for another\ndemo is gone\n"),
    ],
)
def test_output_is_not_what_the_page_says(expected: list[str], printed: str) -> None:
    assert not Command("x", 1, tuple(expected)).prints(printed)


def test_a_command_whose_output_is_left_out_has_no_known_output() -> None:
    """Ensures that such a command must succeed, as nothing else is known of it."""
    quiet, left_out, shown = parts_of("```console\n$ a\n$ b\n…\n$ c\n…\ndone\n```\n")
    assert isinstance(quiet, Command)
    assert isinstance(left_out, Command)
    assert isinstance(shown, Command)
    assert [each.has_known_output for each in (quiet, left_out, shown)] == [False, False, True]
