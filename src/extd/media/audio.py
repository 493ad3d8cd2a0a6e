"""The audio of a written video: track by track copied, encoded or left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from extd.media.video import pyav

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

AudioMode = Literal["auto", "copy", "encode", "drop"]
"""`auto` copies what some container holds and encodes the rest; `copy` leaves the rest out."""

MKV = "matroska"
"""FFmpeg's name of the container that holds almost everything."""
NAMES = {"mp4": "MP4", "mov": "MOV", MKV: "MKV", "webm": "WebM"}
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000})
OPUS_RATE = 48_000
BIT_RATE = 96_000
"""Bits per second and channel of encoded audio."""
LAYOUTS = {1: "mono", 6: "5.1", 8: "7.1"}
"""How many channels are encoded as what; others become stereo."""


@dataclass(frozen=True, slots=True)
class AudioPlan:
    """What becomes of each audio track."""

    kind: str  # FFmpeg's name of the container to write
    copied: tuple[AudioStream, ...]  # tracks whose packets are copied
    encoded: tuple[AudioStream, ...]  # tracks that are decoded and encoded anew
    notes: tuple[str, ...]  # what is not simply copied, and why


def plan_audio(tracks: Iterable[AudioStream], kind: str, mode: AudioMode) -> AudioPlan:
    """Decide for each track; `kind` becomes MKV if that can copy a track that `kind` cannot."""
    copied, encoded, notes = [], [], []
    tracks = () if mode == "drop" else tuple(tracks)
    wanted = kind
    if mode != "encode" and any(not holds(kind, one) and holds(MKV, one) for one in tracks):
        kind = MKV
    for number, track in enumerate(tracks, 1):
        # PyAV has none for unknown codecs, such as the `apac` of phones.
        codec: Any = track.codec_context
        name = f"audio track {number} ({codec.name if codec else 'unknown codec'})"
        reason = f", since {NAMES[kind]} cannot hold it" if codec and mode != "encode" else ""
        if mode != "encode" and holds(kind, track):
            copied.append(track)
            if kind != wanted and not holds(wanted, track):
                notes.append(f"{NAMES[wanted]} cannot hold {name}, so the result is MKV")
        elif mode != "copy" and codec and codec.sample_rate:
            encoded.append(track)
            notes.append(f"{name} is encoded as {'Opus' if kind == 'webm' else 'AAC'}{reason}")
        else:
            notes.append(f"{name} is left out{reason}")
    return AudioPlan(kind, tuple(copied), tuple(encoded), tuple(notes))


def holds(kind: str, track: AudioStream) -> bool:
    """Whether a container can hold a copy of a track: whether FFmpeg writes its header."""
    av = pyav()
    context: Any = track.codec_context
    # MP4 fails only at its end where it is not known which channels of PCM are left and right.
    pcm = context is not None and context.name.startswith("pcm_")
    if kind == "mp4" and pcm and context.layout.name.endswith("channels"):
        return False
    output = open_output(Path(os.devnull), kind)
    try:
        output.add_stream_from_template(track)
        output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    finally:
        # MP4 without packets is an error.
        with suppress(av.FFmpegError):
            output.close()
    return True


def open_output(path: Path, kind: str, options: dict[str, str] | None = None) -> Any:
    """Open a file for writing in a container, by FFmpeg's name of it."""
    if kind != MKV:
        return pyav().open(f"file:{path}", "w", format=kind, options=options)
    # PyAV refuses codecs without a name in Matroska, such as G.711, which FFmpeg writes by their
    # tag in WAV. It does not know what the files of `tee` hold.
    escaped = re.sub(r"([\\'|])", r"\\\1", f"file:{path}")
    return pyav().open(f"[f={kind}]{escaped}", "w", format="tee")


class AudioTracks:
    """The audio tracks of an open output.

    Attributes:
        lost: number of packets that are broken, so that they could not be written.
    """

    def __init__(self, output: OutputContainer, plan: AudioPlan) -> None:
        """Add the tracks; do this before anything is written."""
        self._output = output
        self.lost = 0
        self._copies = {one.index: output.add_stream_from_template(one) for one in plan.copied}
        self._encoders = {one.index: _add_encoder(output, one, plan.kind) for one in plan.encoded}
        self._sources = {one.index: one for one in (*plan.copied, *plan.encoded)}
        self._last: dict[int, int] = {}
        for index, track in (self._copies | self._encoders).items():
            if language := self._sources[index].language:
                track.metadata["language"] = language

    def write(self, packet: Packet[Any]) -> None:
        """Copy or encode a packet of a source's track."""
        index = packet.stream_index
        try:
            if index in self._encoders:
                self._encode(index, packet)
                return
            if packet.pts is None or packet.dts is None:
                return
            # Containers refuse times that do not increase.
            step = max(1, int(1 / (1000 * packet.time_base)))
            packet.dts = max(packet.dts, self._last.get(index, packet.dts - step) + step)
            packet.pts = max(packet.pts, packet.dts)
            self._last[index] = packet.dts
            packet.stream = self._copies[index]
            self._output.mux(packet)
        except pyav().FFmpegError as error:
            # Such as a full disk.
            if isinstance(error, OSError):
                raise
            self.lost += 1

    def finish(self) -> None:
        """Write what decoders and encoders still hold."""
        for index, encoder in self._encoders.items():
            self._encode(index, None)
            self._output.mux(encoder.encode(None))

    def _encode(self, index: int, packet: Packet[Any] | None) -> None:
        for frame in self._sources[index].codec_context.decode(packet):
            self._output.mux(self._encoders[index].encode(frame))


def _add_encoder(output: OutputContainer, source: AudioStream, kind: str) -> Any:
    codec, rate = ("libopus", OPUS_RATE) if kind == "webm" else ("aac", source.sample_rate)
    channels = source.codec_context.channels
    layout = LAYOUTS.get(channels, "stereo")
    track: Any = output.add_stream(codec, rate=rate if rate in AAC_RATES else OPUS_RATE)
    track.layout = layout
    track.bit_rate = BIT_RATE * (channels if channels in LAYOUTS else 2)
    # The `tee` of `open_output` does not tell that MKV needs this.
    track.codec_context.flags |= pyav().codec.context.Flags.global_header
    return track
