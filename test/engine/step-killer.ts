/**
 * Takes a snapshot and kills itself by SIGKILL after a step: `step-killer.js PID DIR PARENT KIND TRACKER CAPTURE STEP`,
 * where PARENT may be empty. Run as a program by tests.
 */
import { takeSnapshot } from '../../src/engine/dump.js'
import { settle } from '../../src/engine/options.js'

const [pid = '', imagesDir = '', prevImagesDir = '', kind = '', tracker = '', capture = '', step = ''] =
  process.argv.slice(2)
const settings = settle(
  {
    pid: Number(pid),
    imagesDir,
    trackMem: true,
    ...(prevImagesDir === '' ? {} : { prevImagesDir }),
    tracker: tracker === 'content' ? 'content' : 'uffd-wp',
    capture: capture === 'fork' ? 'fork' : 'copy',
    sync: false,
  },
  kind === 'pre-dump' ? 'pre-dump' : 'dump',
)
await takeSnapshot({
  ...settings,
  onStep: (reached) => {
    if (reached === step) process.kill(process.pid, 'SIGKILL')
  },
})
