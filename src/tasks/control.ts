/**
 * How threads work together without messages: words in shared memory, waited for and woken by Atomics.
 *
 * While the target stands still no thread turns its event loop: each sits in one long task, takes its job
 * from a port synchronously when the phase number changes, and takes pieces of work from a shared queue.
 */

/** Words of a crew's control block. */
export const CREW = {
  /** Threads that have loaded everything and wait for work. */
  ready: 0,
  /** Number of the current phase; a change wakes the threads. */
  phase: 1,
  /** Threads that are done with the current phase. */
  done: 2,
  /** Next piece of work in the current phase's queue. */
  next: 3,
  /** Not 0: stop between two pieces of work. */
  stop: 4,
  /** Pieces of work done in the current phase. */
  progress: 5,
  words: 6,
} as const

/** Words of a freezer's control block. */
export const FREEZER = { state: 0, words: 1 } as const

/** Values of {@link FREEZER}.state. */
export const FREEZER_STATE = {
  starting: 0,
  ready: 1,
  seizing: 2,
  held: 3,
  failed: 4,
  /** The coordinator asks for the thaw. */
  releasing: 5,
  released: 6,
  /** The freezer let go on its own deadline. */
  expired: 7,
  /** The coordinator failed: let go, and leave nothing stopped. */
  abandoned: 8,
  /** All is taken, but the target is to stand until the images are there: no deadline any more. */
  keeping: 9,
  /** The coordinator has posted an order for the held target, and waits for the answer; then held again. */
  asked: 10,
  /** The coordinator is doing something that takes microseconds and needs the target to stand; then held again. */
  steady: 11,
} as const

/** A control block of `words` words. */
export function allocateControl(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * words))
}

/** Takes the next piece of work; -1 when there is none, or when all are to stop. */
export function takePiece(control: Int32Array, pieces: number): number {
  if (Atomics.load(control, CREW.stop) !== 0) return -1
  const piece = Atomics.add(control, CREW.next, 1)
  return piece < pieces ? piece : -1
}
