"""What a worker registers is exactly what the contracts promise, whatever is configured."""

import importlib
import inspect
import pkgutil
from typing import Any
from unittest.mock import Mock

import pytest
from temporalio import activity

from activities.registry import Clients, all_activities
from contracts import activities as interfaces
from contracts.activities.steps import StepActivities, step_activity_name
from contracts.environment.models import StepName


def _promised() -> dict[str, activity._Definition]:
    """The definition of each activity of the contracts, by its name."""
    named = [
        activity._Definition.must_from_callable(method)
        for module in pkgutil.iter_modules(interfaces.__path__, f"{interfaces.__name__}.")
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        for _, method in inspect.getmembers(kind, inspect.isfunction)
        if hasattr(method, "__temporal_activity_definition")
    ]
    methods = (StepActivities.ensure, StepActivities.remove, StepActivities.inspect)
    steps = [
        activity._Definition(step_activity_name(step, method), method, True, False, *_types(method))
        for step in StepName
        for method in methods
    ]
    return {each.name or "": each for each in (*named, *steps)}


def _types(method: Any) -> tuple[list[type], type]:
    *arguments, result = inspect.get_annotations(method, eval_str=True).values()
    return arguments, result


@pytest.fixture(scope="module")
def registered() -> dict[str, activity._Definition]:
    clients = Clients(rafay=Mock(), directory=None, hosts={})
    given = all_activities(clients, Mock())
    definitions = [activity._Definition.must_from_callable(each) for each in given]
    assert len({each.name for each in definitions}) == len(given), "one of them is registered twice"
    return {each.name or "": each for each in definitions}


def test_every_promised_activity_is_registered_and_no_other(
    registered: dict[str, activity._Definition],
) -> None:
    assert len(registered) == 3 * len(StepName) + 30
    assert set(registered) == set(_promised())


def test_implementations_take_and_return_what_the_contracts_say(
    registered: dict[str, activity._Definition],
) -> None:
    for name, promised in _promised().items():
        assert registered[name].arg_types == promised.arg_types, f"{name} takes something else"
        assert registered[name].ret_type == promised.ret_type, f"{name} returns something else"
