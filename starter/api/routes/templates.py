"""Routes of the catalogue: the templates that the caller may use."""

from http import HTTPStatus

from fastapi import APIRouter

from contracts.template import Template
from starter.api.dependencies import CATALOGUE_IS_BROKEN, Asking, Parts, TheParts
from starter.api.problem_details import ApiProblem
from starter.auth.policy import Principal, Role
from starter.catalogue.loader import unknown_template
from starter.environments.schemas import TemplateList, TemplateView, view_of_template

router = APIRouter(tags=["templates"])


@router.get("/templates")
async def list_templates(parts: TheParts, principal: Asking) -> TemplateList:
    """The templates that you may ask for."""
    offered = tuple(map(view_of_template, _offered(parts, principal)))
    return TemplateList(templates=offered, remark=_remark(parts, principal))


@router.get("/templates/{name}")
async def show_template(name: str, parts: TheParts, principal: Asking) -> TemplateView:
    """One template."""
    offered = _offered(parts, principal)
    for template in offered:
        if template.name == name:
            return view_of_template(template)
    raise ApiProblem(HTTPStatus.NOT_FOUND, "not-found", unknown_template(name[:80], offered))


def _remark(parts: Parts, principal: Principal) -> str:
    problems = parts.catalogue.problems
    if not problems:
        return ""
    # The problems quote files, so show them only to those who write the files.
    more = f" {'; '.join(problems)}" if principal.role is Role.PLATFORM else ""
    return f"{CATALOGUE_IS_BROKEN}{more}"


def _offered(parts: Parts, principal: Principal) -> list[Template]:
    return parts.catalogue.current().offered_to(principal.teams, everything=principal.role is Role.PLATFORM)
