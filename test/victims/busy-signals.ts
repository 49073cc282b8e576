/**
 * Victim: gets real-time signals without pause, and counts them.
 *
 *   --ahead N    the sender waits while more than N signals are under way (100)
 *
 * A worker queues the signals; a handler of machine code counts them, since Node has no handlers for real-time
 * signals. Facts: `signal`, the number. Commands: `counts` tells `sent` and `received`, which may be one ahead,
 * being counted first; `settle` stops the
 * sender, waits until the queue is empty, and tells the same, which must then be equal.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { addressOf, systemCall, viewOf } from './libc.js'
import { countingHandler, loadCode, signalReturn } from './machine-code.js'
import { mapPages } from './memory.js'
import { serve } from './session.js'

/** Above the ones that glibc and musl keep for themselves. */
const SIGNAL = 40
const SYS_RT_SIGACTION = 13
const SA_RESTART = 0x10000000
const SA_ONSTACK = 0x08000000
const SA_RESTORER = 0x04000000
const IN_VAIN_MS = 10_000

const { values } = parseArgs({ options: { ahead: { type: 'string', default: '100' } } })

const counterAddress = mapPages(1)
const received = new BigInt64Array(viewOf(counterAddress, 8))

/** struct sigaction of the kernel: handler, flags, restorer, mask. source: arch/x86/include/uapi/asm/signal.h */
function installHandler(): void {
  const action = new BigUint64Array([
    BigInt(loadCode(countingHandler(counterAddress))),
    BigInt(SA_RESTART + SA_ONSTACK + SA_RESTORER),
    BigInt(loadCode(signalReturn)),
    0n,
  ])
  const bytes = new Uint8Array(action.buffer)
  systemCall('rt_sigaction', SYS_RT_SIGACTION, SIGNAL, addressOf(bytes), 0, 8)
}

installHandler()

/** Shared with the sender: [signals sent, 1 when it shall stop, 1 when it has stopped, the address of the counter]. */
const state = new BigInt64Array(new SharedArrayBuffer(32))
Atomics.store(state, 3, BigInt(counterAddress))
const sender = new Worker(fileURLToPath(new URL('signal-worker.js', import.meta.url)), {
  workerData: { state, signal: SIGNAL, ahead: Number(values.ahead) },
})
await new Promise((resolve, reject) => {
  sender.once('message', resolve)
  sender.once('error', reject)
})

function counts(): { sent: number; received: number } {
  return { sent: Number(Atomics.load(state, 0)), received: Number(Atomics.load(received, 0)) }
}

async function settle(): Promise<object> {
  Atomics.store(state, 1, 1n)
  const deadline = Date.now() + IN_VAIN_MS
  while (Atomics.load(state, 2) === 0n || (counts().sent !== counts().received && Date.now() < deadline)) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  return counts()
}

serve({ signal: SIGNAL }, { counts, settle })
