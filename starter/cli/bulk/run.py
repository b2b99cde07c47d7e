"""Sends the requests of one command, follows their environments together, and keeps the state of each."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from contracts.phases import Phase
from starter.cli.bulk.requests import BulkRequest, common_labels
from starter.cli.client.api_paths import environment_path
from starter.cli.errors import CliError, Code
from starter.cli.follow import creation_failure
from starter.cli.views.environments import EnvironmentView

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: Requests that are under way at once: the API decides each in some milliseconds.
SENT_AT_ONCE = 8
#: Interval between two reads of the list.
POLL_SECONDS = 1.0
#: How long the list may lack an environment before the command asks for that one: lists are a little late.
MISSING_SECONDS = 3.0
#: How long the API may not answer while the environments are made, before the command gives up.
SILENCE_SECONDS = 60.0
_PAGE_SIZE = 200


class ItemState(StrEnum):
    """How far one request is."""

    WAITING = "not requested"
    SENT = "being requested"
    MAKING = "being made"
    READY = "ready"
    FAILED = "failed"


@dataclass
class Item:
    """One request and its environment."""

    request: BulkRequest
    state: ItemState = ItemState.WAITING
    kind: str = ""
    life: str = ""
    phase: str = ""
    error: CliError | None = None
    view: EnvironmentView | None = None
    seen_at: float = 0.0

    @property
    def name(self) -> str:
        """The name of the environment."""
        return self.request.name

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in (ItemState.READY, ItemState.FAILED)


class BulkRun:
    """The requests of one command."""

    def __init__(
        self, api: "Api", requests: Sequence[BulkRequest], on_change: Callable[[Item], None]
    ) -> None:
        self._api = api
        self._on_change = on_change
        self.items = [Item(request) for request in requests]
        self._query = {
            "mine": True,
            "limit": _PAGE_SIZE,
            "label": [f"{key}={value}" for key, value in common_labels(requests).items()],
        }
        self._left = deque(self.items)
        self._is_stopped = threading.Event()
        self._failure: BaseException | None = None

    def send(self) -> None:
        """Send all requests, a few at a time; a refusal of one does not stop the others.

        When the API cannot be reached, or the caller is not known, the rest is not sent.
        """
        senders = [
            threading.Thread(target=self._send_some, daemon=True)
            for _ in range(min(SENT_AT_ONCE, len(self.items)))
        ]
        for sender in senders:
            sender.start()
        try:
            for sender in senders:
                sender.join()
        except KeyboardInterrupt:
            self._is_stopped.set()
            raise
        if self._failure:
            raise self._failure

    def _send_some(self) -> None:
        while not self._is_stopped.is_set():
            try:
                item = self._left.popleft()
            except IndexError:
                return
            self._change(item, ItemState.SENT)
            try:
                # Use one key for all attempts, because a lost response must not lead to a second life.
                key = secrets.token_hex(16)
                done = self._api.call("POST", "environments", body=item.request.body, key=key)
            except CliError as error:
                item.error = error
                if error.code is Code.UNREACHABLE or _status_of(error) == 401:
                    self._is_stopped.set()
                self._change(item, ItemState.FAILED)
            except BaseException as error:
                self._failure = error
                self._is_stopped.set()
                return
            else:
                item.kind, item.life, item.seen_at = done["kind"], done["life"], time.monotonic()
                item.phase = (done.get("environment") or {}).get("phase", "")
                self._change(item, ItemState.MAKING)

    def follow(self) -> None:
        """Wait until each environment that was requested is ready, or has failed and is gone.

        Raises:
            CliError: The API does not answer for `SILENCE_SECONDS`.
        """
        answered_at = time.monotonic()
        while pending := [item for item in self.items if item.state is ItemState.MAKING]:
            try:
                rows = self._rows()
                for item in pending:
                    self._look(item, rows.get(item.name))
                answered_at = time.monotonic()
            except CliError as error:
                if error.code is not Code.UNREACHABLE or time.monotonic() - answered_at > SILENCE_SECONDS:
                    raise
            if any(item.state is ItemState.MAKING for item in pending):
                time.sleep(POLL_SECONDS)

    def _rows(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        cursor = None
        while True:
            page = self._api.call("GET", "environments", query={**self._query, "cursor": cursor})
            found |= {row["name"]: row for row in page["environments"]}
            cursor = page["next"]
            if not cursor:
                return found

    def _look(self, item: Item, row: Any) -> None:
        """Take the state of an environment from its row, or from itself if the row does not decide."""
        now = time.monotonic()
        if row and row["life"] == item.life:
            item.seen_at = now
            if row["phase"] not in (Phase.READY, Phase.TEARDOWN_INCOMPLETE):
                self._set_phase(item, row["phase"])
                return
        elif now - item.seen_at < MISSING_SECONDS:
            return
        view = self._api.view(self._api.call("GET", environment_path(item.name)))
        item.seen_at = now
        item.view = view
        if view.life and view.life != item.life:
            message = f"{item.name} has ended, and another environment has its name"
            item.error = CliError(Code.NOT_FOUND, message)
        elif view.ended or view.phase is Phase.TEARDOWN_INCOMPLETE:
            item.error = creation_failure(view)
        elif view.phase is not Phase.READY:
            self._set_phase(item, view.phase)
            return
        item.phase = view.phase
        self._change(item, ItemState.FAILED if item.error else ItemState.READY)

    def _set_phase(self, item: Item, phase: str) -> None:
        if item.phase != phase:
            item.phase = phase
            self._on_change(item)

    def _change(self, item: Item, state: ItemState) -> None:
        item.state = state
        self._on_change(item)


def _status_of(error: CliError) -> int:
    status = (error.problem or {}).get("status")
    return status if isinstance(status, int) else 0
