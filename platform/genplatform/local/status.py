"""status: what is up, what is not, why, and what to do. Of the local platform, or of the one `GENCTL_URL` names.

What the supervisor wrote is believed only while it lives; what the API says of the parts is laid
over it, since only a part itself knows whether it can be used.
"""

from __future__ import annotations

from typing import Any

from genplatform.local import home, lifecycle, probes, processes
from genplatform.settings import Settings

ORDER = ("supervisor", "redis", "ray", "catalog", "api", "dispatcher")
START = "Start it with `genctl up`."
API_TIMEOUT = 5.0


def status(settings: Settings) -> dict[str, Any]:
    """Return `{state, url, parts:[{name, state, pid, detail, hint}]}`; state is up, degraded, starting or down."""
    if settings.is_remote:
        return _remote(settings)
    document = home.read_json(settings.platform_file)
    supervisor = lifecycle.find_supervisor(settings) if home.is_locked(settings) else None
    if supervisor is None:
        return _down(settings, document)
    if not document:
        parts = [_part(name, "starting") for name in ORDER[1:]]
        return {"state": "starting", "url": None, "parts": [_part("supervisor", "up", pid=supervisor), *parts]}
    parts = [
        _part(**{key: part.get(key) for key in ("name", "state", "pid", "detail", "hint")})
        for part in document["parts"]
    ]
    state = document["state"]
    if state in ("up", "degraded"):
        parts = _merge(parts, probes.http_json(f"{document['url']}/api/v1/status", _token(settings), API_TIMEOUT))
        state = _overall(parts)
    if state == "stopping":
        state = "degraded"
        parts[0]["detail"] = "stopping"
    return {"state": state, "url": document["url"], "parts": sorted(parts, key=_place)}


def _token(settings: Settings) -> str:
    """Return the local token, whatever key for another platform is set."""
    return settings.token_file.read_text().strip() if settings.token_file.exists() else ""


def _down(settings: Settings, document: dict[str, Any]) -> dict[str, Any]:
    """Nobody supervises: say so, and which processes a killed supervisor left."""
    instance = home.identity(settings)
    left = {part["name"]: part["pid"] for part in document.get("parts", []) if _lives(part.get("pid"), instance)}
    parts = [_part("supervisor", "down", hint=START)]
    if document:
        parts[0].update(detail="killed, or it crashed", hint="`genctl up` cleans up and starts it again.")
    for name in ORDER[1:]:
        detail = "still running, without supervision" if name in left else ""
        parts.append(_part(name, "down", pid=left.get(name), detail=detail))
    return {"state": "down", "url": None, "parts": parts}


def _lives(pid: int | None, instance: str | None) -> bool:
    return instance is not None and processes.carries(pid, instance)


def _remote(settings: Settings) -> dict[str, Any]:
    answer = probes.http_json(f"{settings.url}/api/v1/status", settings.token(), API_TIMEOUT)
    if answer is None:
        hint = "Check GENCTL_URL and GENCTL_API_KEY, and that the platform is up."
        return {"state": "down", "url": settings.url, "parts": [_part("api", "down", detail="no answer", hint=hint)]}
    parts = _merge([_part("api", "up")], answer)
    return {"state": _overall(parts), "url": settings.url, "parts": parts}


def _merge(parts: list[dict[str, Any]], answer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Lay what the API says over what the supervisor says: the worse state of the two, with its reason."""
    if answer is None:
        return [
            {**part, "state": "starting", "detail": "does not answer in time", "hint": "Look again in a moment."}
            if part["name"] == "api" and part["state"] == "up"
            else part
            for part in parts
        ]
    merged = {part["name"]: part for part in parts}
    for said in answer.get("parts", []):
        name, state = said.get("name"), said.get("state") or "up"
        known = merged.setdefault(name, _part(name, "up"))
        if known["state"] == "up" and state != "up":
            known.update(state=state, detail=said.get("detail") or "", hint=said.get("hint") or "")
        elif said.get("detail"):
            known["detail"] = "; ".join(filter(None, (known["detail"], said["detail"])))
    return list(merged.values())


def _overall(parts: list[dict[str, Any]]) -> str:
    return "up" if all(part["state"] == "up" for part in parts) else "degraded"


def _part(
    name: str, state: str, pid: int | None = None, detail: str | None = "", hint: str | None = ""
) -> dict[str, Any]:
    return {"name": name, "state": state, "pid": pid, "detail": detail or "", "hint": hint or ""}


def _place(part: dict[str, Any]) -> int:
    return ORDER.index(part["name"]) if part["name"] in ORDER else len(ORDER)
