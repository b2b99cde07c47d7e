"""Ensures that what Temporal keeps can be read with the right key, and not without or when it was changed."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    ActivitySerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from contracts.activities.steps import HeartbeatDetails
from contracts.temporal.foreign_payload import RejectedPayload
from worker import codec as codec_module
from worker.codec import MAX_CLEAR_BYTES, EncryptionCodec, ForeignPayload, KeyMissing, Keyring, PayloadContext
from worker.data_converter import PLAIN, data_converter

# The same in every process of a test run, which all have to name the cases alike.
OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


HERE = PayloadContext("default", "environment/a")
HERE_TOO = WorkflowSerializationContext("default", "environment/a")


def keyring(*keys: str) -> Keyring:
    return Keyring.parse(" ".join(keys))


def codec(*keys: str) -> EncryptionCodec:
    return EncryptionCodec(keyring(*keys)).with_context(HERE_TOO)


CONVERTER = data_converter(keyring(NEW)).with_context(HERE_TOO)


def activity_of(workflow_id: str | None) -> ActivitySerializationContext:
    return ActivitySerializationContext("default", "1", "step", "queue", workflow_id, None, is_local=False)


def chain_of_errors(length: int) -> Exception:
    """An error as a library raises it: deep in calls, because of another one."""

    def raised(depth: int) -> None:
        if depth:
            raised(depth - 1)
        elif length > 1:
            raise ApplicationError(f"attempt {length} failed") from chain_of_errors(length - 1)
        else:
            raise ConnectionError("all connection attempts failed")

    try:
        raised(30)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


async def test_a_failure_is_small_enough_for_temporal_to_keep() -> None:
    """Ensures that it is shown why a step is tried again, whatever libraries have raised below it."""
    failure = Failure()
    await CONVERTER.encode_failure(chain_of_errors(8), failure)
    # `limit.mutableStateActivityFailureSizeLimitError` of Temporal's server.
    assert failure.ByteSize() < 4096
    error = await CONVERTER.decode_failure(failure)
    assert str(error) == "attempt 8 failed"
    assert str(error.__cause__) == "attempt 7 failed"


payloads = st.builds(
    Payload,
    metadata=st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=4),
    data=st.binary(),
)


@given(st.lists(payloads, max_size=4))
async def test_what_was_encrypted_comes_back_as_it_was(given: list[Payload]) -> None:
    encrypted = await codec(NEW).encode(given)
    assert await codec(NEW).decode(encrypted) == given
    assert all(each.metadata["encoding"] == b"binary/encrypted" for each in encrypted)
    assert [keyring(NEW).open(each) for each in encrypted] == [(each, HERE) for each in given]


@given(st.text())
async def test_nothing_of_it_can_be_read(drawn: str) -> None:
    # A word of the code alone, as "encoding", is in what surrounds it.
    text = f"for one reader alone: {drawn}"
    [encrypted] = await CONVERTER.encode([HeartbeatDetails(waiting_for=text)])
    assert text.encode() not in encrypted.SerializeToString()
    assert b"waiting_for" not in encrypted.SerializeToString()


async def test_the_first_key_encrypts_and_all_decrypt() -> None:
    written = await codec(OLD).encode([Payload(data=b"before")])
    assert await codec(NEW, OLD).decode(written) == [Payload(data=b"before")]
    later = await codec(NEW, OLD).encode([Payload(data=b"after")])
    assert await codec(NEW).decode(later) == [Payload(data=b"after")]
    with pytest.raises(KeyMissing):
        keyring(OLD).open(later[0])


@pytest.mark.parametrize(
    "payload", [Payload(metadata={"encoding": b"json/plain"}, data=b'"plain"'), Payload()]
)
async def test_what_is_not_encrypted_is_refused(payload: Payload) -> None:
    with pytest.raises(ForeignPayload, match="is not encrypted"):
        keyring(NEW).open(payload)
    with pytest.raises(ForeignPayload, match="is not encrypted"):
        await CONVERTER.decode([payload], [str])


@pytest.mark.parametrize(
    ("context", "is_accepted"),
    [
        (HERE_TOO, True),
        (activity_of("environment/a"), True),
        (activity_of("environment/b"), False),
        (activity_of(None), False),
        (WorkflowSerializationContext("default", "environment/b"), False),
        (WorkflowSerializationContext("staging", "environment/a"), False),
        (None, False),
    ],
)
async def test_what_is_for_one_workflow_is_refused_elsewhere(
    context: SerializationContext | None, is_accepted: bool
) -> None:
    written = await CONVERTER.encode(["words"])
    elsewhere = data_converter(keyring(NEW))
    reader = elsewhere.with_context(context) if context else elsewhere
    if isinstance(context, ActivitySerializationContext) and not is_accepted:
        assert isinstance((await reader.decode(written, [str]))[0], RejectedPayload)
    elif is_accepted:
        assert await reader.decode(written, [str]) == ["words"]
    else:
        with pytest.raises(ForeignPayload, match="for another workflow"):
            await reader.decode(written, [str])


async def test_nothing_is_written_for_no_workflow() -> None:
    for context in (None, activity_of(None)):
        converter = data_converter(keyring(NEW))
        with pytest.raises(ValueError, match="only payloads of a workflow are encrypted"):
            await (converter.with_context(context) if context else converter).encode(["words"])


@pytest.mark.parametrize(
    "what", ["encryption-namespace", "encryption-workflow-id", "encryption-version", "encryption-compression"]
)
async def test_what_it_says_of_its_place_is_bound(what: str) -> None:
    sealed = keyring(NEW).encrypt(Payload(data=b"words"), HERE)
    sealed.metadata[what] = sealed.metadata[what] + b"b"
    with pytest.raises(ForeignPayload, match="is not as it was then"):
        keyring(NEW).open(sealed)
    swapped = keyring(NEW).encrypt(Payload(data=b"words"), PayloadContext(HERE.workflow_id, HERE.namespace))
    swapped.metadata["encryption-namespace"] = HERE.namespace.encode()
    swapped.metadata["encryption-workflow-id"] = HERE.workflow_id.encode()
    with pytest.raises(ForeignPayload):
        keyring(NEW).open(swapped)


async def test_a_large_payload_is_compressed_and_comes_back_as_it_was() -> None:
    large = Payload(metadata={"encoding": b"json/plain"}, data=b"0123456789" * 10_000)
    [encrypted] = await codec(NEW).encode([large])
    assert encrypted.ByteSize() < large.ByteSize() / 10
    assert await codec(NEW).decode([encrypted]) == [large]
    encrypted.metadata["encryption-compression"] = b""
    with pytest.raises(ForeignPayload, match="is not as it was then"):
        keyring(NEW).open(encrypted)


async def test_what_would_fill_the_memory_when_decompressed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = Payload(data=bytes(MAX_CLEAR_BYTES + 1))
    with pytest.raises(ValueError, match="is larger than"):
        keyring(NEW).encrypt(large, HERE)
    with monkeypatch.context() as patched:
        patched.setattr(codec_module, "MAX_CLEAR_BYTES", 2 * MAX_CLEAR_BYTES)
        bomb = keyring(NEW).encrypt(large, HERE)
    assert bomb.ByteSize() < MAX_CLEAR_BYTES / 100
    with pytest.raises(ForeignPayload):
        keyring(NEW).open(bomb)


@given(st.data())
async def test_what_was_changed_is_not_believed(data: st.DataObject) -> None:
    [encrypted] = await codec(NEW).encode([Payload(data=b"ten bytes.")])
    position = data.draw(st.integers(0, len(encrypted.data) - 1))
    change = data.draw(st.integers(1, 255))
    changed = bytearray(encrypted.data)
    changed[position] ^= change
    cut = encrypted.data[: data.draw(st.integers(0, len(encrypted.data) - 1))]
    for bad in (bytes(changed), cut):
        with pytest.raises(ForeignPayload, match="is not as it was then"):
            keyring(NEW).open(Payload(metadata=encrypted.metadata, data=bad))


async def test_a_missing_key_is_one_sentence_that_names_both() -> None:
    written = await codec(OLD).encode([Payload(data=b"secret words")])
    with pytest.raises(KeyMissing) as error:
        await CONVERTER.decode(written)
    text = str(error.value)
    assert Keyring.parse(OLD).ids[0] in text
    assert Keyring.parse(NEW).ids[0] in text
    assert "MOORAGE_ENCRYPTION__KEYS" in text
    assert not any(bad in text for bad in ("secret", OLD, NEW, "\n"))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", "there is no key in it: make one with `openssl rand -base64 32`"),
        ("c2hvcnQ=", "key 1 has 5 bytes and not 32"),
        (f"{NEW} {NEW}x", "key 2 is not base64"),
        (f"{NEW}\n{NEW}", "one key is in it twice"),
        ("ключ", "key 1 is not base64"),
    ],
)
def test_keys_that_cannot_be_used(keys: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected.split("`")[0]) as error:
        Keyring.parse(keys)
    assert NEW not in str(error.value)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_may_be_written_in_either_base64(key: bytes) -> None:
    forms = {base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode().rstrip("=")}
    assert len({Keyring.parse(form).ids for form in forms}) == 1


async def test_a_failure_hides_its_words_and_its_trace() -> None:
    converter, failure = CONVERTER, Failure()
    try:
        raise ApplicationError("ada@example.com is unknown", type="UnknownPerson")
    except ApplicationError as error:
        await converter.encode_failure(error, failure)
    raw = failure.SerializeToString()
    assert b"ada@" not in raw
    assert b"test_codec" not in raw, "the trace tells paths and source lines"
    assert b"UnknownPerson" in raw, "types are in clear, and Temporal needs them"
    back = await converter.decode_failure(failure)
    assert isinstance(back, ApplicationError)
    assert back.message == "ada@example.com is unknown"


async def test_the_largest_payload_does_not_hold_up_the_others() -> None:
    [payload] = await PLAIN.encode(["x" * 2_000_000])
    best = float("inf")
    for _ in range(5):
        # Of this thread: however busy the machine is.
        began = time.thread_time()
        await codec(NEW).decode(await codec(NEW).encode([payload]))
        best = min(best, time.thread_time() - began)
    assert best < 0.1, f"2 MB take {best * 1000:.0f} ms: encrypt beside the loop"
