"""The rights of people inside a vCluster, against an API server in memory that keeps Kubernetes' rules."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from clients.errors import AlreadyExists, ClientError, MalformedAnswer, NotFound, NotYet, Rejected
from clients.transport.http import HttpSystem
from clients.virtual_cluster import people
from clients.virtual_cluster.people import ATTEMPTS, PERSON_ROLE, PeopleRights, binding_name

ADA, BOB = "ada@example.com", "bob@example.com"
LABELS = {"moorage.dev/name": "demo", "moorage.dev/life": "1"}
GROUP = "rbac.authorization.k8s.io"
CLUSTER = f"/apis/{GROUP}/v1/clusterrolebindings"
NAMESPACED = f"/apis/{GROUP}/v1/rolebindings"


class FakeServer:
    """Serves bindings; an object with finalizers stays after its deletion, as in Kubernetes."""

    system = "vCluster"

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self._versions = 0

    def put(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        self._versions += 1
        kind = "RoleBinding" if "/namespaces/" in path else "ClusterRoleBinding"
        kept = {"kind": kind, **copy.deepcopy(dict(content))}
        kept["metadata"] = {"uid": f"uid-{self._versions}", **kept["metadata"]}
        kept["metadata"]["resourceVersion"] = str(self._versions)
        self.objects[path] = kept
        return kept

    def add(self, name: str, *subjects: tuple[str, str], namespace: str = "", **metadata: Any) -> str:
        where = f"/apis/{GROUP}/v1/namespaces/{namespace}/rolebindings" if namespace else CLUSTER
        self.put(
            f"{where}/{name}",
            {
                "metadata": {"name": name, **({"namespace": namespace} if namespace else {}), **metadata},
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": PERSON_ROLE},
                "subjects": [{"kind": kind, "name": name} for kind, name in subjects],
            },
        )
        return f"{where}/{name}"

    async def call_json(
        self, method: str, path: str, operation: str, *, query: Any = None, body: Any = None
    ) -> Any:
        self.calls.append(method)
        self.before(method, path)
        if method == "GET" and path in (CLUSTER, NAMESPACED):
            return self._page(path, query)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise AlreadyExists(self.system, operation, "409")
            return self.put(path, body)
        found = self.objects.get(path)
        if found is None:
            raise NotFound(self.system, operation, "404")
        if method == "PUT":
            if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                raise AlreadyExists(self.system, operation, "409")
            self.put(path, body)
            if body["metadata"].get("deletionTimestamp") and not body["metadata"].get("finalizers"):
                del self.objects[path]
        if method == "DELETE":
            if body["preconditions"]["uid"] != found["metadata"]["uid"]:
                raise AlreadyExists(self.system, operation, "409")
            if found["metadata"].get("finalizers"):
                found["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
            else:
                del self.objects[path]
        return copy.deepcopy(found)

    call = call_json

    def _page(self, path: str, query: Mapping[str, Any]) -> Any:
        kind = "clusterrolebindings" if path == CLUSTER else "rolebindings"
        found = [each for key, each in sorted(self.objects.items()) if f"/{kind}/" in key]
        start, size = int(query.get("continue", 0)), int(query["limit"])
        more = str(start + size) if start + size < len(found) else None
        # The items of a list have no kind.
        items = [{key: value for key, value in each.items() if key != "kind"} for each in found]
        return {"metadata": {"continue": more}, "items": copy.deepcopy(items[start : start + size])}


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def rights(server: FakeServer) -> PeopleRights:
    return PeopleRights(cast(HttpSystem, server))


class TestEnsure:
    async def test_binds_the_person_with_our_labels(self, server: FakeServer, rights: PeopleRights) -> None:
        assert await rights.ensure(ADA, LABELS) is True
        binding = server.objects[f"{CLUSTER}/{binding_name(ADA)}"]
        assert binding["metadata"]["labels"] == LABELS
        assert binding["roleRef"] == {"apiGroup": GROUP, "kind": "ClusterRole", "name": PERSON_ROLE}
        assert binding["subjects"] == [{"apiGroup": GROUP, "kind": "User", "name": ADA}]
        assert await rights.list_people(LABELS) == [ADA]

    async def test_costs_one_read_when_it_is_there(self, server: FakeServer, rights: PeopleRights) -> None:
        await rights.ensure(ADA, LABELS)
        server.calls.clear()
        assert await rights.ensure(ADA, LABELS) is False
        assert server.calls == ["GET"]

    @pytest.mark.parametrize(
        "change",
        [
            {"subjects": []},
            {"subjects": [{"kind": "User", "name": BOB}]},
            {"subjects": [{"kind": "User", "name": ADA}, {"kind": "User", "name": BOB}]},
            {"subjects": [{"kind": "Group", "name": ADA}]},
            {"roleRef": {"kind": "ClusterRole", "name": "view"}},
            {"roleRef": {"kind": "Role", "name": PERSON_ROLE}},
        ],
    )
    async def test_restores_a_binding_that_a_tenant_has_changed(
        self, server: FakeServer, rights: PeopleRights, change: dict[str, Any]
    ) -> None:
        await rights.ensure(ADA, LABELS)
        path = f"{CLUSTER}/{binding_name(ADA)}"
        whole = copy.deepcopy(server.objects[path])
        server.put(path, server.objects[path] | change)
        await rights.ensure(ADA, LABELS)
        for part in ("roleRef", "subjects"):
            assert server.objects[path][part] == whole[part]

    async def test_replaces_a_binding_that_is_being_deleted(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        path = server.add(
            binding_name(ADA), ("User", ADA), labels=LABELS, finalizers=["a/b"], deletionTimestamp="2030"
        )
        await rights.ensure(ADA, LABELS)
        assert "deletionTimestamp" not in server.objects[path]["metadata"]

    async def test_makes_a_binding_that_another_has_just_released_and_deleted(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        path = server.add(
            binding_name(ADA), ("User", ADA), labels=LABELS, finalizers=["a/b"], deletionTimestamp="2030"
        )
        server.before = _once(lambda: server.objects.pop(path), method="PUT")
        assert await rights.ensure(ADA, LABELS) is True
        assert path in server.objects

    @pytest.mark.parametrize("finalizers", [[], ["example.com/never"]])
    @pytest.mark.parametrize("subject", [ADA, BOB])
    async def test_takes_over_a_name_that_a_tenant_has_taken(
        self, server: FakeServer, rights: PeopleRights, subject: str, finalizers: list[str]
    ) -> None:
        """Ensures that a tenant, who can compute the name, can lock no collaborator out with it."""
        taken: dict[str, Any] = {"labels": {"moorage.dev/name": "demo"}, "finalizers": finalizers}
        path = server.add(binding_name(ADA), ("User", subject), **taken)
        assert await rights.ensure(ADA, LABELS) is True
        assert server.objects[path]["metadata"]["labels"] == LABELS
        assert [each["name"] for each in server.objects[path]["subjects"]] == [ADA]
        assert await rights.list_people(LABELS) == [ADA]

    async def test_agrees_with_another_caller_that_is_faster(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        def overtake(method: str, _path: str) -> None:
            if method == "POST" and not server.objects:
                server.add(binding_name(ADA), ("User", ADA), labels=LABELS)

        server.before = overtake
        await rights.ensure(ADA, LABELS)
        assert server.calls == ["GET", "POST", "GET"]


class TestRemove:
    async def test_one_that_cannot_be_changed_keeps_no_other(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        """Ensures that a webhook of a tenant protects one binding at most, and that it is reported."""
        guarded = server.add("a-first", ("User", ADA))
        server.add("b-second", ("User", ADA))
        server.add("c-third", ("User", ADA), namespace="default")

        def refuse(method: str, path: str) -> None:
            if method in ("PUT", "DELETE") and path == guarded:
                raise Rejected(server.system, "delete", "denied by a webhook")

        server.before = refuse
        with pytest.raises(Rejected, match="denied by a webhook"):
            await rights.remove(ADA)
        assert list(server.objects) == [guarded]

    async def test_ends_the_rights_and_is_idempotent(self, server: FakeServer, rights: PeopleRights) -> None:
        for person in (ADA, BOB):
            await rights.ensure(person, LABELS)
        assert await rights.remove(ADA) == [f"ClusterRoleBinding {binding_name(ADA)}"]
        assert await rights.list_people(LABELS) == [BOB]
        assert await rights.remove(ADA) == []

    async def test_ends_what_the_person_has_made_for_themselves(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        own = server.add("backdoor", ("User", ADA))
        inner = server.add("inner", ("User", ADA), namespace="apps")
        shared = server.add("shared", ("User", BOB), ("User", ADA), ("Group", ADA), namespace="apps")
        other = server.add("other", ("ServiceAccount", ADA), ("User", BOB))
        before = copy.deepcopy(server.objects[other])
        removed = await rights.remove(ADA)
        assert removed == ["ClusterRoleBinding backdoor", "RoleBinding apps/inner", "RoleBinding apps/shared"]
        assert own not in server.objects
        assert inner not in server.objects
        assert server.objects[shared]["subjects"] == [
            {"kind": "User", "name": BOB}, {"kind": "Group", "name": ADA},
        ]  # fmt: skip
        assert server.objects[other] == before

    async def test_does_not_wait_for_finalizers(self, server: FakeServer, rights: PeopleRights) -> None:
        """Ensures that a finalizer, which leaves a deleted binding in force, keeps no access."""
        server.add("mine", ("User", ADA), finalizers=["example.com/never"])
        server.add(
            "deleted",
            ("User", ADA),
            finalizers=["example.com/never"],
            deletionTimestamp="2030-01-01T00:00:00Z",
        )
        await rights.remove(ADA)
        assert not server.objects

    async def test_leaves_no_rights_in_a_binding_whose_deletion_fails(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        path = server.add("mine", ("User", ADA), finalizers=["example.com/never"])

        def refuse(method: str, _path: str) -> None:
            if method == "DELETE":
                raise Rejected(server.system, "delete", "denied by a webhook")

        server.before = refuse
        with pytest.raises(Rejected, match="denied by a webhook"):
            await rights.remove(ADA)
        assert server.objects[path]["subjects"] == []

    async def test_ends_a_binding_that_the_person_makes_meanwhile(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        """Ensures that a person who makes bindings while theirs are removed keeps none."""
        await rights.ensure(ADA, LABELS)

        server.before = _once(lambda: server.add("again", ("User", ADA)), method="DELETE")
        assert await rights.remove(ADA) == [
            f"ClusterRoleBinding {binding_name(ADA)}", "ClusterRoleBinding again",
        ]  # fmt: skip
        assert not server.objects

    async def test_says_so_when_there_are_always_new_ones(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        await rights.ensure(ADA, LABELS)

        def make(_method: str, path: str) -> None:
            if path == NAMESPACED:
                server.add("again", ("User", ADA))

        server.before = make
        with pytest.raises(NotYet):
            await rights.remove(ADA)

    async def test_reads_no_list_without_an_end(self, server: FakeServer, rights: PeopleRights) -> None:
        answer = {"metadata": {"continue": "more"}, "items": []}
        server._page = lambda *_: answer  # type: ignore[method-assign]
        with pytest.raises(MalformedAnswer, match="pages"):
            await rights.remove(ADA)

    async def test_finds_the_person_on_every_page(
        self, server: FakeServer, rights: PeopleRights, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(people, "PAGE_SIZE", 2)
        for number in range(5):
            server.add(f"b{number}", ("User", ADA if number == 4 else BOB))
        assert await rights.remove(ADA) == ["ClusterRoleBinding b4"]

    async def test_repeats_a_write_that_another_has_overtaken(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        path = server.add("shared", ("User", BOB), ("User", ADA))
        server.before = _once(lambda: server.put(path, server.objects[path]), method="PUT")
        await rights.remove(ADA)
        assert server.objects[path]["subjects"] == [{"kind": "User", "name": BOB}]

    async def test_gives_up_when_another_always_overtakes(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        path = server.add("shared", ("User", BOB), ("User", ADA))

        def overtake(method: str, _path: str) -> None:
            if method == "PUT":
                server.put(path, server.objects[path])

        server.before = overtake
        with pytest.raises(NotYet) as failure:
            await rights.remove(ADA)
        assert isinstance(failure.value, ClientError)
        assert failure.value.retryable
        assert server.calls.count("PUT") == ATTEMPTS

    async def test_is_done_when_another_has_just_deleted_it(
        self, server: FakeServer, rights: PeopleRights
    ) -> None:
        path = server.add("shared", ("User", BOB), ("User", ADA))
        server.before = _once(lambda: server.objects.pop(path), method="PUT")
        assert await rights.remove(ADA) == ["ClusterRoleBinding shared"]


BINDING = {"kind": "ClusterRoleBinding", "metadata": {"name": binding_name(ADA), "labels": LABELS}}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"metadata": {}},
        {"kind": "x", "metadata": {"name": 1}},
        "text",
        {**BINDING, "subjects": ["text"]},
        {**BINDING, "subjects": [{"kind": "User"}]},
        {**BINDING, "roleRef": "text"},
    ],
)
async def test_an_answer_of_another_form_is_refused(answer: Any) -> None:
    class Odd:
        system = "vCluster"

        async def call_json(self, *_: Any, **__: Any) -> Any:
            return answer

    rights = PeopleRights(cast(HttpSystem, Odd()))
    with pytest.raises(MalformedAnswer):
        await rights.ensure(ADA, LABELS)
    with pytest.raises(MalformedAnswer):
        await rights.remove(ADA)


@pytest.mark.parametrize("items", ["text", 1, {"a": 1}, [1], [{**BINDING, "subjects": [{"kind": "User"}]}]])
async def test_a_list_of_another_form_is_refused(
    server: FakeServer, rights: PeopleRights, items: object
) -> None:
    server._page = lambda *_: {"metadata": {}, "items": items}  # type: ignore[method-assign]
    with pytest.raises(MalformedAnswer):
        await rights.remove(ADA)
    with pytest.raises(MalformedAnswer):
        await rights.list_people(LABELS)


async def test_an_empty_list_may_be_null(server: FakeServer, rights: PeopleRights) -> None:
    server._page = lambda *_: {"metadata": {}, "items": None}  # type: ignore[method-assign]
    assert await rights.remove(ADA) == []


def _once(act: Callable[[], object], *, method: str) -> Callable[[str, str], None]:
    done: list[str] = []

    def before(used: str, _path: str) -> None:
        if used == method and not done:
            done.append(used)
            act()

    return before


def test_a_binding_has_a_name_that_kubernetes_allows() -> None:
    names = {binding_name(person) for person in (ADA, BOB, "a/b%c@example.com", "ä" * 200)}
    assert len(names) == 4
    assert all(len(name) < 64 and name.replace("-", "").isalnum() for name in names)
