"""The people in the record of an environment: its owner, its collaborators, and what is left to apply."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import MOORAGE_ACTOR, OwnerLeft, Problem
    from contracts.environment.pending_access import AccessChanges
    from contracts.expiry import format_utc
    from contracts.temporal import search_attributes, workflow_memo

from workflows.record.status_changes import StatusRecord


class PeopleRecord:
    """Records changes of people. The outside systems follow: see `workflows.changes.access`."""

    def __init__(self, state: StatusRecord) -> None:
        self._state = state

    def add_collaborator(self, actor: str, person: str) -> None:
        """Record that the person may use the environment; the outside systems get it later."""
        people = tuple(sorted({*self._state.status.environment.collaborators, person}))
        self._change_collaborators(people, self._state.status.access.grant(person))
        self._state.add_log_entry(actor, f"added {person}")

    def remove_collaborator(self, actor: str, person: str, reason: str = "") -> None:
        """Record that the person may not use the environment any more."""
        people = tuple(one for one in self._state.status.environment.collaborators if one != person)
        self._change_collaborators(people, self._state.status.access.revoke(person))
        self._state.add_log_entry(actor, f"removed {person}", reason)

    def transfer(self, actor: str, person: str) -> None:
        """Record that the environment belongs to the person, and no more to its owner so far."""
        before = self._state.status.environment
        people = tuple(one for one in before.collaborators if one != person)
        access = self._state.status.access.revoke(before.owner).grant(person)
        self._state.set_fields(environment=before.model_copy(update={"owner": person}))
        self._end_offer(actor, "has an owner again")
        self._change_collaborators(people, access)
        workflow.upsert_search_attributes([search_attributes.OWNER.value_set(person)])
        self._state.add_log_entry(actor, f"transferred it to {person}", f"it belonged to {before.owner}")

    def owner_leaves(self, actor: str) -> None:
        """Record that the directory does not know the owner any more: the team may take the environment.

        Its end comes nearer, and it is warned again before that.
        """
        status, now = self._state.status, workflow.now()
        environment = status.environment
        ends_at = min(status.expires_at, now + environment.template.ttl.without_owner)
        self._state.set_fields(
            owner_left=OwnerLeft(at=now, ends_at=status.expires_at),
            access=status.access.revoke(environment.owner),
            warnings=(),
        )
        workflow.upsert_memo({workflow_memo.OWNER_LEFT: now.isoformat()})
        result = f"offered to team {environment.spec.team}; ends {format_utc(ends_at)}"
        self._state.move_end(ends_at, actor, f"found that {environment.owner} has left", result)

    def owner_returns(self, actor: str) -> None:
        """Record that the directory knows the owner again."""
        owner = self._state.status.environment.owner
        self.set_access(self._state.status.access.grant(owner), self._state.status.access_problem)
        self._end_offer(actor, f"found that {owner} is back")

    def _end_offer(self, actor: str, action: str) -> None:
        left = self._state.status.owner_left
        if left is None:
            return
        self._state.set_fields(owner_left=None, warnings=())
        workflow.upsert_memo({workflow_memo.OWNER_LEFT: None})
        ends_at = max(self._state.status.expires_at, left.ends_at)
        self._state.move_end(ends_at, actor, action, f"ends {format_utc(ends_at)}")

    def drop_unknown_collaborator(self, person: str) -> None:
        """Record that a person who was added is not known, so that no system could give them access."""
        environment, access = self._state.status.environment, self._state.status.access
        people = tuple(one for one in environment.collaborators if one != person)
        # The API may have given them rights in the virtual cluster since. An owner stays the owner.
        is_owner = person == environment.owner
        self._change_collaborators(people, access.without(person) if is_owner else access.revoke(person))
        self._state.add_log_entry(
            MOORAGE_ACTOR, f"removed {person}", "the directory does not know this person"
        )

    def _change_collaborators(self, people: tuple[str, ...], access: AccessChanges) -> None:
        environment = self._state.status.environment.model_copy(update={"changed_collaborators": people})
        self._state.set_fields(environment=environment, access=access)
        workflow.upsert_search_attributes([search_attributes.COLLABORATORS.value_set(people)])
        # The API reads the memo while no worker answers, and decides by it who may see the environment.
        workflow.upsert_memo({workflow_memo.COLLABORATORS: list(people)})

    def set_access(self, access: AccessChanges, problem: Problem | None = None) -> None:
        """Record which changes of access are left, and why the last attempt failed, if it did."""
        self._state.set_fields(access=access, access_problem=problem.truncated if problem else None)
