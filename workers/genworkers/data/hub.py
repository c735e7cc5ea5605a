"""Data sets and models of the Hugging Face hub: their files, copied at one commit by huggingface_hub; never code."""

from __future__ import annotations

from pathlib import Path

from genplatform.domain.paths import is_pattern
from genplatform.errors import BadRequest, NotFound, Unavailable
from genplatform.spec.hub import HubName

# What a repository holds beside its data.
NO_DATA = ("*.py", "README*", "LICENSE*", ".gitattributes", "dataset_infos.json", "dataset_dict.json")
# Of a model: what it is, its tokens, and its weights in the one form that holds nothing but numbers.
MODEL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "model*.safetensors", "model*.index.json")
_KINDS = {"dataset": "data set", "model": "model"}
WORKERS = 4
TOO_MANY, SERVER_ERROR = 429, 500


def fetch_hub_model(name: HubName, to: Path) -> str:
    """Copy a model's files into the folder `to`; return the commit that was read. Raises as `fetch_hub` does."""
    return _fetch(name, to, "model", "the param that names it", list(MODEL_FILES), None)


def fetch_hub(name: HubName, to: Path) -> tuple[Path, str]:
    """Copy a data set's files into the folder `to`; return what to open there, and the commit that was read.

    A branch or a tag, or the newest where none is said, is looked up once: all files are of one commit. Raises
    BadRequest when it cannot be had, and Unavailable when the hub does not answer or is too busy.
    """
    allowed = [name.files, f"{name.files}/*"] if name.files else None
    commit = _fetch(name, to, "dataset", "data.source", allowed, list(NO_DATA))
    place = to / name.files if name.files else to
    if not (name.files and is_pattern(name.files)) and not place.exists():
        raise NotFound(f"There is no {name.files} in {name.repository} at {commit[:12]}.", "Check data.source.")
    return place, commit


def _fetch(name: HubName, to: Path, kind: str, field: str, allowed: list[str] | None, ignored: list[str] | None) -> str:
    try:
        from huggingface_hub import HfApi, errors, snapshot_download
    except ImportError:
        raise BadRequest(
            "What lies on the hub is fetched with huggingface_hub, which is not installed.",
            "Install genctl[hub] on the nodes.",
        ) from None
    try:
        hub = HfApi()
        commit: str | None = hub.repo_info(name.repository, revision=name.revision, repo_type=kind).sha
        if commit is None:
            raise BadRequest(f"The hub names no commit of {name}.", "Say one: hf://OWNER/NAME@COMMIT.")
        snapshot_download(
            name.repository,
            repo_type=kind,
            revision=commit,
            local_dir=to,
            allow_patterns=allowed,
            ignore_patterns=ignored,
            max_workers=WORKERS,
            endpoint=hub.endpoint,
        )
    except errors.GatedRepoError:
        raise BadRequest(
            f"{name} is given to those alone who agreed to its terms.",
            "Agree on its page, and set HF_TOKEN on the nodes.",
        ) from None
    except errors.RevisionNotFoundError:
        raise BadRequest(f"{name.repository} has no revision {name.revision} on the hub.", "Check it.") from None
    except errors.RepositoryNotFoundError:
        raise BadRequest(
            f"There is no {_KINDS[kind]} {name.repository} on the hub, or it is private.",
            f"Check {field}; of a private one, set HF_TOKEN on the nodes.",
        ) from None
    except BadRequest:
        raise
    except Exception as error:  # of the network, of the disk, and of the library itself
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if _may_pass(error):
            raise Unavailable(f"The hub does not give {name} now: {reason}", "It is tried again.") from error
        raise BadRequest(
            f"{name} cannot be fetched from the hub: {reason}",
            "Check that the nodes reach it (HF_ENDPOINT says another one).",
        ) from error
    return commit


def _may_pass(error: Exception) -> bool:
    import httpx2

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return bool(status == TOO_MANY or status >= SERVER_ERROR)
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)
