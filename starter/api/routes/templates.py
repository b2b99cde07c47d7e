"""Routes of the catalogue: the templates that the caller may use."""

from fastapi import APIRouter

from contracts.templates.template import Template
from starter.api.dependencies import CATALOGUE_IS_BROKEN, CallerDep, CatalogueDep
from starter.api.problem_details import ApiProblem, ProblemType
from starter.auth.policy import Principal, Role
from starter.catalogue.loader import Catalogue, offered_templates, unknown_template
from starter.catalogue.schemas import TemplateList, TemplateView, view_of_template
from starter.config_files.reloading import Reloaded

router = APIRouter(tags=["templates"])


@router.get("/templates")
async def list_templates(catalogue: CatalogueDep, caller: CallerDep) -> TemplateList:
    """List the templates that you may request."""
    offered = tuple(map(view_of_template, offered_templates(catalogue.current(), caller)))
    return TemplateList(templates=offered, remark=_remark(catalogue, caller))


@router.get("/templates/{name}")
async def show_template(name: str, catalogue: CatalogueDep, caller: CallerDep) -> TemplateView:
    """Show one template."""
    return view_of_template(offered_template(name, catalogue.current(), caller))


def offered_template(name: str, catalogue: Catalogue, caller: Principal) -> Template:
    """Return the template of this name; raise ApiProblem if the caller may not request it."""
    offered = offered_templates(catalogue, caller)
    for template in offered:
        if template.name == name:
            return template
    raise ApiProblem(ProblemType.NOT_FOUND, unknown_template(name[:80], offered))


def _remark(catalogue: Reloaded[Catalogue], caller: Principal) -> str:
    if not catalogue.problems:
        return ""
    # The problems quote files, so show them only to those who write the files.
    more = f" {'; '.join(catalogue.problems)}" if caller.role is Role.PLATFORM else ""
    return f"{CATALOGUE_IS_BROKEN}{more}"
