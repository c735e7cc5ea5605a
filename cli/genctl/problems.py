"""Turns a platform's refusals (RFC 9457 problem documents) back into the errors they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from genplatform import errors

BY_STATUS: Mapping[int, type[errors.GenctlError]] = {
    401: errors.Unauthorized,
    403: errors.Unauthorized,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}


def from_problem(status: int, body: Any, where: str) -> errors.GenctlError:
    """Return the error that an answer of `status` with the parsed `body` stands for.

    `where` names the request for people. A body that is no problem document (a proxy's page)
    still gives an error of the right class. OpenAI's error shape is understood too.
    """
    document = body if isinstance(body, dict) else {}
    inner = document.get("error")
    if isinstance(inner, dict):
        document = {"detail": inner.get("message"), "code": inner.get("code")}
    code = _text(document.get("code"))
    message = _text(document.get("detail")) or _text(document.get("title")) or f"{where} was answered with {status}."
    hint = _text(document.get("hint"))
    kind = _CLASSES.get(code) or BY_STATUS.get(status) or _by_range(status)
    if issubclass(kind, errors.BadSpec):
        return errors.BadSpec(_problems(document) or [errors.SpecProblem(message, hint=hint)])
    error = kind(message, hint, status=status)
    if code:
        error.code = code
    return error


def _by_range(status: int) -> type[errors.GenctlError]:
    return errors.BadRequest if 400 <= status < 500 else errors.GenctlError


def _problems(document: Mapping[str, Any]) -> list[errors.SpecProblem]:
    found = document.get("problems")
    return [
        errors.SpecProblem(
            message=_text(p.get("message")),
            path=_text(p.get("path")),
            line=_number(p.get("line")),
            column=_number(p.get("column")),
            document=_number(p.get("document")),
            hint=_text(p.get("hint")),
        )
        for p in (found if isinstance(found, list) else [])
        if isinstance(p, dict)
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _all_classes(root: type[errors.GenctlError]) -> Iterator[type[errors.GenctlError]]:
    yield root
    for child in root.__subclasses__():
        yield from _all_classes(child)


_CLASSES = {kind.code: kind for kind in _all_classes(errors.GenctlError)}
