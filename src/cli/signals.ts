/**
 * Signals: SIGINT and the like end a dump cleanly, Ctrl-Z waits.
 *
 * While the target stands still no handler runs, so nothing here can leave it standing: a stop takes effect
 * after the thaw.
 */
const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Aborts `controller` with the signal's name as its reason; a second signal ends the command at once. */
export function abortOnSignals(controller: AbortController): void {
  for (const signal of ENDING) {
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        controller.abort(signal)
        return
      }
      // The kernel ends all threads at once; process.exit crashes where one is loading a library just then.
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    })
  }
  process.on('SIGTSTP', () => {
    process.kill(process.pid, 'SIGSTOP')
  })
}
