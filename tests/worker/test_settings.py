"""Settings: where they come from, which source wins, and that all problems are reported together."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.capacity.models import Limits
from contracts.environment_workflow import LifecycleTimeouts
from tests.support.processes import run_module
from worker.settings.groups.control_plane import NO_CREDENTIAL
from worker.settings.groups.hosts import SimulatedHostCluster
from worker.settings.groups.timeouts import LifecycleTimeoutSettings
from worker.settings.loading import load_api_settings, load_settings
from worker.settings.reference import describe_settings, settings_table
from worker.settings.sources import SettingsError

#: The least that must be set.
LEAST = {
    "MOORAGE_INSTALLATION": "k3x9q0vb",
    "MOORAGE_ENCRYPTION__KEYS": base64.b64encode(b"planted-key-of-thirty-two-bytes!").decode(),
    "MOORAGE_CONTROL_PLANE__URL": "https://console.example",
    "MOORAGE_CONTROL_PLANE__API_KEY": "planted-key",
    "MOORAGE_HOSTS__MAIN__KIND": "simulated",
    "MOORAGE_HOSTS__MAIN__URL": "http://127.0.0.1:7003/",
    "MOORAGE_HOSTS__MAIN__TOKEN": "planted-token",
}


def problems_of(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as error:
        load_settings(environ)
    return str(error.value)


def test_least() -> None:
    """Ensures that what has a default need not be set, and that the defaults fit together."""
    settings = load_settings(LEAST)
    assert list(settings.hosts) == ["main"]
    assert settings.identity is None
    host = settings.hosts["main"]
    assert isinstance(host, SimulatedHostCluster)
    assert host.url == "http://127.0.0.1:7003"
    assert settings.lifecycle_timeouts == LifecycleTimeouts()


def test_how_much_there_is() -> None:
    """Ensures that what hosts have and teams may have can be set by variables, with names as they are."""
    settings = load_settings(
        LEAST
        | {
            "MOORAGE_QUOTAS__TEAMS": '{"Blue Team": {"cpu": 16, "memory": "64Gi", "environments": 20}}',
            "MOORAGE_QUOTAS__PERSON__ENVIRONMENTS": "5",
            "MOORAGE_HOSTS__MAIN__LABELS": "zone=eu, gpu=yes",
            "MOORAGE_HOSTS__MAIN__CAPACITY": '{"cpu": "1500m"}',
        }
    )
    teams = {name: share.limits for name, share in settings.quotas.teams.items()}
    assert teams == {"Blue Team": Limits(environments=20, cpu=16_000, memory=64 * 2**30)}
    assert settings.quotas.person.limits == Limits(environments=5)
    assert settings.hosts["main"].labels == {"zone": "eu", "gpu": "yes"}
    assert settings.hosts["main"].capacity.limits == Limits(cpu=1500)


LOGIN_IN_CLEAR = {
    "MOORAGE_NOTICES__SMTP_SECURITY": "none",
    "MOORAGE_NOTICES__SMTP_USER": "moorage",
    "MOORAGE_NOTICES__SMTP_PASSWORD": "mail-password",
    "MOORAGE_NOTICES__SENDER": "moorage@example.com",
}


@pytest.mark.parametrize(
    ("host", "is_inside"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("idp", True),
        ("idp.identity.svc", True),
        ("idp.identity.svc.cluster.local", True),
        ("10.0.0.1", False),
        ("[fd00::1]", False),
        ("idp.example", False),
        ("idp.svc.example", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("user@idp.example", False),
    ],
)
def test_http_where_secrets_are_sent(host: str, is_inside: bool) -> None:
    """Ensures that no credential leaves this machine or its cluster in clear."""
    urls = {
        "MOORAGE_CONTROL_PLANE__URL": "control_plane.url",
        "MOORAGE_IDENTITY__URL": "identity.url",
        "MOORAGE_HOSTS__MAIN__URL": "hosts.main.url",
        "MOORAGE_NOTICES__WEBHOOK_URL": "notices.webhook_url",
        "MOORAGE_AUDIT_LOG__WEBHOOK_URL": "audit_log.webhook_url",
    }
    more = {
        "MOORAGE_IDENTITY__TOKEN": "a-token",
        "MOORAGE_NOTICES__WEBHOOK_SECRET": "whsec_YS1zZWNyZXQtb2YtdGhpcnR5LXR3by1ieXRlcy0tLS0t",
        "MOORAGE_AUDIT_LOG__WEBHOOK_SECRET": "whsec_YS1zZWNyZXQtb2YtdGhpcnR5LXR3by1ieXRlcy0tLS0t",
    }
    secure, clear = (dict.fromkeys(urls, f"{scheme}://{host}/x") for scheme in ("https", "http"))
    load_settings(LEAST | more | secure)
    if is_inside:
        load_settings(LEAST | more | clear)
        return
    text = problems_of(LEAST | more | clear)
    for name, field in urls.items():
        assert f"{name} ({field}): must start with https://" in text


def test_addresses_of_the_platform_team_come_from_one_variable() -> None:
    settings = load_settings(LEAST | {"MOORAGE_NOTICES__PLATFORM_TEAM": "one@example.com, two@example.com"})
    assert settings.notices.platform_team == ("one@example.com", "two@example.com")


def test_a_login_at_a_mail_server_of_this_machine() -> None:
    """Ensures that a relay on this machine may be logged in to in clear."""
    settings = load_settings(LEAST | LOGIN_IN_CLEAR | {"MOORAGE_NOTICES__SMTP_HOST": "localhost"})
    assert settings.notices.smtp_password is not None


def test_every_problem_at_once() -> None:
    """Ensures that one start tells everything that is wrong, with the variable's name and what is right."""
    text = problems_of(
        {
            "MOORAGE_INSTALLATION": "Too Long For An Installation",
            "MOORAGE_CONTROL_PLANE__URL": "console.example",
            "MOORAGE_CONTROL_PLANE__API_KEY_FILE": "/nowhere/key",
            "MOORAGE_HOSTS__EAST__KIND": "mainframe",
            "MOORAGE_HOSTS__WEST__URL": "http://west",
            "MOORAGE_API__PORT": "70000",
            "MOORAGE_LOG": "debug",
            "MOORAGE_TIMEOUTS__FIRST_RETRY": "soon",
            "MOORAGE_PREFIXX": "x",
        }
    )
    assert text.startswith("the settings have 11 problems:")
    for expected in (
        "MOORAGE_INSTALLATION (installation): String should match pattern",
        "MOORAGE_ENCRYPTION__KEYS (encryption.keys): is missing [encrypts all that Temporal keeps",
        "MOORAGE_CONTROL_PLANE__URL (control_plane.url): must be a URL that starts with https://",
        "MOORAGE_CONTROL_PLANE__API_KEY_FILE: cannot read /nowhere/key: No such file or directory",
        "MOORAGE_CONTROL_PLANE__API_KEY (control_plane.api_key): is missing",
        "MOORAGE_HOSTS__EAST__KIND (hosts.east.kind): must be simulated or kubernetes",
        "MOORAGE_HOSTS__WEST__KIND (hosts.west.kind): must be simulated or kubernetes",
        "MOORAGE_API__PORT (api.port): Input should be less than or equal to 65535",
        "MOORAGE_LOG (log): is a group: give its settings one by one",
        'MOORAGE_TIMEOUTS__FIRST_RETRY (timeouts.first_retry): "soon" is not a length of time: write',
        "MOORAGE_PREFIXX (prefixx): is not a setting; did you mean MOORAGE_PREFIX?",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {"MOORAGE_TIMEOUTS__LATE_RESPONSE_WINDOW": "30s"},
            "late_response_window must be longer than the longest timeout",
        ),
        ({"MOORAGE_DEFAULT_HOST": "other"}, "must be one of the hosts: main"),
        (
            {"MOORAGE_HOSTS__B__KIND": "kubernetes", "MOORAGE_DEFAULT_HOST": "c"},
            "must be one of the hosts: b, main",
        ),
        ({"MOORAGE_QUOTAS__TEAMS": "blue"}, "MOORAGE_QUOTAS__TEAMS (quotas.teams): is not JSON"),
        ({"MOORAGE_QUOTAS__PERSON": '{"cpus": 4}'}, "did you mean MOORAGE_QUOTAS__PERSON__CPU?"),
        ({"MOORAGE_HOSTS__MAIN__LABELS": "zone"}, "hosts.main.labels): must be name=value"),
        ({"MOORAGE_HOSTS__MAIN__CAPACITY__CPU": "many"}, "(hosts.main.capacity.cpu): String should match"),
        ({"MOORAGE_API": "x", "MOORAGE_API__PORT": "1"}, "as if it were a single setting"),
        ({"MOORAGE_CONTROL_PLANE__API_KEY_FILE": "/x"}, "MOORAGE_CONTROL_PLANE__API_KEY is set as well"),
        ({"MOORAGE_CONTROL_PLANE__API_KEY": " "}, "MOORAGE_CONTROL_PLANE__API_KEY (control_plane.api_key)"),
        ({"MOORAGE_ENCRYPTION__KEYS": "dG9vLXNob3J0"}, "key 1 has 9 bytes and not 32: make one with"),
        (
            {"MOORAGE_ENCRYPTION__KEYS": "!"},
            "MOORAGE_ENCRYPTION__KEYS (encryption.keys): key 1 is not base64",
        ),
        ({"MOORAGE_CODEC_SERVER__UI": "https://a b"}, "MOORAGE_CODEC_SERVER__UI"),
        (
            {"MOORAGE_NOTICES__SMTP_HOST": "mail.example"} | LOGIN_IN_CLEAR,
            "MOORAGE_NOTICES__SMTP_PASSWORD (notices.smtp_password): would be sent in clear",
        ),
        ({"MOORAGE_NOTICES__SLACK_URL": "http://hooks.example/x"}, "must start with https://: what is sent"),
        ({"MOORAGE_CONFIG": "/nowhere.toml"}, "MOORAGE_CONFIG: cannot read /nowhere.toml"),
    ],
)
def test_what_does_not_fit(more: dict[str, str], expected: str) -> None:
    """Ensures that settings which are right by themselves and wrong together are refused."""
    assert expected in problems_of(LEAST | more)


def test_settings_that_hang_together_are_checked_beside_others() -> None:
    """Ensures that a wrong field elsewhere does not hide what does not fit together."""
    text = problems_of(LEAST | {"MOORAGE_DEFAULT_HOST": "other", "MOORAGE_INSTALLATION": "?"})
    assert "MOORAGE_DEFAULT_HOST" in text
    assert "MOORAGE_INSTALLATION" in text


def test_no_secret_is_echoed(tmp_path: Path) -> None:
    """Ensures that no problem, and no settings printed, quote a secret."""
    secret = "planted" * 3
    file = tmp_path / "settings.toml"
    file.write_text(f'[control_plane]\napi_key = ["{secret}"]\ntokken = "{secret}"\n')
    text = problems_of({"MOORAGE_CONFIG": str(file), "MOORAGE_IDENTITY__TOKEN__X": secret})
    assert "control_plane.api_key" in text
    assert secret not in text
    assert "planted" not in repr(load_settings(LEAST))
    assert "planted" not in load_settings(LEAST).model_dump_json()


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    """Ensures that a variable overrides one setting of the file and leaves its neighbours."""
    file = tmp_path / "settings.toml"
    file.write_text(
        """
        installation = "fromfile1"
        encryption.keys_file = "key"
        [control_plane]
        url = "https://file.example"
        api_key_file = "key"
        timeout = "7s"
        [hosts.east-1]
        kind = "kubernetes"
        context = "east"
        """.replace('"key"', f'"{tmp_path / "key"}"')
    )
    (tmp_path / "key").write_text("from-the-file-of-keys-32-bytes-in-base64-ab\n")
    settings = load_settings(
        {"MOORAGE_CONFIG": str(file), "MOORAGE_CONTROL_PLANE__URL": "https://variable.example"}
    )
    assert settings.installation == "fromfile1"
    assert settings.control_plane.url == "https://variable.example"
    assert settings.control_plane.timeout == timedelta(seconds=7)
    assert settings.control_plane.api_key.get_secret_value() == "from-the-file-of-keys-32-bytes-in-base64-ab"
    assert list(settings.hosts) == ["east-1"]

    overridden = load_settings(
        {"MOORAGE_CONFIG": str(file), "MOORAGE_CONTROL_PLANE__API_KEY": "from a variable"}
    )
    assert overridden.control_plane.api_key.get_secret_value() == "from a variable"


def test_file_that_is_not_toml(tmp_path: Path) -> None:
    """Ensures that a broken file is one problem among the others."""
    file = tmp_path / "settings.toml"
    file.write_text("[control_plane\n")
    text = problems_of({"MOORAGE_CONFIG": str(file)})
    assert f"{file} is not TOML" in text
    assert "MOORAGE_INSTALLATION (installation): is missing" in text


def test_empty_variable_is_not_set() -> None:
    """Ensures that a compose file may pass on a variable that is not set."""
    assert load_settings(LEAST | {"MOORAGE_PREFIX": ""}).prefix == "mrg"


def test_the_late_response_window_follows_the_timeouts() -> None:
    """Ensures that what had no answer has come into being, or not, before the last inspection."""
    settings = load_settings(LEAST | {"MOORAGE_CONTROL_PLANE__TIMEOUT": "2m"})
    assert settings.lifecycle_timeouts.late_response_window == timedelta(minutes=2, seconds=15)


def test_pace_can_be_set_completely() -> None:
    """Ensures that every part of the contracts' timeouts is a setting, and nothing else."""
    assert set(LifecycleTimeoutSettings.model_fields) == set(LifecycleTimeouts.model_fields)
    assert (
        load_settings(
            LEAST | {"MOORAGE_TIMEOUTS__LATE_RESPONSE_WINDOW": "PT30.5S"}
        ).lifecycle_timeouts.late_response_window.total_seconds()
        == 30.5
    )


WITHOUT_KEY = {name: text for name, text in LEAST.items() if not name.endswith("API_KEY")}
DIRECTORY = {"MOORAGE_IDENTITY__URL": "https://idp.example"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (LEAST, ("planted-key", None)),
        (LEAST | {"MOORAGE_API__CONTROL_PLANE_API_KEY": "reads"}, ("reads", None)),
        (WITHOUT_KEY | {"MOORAGE_API__CONTROL_PLANE_API_KEY": "reads"}, ("reads", None)),
        (WITHOUT_KEY | DIRECTORY | {"MOORAGE_API__IDENTITY_TOKEN": "reads"}, (NO_CREDENTIAL, "reads")),
        (LEAST | DIRECTORY | {"MOORAGE_IDENTITY__TOKEN": "writes"}, (NO_CREDENTIAL, "writes")),
    ],
)
def test_the_api_holds_its_own_credentials(environ: dict[str, str], expected: tuple[str, str | None]) -> None:
    """Ensures that the API's process has what may write only where it was given nothing else."""
    settings = load_api_settings(environ)
    identity = settings.identity
    token = identity.token.get_secret_value() if identity and identity.token else None
    assert (settings.control_plane.api_key.get_secret_value(), token) == expected


def test_the_worker_has_no_use_for_the_credentials_of_the_api() -> None:
    settings = load_settings(LEAST | {"MOORAGE_API__CONTROL_PLANE_API_KEY": "reads"})
    assert settings.control_plane.api_key.get_secret_value() == "planted-key"
    assert "CONTROL_PLANE__API_KEY" in problems_of(WITHOUT_KEY | {"MOORAGE_API__CONTROL_PLANE_API_KEY": "x"})


def test_table_has_every_setting() -> None:
    """Ensures that the table of the reference is whole, and is what the command prints."""
    described = {each.name: each for each in describe_settings()}
    assert set(LEAST) <= {name.replace("<name>", "MAIN") for name in described}
    assert all(each.meaning for each in described.values())
    assert described["MOORAGE_INSTALLATION"].default == "required"
    assert described["MOORAGE_CONTROL_PLANE__TIMEOUT"].default == "30s"
    assert described["MOORAGE_HOSTS__<name>__KIND"].form == "`simulated` or `kubernetes`"
    assert described["MOORAGE_IDENTITY__KIND"].form == "`scim` or `keycloak` or `okta` or `entra`"
    printed = run_module("worker.settings", [])
    assert printed.out.strip() == settings_table()


def test_defaults_are_written_as_a_person_would_set_them() -> None:
    described = {each.name: each for each in describe_settings()}
    repair = described["MOORAGE_RECONCILE__REPAIR"]
    assert repair.default.startswith("project group role-binding identity ")
    assert "`role-binding`" in repair.form
    for each in described.values():
        assert not set(each.default) & set("<>'[]{}"), each
    text = {name: each.default for name, each in described.items() if name.startswith("MOORAGE_RECONCILE__")}
    assert load_settings(LEAST | text).reconcile == load_settings(LEAST).reconcile


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", "127.0.0.1:9464"),
        ("0.0.0.0:1", "0.0.0.0:1"),
        ("localhost:9464", "127.0.0.1:9464"),
        ("[::1]:9464", "[::1]:9464"),
        ("[::]:65535", "[::]:65535"),
        ("[0:0::1]:9464", "[::1]:9464"),
    ],
)
def test_metrics_address(text: str, address: str) -> None:
    """Ensures that the address is one that the SDK understands, of both families."""
    assert load_settings(LEAST | {"MOORAGE_WORKER__METRICS": text}).worker.metrics == address


@pytest.mark.parametrize(
    "text",
    ["9464", ":9464", "::1:9464", "[::1]", "[::1]:", "127.0.0.1", "127.0.0.1:65536", "metrics:9464", "[]:1"],
)
def test_metrics_address_that_cannot_be_listened_on(text: str) -> None:
    """Ensures that it is refused with a sentence, and not with a pattern."""
    problems = problems_of(LEAST | {"MOORAGE_WORKER__METRICS": text})
    assert "must be an IP address and a port, such as 127.0.0.1:9464" in problems


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xef\xbb\xbfkey-of-the-control-plane\r\n", ""),
        (b"key-of-the\ncontrol-plane\n", "has 2 lines"),
        (b"key-of\0-the-control-plane", "cannot be printed"),
        ("key-of-the-cöntrol-plane".encode(), "beyond ASCII"),
        (b"\xff\xfek\0e\0y\0", "is not text"),
    ],
)
def test_a_secret_as_editors_write_it(tmp_path: Path, content: bytes, problem: str) -> None:
    """Ensures that a byte order mark is no part of a secret, and that an unusable secret is reported."""
    file = tmp_path / "key"
    file.write_bytes(content)
    environ = {**LEAST, "MOORAGE_CONTROL_PLANE__API_KEY_FILE": str(file)}
    del environ["MOORAGE_CONTROL_PLANE__API_KEY"]
    if not problem:
        assert load_settings(environ).control_plane.api_key.get_secret_value() == "key-of-the-control-plane"
        return
    problems = problems_of(environ)
    assert problem in problems
    assert "MOORAGE_CONTROL_PLANE__API_KEY" in problems
    assert "key-of" not in problems


@pytest.mark.parametrize("secret", ["a-secret", "whsec_YS1zZWNyZXQ=", "whsec_not base64"])
def test_webhook_secret_must_have_the_form_of_standard_webhooks(secret: str) -> None:
    """Ensures that a secret that receivers cannot verify with is refused, with the command for a new one."""
    hook = {"MOORAGE_NOTICES__WEBHOOK_URL": "https://a.example", "MOORAGE_NOTICES__WEBHOOK_SECRET": secret}
    assert "openssl rand -base64 32" in problems_of(LEAST | hook)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Moorage.Example.com/", "https://moorage.example.com"),
        ("https://moorage.example.com:8443", "https://moorage.example.com:8443"),
        ("http://127.0.0.1:7400", "http://127.0.0.1:7400"),
    ],
)
def test_the_public_address_is_an_origin(text: str, origin: str) -> None:
    assert load_settings(LEAST | {"MOORAGE_API__PUBLIC_URL": text}).api.public_url == origin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://moorage.example.com/moorage", "scheme, host and port alone"),
        ("https://moorage.example.com?x=1", "scheme, host and port alone"),
        ("https://ada@moorage.example.com", "scheme, host and port alone"),
        ("http://moorage.example.com", "must start with https://"),
        ("moorage.example.com", "must be a URL"),
    ],
)
def test_a_public_address_that_is_no_origin_is_refused(text: str, expected: str) -> None:
    problems = problems_of(LEAST | {"MOORAGE_API__PUBLIC_URL": text})
    assert "MOORAGE_API__PUBLIC_URL" in problems
    assert expected in problems
