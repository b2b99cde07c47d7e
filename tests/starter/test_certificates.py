"""The certificate as people see it: what is left, and what is kept because the template says so."""

from datetime import UTC, datetime

import pytest

from contracts.environment.models import Certificate, Finding, StepName, System
from starter.cli.output.formatting import print_certificate
from starter.environments.schemas import certificate_view
from tests.support.client_views import client_view

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def certificate(**vcluster: tuple[str, ...]) -> Certificate:
    findings = (
        Finding(step=StepName.NAMESPACE, system=System.HOST_CLUSTER),
        Finding(step=StepName.VCLUSTER, system=System.HOST_CLUSTER, **vcluster),
    )
    return Certificate(inspected_at=NOW, findings=findings)


def test_what_is_kept_is_named_and_does_not_count_as_left(capsys: pytest.CaptureFixture[str]) -> None:
    view = certificate_view(certificate(kept=("PersistentVolume pv-1",)))
    assert view.nothing_left
    [system] = view.systems
    assert (system.left, system.kept) == ((), ("PersistentVolume pv-1",))
    print_certificate(client_view(view))
    assert "nothing left; kept, as the template says: PersistentVolume pv-1" in capsys.readouterr().out


def test_what_is_left_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    view = certificate_view(certificate(left=("Pod x",), kept=("PersistentVolume pv-1",)))
    assert not view.nothing_left
    print_certificate(client_view(view))
    assert "Pod x; kept, as the template says: PersistentVolume pv-1" in capsys.readouterr().out


def test_what_was_ended_by_force_has_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    view = certificate_view(certificate(forced=("Pod a was killed", "Secret b lost its finalizers x/y")))
    assert view.nothing_left
    print_certificate(client_view(view))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == ["by force: Pod a was killed", "by force: Secret b lost its finalizers x/y"]
