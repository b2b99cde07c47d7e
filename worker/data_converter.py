"""How payloads are written: one factory for the worker, the ways in, and tests that look into histories."""

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
from worker.codec import ENCODING, LACKS_KEY, REFUSED, EncryptionCodec, Keyring, LacksKey, NotOurs

#: What it encrypts, in clear: of tests that have a server to themselves, and of histories kept for replays.
PLAIN = pydantic_data_converter


class CheckedPayloadConverter(PydanticPayloadConverter):
    """Raises when somebody wants the value of a payload that the codec has refused.

    So the argument of an update or a query fails that alone, a signal is dropped, and a forged start fails
    the run that it started. What is an activity's is `Tampered` instead of raising: a run could not go on
    from a result that it cannot read, and no retry of an activity from such a heartbeat.
    `workflows.activity_failures` and `activities.interceptor` see to what is not to be.
    """

    _of_activity = False

    def with_context(self, context: SerializationContext) -> Self:
        """The same for what is an activity's, or a workflow's."""
        of_activity = isinstance(context, ActivitySerializationContext)
        if of_activity == self._of_activity:
            return self
        other = copy.copy(self)
        other._of_activity = of_activity
        return other

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """The values. Raises LacksKey and NotOurs."""
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
        if payload.metadata.get(LACKS_KEY):
            # Not for good: the task of a workflow fails until the key is there.
            raise LacksKey(why)
        if self._of_activity:
            return Tampered(why)
        raise NotOurs(why)


class CheckedDataConverter(DataConverter):
    """Takes no payload for a reference to an external storage: there is none, and the SDK raises for those.

    That would be for a whole workflow task, again and again, for one forged argument.
    """

    async def _decode_reference_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def _external_retrieve_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


def data_converter(keys: Keyring) -> DataConverter:
    """The converter that every client and every worker of Moorage uses.

    All payloads are encrypted, and so are the messages and stack traces of failures, which would otherwise
    stand beside them in clear.
    """
    return CheckedDataConverter(
        payload_converter_class=CheckedPayloadConverter,
        payload_codec=EncryptionCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def converter_at(client: Client, workflow_id: str) -> DataConverter:
    """The client's converter for what belongs to that workflow."""
    return client.data_converter.with_context(WorkflowSerializationContext(client.namespace, workflow_id))
