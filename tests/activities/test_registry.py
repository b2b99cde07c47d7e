"""What a worker registers is exactly what the contracts promise, whatever is configured."""

import inspect

from temporalio import activity

from activities.registry import Clients, all_activities
from contracts import activities as signatures


def _names(functions: object) -> set[str | None]:
    return {activity._Definition.must_from_callable(each).name for each in functions}  # type: ignore[attr-defined]


def test_every_signature_has_its_activity_and_no_other() -> None:
    promised = {
        method
        for _, kind in inspect.getmembers(signatures, inspect.isclass)
        for _, method in inspect.getmembers(kind, inspect.isfunction)
        if hasattr(method, "__temporal_activity_definition")
    }
    clients = Clients(rafay=None, directory=None, hosts={})  # type: ignore[arg-type]
    given = all_activities(clients, None)  # type: ignore[arg-type]
    assert _names(promised), "the contracts promise nothing"
    assert _names(given) == _names(promised)
    assert len(given) == len(_names(given)), "one of them is registered twice"


def test_implementations_take_and_return_what_the_contracts_say() -> None:
    clients = Clients(rafay=None, directory=None, hosts={})  # type: ignore[arg-type]
    for given in all_activities(clients, None):  # type: ignore[arg-type]
        definition = activity._Definition.must_from_callable(given)
        kind = next(base for base in type(given.__self__).__mro__ if base.__module__ == signatures.__name__)  # type: ignore[attr-defined]
        promised = activity._Definition.must_from_callable(getattr(kind, given.__name__))
        assert definition.name == promised.name
        assert definition.arg_types == promised.arg_types, f"{definition.name} takes something else"
        assert definition.ret_type == promised.ret_type, f"{definition.name} returns something else"
