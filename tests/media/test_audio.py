from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from extd.media.audio import AudioMode, AudioTracks, plan_audio
from extd.media.video import Frame, open_video
from extd.media.videowriter import VideoOptions, write_video

Film = Callable[..., Path]
Packets = list[tuple[float, bytes]]


def noisy(path: Path, *codecs: str, rate: int = 44_100, layout: str = "mono") -> Path:
    """Write a second of video with an audio track in each of the codecs."""
    with av.open(str(path), "w") as output:
        track: Any = output.add_stream("flv" if path.suffix == ".flv" else "mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        sounds: list[Any] = [
            output.add_stream(one, rate=rate, layout=layout, bit_rate=64_000) for one in codecs
        ]
        for index in range(10):
            image = np.full((48, 64, 3), 20 * index, np.uint8)
            output.mux(track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            for sound in sounds:
                tone = np.sin(np.arange(rate // 10) * 0.1)[None].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = rate, index * rate // 10
                output.mux(sound.encode(frame))
        for one in (track, *sounds):
            output.mux(one.encode())
    return path


def copy(source: Path, target: Path, mode: AudioMode = "auto") -> list[str]:
    """Write the frames of a video as they are; return the notes."""
    with (
        open_video(source) as video,
        write_video(target, video, VideoOptions(audio=mode)) as write,
    ):
        for frame in video.frames():
            # A last `Fault` tells of damage.
            if isinstance(frame, Frame):
                write(frame.image, frame.time)
    return video.notes


def audio_of(path: Path) -> dict[str, Packets]:
    """The packets of each audio track with their times, by codec."""
    with av.open(str(path), metadata_errors="ignore") as container:
        tracks: dict[int, Any] = {one.index: one.codec_context for one in container.streams.audio}
        found: dict[str, Packets] = {one.name: [] for one in tracks.values() if one}
        for packet in container.demux():
            track = tracks.get(packet.stream_index)
            if packet.size and packet.pts is not None and track:
                found[track.name].append((float(packet.pts * packet.time_base), bytes(packet)))
        return found


def samples_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.avi", "pcm_alaw", 8000),
        ("a.avi", "pcm_mulaw", 8000),
        ("a.avi", "adpcm_ima_wav", 44_100),
        ("a.avi", "adpcm_ms", 44_100),
        ("a.wmv", "wmav2", 44_100),
        ("a.mov", "pcm_alaw", 8000),
    ],
)
def test_mkv_and_mov_take_sound_of_old_codecs_bit_for_bit(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    source = noisy(tmp_path / name, codec, rate=rate)
    target = tmp_path / ("b.mov" if name == "a.mov" else "it's | b.mkv")
    assert copy(source, target) == []
    before, after = audio_of(source), audio_of(target)
    assert list(after) == list(before) == [codec]
    assert [data for _, data in after[codec]] == [data for _, data in before[codec]] != []
    assert [time for time, _ in after[codec]] == pytest.approx(
        [time for time, _ in before[codec]], abs=0.002
    )
    assert samples_of(target) == pytest.approx(samples_of(source), abs=2048)


def test_what_only_mkv_holds_makes_the_result_mkv(tmp_path: Path) -> None:
    source = noisy(tmp_path / "a.avi", "pcm_alaw", "mp3")
    assert copy(source, tmp_path / "out" / "b.mp4") == [
        "MP4 cannot hold audio track 1 (pcm_alaw), so the result is MKV"
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mp4.mkv"]
    assert {"pcm_alaw", "mp3float"} == {*audio_of(tmp_path / "out" / "b.mp4.mkv")}


def test_sound_whose_channels_have_no_names_does_not_fail_at_the_end(tmp_path: Path) -> None:
    source = noisy(tmp_path / "a.mkv", "pcm_s16le", layout="stereo")
    assert copy(source, tmp_path / "b.mp4") == [
        "MP4 cannot hold audio track 1 (pcm_s16le), so the result is MKV"
    ]


def test_what_nothing_holds_is_encoded_or_left_out(tmp_path: Path) -> None:
    source, target = noisy(tmp_path / "a.flv", "adpcm_swf"), tmp_path / "b.mkv"
    told = "audio track 1 (adpcm_swf) is encoded as AAC, since MKV cannot hold it"
    assert copy(source, target) == [told]
    assert list(audio_of(target)) == ["aac"]
    assert samples_of(target) == pytest.approx(44_100, abs=3000)
    told = "audio track 1 (adpcm_swf) is left out, since MKV cannot hold it"
    assert copy(source, target, "copy") == [told]
    assert audio_of(target) == {}


@pytest.mark.parametrize(
    ("suffix", "codec", "name"), [(".mp4", "aac", "AAC"), (".webm", "opus", "Opus")]
)
def test_all_sound_is_encoded_or_dropped_on_demand(
    tmp_path: Path, suffix: str, codec: str, name: str
) -> None:
    source, target = noisy(tmp_path / "a.avi", "pcm_alaw", rate=8000), tmp_path / f"b{suffix}"
    assert copy(source, target, "encode") == [f"audio track 1 (pcm_alaw) is encoded as {name}"]
    (packets,) = (found for key, found in audio_of(target).items() if codec in key)
    assert packets[-1][0] == pytest.approx(1, abs=0.15)
    assert copy(source, target, "drop") == []
    assert audio_of(target) == {}


def test_a_track_of_an_unknown_codec_is_left_out_alone(tmp_path: Path) -> None:
    source = noisy(tmp_path / "a.mov", "aac", "aac")
    start, stsd, last = source.read_bytes().rpartition(b"stsd")
    source.write_bytes(start + stsd + last.replace(b"mp4a", b"apac").replace(b"esds", b"free"))
    target = tmp_path / "b.mov"
    assert copy(source, target) == ["audio track 2 (unknown codec) is left out"]
    before, after = audio_of(source), audio_of(target)
    assert [data for _, data in after["aac"]] == [data for _, data in before["aac"]]


def test_further_video_tracks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        tracks: list[Any] = [output.add_stream("mpeg4", rate=10) for _ in range(2)]
        for size, track in zip((64, 32), tracks, strict=True):
            track.width = track.height = size
            track.pix_fmt = "yuv420p"
        for _ in range(5):
            for track in tracks:
                image = np.zeros((track.height, track.width, 3), np.uint8)
                output.mux(track.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for track in tracks:
            output.mux(track.encode())
    assert copy(path, tmp_path / "b.mkv") == ["video track 2 (mpeg4, 32 x 32 px) is left out"]


def test_sound_that_goes_back_a_little_does_not_cost_the_film(tmp_path: Path) -> None:
    source, target = noisy(tmp_path / "a.mkv", "mp3"), tmp_path / "b.mp4"
    with av.open(str(source)) as before, av.open(str(target), "w") as output:
        tracks = AudioTracks(output, plan_audio(before.streams.audio, "mp4", "auto"))
        packets: list[Any] = [one for one in before.demux(audio=0) if one.pts is not None]
        for packet in packets:
            if packet.pts > 0.5 / packet.time_base:
                packet.pts = packet.dts = packet.pts - round(0.3 / packet.time_base)
            tracks.write(packet)
        tracks.finish()
    assert tracks.lost == 0
    (written,) = audio_of(target).values()
    assert len(written) == len(packets)
    assert np.all(np.diff([time for time, _ in written]) > 0)
