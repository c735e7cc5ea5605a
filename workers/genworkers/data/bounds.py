"""What is wrong with single items: counted, listed, left out up to a declared limit, then one error."""

from __future__ import annotations

from dataclasses import dataclass, field

from genplatform.errors import BadRequest

LISTED = 1000
SHOWN = 5


class BadItem(Exception):
    """An item cannot be read. Says why, in words that go on from its name."""


@dataclass
class Skipped:
    """The items of one source that were left out. `limit` None: as many as there are."""

    name: str
    limit: int | float | None
    total: int
    count: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, why: str) -> None:
        """Leave an item out; raises BadRequest once these are more than was declared."""
        self.count += 1
        if len(self.listed) < LISTED:
            self.listed.append((plain(where), plain(why)))
        self.check()

    def check(self) -> None:
        """Raise BadRequest when more were left out than was declared."""
        if self.limit is not None and self.count > self._most():
            raise self._too_many()

    def _most(self) -> float:
        assert self.limit is not None  # noqa: S101 - asked above
        return self.limit if isinstance(self.limit, int) else self.limit * self.total

    def _too_many(self) -> BadRequest:
        shown = "; ".join(f"{where} {why}" for where, why in self.listed[:SHOWN])
        more = f" and {self.count - SHOWN:,} more" if self.count > SHOWN else ""
        allowed = "none" if not self.limit else f"{self.limit:g}"
        known = f" of {self.total:,}" if self.total else ""
        return BadRequest(
            f"The data of {self.name} cannot be read whole: {shown}{more} (data.skip allows {allowed}{known}).",
            "Mend or remove them, or raise data.skip; `genctl data check` lists them all.",
        )

    def note(self) -> str:
        """Return what the run's log says of them; empty when there are none."""
        if not self.count:
            return ""
        shown = "; ".join(f"{where} {why}" for where, why in self.listed[:SHOWN])
        more = f"; and {self.count - SHOWN:,} more" if self.count > SHOWN else ""
        return f"Left out {self.count:,} of {self.total:,} items: {shown}{more}."


def plain(text: str) -> str:
    """Return a text from outside fit for a log: printable, and not long."""
    safe = text.encode("utf-8", "replace").decode()
    shown = safe if safe.isprintable() else ascii(safe)[1:-1]
    return shown if len(shown) <= 200 else f"{shown[:80]}...{shown[-110:]}"
