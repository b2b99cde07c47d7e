"""How payloads are written: one factory for the worker, the ways in, and tests that replay histories."""

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter


def data_converter() -> DataConverter:
    """The converter that every client and every worker of Moorage uses."""
    return pydantic_data_converter
