"""Ensures that text which could forge lines is refused at the door, and that no text is a fault of ours."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from starter.auth.tokens import load_tokens
from starter.catalogue.loader import load_catalogue
from starter.config_files.yaml_source import FilesUnusable
from tests.api.application import PLATFORM, an_app, bearer
from tests.api.caller import fields_of, problem

EVIL = ["a\x1b[2Kb", "a\nb", "a\u2028b", "a\u202eb", "a\u2066b", "a\x85b", "\ud800", "\udfff\ud800", "a\0b"]


@pytest.fixture(scope="module")
async def http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Refused calls leave nothing in the application: all tests share it."""
    app = await an_app(tmp_path_factory.mktemp("api"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://api/api/v1",
        headers={"Content-Type": "application/json", **bearer(PLATFORM)},
    ) as http:
        yield http


def body(content: object) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize("text", EVIL, ids=ascii)
async def test_bodies(http: httpx.AsyncClient, text: str) -> None:
    """Ensures it of every field of every body that has text, and of the names of fields."""
    whole = {"name": "demo", "template": "small"}
    for method, path, content, field in [
        ("POST", "/environments", whole | {"name": text}, "name"),
        ("POST", "/environments", whole | {"template": text}, "template"),
        ("POST", "/environments", whole | {"team": text}, "team"),
        ("POST", "/environments", whole | {"ttl": text}, "ttl"),
        ("POST", "/environments", whole | {"host": text}, "host"),
        ("POST", "/environments", whole | {"collaborators": [text]}, "collaborators.0"),
        ("POST", "/environments/demo/extend", {"by": "1d", "reason": text}, "reason"),
        ("POST", "/environments/demo/extend", {"by": text}, "by"),
        ("PUT", "/freeze", {"reason": text}, "reason"),
    ]:
        answer = await http.request(method, path, content=body(content))
        assert list(fields_of(problem(answer, 422))) == [field], f"{path} {field}"
        assert "holds" in answer.text
    answer = await http.put("/freeze", content=body({"reason": "x", text: 1}))
    problem(answer, 422)


@pytest.mark.parametrize("text", [one for one in EVIL if not "\ud800" <= one[0] <= "\udfff"], ids=ascii)
async def test_queries(http: httpx.AsyncClient, text: str) -> None:
    for name in ("owner", "team", "template", "phase", "cursor"):
        problem(await http.get("/environments", params={name: text}), 422)


async def test_what_is_no_text_at_all(http: httpx.AsyncClient) -> None:
    """Ensures that no bytes are a fault of ours: no UTF-8, halves of characters, deep nesting."""
    for odd in ("%ED%A0%80", "%ff", "%00", "%1b", "%E2%80%AE", "..%2f..", "a" * 3000):
        problem(await http.get(f"/environments/{odd}"), 404)
        problem(await http.get(f"/templates/{odd}"), 404)
        problem(await http.get(f"/environments?owner={odd}&cursor=x"), 422)
    for content in (
        b"\xff",
        b'"\xed\xa0\x80"',
        b"[" * 60_000,
        b'{"reason": "\\ud800',
        b"NaN",
        b'{"a":1e999}',
    ):
        answer = await http.put("/freeze", content=content)
        assert answer.status_code in (400, 422), f"{content[:20]!r}: {answer.status_code} {answer.text}"
    answer = await http.get("/templates", headers={b"Authorization": b"Bearer \xed\xa0\x80"})
    problem(answer, 401)


def test_files(tmp_path: Path) -> None:
    """Ensures that names of people, descriptions and any text of a file are held to the same."""
    file = tmp_path / "tokens.yaml"
    sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    for person, said in (
        (r"\e[2K", "U+001B"),
        (r"\u202e", "U+202E"),
        (r"\ud800", "invalid Unicode character"),
    ):
        file.write_text(
            f'tokens: [{{sha256: {sha}, email: a@b.c, teams: [t], person: "a{person}b"}}]', encoding="utf-8"
        )
        file.chmod(0o600)
        with pytest.raises(FilesUnusable, match=r"holds|is not valid YAML") as unusable:
            load_tokens(file)
        assert said in str(unusable.value).replace("\\u", "U")
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "small.yaml").write_text('description: "a\\nb"\n')
    with pytest.raises(FilesUnusable, match="description: holds a line break"):
        load_catalogue(folder)
