"""`moorage login` as a process, at the OpenID provider of a whole stack."""

import json
from pathlib import Path

import pytest

from embedded.stack.stack import Part, Stack
from tests.support.sign_in import Provider, embedded_provider
from tests.support.sign_in_process import run, sign_in_by_browser, sign_in_by_device, who
from tests.support.stack import ALICE, BOB

pytestmark = pytest.mark.slow


@pytest.fixture
def provider(stack: Stack) -> Provider:
    return embedded_provider(stack.url(Part.OPENID_PROVIDER), stack.password_of)


async def test_a_person_signs_in_with_the_browser_and_out(
    stack: Stack, provider: Provider, tmp_path: Path
) -> None:
    """Ensures that commands work by the sign-in alone, and no longer after its end."""
    signed_in = await sign_in_by_browser(tmp_path, stack.url(Part.API), provider, BOB.email)
    assert (signed_in["email"], signed_in["teams"], signed_in["role"]) == (BOB.email, ["blue"], "developer")
    shown = await who(tmp_path)
    assert shown["credential"]["source"] == f"sign-in at {provider.url}"
    code, out, err = await run(tmp_path, "list", "-o", "json")
    assert (code, isinstance(json.loads(out), list)) == (0, True), err
    code, out, _ = await run(tmp_path, "logout", "-o", "json")
    assert (code, json.loads(out)["revoked"]) == (0, True)
    code, _, err = await run(tmp_path, "list")
    assert (code, "not signed in" in err) == (4, True), err


async def test_a_person_signs_in_on_another_device(stack: Stack, provider: Provider, tmp_path: Path) -> None:
    signed_in = await sign_in_by_device(tmp_path, stack.url(Part.API), provider, ALICE.email)
    assert (signed_in["email"], signed_in["role"]) == (ALICE.email, "platform")
    assert (await who(tmp_path))["email"] == ALICE.email
