"""Errors in OpenAI's shape, so that an OpenAI SDK raises its own exceptions with code and param."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from genplatform.errors import BadRequest, GenctlError, NotFound

_TYPES = {
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_CODES = {
    HTTPStatus.UNAUTHORIZED: "invalid_api_key",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded",
}


def openai_error(error: GenctlError) -> dict[str, Any]:
    """Return `{"error": {message, type, param, code}}`; `error.details` may give `param` and `openai_code`."""
    status = error.status
    default = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return {
        "error": {
            "message": f"{error.message} {error.hint}".rstrip(),
            "type": _TYPES.get(HTTPStatus(status), default),
            "param": error.details.get("param"),
            "code": error.details.get("openai_code") or _CODES.get(HTTPStatus(status)) or error.code,
        }
    }


def refused(param: str, message: str, hint: str = "", code: str = "invalid_value") -> BadRequest:
    """Return the refusal of one parameter, by its name."""
    return BadRequest(message, hint, param=param, openai_code=code)


def unsupported(param: str, value: object) -> BadRequest:
    """Return the refusal of a parameter that OpenAI knows and this platform does not offer."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return refused(param, f"{param}={shown} is not supported here.", f"Leave {param} out.", "unsupported_parameter")


def model_not_found(model: str) -> NotFound:
    """Return the 404 for a model that no endpoint serves."""
    return NotFound(
        f"No endpoint serves the model {model!r}.",
        "GET /v1/models lists what is served; `genctl endpoints create NAME --model NAME@V` serves a model.",
        param="model",
        openai_code="model_not_found",
    )
