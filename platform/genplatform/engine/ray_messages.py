"""Ray's long messages, cut down to the sentence that tells a person what happened, and to how an actor ended."""

from __future__ import annotations

import re

from genplatform.engine.seam import End

LONGEST = 500

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NODE_DIED = "The actor died because its node has died"
_WHY = ("The actor is dead because", _NODE_DIED)
_GUESSES = " Some common causes include"
_MEMORY = re.compile(r"was (\S+ ?[KMGT]?i?B) used / (\S+ ?[KMGT]?i?B) limit")
# What Ray says of an actor that died, and how it then ended.
_ENDS = (
    ("The actor is dead because its worker process has died", End.PROCESS),
    (_NODE_DIED, End.NODE),
    ("The actor is dead because it was killed by `ray.kill`", End.KILLED),
    ("The actor died because of an error raised in its creation task", End.BROKEN),
)


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
    return _printable(sentence)


def ended(text: str) -> End:
    """Return how an actor ended of whose death Ray says this."""
    plain = _ANSI.sub("", text)
    return next((end for words, end in _ENDS if words in plain), End.UNKNOWN)


def out_of_memory(text: str) -> str:
    """Return what a message of Ray's memory monitor says, with how much there was."""
    found = _MEMORY.search(text)
    if found is None:
        return told(text)
    return _printable(f"Its node ran low on memory: {found.group(1)} of {found.group(2)} were used.")


def _printable(sentence: str) -> str:
    return "".join(c if c.isprintable() else " " for c in sentence)[:LONGEST]
