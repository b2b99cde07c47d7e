"""Formats templates as rows and lines for users."""

from contracts.types.durations import format_duration
from starter.cli.output.formatting import parameter_text, sleep_policy_text
from starter.cli.views.templates import Parameter, TemplateView, WarmPool


def template_row(template: TemplateView) -> list[str]:
    """Format a template as a row of the table of templates."""
    size = template.size
    return [
        template.name,
        template.kubernetes,
        f"{size.cpu} CPU, {size.memory}, {size.storage} disk",
        f"{format_duration(template.ttl.default)} (up to {format_duration(template.ttl.maximum)})",
        template.description,
    ]


def template_lines(template: TemplateView) -> list[str]:
    """Format everything about one template that a developer needs."""
    ttl = template.ttl
    extension = ttl.extension
    allowed = (
        f"{extension.times} times, {format_duration(extension.total)} in all" if extension.times else "none"
    )
    rows = {
        "name": f"{template.name} version {template.version}",
        "description": template.description,
        "kubernetes": template.kubernetes,
        "size": template_row(template)[2],
        "time to live": f"{format_duration(ttl.default)}, at most {format_duration(ttl.maximum)}",
        "extensions": allowed,
        "warned": ", ".join(f"{format_duration(lead)} before" for lead in ttl.warnings),
        "kept after": format_duration(ttl.grace) if ttl.grace else "",
        "sleeps": sleep_policy_text(template.sleep),
        "made ahead": _warm_pool(template.warm),
        "teams": ", ".join(template.teams) or "all",
    }
    lines = [f"{key + ':':<14}{value}" for key, value in rows.items() if value]
    if template.parameters:
        lines.append("parameters:")
        lines += [f"  {line}" for line in map(_parameter_line, template.parameters.items())]
    return lines


def _parameter_line(item: tuple[str, Parameter]) -> str:
    name, parameter = item
    low, high = parameter.minimum, parameter.maximum
    details = [
        ", ".join(parameter.choices) if parameter.choices else parameter.type,
        f"matches {parameter.pattern}" if parameter.pattern else "",
        f"at least {low}" if low is not None else "",
        f"at most {high}" if high is not None else "",
        "required" if parameter.default is None else f"default {parameter_text(parameter.default)}",
    ]
    return f"{name:<12}{parameter.description} ({'; '.join(filter(None, details))})"


def _warm_pool(pool: WarmPool | None) -> str:
    """Format how many vClusters of a template are made ahead; "" if none are."""
    if pool is None:
        return ""
    most = f", up to {pool.most} while they are taken quickly" if pool.most else ""
    hours = f", in {pool.hours}" if pool.hours else ""
    return f"{pool.ready} ready{most}{hours}"
