"""Data sets of the Hugging Face hub: their files, copied by huggingface_hub at one commit, and never their code."""

from __future__ import annotations

from pathlib import Path

from genplatform.domain.paths import is_pattern
from genplatform.errors import BadRequest, NotFound, Unavailable
from genplatform.spec.hub import HubName

# What a repository holds beside its data.
NO_DATA = ("*.py", "README*", "LICENSE*", ".gitattributes", "dataset_infos.json", "dataset_dict.json")
WORKERS = 4
TOO_MANY, SERVER_ERROR = 429, 500


def fetch_hub(name: HubName, to: Path) -> tuple[Path, str]:
    """Copy a data set's files into the folder `to`; return what to open there, and the commit that was read.

    A branch or a tag, or the newest where none is said, is looked up once: all files are of one commit. Raises
    BadRequest when it cannot be had, and Unavailable when the hub does not answer or is too busy.
    """
    try:
        from huggingface_hub import HfApi, errors, snapshot_download
    except ImportError:
        raise BadRequest(
            "Data of the hub is fetched with huggingface_hub, which is not installed.",
            "Install genctl[hub] on the nodes.",
        ) from None
    try:
        hub = HfApi()
        commit = hub.dataset_info(name.repository, revision=name.revision).sha
        if commit is None:
            raise BadRequest(f"The hub names no commit of {name}.", "Say one: hf://OWNER/NAME@COMMIT.")
        snapshot_download(
            name.repository,
            repo_type="dataset",
            revision=commit,
            local_dir=to,
            allow_patterns=[name.files, f"{name.files}/*"] if name.files else None,
            ignore_patterns=list(NO_DATA),
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
            f"There is no data set {name.repository} on the hub, or it is private.",
            "Check data.source; of a private one, set HF_TOKEN on the nodes.",
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
    place = to / name.files if name.files else to
    if not (name.files and is_pattern(name.files)) and not place.exists():
        raise NotFound(f"There is no {name.files} in {name.repository} at {commit[:12]}.", "Check data.source.")
    return place, commit


def _may_pass(error: Exception) -> bool:
    import httpx2

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return bool(status == TOO_MANY or status >= SERVER_ERROR)
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)
