"""The provider's pages: plain HTML without scripts, in which every value is escaped."""

from html import escape

from starlette.responses import HTMLResponse

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem;color:#1a1a1a}"
    "label{display:block;margin:.75rem 0}input{display:block;width:100%;padding:.4rem;font:inherit;"
    "box-sizing:border-box}button{padding:.4rem 1rem;font:inherit;margin-right:.5rem}"
    "[role=alert]{color:#a40000}"
)
#: No script, nothing from elsewhere, no frame around it, and no copy of a page with a code in its URL.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def sign_in_page(action: str, *, hint: str, where: str, problem: str = "", status: int = 200) -> HTMLResponse:
    """Return the form for name and password. `where` says where the passwords are."""
    form = (
        f'<form method="post" action="{escape(action)}">{_person(hint)}'
        '<button type="submit">Sign in</button></form>'
    )
    return _page("Sign in", form, where=where, problem=problem, status=status)


def device_page(
    user_code: str, *, hint: str = "", where: str, problem: str = "", status: int = 200
) -> HTMLResponse:
    """Return the form that approves or denies the sign-in of another device."""
    form = (
        "<p>Approve only a code that a device of yours shows now.</p>"
        '<form method="post" action="device">'
        '<label>Code<input name="user_code" autocomplete="off" required '
        f'value="{escape(user_code)}"></label>{_person(hint)}'
        '<button type="submit" name="decision" value="approve">Approve</button>'
        '<button type="submit" name="decision" value="deny">Deny</button></form>'
    )
    return _page("Sign in a device", form, where=where, problem=problem, status=status)


def message_page(title: str, text: str, *, status: int = 200) -> HTMLResponse:
    """Return a page with one message."""
    return _page(title, f"<p>{escape(text)}</p>", status=status)


def _person(hint: str) -> str:
    return (
        '<label>Name or address<input name="username" autocomplete="username" required '
        f'value="{escape(hint)}"></label>'
        '<label>Password<input name="password" type="password" autocomplete="current-password" required>'
        "</label>"
    )


def _page(title: str, body: str, *, where: str = "", problem: str = "", status: int = 200) -> HTMLResponse:
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    note = f"<p>A stand-in for your identity provider. {escape(where)}</p>" if where else ""
    content = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{alert}{body}{note}</main>"
        "</body></html>"
    )
    return HTMLResponse(content, status, headers=_HEADERS)
