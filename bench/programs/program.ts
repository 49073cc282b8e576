/**
 * A real program as the benchmark sees it: a store of keys and values behind a socket.
 *
 *   put and get in the program's own language, values checked against what the client wrote last
 */

/** How to talk to a program. */
export interface Dialect {
  /** What a client says first; undefined where it speaks only when asked. */
  readonly hello?: Buffer
  /** The request that stores `value` under `key`. Both are letters, digits and dashes. */
  readonly put: (key: string, value: string) => Buffer
  /** The request for the value of `key`. */
  readonly get: (key: string) => Buffer
  /** Bytes of the first answer in `received`; 0 where it is not whole yet. Throws where it is none. */
  readonly answerLength: (received: Buffer) => number
  /** The value in an answer to `get`, empty where there is none. Throws what the program complains of. */
  readonly valueOf: (answer: Buffer) => string
}

/** How to run a program. */
export interface Program {
  readonly name: string
  readonly dialect: Dialect
  /** Connections of the load. */
  readonly connections: number
  /** Why it cannot be run here and what to install; undefined where it can. */
  readonly missing: () => string | undefined
  /** Starts it on `port` of 127.0.0.1 with all its files in `folder`, and `mib` MiB of data. */
  readonly start: (place: Place) => Promise<RunningProgram>
}

/** Where a program runs, and how large it is. */
export interface Place {
  readonly folder: string
  readonly port: number
  readonly mib: number
}

/** A program that was started. */
export interface RunningProgram {
  /** Ends it and all that it started. */
  readonly stop: () => Promise<void>
  /** Fills it, where it does not do so by itself, over the first connection; resolves when it is ready for the load. */
  readonly fill: (ask: (request: Buffer) => Promise<Buffer>) => Promise<void>
  /** The process to dump, once it is filled. */
  readonly targetPid: () => number
}
