"""Byte-level byte-pair encoding (Sennrich et al., 2016; GPT-2), learned from the training texts. Needs `tokenizers`.

Every text is a sequence of tokens and comes back from it byte for byte. What a text says is
never taken for the token that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = "<|endoftext|>"
END_TOKEN = 0
SMALLEST_VOCABULARY = 257  # a token a byte, and the one that ends
# Of larger data, the tokens are learned from the first so many characters.
MOST_LEARNED_FROM = 1 << 28
_PIECE = 1 << 16  # characters
_LINE = re.compile(r"\n(?=\S)")

Ids = np.ndarray[Any, np.dtype[np.int64]]


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ModuleNotFoundError(
            "Language models need the package tokenizers: install genctl[text] on the nodes."
        ) from None
    return tokenizers


def learn(texts: Iterable[str], size: int) -> bytes:
    """Return a tokenizer of at most `size` tokens, as the JSON that `tokenizers` and `transformers` read.

    What it reads begins with the token that ends a text, unless it is told to add none.
    """
    lib = _library()
    tokenizer = lib.Tokenizer(lib.models.BPE())
    tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = lib.decoders.ByteLevel()
    trainer = lib.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=sorted(lib.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first(texts, MOST_LEARNED_FROM), trainer)
    tokenizer.post_processor = lib.processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, END_TOKEN)]
    )
    return str(tokenizer.to_str(pretty=True)).encode()


def _first(texts: Iterable[str], most: int) -> Iterator[str]:
    left = most

    def fits(text: str) -> bool:
        nonlocal left
        left -= len(text)
        return left + len(text) > 0

    return takewhile(fits, texts)


@lru_cache(maxsize=4)
def read(tokenizer: bytes) -> Tokenizer:
    """Return the tokenizer that `learn` wrote, ready to use."""
    found: Tokenizer = _library().Tokenizer.from_str(tokenizer.decode())
    found.encode_special_tokens = True  # as text
    found.no_truncation()
    found.no_padding()
    return found


def tokens_of(tokenizer: Tokenizer, text: str) -> Ids:
    """Return a text's tokens, and nothing before or behind them.

    The library takes two hundred times a text's size while it works, so a long one is given to it in pieces.
    """
    several = [tokenizer.encode(piece, add_special_tokens=False).ids for piece in _pieces(text)]
    return np.concatenate([np.array(ids, dtype=np.int64) for ids in several])


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces, cut where the tokenizer never joins: before a line's end with something behind it."""
    start = 0
    while len(text) - start > _PIECE:
        cut = _LINE.search(text, start + _PIECE)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def stream(tokenizer: Tokenizer, texts: Iterable[str], end_token: int = END_TOKEN) -> Iterator[Ids]:
    """Yield the tokens of each text; one that ends stands before the first and behind each."""
    end = np.array([end_token], dtype=np.int64)
    return chain([end], (np.concatenate((tokens_of(tokenizer, text), end)) for text in texts))


@lru_cache(maxsize=4)
def pieces(tokenizer: bytes) -> list[bytes]:
    """Return the bytes of each token; special ones, such as the one that ends, have none.

    Raises ValueError for a tokenizer whose tokens are not made of bytes, which some that are not ours have.
    """
    byte_of = {letter: value for value, letter in enumerate(_letters())}
    library = read(tokenizer)
    added = library.get_added_tokens_decoder()
    vocabulary = library.get_vocab(with_added_tokens=True)
    found = [b""] * (max(vocabulary.values()) + 1)
    for token, number in vocabulary.items():
        if number in added:
            found[number] = b"" if added[number].special else added[number].content.encode()
        elif byte_of.keys() >= set(token):
            found[number] = bytes(byte_of[letter] for letter in token)
        else:
            raise ValueError(f"The token {token!r:.100} is not made of bytes: only byte-level BPE is known here.")
    return found


def _letters() -> Iterator[str]:
    """Yield the letter that stands for each byte: itself where it can be seen, else one from 256 on (GPT-2)."""
    unseen = 256
    for value in range(256):
        if 33 <= value <= 126 or 161 <= value <= 172 or 174 <= value <= 255:
            yield chr(value)
        else:
            yield chr(unseen)
            unseen += 1
