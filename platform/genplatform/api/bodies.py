"""JSON bodies, read so that nothing in them can trip what lies behind.

Python's JSON lets through what JSON, UTF-8 and PostgreSQL do not know: NaN and infinity,
halves of surrogate pairs, and NUL.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from genplatform.errors import BadRequest

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNFIT = re.compile("[\x00\ud800-\udfff]")


def json_object(body: bytes, *, not_a_number_is_null: bool = False) -> dict[str, Any]:
    """Return the JSON object that `body` is; raises `BadRequest`.

    Characters that no record can keep become U+FFFD. Numbers that are none (NaN, infinity,
    1e999) are refused, or become null where a diverged loss must not silence its reporter.
    """

    def number(text: str) -> float | None:
        value = float(text)
        if math.isfinite(value):
            return value
        if not_a_number_is_null:
            return None
        raise ValueError(f"{text} is not a number that JSON knows")

    try:
        value = json.loads(body, parse_constant=number, parse_float=number)
        if _SUSPECT.search(body):
            value = _fit(value)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {_why(error)}.", "Send a JSON object in UTF-8.") from error
    if not isinstance(value, dict):
        raise BadRequest("The body is JSON, but not an object.", 'Send an object such as {"name": "value"}.')
    return value


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def _fit(value: Any) -> Any:
    if isinstance(value, str):
        return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_fit(item) for item in value]
    if isinstance(value, dict):
        return {_fit(key): _fit(item) for key, item in value.items()}
    return value
