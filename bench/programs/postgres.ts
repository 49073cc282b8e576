/**
 * PostgreSQL: the process of one session, whose data is a temporary table, hence private memory of that process. (Its other
 * tables are shared memory, which a dump does not store.)
 */
import { spawnSync } from 'node:child_process'
import { chownSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fillCount } from './fill.js'
import { firstColumn, postgresDialect, queryMessage, TABLE } from './postgres-wire.js'
import type { Program, RunningProgram } from './program.js'
import { startServer } from './server-process.js'

const USER = 'bench'
const DEBIAN = '/usr/lib/postgresql'
/** Users that it may run as where we are root, whom it refuses. */
const UNPRIVILEGED = ['postgres', 'nobody']
/** Pages of a table and of its index are not full. */
const BUFFERS_FACTOR = 2

interface Owner {
  readonly uid?: number
  readonly gid?: number
}

/** A server of its own; one session, since a temporary table belongs to it. */
export const POSTGRES: Program = {
  name: 'postgres',
  dialect: postgresDialect(USER),
  connections: 1,
  missing: () => {
    if (binaries() === undefined) return 'there is no postgres with initdb (apt-get install postgresql)'
    return owner() === undefined ? 'no user to run it as: it refuses root' : undefined
  },
  start: async ({ folder, port, mib }) => {
    const bin = binaries() ?? ''
    const user = owner() ?? {}
    const data = join(folder, 'data')
    if (user.uid !== undefined) chownSync(folder, user.uid, user.gid ?? user.uid)
    const init = [join(bin, 'initdb'), ['-D', data, '-U', USER, '-A', 'trust', '--no-sync']] as const
    const made = spawnSync(...init, { ...user, cwd: folder, encoding: 'utf8' })
    if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`)
    const listen = ['-D', data, '-h', '127.0.0.1', '-p', String(port), '-k', '', '-F']
    const server = startServer(join(bin, 'postgres'), listen, { ...user, cwd: folder })
    // SIGINT: all sessions end, then the server.
    return runningServer(() => server.stop('SIGINT'), mib)
  },
}

function runningServer(stop: () => Promise<void>, mib: number): RunningProgram {
  let session = 0
  return {
    stop,
    fill: async (ask) => {
      const query = async (sql: string): Promise<string> => firstColumn(await ask(queryMessage(sql)))
      await query(`set temp_buffers = '${String(Math.max(8, BUFFERS_FACTOR * mib))}MB'`)
      await query(`create temporary table ${TABLE} (key text primary key, value text)`)
      const value = `substr(repeat(i || '-', 1024 / length(i || '-') + 1), 1, 1024)`
      const last = String(fillCount(mib) - 1)
      await query(`insert into ${TABLE} select 'fill-' || i, ${value} from generate_series(0, ${last}) as i`)
      await query(`analyze ${TABLE}`)
      session = Number(await query('select pg_backend_pid()'))
    },
    targetPid: () => session,
  }
}

/** The newest folder with the server's programs. */
function binaries(): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : []
  const folders = [...versions.map((version) => join(DEBIAN, version, 'bin')), ...pathFolders()]
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')))
}

function pathFolders(): string[] {
  return (process.env.PATH ?? '').split(':')
}

/** Who is to run it: us, unless we are root; undefined where there is nobody. */
function owner(): Owner | undefined {
  if (process.getuid?.() !== 0) return {}
  for (const name of UNPRIVILEGED) {
    const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, name], { encoding: 'utf8' }))
    if (uid?.status === 0 && gid?.status === 0) return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  }
  return undefined
}
