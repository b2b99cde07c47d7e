"""The data converter that the worker, the API, the CLI and tests use to read and write payloads."""

import copy
from collections.abc import Sequence
from typing import Any, Self

from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    SerializationContext,
    WorkflowSerializationContext,
)

from contracts.tampering import Tampered
from worker.codec import ENCODING, KEY_MISSING, REFUSED, EncryptionCodec, ForeignPayload, KeyMissing, Keyring

#: The converter without encryption: for tests that have their own server, and for histories kept for replays.
PLAIN = pydantic_data_converter


class CheckedPayloadConverter(PydanticPayloadConverter):
    """Raises an error when code needs the value of a payload that the codec has rejected.

    So a rejected argument of an update or a query fails only that call, a rejected signal is dropped, and a
    forged start fails the run that it started. A payload of an activity becomes `Tampered` instead of an
    error: a run could not continue after a result that it cannot read, and an activity could not be retried
    after such a heartbeat. `workflows.activity_failures` and `activities.interceptor` handle `Tampered`.
    """

    _of_activity = False

    def with_context(self, context: SerializationContext) -> Self:
        """Return the converter for payloads of an activity, or of a workflow."""
        of_activity = isinstance(context, ActivitySerializationContext)
        if of_activity == self._of_activity:
            return self
        other = copy.copy(self)
        other._of_activity = of_activity
        return other

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Return the values. Raises LacksKey and NotOurs."""
        hints: list[list[type] | None] = [None] * len(payloads)
        for index, hint in enumerate(type_hints or []):
            hints[index] = [hint]
        return [
            self._refused(payload)
            if payload.metadata.get(ENCODING) == REFUSED
            else super(CheckedPayloadConverter, self).from_payloads([payload], hint)[0]
            for payload, hint in zip(payloads, hints, strict=True)
        ]

    def _refused(self, payload: Payload) -> Tampered:
        why = payload.data.decode()
        if payload.metadata.get(KEY_MISSING):
            # This error is temporary: the workflow task fails and is retried until the key is there.
            raise KeyMissing(why)
        if self._of_activity:
            return Tampered(why)
        raise ForeignPayload(why)


class CheckedDataConverter(DataConverter):
    """Never treats a payload as a reference to an external storage.

    There is no such storage, and the SDK raises an error for such references. That would fail a whole
    workflow task, again and again, for one forged argument.
    """

    async def _decode_reference_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def _external_retrieve_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


def data_converter(keys: Keyring) -> DataConverter:
    """Return the converter that every client and every worker of Moorage uses.

    All payloads are encrypted. The messages and stack traces of failures are encrypted too, because they
    would otherwise be in clear text beside them.
    """
    return CheckedDataConverter(
        payload_converter_class=CheckedPayloadConverter,
        payload_codec=EncryptionCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def converter_at(client: Client, workflow_id: str) -> DataConverter:
    """Return the client's converter for payloads of that workflow."""
    return client.data_converter.with_context(WorkflowSerializationContext(client.namespace, workflow_id))
