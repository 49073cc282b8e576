/** The long task of one thread of the crew: waits for a phase, does its share of the job, reports, waits again. */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { errorToData } from '../errors.js'
import { monotonicMicros } from '../kernel/clock.js'
import { CREW } from './control.js'
import { NO_WORK, type Job, type JobReport } from './jobs.js'
import { runJob } from './run-job.js'

/** What a thread gets when its long task starts. */
export interface ServeTask {
  readonly control: Int32Array
  readonly port: MessagePort
}

/** Serves jobs until it is told to end. The ready count tells the coordinator that everything is loaded. */
export function serveJobs({ control, port }: ServeTask): void {
  const thread = Atomics.add(control, CREW.ready, 1)
  Atomics.notify(control, CREW.ready)
  let phase = 0
  for (;;) {
    Atomics.wait(control, CREW.phase, phase)
    phase = Atomics.load(control, CREW.phase)
    const received: { message: Job } | undefined = receiveMessageOnPort(port)
    if (received === undefined) continue
    if (received.message.kind === 'end') return
    port.postMessage(report(received.message, control, thread))
    Atomics.add(control, CREW.done, 1)
    Atomics.notify(control, CREW.done)
  }
}

function report(job: Job, control: Int32Array, thread: number): JobReport {
  const begun = monotonicMicros()
  try {
    return { ...runJob(job, control, thread), micros: monotonicMicros() - begun }
  } catch (error) {
    Atomics.store(control, CREW.stop, 1)
    return { ...NO_WORK, micros: monotonicMicros() - begun, error: errorToData(error) }
  }
}
