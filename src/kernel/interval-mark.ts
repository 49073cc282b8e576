/**
 * The mark: the id of the snapshot with which the interval of a process began, kept in the process itself.
 *
 * Records lie in a runtime directory, and of those there can be several: of two users, of a container and its host, of
 * a session with XDG_RUNTIME_DIR and one without. A run that knows another's reset from no record finds it here.
 *
 *   [vdso]  |ELF image | section headers |stub|mark|  ...  |      see kernel/call-stub
 */
import { CallStub, type StubPlaces } from './call-stub.js'

/** The mark for snapshot `snapshotId`, a UUID: its 16 bytes in hex. */
export function markOf(snapshotId: string): string {
  return snapshotId.replaceAll('-', '')
}

/** The mark of process `pid` in hex, zeros where none was set; undefined where it has no place for one. */
export function readMark(pid: number, tid: number, places: StubPlaces): string | undefined {
  return withStub(pid, tid, places, (stub) => stub.readMark().toString('hex'))
}

/** Sets the mark of a standing process; false where it has no place for one. */
export function writeMark(pid: number, tid: number, places: StubPlaces, mark: string): boolean {
  const written = withStub(pid, tid, places, (stub) => {
    stub.writeMark(Buffer.from(mark, 'hex'))
    return true
  })
  return written === true
}

function withStub<Result>(
  pid: number,
  tid: number,
  places: StubPlaces,
  use: (stub: CallStub) => Result,
): Result | undefined {
  let stub: CallStub
  try {
    stub = new CallStub(pid, tid, places)
  } catch {
    return undefined
  }
  try {
    return use(stub)
  } catch {
    return undefined
  } finally {
    stub.close()
  }
}
