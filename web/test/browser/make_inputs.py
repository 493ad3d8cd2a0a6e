"""Make the files that the tests of the page open, in the folder that is named."""

import sys
from pathlib import Path

import av
import numpy as np
import PIL.Image

EXAMPLES = Path(__file__).parents[3] / "examples"
FPS = 25
SECONDS = 2
CODECS = {".mp4": ("libx264", "aac", 44100), ".webm": ("libvpx", "libopus", 48000)}
"""Of the videos: of images and sound, and the samples of sound a second."""
HEIC_HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
"""As much as tells the kind of the file; a browser that decodes HEIC fails at the rest."""
ORIENTATION, MAKE, GPS, LATITUDE = 0x0112, 0x010F, 0x8825, 2


def main(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait = PIL.Image.open(EXAMPLES / "astronaut.jpg")
    write_sideways(folder / "sideways.jpg", portrait)
    PIL.Image.new("1", (10000, 10000)).save(folder / "huge.png")
    (folder / "broken.jpg").write_bytes((EXAMPLES / "astronaut.jpg").read_bytes()[:300])
    write_camera(folder / "camera.y4m", portrait)
    (folder / "photo.heic").write_bytes(HEIC_HEADER)
    for suffix, (video, audio, rate) in CODECS.items():
        write_video(folder / f"video{suffix}", portrait.resize((320, 320)), video, audio, rate)


def write_sideways(path: Path, image: PIL.Image.Image) -> None:
    """A photo as cameras store it that are held upright: on its side, with EXIF, 400x512."""
    exif = PIL.Image.Exif()
    exif[ORIENTATION], exif[MAKE] = 6, "camera"
    exif.get_ifd(GPS)[LATITUDE] = (52.0, 31.0, 12.0)
    upright = image.crop((20, 0, 420, 512))
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(path, quality=92, exif=exif)


def write_camera(path: Path, image: PIL.Image.Image) -> None:
    """Ten frames of 640x480 with one face, for Chromium's fake camera."""
    canvas = PIL.Image.new("RGB", (640, 480), (90, 100, 110))
    canvas.paste(image.resize((480, 480)), (80, 0))
    luma, blue, red = canvas.convert("YCbCr").split()
    small = (channel.resize((320, 240)) for channel in (blue, red))
    frame = b"FRAME\n" + luma.tobytes() + b"".join(channel.tobytes() for channel in small)
    path.write_bytes(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n" + frame * 10)


def write_video(path: Path, image: PIL.Image.Image, codec: str, sound: str, rate: int) -> None:
    """Two seconds with one face that moves, and a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=FPS)
        video.width, video.height, video.pix_fmt = 400, 320, "yuv420p"
        audio = container.add_stream(sound, rate=rate, layout="mono")
        for index in range(FPS * SECONDS):
            canvas = PIL.Image.new("RGB", (400, 320), (90, 100, 110))
            canvas.paste(image, (index, 0))
            for packet in video.encode(av.VideoFrame.from_image(canvas)):
                container.mux(packet)
        tone = np.sin(np.arange(rate * SECONDS) * 440 * 2 * np.pi / rate, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None] * np.float32(0.3), "flt", "mono")
        frame.sample_rate = rate
        for packet in audio.encode(frame):
            container.mux(packet)
        for stream in (video, audio):
            for packet in stream.encode():
                container.mux(packet)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
