"""Sounds from files: one length and one rate, told or refused, with their classes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from shared_data import shared

from genplatform.errors import BadRequest
from genworkers.data.audio import KeptSounds
from genworkers.data.augment import Augment
from genworkers.data.check import report
from genworkers.data.sources import open_source
from genworkers.recipes import registry
from genworkers.training.loop import facts_of


def read(path: Path, **options: Any) -> KeptSounds:
    found = open_source({"source": str(path), **options}, [str(path.parent)])
    assert isinstance(found, KeptSounds)
    return found


def tone(seed: int, samples: int = 400) -> np.ndarray[Any, Any]:
    # Whole steps of 16 bits, so that a file holds it as it is.
    return np.random.default_rng(seed).integers(-20_000, 20_000, samples).astype(np.float32) / 32768


def save(path: Path, sound: np.ndarray[Any, Any], rate: int = 800) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype="PCM_16")


def test_sounds_of_class_folders_come_as_they_are(tmp_path: Path) -> None:
    save(tmp_path / "d" / "yes" / "1.wav", tone(1))
    save(tmp_path / "d" / "no" / "2.flac", tone(2))

    found = read(tmp_path / "d")

    assert (len(found), found.sound, found.shape, found.classes) == (2, (400, 800), None, ("no", "yes"))
    batch = found.rows(torch.tensor([1, 0]))
    assert torch.equal(batch["x"], torch.from_numpy(np.stack([tone(1), tone(2)])[:, None]))
    assert batch["label"].tolist() == [1, 0]
    facts = facts_of(found)
    assert (facts.modality, facts.shape, facts.sound, facts.classes) == ("audio", None, (400, 800), ("no", "yes"))


def test_sounds_are_cut_and_filled_up_to_the_length_that_is_said(tmp_path: Path) -> None:
    save(tmp_path / "d" / "1.wav", tone(1, 1000))
    save(tmp_path / "d" / "2.wav", tone(2, 100))

    x = read(tmp_path / "d", seconds=0.5).rows(torch.tensor([0, 1]))["x"][:, 0]

    assert torch.equal(x[0], torch.from_numpy(tone(1, 1000)[:400]))
    assert torch.equal(x[1], torch.from_numpy(np.pad(tone(2, 100), (0, 300))))


def test_another_length_or_rate_is_a_bad_item_unless_one_is_said(tmp_path: Path) -> None:
    save(tmp_path / "d" / "1.wav", tone(1))
    save(tmp_path / "d" / "2.wav", tone(2, 399))
    save(tmp_path / "d" / "3.wav", tone(3, 800), rate=1600)

    found, resampled = read(tmp_path / "d", skip=2), read(tmp_path / "d", seconds=0.4, rate=1600)

    assert found.skipped.listed == [
        ("2.wav", "has 399 samples, and the first has 400: say data.seconds"),
        ("3.wav", "has 1,600 samples a second, and the first has 800: say data.rate"),
    ]
    assert (len(resampled), resampled.sound) == (3, (640, 1600))


def test_a_tone_keeps_its_pitch_when_it_is_brought_to_another_rate(tmp_path: Path) -> None:
    at = np.arange(8000) / 8000
    save(tmp_path / "d" / "1.wav", (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32), rate=8000)

    [sound] = read(tmp_path / "d", rate=12_000, seconds=1).rows(torch.tensor([0]))["x"][0]

    spectrum = np.abs(np.fft.rfft(sound.numpy()))
    assert int(spectrum.argmax()) == 440
    assert float(sound[1000:-1000].abs().max()) == pytest.approx(0.5, abs=0.01)


def test_sides_are_mixed_to_one(tmp_path: Path) -> None:
    save(tmp_path / "d" / "1.wav", np.stack([tone(1), tone(2)], 1))

    x = read(tmp_path / "d").rows(torch.tensor([0]))["x"]

    assert torch.allclose(x[0, 0], torch.from_numpy((tone(1) + tone(2)) / 2), atol=1e-6)


def test_what_is_no_sound_is_a_bad_item(tmp_path: Path) -> None:
    save(tmp_path / "d" / "1.wav", tone(1))
    (tmp_path / "d" / "2.wav").write_bytes(b"no sound")
    (tmp_path / "d" / "3.wav").write_bytes(b"")
    save(tmp_path / "d" / "4.wav", tone(1, 0))
    other = io.BytesIO()
    soundfile.write(other, tone(1), 800, format="AIFF")
    (tmp_path / "d" / "5.flac").write_bytes(other.getvalue())

    told = dict(read(tmp_path / "d", skip=4).skipped.listed)

    assert told["2.wav"].startswith("is no sound")
    assert (told["3.wav"], told["4.wav"]) == ("is empty", "has no sample")
    assert told["5.flac"] == "is AIFF, and neither WAV nor FLAC"
    with pytest.raises(BadRequest, match=r"2\.wav is no sound"):
        read(tmp_path / "d")


def test_options_of_pictures_and_recipes_of_pictures_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "d" / "1.wav", tone(1))

    with pytest.raises(BadRequest, match=r"Sounds take no data\.size"):
        read(tmp_path / "d", size=8)
    found = read(tmp_path / "d")
    with pytest.raises(ValueError, match="learns from image data, and this is audio"):
        registry.find("gan").configured({}, facts_of(found))
    rows = torch.tensor([0])
    with pytest.raises(BadRequest, match="augment is for pictures"):
        Augment(flip=True).applied(found.rows(rows), rows, rows, 0)


def test_a_check_tells_of_sounds_and_of_equal_ones_in_two_parts(tmp_path: Path) -> None:
    for index in range(40):
        save(tmp_path / "d" / f"{index}.wav", tone(0 if index < 10 else index))

    told = report({"source": str(tmp_path / "d")}, {"train": 0.5, "validation": 0.25, "test": 0.25})

    assert (told["modality"], told["items"], told["sound"]) == ("audio", 40, {"samples": 400, "rate": 800})
    assert told["shape"] is None
    assert sum(told["duplicates"].values()) > 0
    assert "Equal items lie in two parts" in told["problems"][0]["message"]


def test_spoken_digits_are_read() -> None:
    found = read(shared("audio", "fsdd"), seconds=0.5)

    x = found.rows(torch.arange(len(found)))["x"]

    assert (len(found), found.sound) == (240, (4000, 8000))
    assert float(x.square().mean(2).min()) > 1e-6, "one of them is silent"
