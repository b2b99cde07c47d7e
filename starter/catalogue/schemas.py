"""Response models of the API for templates, with the contracts' names; the CLI shows them."""

from pydantic import Field

from contracts.templates.parameters import Parameter
from contracts.templates.sleep import SleepPolicy
from contracts.templates.template import Size, Template, TimeToLive
from contracts.templates.warm_pool import WarmPool
from contracts.types.models import Frozen


class TemplateView(Frozen):
    """A template, which users request by name."""

    name: str
    version: int
    description: str
    kubernetes: str
    size: Size
    ttl: TimeToLive
    sleep: SleepPolicy | None = None
    warm: WarmPool | None = None
    teams: tuple[str, ...] = ()
    parameters: dict[str, Parameter] = Field(default={}, description="what a request can choose")


class TemplateList(Frozen):
    """The templates that the caller may use."""

    templates: tuple[TemplateView, ...]
    remark: str = Field(default="", description="what is wrong with the files that they are read from")


def view_of_template(template: Template) -> TemplateView:
    """Build the view of a template that a developer needs."""
    return TemplateView.model_validate(template.model_dump())
