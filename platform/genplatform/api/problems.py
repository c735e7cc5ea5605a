"""Errors on the wire: problem documents (RFC 9457), and OpenAI's shape under /v1.

Every error of a request ends in `render`, whoever raised it: a service, FastAPI's
validation, the router, or a bug.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from genplatform.api.openai.errors import openai_error
from genplatform.errors import BadRequest, GenctlError, NotFound, Unavailable

OPENAI_PREFIX = "/v1"
RETRY_AFTER_SECONDS = 1


class MethodNotAllowed(BadRequest):
    """That address exists, for other methods."""

    code = "method_not_allowed"
    status = 405


def is_openai(path: str) -> bool:
    """Tell whether `path` belongs to the OpenAI surface, whose errors have OpenAI's shape."""
    return path == OPENAI_PREFIX or path.startswith(f"{OPENAI_PREFIX}/")


def problem(error: GenctlError) -> dict[str, Any]:
    """Return the problem document of `error`."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
    }
    if error.details.get("problems"):
        document["problems"] = error.details["problems"]
    return document


def render(error: GenctlError, path: str) -> Response:
    """Return the answer that tells a caller of `path` about `error`."""
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.details.get("retry_after", RETRY_AFTER_SECONDS))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if is_openai(path):
        body, media_type = openai_error(error), "application/json"
    else:
        body, media_type = problem(error), "application/problem+json"
    # ASCII, because a message may quote what a client sent, lone surrogates included.
    return Response(json.dumps(body, default=str), status_code=error.status, headers=headers, media_type=media_type)


def unexpected(request_id: str) -> GenctlError:
    """Return the error that stands for a bug: it tells nothing of the inside but where to look."""
    return GenctlError(
        "Something went wrong inside the platform.",
        f"The API's log has the details under the request id {request_id}.",
    )


def of_validation(error: RequestValidationError) -> BadRequest:
    """Return what is wrong with a request's parameters or body, naming each field."""
    problems = [_field_problem(item) for item in error.errors()]
    first = problems[0]
    return BadRequest(
        f"{first['path']}: {first['message']}" if first["path"] else first["message"],
        "Correct the request; /api/v1/openapi.json describes it.",
        problems=problems,
        param=first["path"] or None,
    )


def of_http(error: HTTPException, method: str, path: str) -> GenctlError:
    """Return the error for what the router itself refused."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(f"There is nothing at {method} {path}.", "Check the address and the method.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(f"{path} does not answer to {method}.", "Check the method.")
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return GenctlError(str(error.detail))
    return BadRequest(str(error.detail), "Correct the request.")


def _field_problem(item: Mapping[str, Any]) -> dict[str, Any]:
    place, *parts = [str(part) for part in item["loc"]]
    if item["type"] == "json_invalid":
        parts = []
    return {
        "message": f"{item['msg']}.",
        "path": _join(parts) if parts else ("" if place == "body" else place),
        "line": 0,
        "column": 0,
        "document": 0,
        "hint": "",
    }


def _join(parts: Iterable[str]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if part.isdecimal() else (f".{part}" if path else part)
    return path
