"""Ray's long messages, cut down to the sentence that tells a person what happened."""

from __future__ import annotations

import re

LONGEST = 500

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_WHY = "The actor is dead because"
_GUESSES = " Some common causes include"


def told(text: str) -> str:
    """Return what a message of Ray says: the end of a traceback, the reason of a death, or else its first line.

    Never empty, one line, at most LONGEST characters, without control characters.
    """
    lines = [line.strip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
    if not lines:
        return "Ray gives no reason."
    if any(line.startswith(("Traceback", 'File "')) for line in lines):
        sentence = lines[-1]
    else:
        sentence = next((line for line in lines if line.startswith(_WHY)), lines[0]).partition(_GUESSES)[0]
    return "".join(c if c.isprintable() else " " for c in sentence)[:LONGEST]
