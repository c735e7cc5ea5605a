"""Frozen Settings: the only reader of the environment.

Standard library only, so that the CLI may read them without weight.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genplatform.errors import SettingsError

# Ray's own socket names add about 75 characters, and a Unix socket's path ends at 107.
LONGEST_RUNTIME_DIR = 32
MOST_DIGITS = 6


@dataclass(frozen=True)
class Settings:
    """What one process of genctl needs to know of its surroundings.

    Empty strings mean: not given. `home` is the local platform's folder; `url` and
    `api_key` name a remote platform for the clients. `warm_runners` idle processes a node
    are kept for runs, none once nothing was started for the time `warm_idle` (such as 30m).
    Where Ray `autoscales`, a job that no node could hold is not refused: one may come that can.
    `local_folders` are those whose files jobs may name by their paths.
    """

    home: Path
    url: str = ""
    api_key: str = ""
    redis_url: str = ""
    database_url: str = ""
    store_url: str = ""
    ray_address: str = ""
    warm_runners: int = 1
    warm_idle: str = ""
    autoscales: bool = False
    local_folders: tuple[str, ...] = ()

    @property
    def token_file(self) -> Path:
        """The file (0600) that holds the local platform's token."""
        return self.home / "token"

    @property
    def platform_file(self) -> Path:
        """`platform.json`: url, started_at and parts of the local platform that is up."""
        return self.home / "platform.json"

    @property
    def logs(self) -> Path:
        """The folder of the parts' own logs."""
        return self.home / "logs"

    @property
    def store(self) -> str:
        """The artifact store's URL: `GENCTL_STORE_URL`, or the home's `store/` folder."""
        return self.store_url or (self.home / "store").as_uri()

    @property
    def database(self) -> str:
        """The catalog's SQLAlchemy URL: `GENCTL_DATABASE_URL`, or the home's `catalog.db`."""
        return self.database_url or f"sqlite:///{self.home / 'catalog.db'}"

    @property
    def runtime_dir(self) -> Path:
        """The short folder for sockets and Ray's temporary files, named after a hash of the home."""
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:8]
        name = f"genctl-{os.getuid()}-{digest}"
        base = Path(tempfile.gettempdir())
        if len(str(base / name)) > LONGEST_RUNTIME_DIR:
            base = Path("/tmp")  # noqa: S108 - the one short folder every supported system has
        return base / name

    @property
    def redis(self) -> str:
        """The Redis URL: `GENCTL_REDIS_URL`, or the local server's socket."""
        return self.redis_url or f"unix://{self.runtime_dir / 'redis.sock'}"

    @property
    def is_remote(self) -> bool:
        """Whether the clients speak to a platform elsewhere."""
        return bool(self.url)

    def token(self) -> str:
        """Return the bearer token: the API key given, else the local token; empty when there is none."""
        if self.api_key:
            return self.api_key
        try:
            return self.token_file.read_text().strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise SettingsError(
                f"The token file {self.token_file} cannot be read: {error.strerror}.",
                "Give yourself read permission on it, or set GENCTL_API_KEY.",
            ) from error


def default_home(env: Mapping[str, str]) -> Path:
    """Return the folder used when `GENCTL_HOME` is not set: `genctl` in the XDG data folder."""
    data = env.get("XDG_DATA_HOME", "")
    # The XDG rule: a relative path there is invalid and is ignored.
    base = Path(data) if data.startswith("/") else Path("~/.local/share").expanduser()
    return base / "genctl"


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment (`env` replaces it in tests)."""
    env = os.environ if env is None else env
    given = env.get("GENCTL_HOME", "")
    home = Path(given).expanduser() if given else default_home(env)
    return Settings(
        home=Path(os.path.abspath(home)),
        url=env.get("GENCTL_URL", "").rstrip("/"),
        api_key=env.get("GENCTL_API_KEY", ""),
        redis_url=env.get("GENCTL_REDIS_URL", ""),
        database_url=env.get("GENCTL_DATABASE_URL", ""),
        store_url=env.get("GENCTL_STORE_URL", ""),
        ray_address=env.get("GENCTL_RAY_ADDRESS", ""),
        warm_runners=_count("GENCTL_WARM_RUNNERS", env.get("GENCTL_WARM_RUNNERS", ""), 1),
        warm_idle=env.get("GENCTL_WARM_IDLE", ""),
        autoscales=_switch("GENCTL_RAY_AUTOSCALES", env.get("GENCTL_RAY_AUTOSCALES", "")),
        local_folders=tuple(filter(None, env.get("GENCTL_LOCAL_FOLDERS", "").split(os.pathsep))),
    )


def _count(name: str, text: str, default: int) -> int:
    """Read a whole number that is not negative."""
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < MOST_DIGITS):
        raise SettingsError(
            f"{name} is {text!r}, which is no whole number.", f"Set it to 0 or more, such as {default}."
        )
    return int(text)


def _switch(name: str, text: str) -> bool:
    """Read what is on or off; off where it is not given."""
    if text not in ("", "0", "1"):
        raise SettingsError(f"{name} is {text!r}, which is neither 0 nor 1.", "Set it to 1, or leave it out.")
    return text == "1"


def environment(**changes: str | None) -> dict[str, str]:
    """Return this process's environment for a child, with `changes` made; None takes a name out."""
    kept = {name: value for name, value in os.environ.items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}
