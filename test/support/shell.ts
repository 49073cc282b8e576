/**
 * Runs a shell script in the background for as long as a test needs the processes that it makes.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { type RunningTool, startCommand, TOOL_PATH } from './tool.js'

/** Who the shell runs as. */
export interface ShellOptions {
  readonly uid?: number
}

/**
 * Starts `script` in a process group of its own and runs `use` with the first line that it prints. The whole
 * group is killed afterwards, whatever happens. Throws where the script ends without a line.
 */
export async function withShell<Result>(
  script: string,
  use: (firstLine: string) => Promise<Result>,
  { uid }: ShellOptions = {},
): Promise<Result> {
  const child = spawn('sh', ['-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve()
    })
  })
  try {
    const lines = createInterface({ input: child.stdout })
    const firstLine = await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve)
      lines.once('close', () => {
        reject(new Error(`the script ended without a word: ${script}`))
      })
      child.once('error', reject)
    })
    return await use(firstLine)
  } finally {
    if (child.pid !== undefined) killGroup(child.pid)
    await ended
    child.stdout.destroy()
  }
}

/** Runs `use` with a process that sleeps: unlike any of Node's from Node 22 on, it has no io_uring. */
export async function withSleeper<Result>(use: (pid: number) => Promise<Result>): Promise<Result> {
  return withShell('sleep 300 & echo $!; wait', (line) => use(Number(line)))
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL')
  } catch {
    // All of them have ended.
  }
}

/** Starts the command through `script`, in which `"$@"` is its command line. */
export function startShellTool(script: string, args: readonly string[]): RunningTool {
  return startCommand('sh', ['-c', script, 'sh', process.execPath, TOOL_PATH, ...args])
}
