/** How tests, measurements and drawings start Chromium. */

export const LAUNCH = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // Its sandbox does not work as root, as in containers.
  args: ['--no-sandbox', '--disable-background-networking', '--disable-gpu'],
};

/**
 * The same with a camera that plays `camera.y4m` of the folder that `make_inputs.py` wrote.
 *
 * @param {string} inputs
 */
export function launchWithCamera(inputs) {
  const camera = [
    '--use-fake-device-for-media-stream',
    `--use-file-for-fake-video-capture=${inputs}/camera.y4m`,
  ];
  return { ...LAUNCH, args: [...LAUNCH.args, ...camera] };
}
