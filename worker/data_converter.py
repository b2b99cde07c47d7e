"""The data converter that the worker, the API, the CLI and tests use to read and write payloads."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverter,
    PayloadConverter,
    SerializationContext,
    WorkflowSerializationContext,
)

from contracts.temporal.foreign_payload import RejectedPayload
from worker.codec import (
    ENCODING,
    KEY_MISSING,
    REFUSED,
    DecodeError,
    EncryptionCodec,
    ForeignPayload,
    KeyMissing,
    Keyring,
)

#: The converter without encryption: for tests that have their own server, and for histories kept for replays.
PLAIN = pydantic_data_converter


class CheckedPayloadConverter(PydanticPayloadConverter):
    """Raises an error when code needs the value of a payload that the codec has rejected.

    So a rejected argument of an update or a query fails only that call, a rejected signal is dropped, and a
    forged start fails the run that it started. A payload of an activity becomes `RejectedPayload` instead of
    an error: a run could not continue after a result that it cannot read, and an activity could not be
    retried after such a heartbeat. `workflows.activity_failures` and `activities.interceptor` handle
    `RejectedPayload`.

    A payload whose key is missing is an error also where it is an activity's argument or result: it may be
    genuine, so the task is retried until the key is there. What a workflow does must not depend on the keys
    of the worker that runs it, or its history could not be replayed with other keys.
    """

    _is_for_activity = False

    def with_context(self, context: SerializationContext) -> Self:
        """Return the converter for payloads of an activity, or of a workflow."""
        is_for_activity = isinstance(context, ActivitySerializationContext)
        if is_for_activity == self._is_for_activity:
            return self
        other = copy.copy(self)
        other._is_for_activity = is_for_activity
        return other

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Return the values. Raises KeyMissing and ForeignPayload."""
        hints: list[list[type] | None] = [None] * len(payloads)
        for index, hint in enumerate(type_hints or []):
            hints[index] = [hint]
        return [
            self._refused(payload, hint)
            if payload.metadata.get(ENCODING) == REFUSED
            else super(CheckedPayloadConverter, self).from_payloads([payload], hint)[0]
            for payload, hint in zip(payloads, hints, strict=True)
        ]

    def _refused(self, payload: Payload, hint: list[type] | None) -> RejectedPayload:
        why = payload.data.decode()
        if self._is_for_activity and hint is None and not workflow.in_workflow():
            # The SDK gives no type for the heartbeat of an earlier attempt. A step can do without it, and the
            # SDK would fail the activity for good.
            return RejectedPayload(why)
        if payload.metadata.get(KEY_MISSING):
            # This error is temporary: the task fails and is retried until the key is there.
            raise KeyMissing(why)
        if self._is_for_activity:
            return RejectedPayload(why)
        raise ForeignPayload(why)


#: Characters at the end of a stack trace that are kept, and errors of a chain of causes; the logs have all.
#: Temporal keeps 4 KB of the last failure of an activity, and of a larger one only that it was too large.
MAX_STACK_TRACE, MAX_CHAIN = 500, 3


class CheckedFailureConverter(DefaultFailureConverter):
    """Encodes messages and stack traces, keeps failures small, and leaves rejected heartbeats out of them.

    A heartbeat only says what a step was waiting for. A run must not wait for a key to read it.
    """

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Convert the error; see the base class, which also calls this for each cause."""
        super().to_failure(exception, payload_converter, failure)
        texts = {"message": failure.message, "stack_trace": failure.stack_trace[-MAX_STACK_TRACE:]}
        failure.encoded_attributes.CopyFrom(payload_converter.to_payloads([texts])[0])
        failure.message, failure.stack_trace = "Encoded failure", ""
        last = failure
        for _ in range(MAX_CHAIN - 1):
            last = last.cause if last.HasField("cause") else last
        last.ClearField("cause")

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Return the error; see the base class, which also calls this for each cause."""
        details = failure.timeout_failure_info.last_heartbeat_details.payloads
        if any(payload.metadata.get(ENCODING) == REFUSED for payload in details):
            without = Failure()
            without.CopyFrom(failure)
            without.timeout_failure_info.ClearField("last_heartbeat_details")
            failure = without
        return super().from_failure(failure, payload_converter)


class CheckedDataConverter(DataConverter):
    """Never treats a payload as a reference to an external storage.

    There is no such storage, and the SDK raises an error for such references. That would fail a whole
    workflow task, again and again, for one forged argument.
    """

    async def _decode_reference_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def _external_retrieve_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


def data_converter(
    keys: Keyring, *, on_refusal: Callable[[DecodeError], None] | None = None
) -> DataConverter:
    """Return the converter that every client and every worker of Moorage uses.

    `on_refusal` is called for each payload that is rejected.

    All payloads are encrypted. The messages and stack traces of failures are encrypted too, because they
    would otherwise be in clear text beside them.
    """
    return CheckedDataConverter(
        payload_converter_class=CheckedPayloadConverter,
        payload_codec=EncryptionCodec(keys, on_refusal=on_refusal),
        failure_converter_class=CheckedFailureConverter,
    )


def converter_at(client: Client, workflow_id: str) -> DataConverter:
    """Return the client's converter for payloads of that workflow."""
    return client.data_converter.with_context(WorkflowSerializationContext(client.namespace, workflow_id))
