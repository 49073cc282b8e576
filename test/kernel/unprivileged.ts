/**
 * A program for who has other rights than the test: does one thing and prints what came of it, as JSON.
 *
 *   deny PID          what permissionError says of PID
 *   open PID          opens PID's memory
 *   seize PID         stops PID and lets it go
 *   sharing PID OTHER refuseSharedMemory
 *   features          what the kernel tells
 *   limits            what cgroups allow
 */
import { availableCpus, memoryHeadroom } from '../../src/kernel/cgroups.js'
import { probeKernel } from '../../src/kernel/features.js'
import { refuseSharedMemory } from '../../src/kernel/mm-sharing.js'
import { hasPtraceCapability, permissionError } from '../../src/kernel/permission.js'
import { SeizedProcess } from '../../src/kernel/seize.js'
import { TargetMemory } from '../../src/kernel/target-memory.js'
import { codeOf, messageOf } from '../../src/errors.js'

const [command = '', first = '', second = ''] = process.argv.slice(2)
const pid = Number(first)

const actions: Readonly<Record<string, () => object>> = {
  deny: () => ({ message: permissionError(pid).message, capable: hasPtraceCapability() }),
  open: () => {
    const memory = new TargetMemory(pid, pid)
    memory.open()
    memory.close()
    return { opened: true }
  },
  seize: () => {
    const target = new SeizedProcess(pid)
    target.stopAll(performance.now() + 5000)
    target.release()
    return { seized: true }
  },
  sharing: () => {
    refuseSharedMemory(pid, pid, [Number(second)])
    return { shared: false }
  },
  features: () => probeKernel(),
  limits: () => ({ cpus: availableCpus(), headroom: memoryHeadroom(process.pid) }),
}

function run(): object {
  try {
    return actions[command]?.() ?? { error: `no action ${command}` }
  } catch (error) {
    return { code: codeOf(error), message: messageOf(error) }
  }
}

process.stdout.write(`${JSON.stringify(run())}\n`)
