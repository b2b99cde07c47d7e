"""What a tenant of Entra ID holds: users, groups, memberships, and deleted groups.

Reads show the directory as a replica has it, some time behind; writes need the objects there too.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from embedded.cloud_directories.entra.responses import (
    bad_request,
    invalid_value,
    missing_value,
    not_found,
    taken_value,
)
from embedded.cloud_directories.store import Document, LaggingStore

USERS, GROUPS, MEMBERS, DELETED = "users", "groups", "members", "deleted"
#: Most members and owners in one request.
MOST_REFERENCES = 20
_LONGEST_NAME, _LONGEST_NICKNAME = 256, 64
#: What a mail nickname may consist of: ASCII without these characters and without spaces.
_NICKNAME = re.compile(r"""[\x21-\x7e]+""")
_NOT_IN_NICKNAMES = frozenset('@()\\[]";:<>,')
_REQUIRED = ("displayName", "mailEnabled", "mailNickname", "securityEnabled")
_DOMAIN = "example.com"
_REFERENCE = re.compile(r".+/(?:directoryObjects|users)/(?P<id>[^/]+)")


class EntraDirectory:
    """The users, groups and memberships, with the rules of Graph on them."""

    def __init__(self, store: LaggingStore, deletes_softly: Callable[[], bool]) -> None:
        self._store = store
        self._deletes_softly = deletes_softly
        #: Whether the replica that answers lags behind. Two calls may reach two replicas.
        self.is_stale = True

    # Users

    def add_people(self, people: Iterable[Mapping[str, Any]]) -> None:
        """Create users, change those of the same principal name, or delete them (`deleted`)."""
        by_name = {user["userPrincipalName"].casefold(): user for user in self._store.all(USERS).values()}
        written = []
        for person in people:
            changes = {key: value for key, value in person.items() if key not in ("email", "deleted")}
            existing = by_name.get(str(person["email"]).casefold())
            if person.get("deleted"):
                if existing:
                    self._store.delete(USERS, existing["id"])
                    self._forget_member(existing["id"])
                continue
            if existing and not changes:
                continue
            user = {**(existing or _new_user(str(person["email"]))), **changes}
            written.append((user["id"], user))
        self._store.seed(USERS, written)

    def users(self) -> list[Document]:
        """Return all users."""
        return list(self._seen(USERS).values())

    def user(self, key: str) -> Document:
        """Return the user by id or principal name, or raise GraphError."""
        users = self._seen(USERS)
        if key in users:
            return users[key]
        wanted = key.casefold()
        for user in users.values():
            if user["userPrincipalName"].casefold() == wanted:
                return user
        raise not_found(key)

    # Groups

    def groups(self) -> list[Document]:
        """Return all groups."""
        return list(self._seen(GROUPS).values())

    def group(self, key: str) -> Document:
        """Return the group by id or, as `uniqueName=…`, by its alternate key; raise GraphError without."""
        groups = self._seen(GROUPS)
        if key in groups:
            return groups[key]
        for group in groups.values():
            if _is_named(group, key):
                return group
        raise not_found(key.partition("=")[2] or key)

    def create_group(self, given: Mapping[str, Any]) -> Document:
        """Create a group with its members, or raise GraphError."""
        for name in _REQUIRED:
            if given.get(name) in (None, ""):
                raise missing_value(name)
        group = {**_new_group(), **_checked(given)}
        is_unified = "Unified" in group["groupTypes"]
        if group["mailEnabled"] != is_unified or not (group["securityEnabled"] or is_unified):
            why = (
                "The service does not currently support writes of mail-enabled groups. Please ensure that the"
            )
            raise bad_request(
                f"{why} mail-enablement property is unset and the security-enablement property is set."
            )
        self._require_free(group, "uniqueName")
        if is_unified:
            self._require_free(group, "mailNickname")
            group["mail"] = f"{group['mailNickname']}@{_DOMAIN}"
        members = self._references(given, "members@odata.bind")
        owners = self._references(given, "owners@odata.bind")
        if len(members) + len(owners) > MOST_REFERENCES:
            raise bad_request(
                "The number of navigation properties in a single request exceeds the maximum of 20."
            )
        self._store.put(GROUPS, group["id"], group)
        for user in members:
            self._store.put(MEMBERS, f"{group['id']}/{user}", {})
        return group

    def upsert_group(self, key: str, given: Mapping[str, Any], *, create: bool) -> Document | None:
        """Change the group, and return None; if there is none and it has an alternate key, create it.

        An existing group is adopted as it is, also one of another app. A deleted group keeps its uniqueName:
        see "Troubleshoot Bicep files for Microsoft Graph resources".
        """
        is_alternate = key.startswith("uniqueName=")
        if is_alternate and create:
            for group in self._store.all(GROUPS).values():
                if _is_named(group, key):
                    self._change_group(group, given)
                    return None
            return self.create_group({**given, "uniqueName": key.partition("=")[2]})
        self._change_group(self._present(key), given)
        return None

    def delete_group(self, key: str) -> None:
        """Delete a group: it can be restored for 30 days, where the tenant does that for its kind."""
        group = self._present(key)
        keys = [key for key in self._store.all(MEMBERS) if key.startswith(f"{group['id']}/")]
        if self._deletes_softly() or "Unified" in group["groupTypes"]:
            gone = {**group, "deletedDateTime": _now(), "@members": [key.split("/")[1] for key in keys]}
            self._store.put(DELETED, group["id"], gone)
        for each in keys:
            self._store.delete(MEMBERS, each)
        self._store.delete(GROUPS, group["id"])

    def deleted_groups(self) -> list[Document]:
        """Return the groups that can be restored."""
        return list(self._store.all(DELETED).values())

    def deleted_group(self, group_id: str) -> Document:
        """Return a group that can be restored, or raise GraphError."""
        try:
            return self._store.all(DELETED)[group_id]
        except KeyError:
            raise not_found(group_id) from None

    def restore_group(self, group_id: str) -> Document:
        """Restore a deleted group with its members, or raise GraphError."""
        group = {**self.deleted_group(group_id), "deletedDateTime": None}
        for user in group.pop("@members"):
            self._store.put(MEMBERS, f"{group_id}/{user}", {})
        self._store.put(GROUPS, group_id, group)
        self._store.delete(DELETED, group_id)
        return group

    def purge_group(self, group_id: str) -> None:
        """Delete a deleted group for ever, or raise GraphError."""
        self.deleted_group(group_id)
        self._store.delete(DELETED, group_id)

    # Memberships

    def members(self, key: str) -> list[Document]:
        """Return the members of the group, or raise GraphError."""
        group_id = self.group(key)["id"]
        users = self._seen(USERS)
        parts = (each.split("/") for each in self._seen(MEMBERS))
        return [users[user] for group, user in parts if group == group_id and user in users]

    def add_members(self, key: str, references: Sequence[str]) -> None:
        """Add all of them, or raise GraphError and add none: one that is a member already is an error."""
        group_id = self._present(key)["id"]
        users = [self._referenced(reference) for reference in references]
        if any(f"{group_id}/{user}" in self._store.all(MEMBERS) for user in users):
            why = "One or more added object references already exist for the following modified properties"
            raise bad_request(f"{why}: 'members'.")
        for user in users:
            self._store.put(MEMBERS, f"{group_id}/{user}", {})

    def remove_member(self, key: str, user_id: str) -> None:
        """Remove the member, or raise GraphError: for a user who is none, too."""
        member = f"{self._present(key)['id']}/{user_id}"
        if member not in self._store.all(MEMBERS):
            raise not_found(user_id)
        self._store.delete(MEMBERS, member)

    def _seen(self, kind: str) -> Mapping[str, Document]:
        return self._store.all_lagging(kind) if self.is_stale else self._store.all(kind)

    def _present(self, key: str) -> Document:
        """Return the group for a write: it must be on the replica, and not be deleted since."""
        group_id = self.group(key)["id"]
        try:
            return self._store.all(GROUPS)[group_id]
        except KeyError:
            raise not_found(group_id) from None

    def _change_group(self, group: Document, given: Mapping[str, Any]) -> None:
        changes = _checked(given)
        if "displayName" in changes and not changes["displayName"]:
            raise invalid_value("displayName")
        if changes.get("uniqueName", group["uniqueName"]) != group["uniqueName"]:
            if group["uniqueName"] is not None:
                raise bad_request("Property 'uniqueName' is read-only and cannot be set.")
            self._require_free(changes, "uniqueName")
        members = given.get("members@odata.bind") or []
        if len(members) > MOST_REFERENCES:
            raise bad_request(
                "The number of navigation properties in a single request exceeds the maximum of 20."
            )
        if members:
            self.add_members(group["id"], members)
        if changes:
            self._store.put(GROUPS, group["id"], {**group, **changes})

    def _require_free(self, given: Mapping[str, Any], name: str) -> None:
        value = given.get(name)
        if value is None:
            return
        for kind in (GROUPS, DELETED):
            for group in self._store.all(kind).values():
                is_taken = str(group[name]).casefold() == str(value).casefold()
                if is_taken and (name != "mailNickname" or "Unified" in group["groupTypes"]):
                    raise taken_value(name)

    def _references(self, given: Mapping[str, Any], name: str) -> list[str]:
        return list(dict.fromkeys(self._referenced(each) for each in given.get(name) or []))

    def _referenced(self, reference: Any) -> str:
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            raise bad_request("Invalid object identifier in '@odata.id'.")
        if match["id"] not in self._seen(USERS):
            raise not_found(match["id"])
        return match["id"]

    def _forget_member(self, user_id: str) -> None:
        for key in [key for key in self._store.all(MEMBERS) if key.endswith(f"/{user_id}")]:
            self._store.delete(MEMBERS, key)


def _is_named(group: Document, key: str) -> bool:
    name, equals, value = key.partition("=")
    is_alternate = name == "uniqueName" and bool(equals)
    return is_alternate and str(group["uniqueName"] or "").casefold() == value.casefold()


def _checked(given: Mapping[str, Any]) -> Document:
    """Return the properties that a caller may write; raise GraphError for a value that one cannot have."""
    writable = (*_REQUIRED, "description", "groupTypes", "uniqueName", "visibility", "isAssignableToRole")
    for name in given:
        if name not in writable and "@odata." not in name:
            raise bad_request(
                f"Property '{name}' does not exist as a declared property or extension property."
            )
    shown, nickname = given.get("displayName"), given.get("mailNickname")
    if shown is not None and (not isinstance(shown, str) or len(shown) > _LONGEST_NAME):
        raise invalid_value("displayName")
    if nickname is not None and (
        not isinstance(nickname, str)
        or len(nickname) > _LONGEST_NICKNAME
        or not _NICKNAME.fullmatch(nickname)
        or _NOT_IN_NICKNAMES.intersection(nickname)
    ):
        raise invalid_value("mailNickname")
    for flag in ("mailEnabled", "securityEnabled"):
        if not isinstance(given.get(flag, False), bool):
            raise invalid_value(flag)
    return {name: given[name] for name in writable if name in given}


def _new_user(email: str) -> Document:
    name = email.partition("@")[0]
    return {
        "id": str(uuid4()),
        "businessPhones": [],
        "displayName": name.capitalize(),
        "givenName": name.capitalize(),
        "jobTitle": None,
        "mail": email,
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": "Example",
        "userPrincipalName": email,
        "accountEnabled": True,
        "createdDateTime": _now(),
        "deletedDateTime": None,
        "mailNickname": name,
        "otherMails": [],
        "userType": "Member",
    }


def _new_group() -> Document:
    now = _now()
    return {
        "id": str(uuid4()),
        "deletedDateTime": None,
        "classification": None,
        "createdDateTime": now,
        "description": None,
        "displayName": None,
        "expirationDateTime": None,
        "groupTypes": [],
        "isAssignableToRole": None,
        "mail": None,
        "mailEnabled": False,
        "mailNickname": None,
        "membershipRule": None,
        "membershipRuleProcessingState": None,
        "onPremisesSyncEnabled": None,
        "proxyAddresses": [],
        "renewedDateTime": now,
        "securityEnabled": True,
        "securityIdentifier": f"S-1-12-1-{uuid4().int % 10**10}",
        "theme": None,
        "uniqueName": None,
        "visibility": None,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
