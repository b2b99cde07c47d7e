"""How payloads are written: one factory for the worker, the ways in, and tests that look into histories."""

import dataclasses

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes

from worker.codec import EncryptionCodec, Keyring

#: What it encrypts, in clear: of tests that have a server to themselves, and of histories kept for replays.
PLAIN = pydantic_data_converter


def data_converter(keys: Keyring) -> DataConverter:
    """The converter that every client and every worker of Moorage uses.

    All payloads are encrypted, and so are the messages and stack traces of failures, which would otherwise
    stand beside them in clear.
    """
    return dataclasses.replace(
        PLAIN,
        payload_codec=EncryptionCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
