"""Every shape that answers of the control plane are known or supposed to have, and those that are none."""

import base64
import json
import traceback

import pytest

from clients.errors import (
    AlreadyExists,
    ClientError,
    Denied,
    InUse,
    MalformedAnswer,
    NotFound,
    NotYet,
    Rejected,
    ServerFailed,
)
from clients.rafay import Binding, User
from clients.rafay.transport import classify, explain
from clients.transport.http import Answer
from tests.clients.rafay.scripted import KEY, scripted

V1_DETAILS = (
    '{"status_code": 400, "details": [{"error_code": "CONFIG035", "detail": "the words", "info": ""}]}'
)


@pytest.mark.parametrize(
    "body",
    [
        V1_DETAILS,
        '"the words"',
        "the words",
        '{"error": "the words"}',
        '{"error": {"message": "the words"}}',
        '{"code": 400, "external": "the words", "internal": "more of them"}',
        '{"message": "the words", "reason": "because"}',
        '{"detail": "the words"}',
        '["the words"]',
        '{"unknown": "the words"}',
    ],
)
def test_words_are_found_in_every_shape_of_an_error(body: str) -> None:
    assert "the words" in explain(Answer(400, {}, body.encode()))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, "{}", None),
        (400, '"project not found"', NotFound),
        (500, '"pg: no rows in result set"', NotFound),
        (400, '{"error": "user x@y.z does not exist"}', NotFound),
        (502, '"upstream not found"', None),
        (503, '"cluster does not exist"', None),
        (400, '"Cluster name is already taken. Please choose another."', AlreadyExists),
        (400, '"group g is already assigned to p"', AlreadyExists),
        (400, '"project already exists"', AlreadyExists),
        (500, '"ERROR #23505 duplicate key value violates unique constraint"', AlreadyExists),
        (400, '"no or invalid credentials"', Denied),
        (500, '"You do not have enough privileges"', Denied),
        (404, '"method or route not allowed"', Denied),
        (429, '"not found"', None),
        (404, "404 page not found", MalformedAnswer),
        (404, "<!DOCTYPE html><html>not found</html>", MalformedAnswer),
        (400, "  <html>already exists</html>", MalformedAnswer),
        (401, "<html>log in</html>", None),
        (503, "<html>not found</html>", None),
        (400, '"a bad name"', None),
    ],
)
def test_error_is_classified_by_its_text_where_its_status_is_ambiguous(
    status: int, body: str, kind: type[ClientError] | None
) -> None:
    answer = Answer(status, {}, body.encode())
    assert classify(answer, f"{status} {explain(answer)}") is kind


async def test_both_styles_of_authentication_are_sent_with_every_call() -> None:
    async with scripted((200, '{"count": 0, "results": []}'), (201, "{}"), (200, "")) as (rafay, script):
        await rafay.find_project("demo")
        with pytest.raises(MalformedAnswer):
            await rafay.create_cluster("p", "demo", {}, "minimal")
        await rafay.delete_group("g")
    for head in script.requests:
        sent = {line.partition(":")[0].lower(): line.partition(": ")[2] for line in head.splitlines()[1:]}
        assert sent["x-rafay-api-keyid"] == KEY
        assert sent["x-api-key"] == KEY


@pytest.mark.parametrize("key", ["results", "items"])
async def test_list_is_read_under_either_name(key: str) -> None:
    entry = {"id": "1", "name": "demo", "description": None, "new_field": [1]}
    async with scripted((200, json.dumps({"count": 1, key: [entry]}))) as (rafay, _):
        found = await rafay.find_project("demo")
    assert found is not None
    assert found.description == ""


async def test_list_without_a_count_is_read_until_a_page_is_empty() -> None:
    async with scripted(
        (200, '{"results": [{"id": "1", "name": "a"}]}'),
        (200, '{"results": [{"id": "2", "name": "demo"}]}'),
        (200, '{"results": []}'),
    ) as (rafay, script):
        found = await rafay.find_group("demo")
    assert found is not None
    assert [request.split()[1].split("offset=")[1].split("&")[0] for request in script.requests] == [
        "0",
        "1",
        "2",
    ]


async def test_list_written_as_null_is_empty() -> None:
    async with scripted((200, '{"count": 0, "results": null}')) as (rafay, _):
        assert await rafay.find_project("demo") is None


async def test_list_that_changes_while_it_is_read_is_read_again() -> None:
    async with scripted(
        (200, '{"count": 3, "results": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]}'),
        # One went away, so the last one moved up to where had been read already.
        (200, '{"count": 2, "results": []}'),
        (200, '{"count": 2, "results": [{"id": "2", "name": "b"}, {"id": "3", "name": "demo"}]}'),
    ) as (rafay, _):
        found = await rafay.find_project("demo")
    assert found is not None, "an entry that slipped to another page was missed"


async def test_whole_list_has_every_entry_of_all_pages() -> None:
    async with scripted(
        (200, '{"count": 3, "results": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]}'),
        (200, '{"count": 3, "results": [{"id": "3", "name": "c", "description": "x"}]}'),
    ) as (rafay, _):
        assert [(one.id, one.description) for one in await rafay.projects()] == [
            ("1", ""),
            ("2", ""),
            ("3", "x"),
        ]


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param(
            ['{"count": 3, "results": [{"id": "1", "name": "a"}]}', '{"count": 3, "results": []}'],
            id="fewer than it counts",
        ),
        pytest.param(
            ['{"count": 1, "results": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]}'], id="more"
        ),
        pytest.param(
            [
                '{"count": 2, "results": [{"id": "1", "name": "a"}]}',
                '{"count": 2, "results": [{"id": "1", "name": "b"}]}',
            ],
            id="one twice",
        ),
    ],
)
async def test_whole_list_that_contradicts_itself_is_an_error(pages: list[str]) -> None:
    async with scripted(*[(200, page) for page in pages] * 3) as (rafay, _):
        with pytest.raises(MalformedAnswer, match="the list counts"):
            await rafay.groups()


async def test_list_that_keeps_changing_is_an_error_not_an_absence() -> None:
    pages = [
        (200, '{"count": 2, "results": [{"id": "1", "name": "a"}]}'),
        (200, '{"count": 1, "results": []}'),
    ]
    async with scripted(*pages * 3) as (rafay, _):
        with pytest.raises(MalformedAnswer, match="kept changing"):
            await rafay.find_project("demo")


async def test_list_that_ignores_the_offset_is_an_error_not_an_endless_loop() -> None:
    async with scripted((200, '{"count": 9, "results": [{"id": "1", "name": "a"}]}')) as (rafay, script):
        with pytest.raises(MalformedAnswer, match="same page"):
            await rafay.find_project("demo")
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        "[1]",
        "{}",
        "7",
        "null",
        "",
        '{"results": "x"}',
        '{"count": 1, "results": [{"name": "demo"}]}',
        "{",
        "<html>",
    ],
)
async def test_list_of_another_shape_is_unintelligible(body: str) -> None:
    async with scripted((200, body)) as (rafay, _):
        with pytest.raises(MalformedAnswer) as odd:
            await rafay.find_project("demo")
    assert not odd.value.ambiguous


@pytest.mark.parametrize("body", ["", "{}", '{"name": "demo"}', '{"id": null}'])
async def test_created_group_is_looked_up_when_the_answer_is_without_its_id(body: str) -> None:
    group = {"id": "7", "name": "demo", "description": "mark"}
    async with scripted((201, body), (200, json.dumps({"count": 1, "results": [group]}))) as (rafay, _):
        created = await rafay.create_group("demo", "mark")
    assert (created.id, created.name, created.description) == ("7", "demo", "mark")


async def test_created_group_that_cannot_be_found_is_in_doubt() -> None:
    async with scripted((201, "{}"), (200, '{"count": 0, "results": []}')) as (rafay, _):
        with pytest.raises(MalformedAnswer) as lost:
            await rafay.create_group("demo", "mark")
    assert lost.value.ambiguous


@pytest.mark.parametrize("body", ["[]", "7", "{}", "", '{"id": "1", "name": "demo", "health": "fine"}'])
async def test_created_cluster_of_another_shape_is_in_doubt(body: str) -> None:
    async with scripted((201, body)) as (rafay, _):
        with pytest.raises(MalformedAnswer) as odd:
            await rafay.create_cluster("p", "demo", {}, "minimal")
    assert odd.value.ambiguous


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_deletion_is_accepted_in_any_success(status: int) -> None:
    async with scripted((status, "")) as (rafay, _):
        await rafay.delete_project("p")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, V1_DETAILS, InUse),
        (409, '"conflict"', InUse),
        (400, '"project still has resources that already exist"', InUse),
        (404, "", NotFound),
        (500, '"pg: no rows in result set"', NotFound),
        (500, '"something else"', ServerFailed),
        (403, "", Denied),
        (404, "404 page not found", MalformedAnswer),
    ],
)
async def test_refused_deletion_is_in_use_whatever_its_words(
    status: int, body: str, error: type[ClientError]
) -> None:
    async with scripted((status, body)) as (rafay, _):
        with pytest.raises(error):
            await rafay.delete_project("p")


async def test_check_names_the_user_where_no_project_names_the_organisation() -> None:
    async with scripted(
        (200, '{"count": 0, "results": []}'), (200, '{"account": {"username": "me@example.com"}}')
    ) as (rafay, _):
        assert await rafay.check() == "me@example.com"


async def test_bindings_are_read_with_roles_left_out_or_of_more_kinds() -> None:
    body = json.dumps(
        [
            {
                "project": {"name": "a"},
                "roles": [
                    {"role": {"name": "PROJECT_ADMIN"}, "namespace_id": None},
                    {"role": {"name": "NAMESPACE_ADMIN"}, "namespace_id": "n1"},
                ],
                "custom_roles": [{"custom_role": {"name": "mine"}}],
            },
            {"project": {"name": "b"}, "roles": None},
        ]
    )
    async with scripted((200, body)) as (rafay, _):
        assert await rafay.bindings("g") == [
            Binding("a", ("PROJECT_ADMIN", "NAMESPACE_ADMIN")),
            Binding("b", ()),
        ]


@pytest.mark.parametrize(
    "body",
    [
        '[{"id": "1", "username": "a@b.c"}]',
        '[{"account": {"id": "1", "username": "a@b.c"}}]',
        '{"count": 1, "users": [{"account": {"id": "1", "username": "a@b.c"}}]}',
    ],
)
async def test_members_are_read_in_every_supposed_shape(body: str) -> None:
    async with scripted((200, body)) as (rafay, _):
        assert await rafay.group_members("g") == [User("1", "a@b.c")]


EDGE = {"id": "1", "name": "demo"}


@pytest.mark.parametrize(
    ("fields", "ready", "failure"),
    [
        ({}, False, None),
        ({"status": "READY", "health": 1}, True, None),
        ({"status": "READY", "health": 2}, False, None),
        ({"status": "READY", "health": 0}, False, None),
        ({"status": "NOT_READY", "health": 1}, False, None),
        ({"status": "READY", "health": None, "labels": None, "cluster": None}, False, None),
        (
            {"status": "PROVISION_FAILED", "provision": {"comments": "no room"}},
            False,
            "PROVISION_FAILED: no room",
        ),
        ({"status": "PRETEST_FAILED"}, False, "PRETEST_FAILED: no reason given"),
    ],
)
async def test_cluster_is_ready_by_status_and_health_and_failed_by_status(
    fields: dict[str, object], ready: bool, failure: str | None
) -> None:
    async with scripted((200, json.dumps(EDGE | fields))) as (rafay, _):
        cluster = await rafay.get_cluster("p", "1")
    assert cluster.ready is ready
    assert cluster.failure == failure
    assert cluster.project_id == "p"


@pytest.mark.parametrize(
    ("stage", "status", "fails"),
    [
        ("ClusterCheckIn", "Failed", True),
        ("ClusterBlueprintSync", "Failed", True),
        ("ClusterNodeSync", "Failed", False),
        ("ClusterCheckIn", "InProgress", False),
    ],
)
async def test_only_stages_that_end_a_registration_fail_it(stage: str, status: str, fails: bool) -> None:
    conditions = [{"type": stage, "status": status, "reason": "r"}]
    body = json.dumps(EDGE | {"cluster": {"status": {"conditions": conditions}}})
    async with scripted((200, body)) as (rafay, _):
        cluster = await rafay.get_cluster("p", "1")
    assert (cluster.failure is not None) is fails
    assert cluster.pending == f"{stage} {status}"


MANIFEST = "apiVersion: v1\nkind: Secret\nstringData: {token: hush-hush}\n"


@pytest.mark.parametrize(
    "body", [MANIFEST, json.dumps({"data": base64.b64encode(MANIFEST.encode()).decode()})]
)
async def test_bootstrap_is_read_in_both_forms(body: str) -> None:
    async with scripted((200, body)) as (rafay, _):
        assert await rafay.bootstrap("p", "demo") == MANIFEST


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, '"not ready"', NotYet),
        (404, "", NotYet),
        (500, '"whatever"', NotYet),
        (200, "", NotYet),
        (200, '{"data": ""}', NotYet),
        (200, '{"data": null}', NotYet),
        (502, "", ServerFailed),
        (401, "", Denied),
        (200, '{"data": "%%%"}', MalformedAnswer),
        (200, '{"data": "aGVsbG8="}', MalformedAnswer),
        (200, '{"nothing": 1}', MalformedAnswer),
        (200, "<html>kind</html>", MalformedAnswer),
        (200, f'{{"data": "{base64.b64encode(MANIFEST.encode()).decode()[:-7]}', MalformedAnswer),
    ],
)
async def test_bootstrap_that_is_none_differs_from_one_to_come(
    status: int, body: str, error: type[ClientError]
) -> None:
    async with scripted((status, body)) as (rafay, _):
        with pytest.raises(error) as failed:
            await rafay.bootstrap("p", "demo")
    assert "hush" not in "".join(traceback.format_exception(failed.value))


async def test_key_quoted_back_is_struck_out() -> None:
    body = json.dumps(f"no or invalid credentials: {KEY} (the-secret-part)")
    async with scripted((401, body)) as (rafay, _):
        with pytest.raises(Denied, match="no or invalid credentials") as denied:
            await rafay.check()
    assert "the-secret-part" not in "".join(traceback.format_exception(denied.value))


async def test_answer_quoted_in_a_wrong_shape_is_not_shown() -> None:
    async with scripted((200, '{"count": 1, "results": [{"name": ["hush-hush"]}]}')) as (rafay, _):
        with pytest.raises(MalformedAnswer, match="id") as odd:
            await rafay.find_project("demo")
    assert "hush" not in "".join(traceback.format_exception(odd.value))


def test_rejected_and_in_use_differ_in_whether_to_try_again() -> None:
    assert InUse("s", "o", "d").retryable
    assert not Rejected("s", "o", "d").retryable
    assert isinstance(InUse("s", "o", "d"), Rejected)
