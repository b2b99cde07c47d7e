"""All that Temporal knows of a stack's workflows: as it keeps it, and decrypted."""

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from worker.codec import ENCODING, ENCRYPTED, EncryptionCodec


async def everything_known(client: Client, query: str = "") -> str:
    """The histories and descriptions of all runs that match `query`, every payload in them decrypted."""
    texts: list[str] = []
    async for run in client.list_workflows(query):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        messages: list[Message] = [event async for event in handle.fetch_history_events()]
        messages.append((await handle.describe()).raw_description)
        for message in messages:
            await _decrypt(client, message)
            # As bytes, in which payloads stand as they are: printed, they would be escaped.
            texts.append(message.SerializeToString().decode("utf-8", "replace"))
    return "\n".join(texts)


async def _decrypt(client: Client, message: Message) -> None:
    codec = client.data_converter.payload_codec
    assert isinstance(codec, EncryptionCodec), "the client reads what is encrypted"
    for payload in _payloads(message):
        # Search attributes are in clear.
        if payload.metadata.get(ENCODING) == ENCRYPTED:
            payload.CopyFrom(codec.keys.open(payload)[0])


def _payloads(message: Message) -> Iterator[Payload]:
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        assert field.message_type is not None
        if field.message_type.GetOptions().map_entry:
            entries = list(value.values())
        else:
            entries = [value] if isinstance(value, Message) else list(value)
        for entry in entries:
            if isinstance(entry, Message):
                yield from _payloads(entry)
