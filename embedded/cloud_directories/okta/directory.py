"""What an Okta org holds: users, groups, and who is in which group."""

import secrets
import string
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from embedded.cloud_directories.okta.responses import (
    forbidden,
    not_found,
    unsupported_operation,
    validation_failed,
)
from embedded.cloud_directories.store import Document, LaggingStore

USERS, GROUPS, MEMBERS = "users", "groups", "members"
#: Lengths of the attributes of a group's profile, by the API reference.
LONGEST_NAME, LONGEST_DESCRIPTION = 255, 1024
_ID_LETTERS = string.ascii_letters + string.digits
#: Length of an id after the three characters that tell its kind.
_ID_LENGTH = 17


class UserStatus(StrEnum):
    """The statuses of a user, by the API reference."""

    STAGED = "STAGED"
    PROVISIONED = "PROVISIONED"
    ACTIVE = "ACTIVE"
    RECOVERY = "RECOVERY"
    PASSWORD_EXPIRED = "PASSWORD_EXPIRED"  # noqa: S105 - a status
    LOCKED_OUT = "LOCKED_OUT"
    SUSPENDED = "SUSPENDED"
    DEPROVISIONED = "DEPROVISIONED"


class GroupType(StrEnum):
    """The types of groups: only those of OKTA_GROUP are managed by the API."""

    OKTA_GROUP = "OKTA_GROUP"
    APP_GROUP = "APP_GROUP"
    BUILT_IN = "BUILT_IN"


class OktaDirectory:
    """The users, groups and memberships, with the rules of the API on them."""

    def __init__(self, store: LaggingStore, group_attributes: Iterable[str]) -> None:
        self._store = store
        self._group_attributes = frozenset({"name", "description", *group_attributes})
        if not any(group["type"] == GroupType.BUILT_IN for group in store.all(GROUPS).values()):
            everyone = _new_group({"name": "Everyone", "description": "All users in your organization"})
            store.seed(GROUPS, [(everyone["id"], {**everyone, "type": GroupType.BUILT_IN})])

    # Users

    def add_people(self, people: Iterable[Mapping[str, Any]]) -> None:
        """Create users, or change those of the same login: `email`, `status`, and profile attributes."""
        by_login = {user["profile"]["login"].casefold(): user for user in self._store.all(USERS).values()}
        written = []
        for person in people:
            email = str(person["email"])
            existing = by_login.get(email.casefold())
            user = existing or _new_user(email)
            status = UserStatus(person.get("status", user["status"]))
            if existing and existing["status"] == status and "profile" not in person:
                continue
            now = _now()
            user = {**user, "status": status, "lastUpdated": now, "statusChanged": now}
            user["profile"] = {**user["profile"], **person.get("profile", {})}
            written.append((user["id"], user))
        self._store.seed(USERS, written)

    def user(self, key: str) -> Document:
        """Return the user by id, login, or the part of the login before @ if only one has it."""
        users = self._store.all(USERS)
        if key in users:
            return users[key]
        wanted = key.casefold()
        short = []
        for user in users.values():
            login = user["profile"]["login"].casefold()
            if login == wanted:
                return user
            if login.partition("@")[0] == wanted:
                short.append(user)
        if len(short) != 1:
            raise not_found(key, "User")
        return short[0]

    def users(self, *, lagging: bool = False) -> list[Document]:
        """Return all users by id, as they are or as searches see them."""
        return _sorted(self._store.all_lagging(USERS) if lagging else self._store.all(USERS))

    # Groups

    def group(self, group_id: str) -> Document:
        """Return the group, or raise OktaError."""
        try:
            return self._store.all(GROUPS)[group_id]
        except KeyError:
            raise not_found(group_id, "UserGroup") from None

    def groups(self, *, lagging: bool = False) -> list[Document]:
        """Return all groups by id, as they are or as searches see them."""
        return _sorted(self._store.all_lagging(GROUPS) if lagging else self._store.all(GROUPS))

    def create_group(self, profile: Any, kind: GroupType = GroupType.OKTA_GROUP) -> Document:
        """Create a group, or raise OktaError for its profile or a name that is taken."""
        checked = self._checked_profile(profile)
        if kind is GroupType.OKTA_GROUP:
            self._require_free_name(checked["name"])
        group = {**_new_group(checked), "type": kind}
        self._store.put(GROUPS, group["id"], group)
        return group

    def replace_group(self, group_id: str, profile: Any) -> Document:
        """Replace the profile of a group, or raise OktaError."""
        group = self._managed(group_id)
        checked = self._checked_profile(profile)
        self._require_free_name(checked["name"], group_id)
        replaced = {**group, "profile": checked, "lastUpdated": _now()}
        self._store.put(GROUPS, group_id, replaced)
        return replaced

    def delete_group(self, group_id: str) -> None:
        """Delete a group of an app or of Okta with its memberships, or raise OktaError."""
        if self.group(group_id)["type"] == GroupType.BUILT_IN:
            raise unsupported_operation()
        for key in [key for key in self._store.all(MEMBERS) if key.startswith(f"{group_id}/")]:
            self._store.delete(MEMBERS, key)
        self._store.delete(GROUPS, group_id)

    # Memberships

    def members(self, group_id: str) -> list[Document]:
        """Return the members of a group by id, or raise OktaError; all users are in Everyone."""
        group = self.group(group_id)
        if group["type"] == GroupType.BUILT_IN:
            return self.users()
        users = self._store.all(USERS)
        keys = (key.split("/") for key in self._store.all(MEMBERS))
        return _sorted({user_id: users[user_id] for group_of, user_id in keys if group_of == group_id})

    def add_member(self, group_id: str, user_id: str) -> None:
        """Add the user, unless they are a member; raise OktaError for what is not there or not managed."""
        group = self._managed(group_id)
        self._require_user(user_id)
        if f"{group_id}/{user_id}" not in self._store.all(MEMBERS):
            self._store.put(MEMBERS, f"{group_id}/{user_id}", {})
            self._store.put(GROUPS, group_id, {**group, "lastMembershipUpdated": _now()})

    def remove_member(self, group_id: str, user_id: str) -> None:
        """Remove the user, if they are a member; raise OktaError for what is not there or not managed."""
        group = self._managed(group_id)
        self._require_user(user_id)
        if f"{group_id}/{user_id}" in self._store.all(MEMBERS):
            self._store.delete(MEMBERS, f"{group_id}/{user_id}")
            self._store.put(GROUPS, group_id, {**group, "lastMembershipUpdated": _now()})

    def _managed(self, group_id: str) -> Document:
        """Return a group that the API may change.

        The errors are those that users of the API report: github.com/okta/terraform-provider-okta, issue 903
        for a built-in group and pull request 118 for one of an app.
        """
        group = self.group(group_id)
        match group["type"]:
            case GroupType.BUILT_IN:
                raise unsupported_operation()
            case GroupType.APP_GROUP:
                raise forbidden()
        return group

    def _require_user(self, user_id: str) -> None:
        if user_id not in self._store.all(USERS):
            raise not_found(user_id, "User")

    def _require_free_name(self, name: str, but: str = "") -> None:
        # The documentation does not say whether case matters; names that differ only in it are refused here.
        for group in self._store.all(GROUPS).values():
            is_taken = group["profile"]["name"].casefold() == name.casefold()
            if is_taken and group["id"] != but and group["type"] != GroupType.APP_GROUP:
                raise validation_failed(
                    "name", "An object with this field already exists in the current organization"
                )

    def _checked_profile(self, profile: Any) -> Document:
        if not isinstance(profile, dict):
            raise validation_failed("profile", "The field cannot be left blank")
        for attribute in profile:
            if attribute not in self._group_attributes:
                # Attributes are defined in the schema of the group profile first.
                raise validation_failed(attribute, "Property name and type could not be found")
        name, description = profile.get("name"), profile.get("description")
        if not isinstance(name, str) or not name.strip():
            raise validation_failed("name", "The field cannot be left blank")
        _require_length("name", name, LONGEST_NAME)
        _require_length("description", description or "", LONGEST_DESCRIPTION)
        return {"name": name, "description": description, **profile}


def _require_length(field: str, value: str, most: int) -> None:
    if len(value) > most:
        raise validation_failed(field, "The field is too long")


def _new_user(email: str) -> Document:
    now = _now()
    return {
        "id": _new_id("00u"),
        "status": UserStatus.ACTIVE,
        "created": now,
        "activated": now,
        "statusChanged": now,
        "lastLogin": None,
        "lastUpdated": now,
        "passwordChanged": None,
        "type": {"id": "otyfnjfba4ye7pgjB0g4"},
        "profile": {
            "firstName": email.partition("@")[0].capitalize(),
            "lastName": "Example",
            "mobilePhone": None,
            "secondEmail": None,
            "login": email,
            "email": email,
        },
        "credentials": {"provider": {"type": "OKTA", "name": "OKTA"}},
    }


def _new_group(profile: Document) -> Document:
    now = _now()
    return {
        "id": _new_id("00g"),
        "created": now,
        "lastUpdated": now,
        "lastMembershipUpdated": now,
        "objectClass": ["okta:user_group"],
        "type": GroupType.OKTA_GROUP,
        "profile": profile,
    }


def _new_id(kind: str) -> str:
    return kind + "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sorted(documents: Mapping[str, Document]) -> list[Document]:
    return [documents[key] for key in sorted(documents)]
