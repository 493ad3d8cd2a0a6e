/** Covers the faces of a video: decodes, detects, encodes; audio is copied. */

import {
  BlobSource,
  EncodedAudioPacketSource,
  type EncodedPacket,
  EncodedPacketSink,
  getFirstEncodableVideoCodec,
  Input,
  type InputAudioTrack,
  type InputVideoTrack,
  MATROSKA,
  MkvOutputFormat,
  MovOutputFormat,
  MP4,
  MPEG_TS,
  Mp4OutputFormat,
  Output,
  type OutputFormat,
  QTFF,
  QUALITY_HIGH,
  type VideoCodec,
  VideoSample,
  VideoSampleSink,
  VideoSampleSource,
  WEBM,
  WebMOutputFormat,
} from 'mediabunny';
import { type CoverStyle, cover } from '../cover/cover.ts';
import type { Engine } from '../engine/engine.ts';
import type { DetectOptions } from '../engine/types.ts';
import { type Boxed, fillGaps } from './gaps.ts';
import { openStore } from './store.ts';

/** A video that was covered, and where it is kept until it is discarded. */
export interface CoveredVideo {
  blob: Blob;
  discard(): Promise<void>;
}

export interface VideoOptions extends DetectOptions {
  style: CoverStyle;
  /** As of `cover`. */
  margin: number;
  /** Told the share of the video that is done, 0 to 1. */
  onProgress(done: number): void;
  /** Ends the work with the signal's reason. */
  signal: AbortSignal;
}

/** HLS is not among them: its lists would have files fetched. */
const FORMATS = [MP4, QTFF, WEBM, MATROSKA, MPEG_TS];
/** The fastest first. */
const CODECS: VideoCodec[] = ['avc', 'vp8', 'vp9', 'hevc', 'av1'];
/** Frames that are decoded while the worker detects. */
const AHEAD = 2;

interface Frame {
  context: OffscreenCanvasRenderingContext2D;
  timestamp: number;
  duration: number;
}

/**
 * A video with its faces covered and its audio: MP4, WebM where the video is, or, where the audio
 * fits neither, MOV or Matroska. Tags, such as place and camera, are left out.
 *
 * @throws Error that says why the video cannot be read or written.
 */
export async function coverVideo(
  file: File,
  engine: Engine,
  options: VideoOptions,
): Promise<CoveredVideo> {
  if (!('VideoEncoder' in globalThis)) throw new Error('this browser cannot write videos.');
  const input = new Input({ source: new BlobSource(file), formats: FORMATS });
  try {
    const track = await findVideo(input);
    const audioTracks = await input.getAudioTracks();
    const format = await chooseFormat(input, audioTracks);
    const size = await evenSize(track);
    const codec = await chooseCodec(format, size);
    const store = await openStore();
    const output = new Output({ format, target: store.target });
    try {
      const encoder = new VideoSampleSource({ codec, quality: QUALITY_HIGH });
      output.addVideoTrack(encoder);
      const copies = await Promise.all(audioTracks.map((track) => startCopy(track, output)));
      await output.start();
      await coverFrames(track, size, engine, options, async (frame) => {
        for (const copy of copies) await copy(frame.timestamp);
        await encode(encoder, frame);
      });
      for (const copy of copies) await copy(Number.POSITIVE_INFINITY);
      await output.finalize();
      return { blob: await store.blob(format.mimeType), discard: store.discard };
    } catch (error) {
      await output.cancel();
      await store.discard();
      throw error;
    }
  } finally {
    input.dispose();
  }
}

async function findVideo(input: Input): Promise<InputVideoTrack> {
  if (!(await input.canRead())) throw new Error('it is not an MP4, MOV, WebM, MKV or TS video.');
  const track = await input.getPrimaryVideoTrack();
  if (!track) throw new Error('it has no images.');
  if (!(await track.canDecode())) {
    const codec = (await track.getCodec()) ?? 'unknown';
    throw new Error(`this browser cannot decode its ${codec} images.`);
  }
  return track;
}

/** The first format of the video's own kind that can hold its audio. */
async function chooseFormat(input: Input, audioTracks: InputAudioTrack[]): Promise<OutputFormat> {
  const codecs = await Promise.all(audioTracks.map((track) => track.getCodec()));
  const matroska = new MkvOutputFormat();
  const formats =
    (await input.getFormat()) === WEBM
      ? [new WebMOutputFormat(), matroska]
      : [new Mp4OutputFormat(), new MovOutputFormat(), matroska];
  const fits = (format: OutputFormat) =>
    codecs.every((codec) => codec && format.getSupportedAudioCodecs().includes(codec));
  const format = formats.find(fits);
  if (!format) throw new Error('its sound is of a kind that cannot be copied.');
  return format;
}

type Size = { width: number; height: number };

/** The size of the upright video; encoders want even sides. */
async function evenSize(track: InputVideoTrack): Promise<Size> {
  const even = (side: number) => Math.max(2, side - (side % 2));
  return {
    width: even(await track.getDisplayWidth()),
    height: even(await track.getDisplayHeight()),
  };
}

async function chooseCodec(format: OutputFormat, size: Size): Promise<VideoCodec> {
  const supported = format.getSupportedVideoCodecs();
  const wanted = CODECS.filter((codec) => supported.includes(codec));
  const codec = await getFirstEncodableVideoCodec(wanted, { ...size, quality: QUALITY_HIGH });
  if (!codec)
    throw new Error(`this browser cannot write videos of ${size.width} x ${size.height}.`);
  return codec;
}

/** Add a copy of an audio track to the output; the result copies it up to a time in seconds. */
async function startCopy(
  track: InputAudioTrack,
  output: Output,
): Promise<(until: number) => Promise<void>> {
  const source = new EncodedAudioPacketSource((await track.getCodec())!);
  output.addAudioTrack(source, { languageCode: await track.getLanguageCode() });
  const decoderConfig = await track.getDecoderConfig();
  const meta = decoderConfig ? { decoderConfig } : {};
  const packets = new EncodedPacketSink(track).packets();
  let next: EncodedPacket | undefined;
  let ended = false;
  return async (until) => {
    while (!ended && (!next || next.timestamp <= until)) {
      if (next) await source.add(next, meta);
      const { value, done } = await packets.next();
      next = value ?? undefined;
      ended = done === true;
    }
  };
}

/** Hand over each frame with its faces covered, in order. */
async function coverFrames(
  track: InputVideoTrack,
  size: Size,
  engine: Engine,
  options: VideoOptions,
  write: (frame: Frame) => Promise<void>,
): Promise<void> {
  const { signal, style, margin, onProgress } = options;
  const duration = await track.computeDuration();
  const free: OffscreenCanvasRenderingContext2D[] = [];
  const frames = readFrames(track, size, free);
  for await (const { item, boxes } of fillGaps(detectAhead(frames, engine, options))) {
    signal.throwIfAborted();
    cover(item.context, boxes, style, margin);
    await write(item);
    free.push(item.context);
    onProgress(Math.min((item.timestamp + item.duration) / duration, 1));
  }
}

/** Draw each frame: decoders have few frames, which they want back soon. */
async function* readFrames(
  track: InputVideoTrack,
  { width, height }: Size,
  free: OffscreenCanvasRenderingContext2D[],
): AsyncGenerator<Frame> {
  for await (const sample of new VideoSampleSink(track).samples()) {
    const context =
      free.pop() ??
      new OffscreenCanvas(width, height).getContext('2d', {
        alpha: false,
        willReadFrequently: true,
      })!;
    sample.draw(context, 0, 0, width, height);
    const { timestamp, duration } = sample;
    sample.close();
    yield { context, timestamp, duration };
  }
}

async function* detectAhead(
  frames: AsyncIterable<Frame>,
  engine: Engine,
  options: DetectOptions,
): AsyncGenerator<Boxed<Frame>> {
  const begun: Promise<Boxed<Frame>>[] = [];
  for await (const frame of frames) {
    const detection = detectIn(frame, engine, options);
    // It is awaited below, unless one before it fails.
    detection.catch(() => {});
    begun.push(detection);
    if (begun.length > AHEAD) yield await begun.shift()!;
  }
  for (const detection of begun) yield await detection;
}

async function detectIn(
  item: Frame,
  engine: Engine,
  { threshold, model, minFace = 0 }: DetectOptions,
): Promise<Boxed<Frame>> {
  const image = new VideoFrame(item.context.canvas, { timestamp: 0 });
  try {
    const { faces } = await engine.detect(image, { threshold, model, minFace });
    return { item, boxes: faces.map(({ box }) => box) };
  } finally {
    image.close();
  }
}

async function encode(encoder: VideoSampleSource, frame: Frame): Promise<void> {
  const { context, timestamp, duration } = frame;
  const sample = new VideoSample(context.canvas, { timestamp, duration });
  await encoder.add(sample);
  sample.close();
}
