"""Ensures that what Temporal keeps can be read with the right key, and not without or when it was changed."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from contracts.activities import Waiting
from worker.codec import CannotDecode, EncryptionCodec, Keyring
from worker.converter import PLAIN, data_converter

# The same in every process of a test run, which all have to name the cases alike.
OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def codec(*keys: str) -> EncryptionCodec:
    return EncryptionCodec(Keyring.parse(" ".join(keys)))


payloads = st.builds(
    Payload,
    metadata=st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=4),
    data=st.binary(),
)


@given(st.lists(payloads, max_size=4))
async def test_what_was_encrypted_comes_back_as_it_was(given: list[Payload]) -> None:
    encrypted = await codec(NEW).encode(given)
    assert await codec(NEW).decode(encrypted) == given
    assert [set(each.metadata) for each in encrypted] == [{"encoding", "encryption-key-id"}] * len(given)


@given(st.text(min_size=8))
async def test_nothing_of_it_can_be_read(text: str) -> None:
    [encrypted] = await data_converter(Keyring.parse(NEW)).encode([Waiting(waiting_for=text)])
    assert text.encode() not in encrypted.SerializeToString()
    assert b"waiting_for" not in encrypted.SerializeToString()


async def test_the_first_key_encrypts_and_all_decrypt() -> None:
    written = await codec(OLD).encode([Payload(data=b"before")])
    assert await codec(NEW, OLD).decode(written) == [Payload(data=b"before")]
    later = await codec(NEW, OLD).encode([Payload(data=b"after")])
    assert await codec(NEW).decode(later) == [Payload(data=b"after")]
    with pytest.raises(CannotDecode):
        await codec(OLD).decode(later)


async def test_what_is_not_encrypted_is_left_alone() -> None:
    foreign = [Payload(metadata={"encoding": b"json/plain"}, data=b'"plain"'), Payload()]
    assert await codec(NEW).decode(foreign) == foreign


@given(st.data())
async def test_what_was_changed_is_not_believed(data: st.DataObject) -> None:
    [encrypted] = await codec(NEW).encode([Payload(data=b"ten bytes.")])
    position = data.draw(st.integers(0, len(encrypted.data) - 1))
    change = data.draw(st.integers(1, 255))
    changed = bytearray(encrypted.data)
    changed[position] ^= change
    cut = encrypted.data[: data.draw(st.integers(0, len(encrypted.data) - 1))]
    for bad in (bytes(changed), cut):
        with pytest.raises(CannotDecode, match="is not as it was then"):
            await codec(NEW).decode([Payload(metadata=encrypted.metadata, data=bad)])


async def test_a_missing_key_is_one_sentence_that_names_both() -> None:
    written = await codec(OLD).encode([Payload(data=b"secret words")])
    with pytest.raises(CannotDecode) as error:
        await codec(NEW).decode(written)
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
    converter, failure = data_converter(Keyring.parse(NEW)), Failure()
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
        began = time.perf_counter()
        await codec(NEW).decode(await codec(NEW).encode([payload]))
        best = min(best, time.perf_counter() - began)
    assert best < 0.1, f"2 MB take {best * 1000:.0f} ms: encrypt beside the loop"
