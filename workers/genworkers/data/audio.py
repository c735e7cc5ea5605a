"""Folders of sounds, WAV and FLAC, brought to one length and one rate, mono; read by libsndfile. Needs soundfile."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem
from genworkers.data.dataset import Dataset
from genworkers.data.files import Files
from genworkers.data.kept import KeptPictures
from genworkers.data.listing import read_each
from genworkers.data.rows import Array
from genworkers.recipes.base import AUDIO, SoundShape

SUFFIXES = (".wav", ".flac")
# Of what libsndfile knows, the formats of these endings.
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
MOST_SAMPLES = 1 << 25
PIECE = 1 << 16


class KeptSounds(Dataset):
    """Sounds on disk: "x" is (N, 1, samples) in [-1, 1]."""

    modality = AUDIO
    shape = None

    def __init__(self, kept: KeptPictures, rate: int) -> None:
        self._kept = kept
        self.name, self.digest, self.skipped, self.notes = kept.name, kept.digest, kept.skipped, kept.notes
        self.labels, self.classes = kept.labels, kept.classes
        self.sound = SoundShape(kept.shape.width, rate)

    def __len__(self) -> int:
        return len(self._kept)

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those items as a batch."""
        batch = {"x": torch.from_numpy(self._kept.raw(indices)).reshape(len(indices), 1, self.sound.samples)}
        return batch if self.labels is None else batch | {"label": self.labels[indices]}

    def groups(self, by: str) -> Sequence[str] | Array:
        """Return each item's folder, a digest of its content, or its value in a column."""
        return self._kept.groups(by)

    def contents(self) -> Array:
        """Return 64 bits of each item's digest: equal items have equal ones."""
        return self._kept.contents()


def is_audio(name: str) -> bool:
    """Tell whether a file's name says that it is a sound."""
    return name.lower().endswith(SUFFIXES)


def read_audio(files: Files, options: Mapping[str, Any], table: str | None = None) -> KeptSounds:
    """Read all sounds of a folder or archive, those that its captions.tsv or `table` names if it has one."""
    for option in ("size", "channels", "range"):
        if options.get(option) is not None:
            raise BadRequest(f"Sounds take no data.{option}.", "Leave it out; they are read as one channel.")
    decoder = _Decoder(options)
    # They lie on disk as pictures one pixel high would, of values that are kept as they are.
    whole = dict(options) | {"range": [-1.0, 1.0]}
    kept = read_each(files, whole, is_audio, decoder.decode, table, "sound").made()
    return KeptSounds(kept, decoder.rate or 0)


class _Decoder:
    """Bytes to samples, float32, all of one length and rate: those declared, else those of the first sound."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        try:
            import soundfile
        except (ImportError, OSError):  # OSError: the package is there, and its library is not
            raise BadRequest(
                "Sounds are read with soundfile, which is not installed.", "Install genctl[audio] on the nodes."
            ) from None
        self._soundfile = soundfile
        self._seconds = options.get("seconds")
        self._resampled = options.get("rate") is not None
        self.rate: int | None = options.get("rate")
        self._samples: int | None = None

    def decode(self, data: bytes) -> Array:
        """Return 1 x samples x 1; raises BadItem."""
        try:
            with self._soundfile.SoundFile(io.BytesIO(data)) as file:
                if file.format not in FORMATS:
                    raise BadItem(f"is {file.format}, and neither WAV nor FLAC")
                sound = self._brought_to_rate(self._mono(file), file.samplerate)
        except self._soundfile.SoundFileError as error:
            raise BadItem(f"is no sound: {error}" if data else "is empty") from None
        if not np.isfinite(sound).all():
            raise BadItem("holds values that are no numbers")
        return self._brought_to_length(sound).clip(-1, 1)[None, :, None]

    def _mono(self, file: Any) -> Array:
        # A little more than is kept, so that resampling has what follows.
        wanted = file.frames if self._seconds is None else math.ceil((self._seconds + 1) * file.samplerate)
        if min(wanted, file.frames) > MOST_SAMPLES:
            raise BadItem(f"has {file.frames:,} samples, and at most {MOST_SAMPLES:,} are read: say data.seconds")
        read = [block.mean(1) for block in file.blocks(PIECE, frames=wanted, dtype="float32", always_2d=True)]
        if not read:
            raise BadItem("has no sample")
        return np.concatenate(read)

    def _brought_to_rate(self, sound: Array, rate: int) -> Array:
        if self.rate is None:
            self.rate = rate
        if rate == self.rate:
            return sound
        if not self._resampled:
            raise BadItem(f"has {rate:,} samples a second, and the first has {self.rate:,}: say data.rate")
        from scipy.signal import resample_poly

        common = math.gcd(rate, self.rate)
        return np.asarray(resample_poly(sound, self.rate // common, rate // common), np.float32)

    def _brought_to_length(self, sound: Array) -> Array:
        if self._samples is None:
            self._samples = len(sound) if self._seconds is None else max(1, round(self._seconds * (self.rate or 0)))
        if self._seconds is None and len(sound) != self._samples:
            raise BadItem(f"has {len(sound):,} samples, and the first has {self._samples:,}: say data.seconds")
        return np.pad(sound[: self._samples], (0, max(0, self._samples - len(sound))))
