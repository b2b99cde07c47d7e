"""The parts of identity: the directory, single sign-on, groups with equal names, look-up of people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clients.identity.protocol import IdentityProvider
from clients.rafay import Rafay, SignIn
from starter.environments.people_check import check_people
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well
from starter.setup.group_probe import GroupProbe
from worker.settings.groups.identity import IdentityKind
from worker.settings.groups.identity import IdentityProvider as IdentityProviderSettings
from worker.settings.groups.identity import SignIn as SignInSettings

SYSTEM = "identity provider"
#: Suggested name of the integration, for the person who creates it.
INTEGRATION = "moorage"
#: Number of people that are looked up: enough to see that it works, and too few to be throttled.
LOOKED_UP = 20
#: No person has this address, because RFC 2606 reserves the domain: a look-up that finds it finds any
#: address.
UNKNOWN_USER = "moorage-setup-unknown@invalid.example"
#: The rights that the credentials need, by kind; the pages under docs/how-to say how to grant them.
_RIGHTS = {
    IdentityKind.SCIM: "give them the rights to read users and to make, change and delete groups",
    IdentityKind.KEYCLOAK: "give the client the rights that deploy/keycloak/realm.json gives it",
    IdentityKind.OKTA: "grant okta.groups.manage and okta.users.read, and an admin role for groups and users",
    IdentityKind.ENTRA: "grant the application permissions Group.ReadWrite.All and User.Read.All",
}
_NAMES = {
    IdentityKind.SCIM: "SCIM directory",
    IdentityKind.KEYCLOAK: "Keycloak",
    IdentityKind.OKTA: "Okta",
    IdentityKind.ENTRA: "Entra ID",
}
#: Report a certificate that expires within this time: a person needs some days to get another one accepted.
CERTIFICATE_NOTICE = timedelta(days=14)
_GROUPS_DENIED = (
    "a right is lacking",
    "groups must be made, read and deleted: by the token in the identity provider, by the API key's user in "
    "the control plane",
)


@dataclass(frozen=True)
class Identity:
    """Checks and repairs of identity. Without `directory`, people are local users of the control plane."""

    rafay: Rafay
    directory: IdentityProvider | None
    url: str
    sso: SignInSettings | None
    trial: GroupProbe
    people: Callable[[], Sequence[str]]
    provider: IdentityProviderSettings | None = None

    def parts(
        self, key: SetupCheck, project: SetupCheck, roles: SetupCheck, tokens: SetupCheck | None
    ) -> tuple[SetupCheck, ...]:
        """Return the parts, in order; `key`, `project` and `roles` are parts of the control plane."""
        area, parts = Area.IDENTITY, []
        known_by = [key]
        system, where = "control plane", self.url
        if self.directory:
            system = SYSTEM
            denied = (
                "refuses our credentials",
                f"correct them in the settings (MOORAGE_IDENTITY__…), or {self._rights}",
            )
            directory = SetupCheck(area, SYSTEM, "directory", self.url, self._directory, denied=denied)
            parts.append(directory)
            known_by = [directory]
            if self.sso:
                parts.append(
                    SetupCheck(
                        area, SYSTEM, "sign-in", self.sso.domain, self._sign_in, needs=(key, directory)
                    )
                )
        groups = SetupCheck(
            area,
            system,
            "group mapping" if self.directory else "groups",
            self.trial.name,
            self.trial.check,
            self.trial.remove,
            self.trial.try_it,
            needs=(*known_by, project, roles) if self.directory else (project, roles),
            denied=_GROUPS_DENIED,
        )
        lookup = SetupCheck(
            area,
            system,
            "look-up of people",
            where,
            self._lookup,
            needs=(*known_by, *([tokens] if tokens else [])),
            denied=("its credentials lack a right", self._rights),
        )
        return (*parts, groups, lookup)

    @property
    def _kind(self) -> IdentityKind:
        return self.provider.kind if self.provider else IdentityKind.SCIM

    @property
    def _rights(self) -> str:
        return _RIGHTS[self._kind]

    async def _directory(self) -> Found:
        if self.directory:
            await self.directory.check()
        if (expires_at := _certificate_end(self.provider)) is not None:
            left = expires_at - datetime.now(UTC)
            if left < CERTIFICATE_NOTICE:
                detail = f"the certificate of private_key expires on {expires_at:%Y-%m-%d}"
                return Found(Kind.BY_HAND, detail, "upload another one there, and put its key into the file")
        accepted = f"{_NAMES[self._kind]} is reachable, credentials accepted"
        if self.sso is None:
            return well(f"{accepted}; sign-in is not looked at without [sso]")
        return well(accepted)

    # Sign-in. Rafay has no public call to integrate an identity provider, so people do it in its console.

    async def _sign_in(self) -> Found:
        wanted = self.sso
        if wanted is None:
            return well("not wanted")
        found = await self.rafay.sign_ins()
        if found is None:
            return self._untold(wanted)
        domain = wanted.domain.casefold()
        one = next((each for each in found if each.domain.casefold() == domain), None)
        if one is None:
            detail = f"the control plane does not know an identity provider for {wanted.domain}"
            remedy = (
                "integrate it in the control plane's console, and run setup again: it says what comes then"
            )
            return Found(Kind.BY_HAND, detail, remedy, _at_the_control_plane(wanted))
        if one.group_attribute != wanted.group_attribute:
            detail = (
                f"the control plane takes groups from the attribute {one.group_attribute or '(none)'} of "
                f'"{one.name}", and the settings say {wanted.group_attribute}'
            )
            return Found(Kind.BY_HAND, detail, f"set its Group Attribute Name to {wanted.group_attribute}")
        if not one.knows_provider:
            detail = f'"{one.name}" is started: the two do not know each other yet'
            remedy = "enter these at the identity provider, and its metadata in the control plane's console"
            return Found(Kind.BY_HAND, detail, remedy, _at_the_provider(wanted, one))
        return well(
            f'people of {wanted.domain} sign in by "{one.name}", groups come in {one.group_attribute}'
        )

    def _untold(self, wanted: SignInSettings) -> Found:
        if wanted.confirmed:
            return well(f"people of {wanted.domain} sign in by it, the settings say; no other source tells")
        remedy = "see to these in both, let a person sign in, and set MOORAGE_SSO__CONFIRMED=true"
        steps = (*_at_the_control_plane(wanted), *_at_the_provider(wanted, SignIn("", wanted.domain)))
        detail = "this control plane does not tell of its identity providers"
        return Found(Kind.BY_HAND, detail, remedy, steps)

    # The look-up of people

    async def _lookup(self) -> Found:
        directory = self.directory or self.rafay
        where = SYSTEM if self.directory else "control plane, as local users"
        if await directory.find_user(UNKNOWN_USER) is not None:
            detail = f"{UNKNOWN_USER} was found, though no such account exists: any address is found"
            return Found(Kind.REFUSED, detail, f"see to the look-up of users in the {SYSTEM}")
        asked = list(dict.fromkeys(self.people()))[:LOOKED_UP]
        if not asked:
            return well(f"people are looked up in the {where}")
        checked = await check_people(directory, asked)
        unknown = list(checked.problems)
        if len(unknown) == len(asked):
            detail = f"no person with a token is known to the {where}: {', '.join(unknown)}"
            remedy = "correct the addresses in the file of tokens, or make accounts for them"
            return Found(Kind.BY_HAND, detail, remedy)
        if unknown:
            lacking = f"not {', '.join(unknown)}, who can ask for nothing until they are"
            return well(f"{len(asked) - len(unknown)} of {len(asked)} with a token are known; {lacking}")
        everybody = "everybody" if len(asked) > 1 else "the one"
        return well(f"{everybody} who has a token is known to the {where}")


def _certificate_end(provider: IdentityProviderSettings | None) -> datetime | None:
    """Return when the certificate expires by which Entra ID knows the private key; None without one."""
    if provider is None or provider.kind is not IdentityKind.ENTRA or provider.private_key is None:
        return None
    # Import here because the libraries of signatures take long to import.
    from clients.identity.client_assertion import SigningKey

    return SigningKey(provider.private_key.get_secret_value(), needs_certificate=True).expires_at


def _at_the_control_plane(wanted: SignInSettings) -> tuple[str, ...]:
    return (
        "control plane, System > Identity Providers > New:",
        f"  Name                  {INTEGRATION}",
        "  IdP Type              yours, or Custom",
        f"  Domain                {wanted.domain}",
        f"  Group Attribute Name  {wanted.group_attribute}",
    )


def _at_the_provider(wanted: SignInSettings, known: SignIn) -> tuple[str, ...]:
    shown = "as the control plane's console shows it"
    return (
        "identity provider, a new SAML 2.0 application:",
        f"  Single sign-on (ACS) URL       {known.acs_url or shown}",
        f"  Audience (SP Entity ID)        {known.entity_id or shown}",
        f"  Name ID format                 {known.name_id_format or 'Email Address'}",
        f"  group attribute statement      {wanted.group_attribute}, all groups of the person, by plain name",
        "control plane, the same identity provider, its last step:",
        f"  Identity Provider Metadata     {wanted.metadata_url}",
    )
