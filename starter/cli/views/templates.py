"""The API's answers about templates, as the command line reads them; see `starter.cli.views.base`."""

from datetime import timedelta

from starter.cli.views.base import ParameterValue, View
from starter.cli.views.environments import SleepPolicy


class Size(View, frozen=True, kw_only=True):
    """What an environment may use on its host."""

    cpu: str
    memory: str
    storage: str
    pods: int


class Extension(View, frozen=True, kw_only=True):
    """How often users may move the end, and how far in total."""

    times: int = 0
    total: timedelta = timedelta(0)


class TimeToLive(View, frozen=True, kw_only=True):
    """The default and the maximum time to live, and how an environment ends."""

    default: timedelta
    maximum: timedelta
    extension: Extension = Extension()
    warnings: tuple[timedelta, ...] = ()
    without_owner: timedelta = timedelta(days=3)
    grace: timedelta = timedelta(0)


class Parameter(View, frozen=True, kw_only=True):
    """What a user can choose. `type` is a word of the API's `ParameterType`."""

    type: str
    description: str
    default: ParameterValue | None = None
    example: ParameterValue | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    minimum: int | float | None = None
    maximum: int | float | None = None


class WarmPool(View, frozen=True, kw_only=True):
    """How many vClusters of it are made ahead."""

    ready: int
    most: int | None = None
    hours: str | None = None


class TemplateView(View, frozen=True, kw_only=True):
    """A template."""

    name: str
    version: int
    description: str
    kubernetes: str
    size: Size
    ttl: TimeToLive
    sleep: SleepPolicy | None = None
    warm: WarmPool | None = None
    teams: tuple[str, ...] = ()
    parameters: dict[str, Parameter] = {}


class TemplateList(View, frozen=True, kw_only=True):
    """The templates that the caller may use."""

    templates: tuple[TemplateView, ...]
    remark: str = ""
