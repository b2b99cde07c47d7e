"""Routes of the catalogue: the templates that the caller may use."""

from fastapi import APIRouter

from contracts.template import Template
from starter.api.dependencies import CATALOGUE_IS_BROKEN, CallerDep, CatalogueDep
from starter.api.problem_details import ApiProblem, ProblemType
from starter.auth.policy import Principal, Role
from starter.catalogue.loader import Catalogue, unknown_template
from starter.config_files.reloading import Reloaded
from starter.environments.schemas import TemplateList, TemplateView, view_of_template

router = APIRouter(tags=["templates"])


@router.get("/templates")
async def list_templates(catalogue: CatalogueDep, caller: CallerDep) -> TemplateList:
    """List the templates that you may request."""
    offered = tuple(map(view_of_template, _offered(catalogue.current(), caller)))
    return TemplateList(templates=offered, remark=_remark(catalogue, caller))


@router.get("/templates/{name}")
async def show_template(name: str, catalogue: CatalogueDep, caller: CallerDep) -> TemplateView:
    """Show one template."""
    offered = _offered(catalogue.current(), caller)
    for template in offered:
        if template.name == name:
            return view_of_template(template)
    raise ApiProblem(ProblemType.NOT_FOUND, unknown_template(name[:80], offered))


def _remark(catalogue: Reloaded[Catalogue], caller: Principal) -> str:
    if not catalogue.problems:
        return ""
    # The problems quote files, so show them only to those who write the files.
    more = f" {'; '.join(catalogue.problems)}" if caller.role is Role.PLATFORM else ""
    return f"{CATALOGUE_IS_BROKEN}{more}"


def _offered(catalogue: Catalogue, caller: Principal) -> list[Template]:
    return catalogue.offered_to(caller.teams, everything=caller.role is Role.PLATFORM)
