from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

Film = Callable[..., Path]
RATE = 25
SOUND = 48_000


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Writes a video with a tone, whose n-th frame has a red top left corner and a gray of 4 n."""

    def write(
        name: str,
        count: int = 10,
        *,
        times: Sequence[float] = (),
        size: tuple[int, int] = (64, 48),
        codecs: tuple[str, str | None] = ("libx264", "aac"),
        turned: tuple[float, bool, bool] | None = None,
        metadata: dict[str, str] | None = None,
        colors: tuple[int, int] = (2, 0),
    ) -> Path:
        path = tmp_path / name
        width, height = size
        codec, tone = codecs
        options = {"movflags": "faststart"} if path.suffix in {".mp4", ".mov"} else {}
        with av.open(f"file:{path}", "w", options=options) as output:
            output.metadata.update(metadata or {})
            track = output.add_stream(codec, rate=RATE, options={"crf": "5", "bf": "0"})
            track.width, track.height = size
            track.pix_fmt = "yuv420p"
            track.codec_context.time_base = Fraction(1, 1000)
            matrix, scale = colors
            track.codec_context.colorspace = matrix
            track.codec_context.color_range = scale
            if turned is not None:
                track.set_display_rotation(*turned)
            sound = None if tone is None else output.add_stream(tone, rate=SOUND, layout="mono")
            for index in range(count):
                image = np.full((height, width, 3), 4 * index, np.uint8)
                image[: height // 3, : width // 4] = 255, 0, 0
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=None if matrix == 2 else matrix,
                    dst_color_range=scale or None,
                )
                frame.pts = round(1000 * (times[index] if times else index / RATE))
                frame.time_base = Fraction(1, 1000)
                output.mux(track.encode(frame))
                if sound is not None:
                    phases = np.arange(SOUND // RATE) + index * SOUND // RATE
                    wave = np.sin(440 * 2 * np.pi / SOUND * phases).astype(np.float32)
                    heard = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
                    heard.sample_rate, heard.pts = SOUND, index * SOUND // RATE
                    heard.time_base = Fraction(1, SOUND)
                    output.mux(sound.encode(heard))
            output.mux(track.encode())
            if sound is not None:
                output.mux(sound.encode())
        return path

    return write
