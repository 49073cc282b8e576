import { describe, expect, it } from '@jest/globals'
import {
  missingRanges,
  needsFlags,
  vmaFate,
  type MissingReason,
  type StoreClass,
} from '../../src/core/fate.js'
import { vmaOfLine } from './builders.js'

interface Case {
  /** What maps prints after the range. */
  readonly line: string
  readonly flags?: string
  readonly store: StoreClass
  readonly missing?: MissingReason
  /** Whether it may not be judged without its flags; asked of lines without flags. */
  readonly unsure: boolean
}

/** Lines as Linux prints them, and what CRIU would do: criu/mem.c should_dump_page, criu/proc_parse.c. */
const CASES: Readonly<Record<string, Case>> = {
  'private anonymous memory': { line: 'rw-p 00000000 00:00 0', store: 'anonymous', unsure: false },
  'anonymous memory with flags': {
    line: 'rw-p 00000000 00:00 0',
    flags: 'rd wr mr mw me ac sd',
    store: 'anonymous',
    unsure: false,
  },
  'anonymous memory without rights': { line: '---p 00000000 00:00 0', store: 'anonymous', unsure: false },
  'the heap': { line: 'rw-p 00000000 00:00 0 [heap]', store: 'anonymous', unsure: false },
  'the stack': { line: 'rw-p 00000000 00:00 0 [stack]', store: 'anonymous', unsure: false },
  'named anonymous memory': { line: 'rw-p 00000000 00:00 0 [anon:v8]', store: 'anonymous', unsure: false },
  'anonymous memory whose name looks like a file': {
    line: 'rw-p 00000000 00:00 0 [anon:/a (deleted)]',
    store: 'anonymous',
    unsure: false,
  },
  'wipe-on-fork memory': {
    line: 'rw-p 00000000 00:00 0',
    flags: 'rd wr mr mw me ac wf',
    store: 'anonymous',
    unsure: false,
  },
  'droppable memory': {
    line: 'rw-p 00000000 00:00 0',
    flags: 'rd wr mr mw me dp',
    store: 'none',
    unsure: false,
  },
  'the vdso': {
    line: 'r-xp 00000000 00:00 0 [vdso]',
    flags: 'rd ex mr mw me de',
    store: 'whole',
    unsure: false,
  },
  vvar: { line: 'r--p 00000000 00:00 0 [vvar]', flags: 'rd mr pf io', store: 'none', unsure: false },
  vvar_vclock: { line: 'r--p 00000000 00:00 0 [vvar_vclock]', store: 'none', unsure: false },
  vsyscall: { line: '--xp 00000000 00:00 0 [vsyscall]', store: 'none', unsure: false },
  uprobes: { line: '--xp 00000000 00:00 0 [uprobes]', store: 'none', unsure: false },

  'a program': { line: 'r-xp 0001e000 fe:00 1234 /usr/bin/node', store: 'file-private', unsure: true },
  'a program, flags known': {
    line: 'r-xp 0001e000 fe:00 1234 /usr/bin/node',
    flags: 'rd ex mr mw me sd',
    store: 'file-private',
    unsure: false,
  },
  'a private file whose name ends like a pipe': {
    line: 'rw-p 00000000 fe:00 9 /tmp/pipe: x',
    store: 'file-private',
    unsure: true,
  },
  'a private mapping of a deleted file': {
    line: 'rw-p 00000000 fe:00 9 /tmp/gone (deleted)',
    store: 'file-private',
    missing: 'deleted-file',
    unsure: true,
  },
  'a private mapping of a memfd': {
    line: 'rw-p 00000000 00:01 9 /memfd:jit (deleted)',
    store: 'file-private',
    missing: 'memfd',
    unsure: true,
  },
  'a private mapping of /dev/zero': {
    line: 'rw-p 00000000 00:06 5 /dev/zero',
    flags: 'rd wr mr mw me ac',
    store: 'anonymous',
    unsure: false,
  },
  'private huge pages': {
    line: 'rw-p 00000000 00:10 77 /anon_hugepage (deleted)',
    flags: 'rd wr mr mw me de ht',
    store: 'file-private',
    unsure: false,
  },
  'a private mapping of an object of the kernel': {
    line: 'rw-p 00000000 00:0f 3 anon_inode:[perf_event]',
    store: 'file-private',
    missing: 'kernel-object',
    unsure: true,
  },
  'private device memory': {
    line: 'rw-p 00000000 00:06 9 /dev/mem',
    flags: 'rd wr mr mw me pf io de dd',
    store: 'none',
    missing: 'device-memory',
    unsure: false,
  },
  'a private mapping that has only page frames': {
    line: 'rw-p 00000000 00:06 9 /dev/x',
    flags: 'rd wr pf',
    store: 'none',
    missing: 'device-memory',
    unsure: false,
  },

  'a shared file': { line: 'rw-s 00000000 fe:00 12 /var/db/data', store: 'none', unsure: true },
  'a shared file with blanks in its name': {
    line: 'rw-s 00000000 fe:00 12 /var/db/a  b',
    store: 'none',
    unsure: true,
  },
  'a shared deleted file': {
    line: 'rw-s 00000000 fe:00 12 /var/db/gone (deleted)',
    store: 'none',
    missing: 'deleted-file',
    unsure: true,
  },
  'a file of POSIX shared memory': {
    line: 'rw-s 00000000 00:16 2 /dev/shm/ring',
    store: 'none',
    unsure: true,
  },
  'a file of huge pages': { line: 'rw-s 00000000 00:17 2 /dev/hugepages/x', store: 'none', unsure: true },
  'a message queue': { line: 'rw-s 00000000 00:18 2 /dev/mqueue/x', store: 'none', unsure: true },
  'shared anonymous memory': {
    line: 'rw-s 00000000 00:01 2057 /dev/zero (deleted)',
    store: 'none',
    missing: 'shared-anonymous',
    unsure: true,
  },
  'named shared anonymous memory': {
    line: 'rw-s 00000000 00:01 2057 [anon_shmem:ring]',
    store: 'none',
    missing: 'shared-anonymous',
    unsure: true,
  },
  'shared memory without a name': {
    line: 'rw-s 00000000 00:00 0',
    store: 'none',
    missing: 'shared-anonymous',
    unsure: false,
  },
  'shared huge pages': {
    line: 'rw-s 00000000 00:10 78 /anon_hugepage (deleted)',
    store: 'none',
    missing: 'shared-anonymous',
    unsure: true,
  },
  'System V shared memory': {
    line: 'rw-s 00000000 00:01 5 /SYSV00000000 (deleted)',
    store: 'none',
    missing: 'sysv-shm',
    unsure: true,
  },
  'a memfd': {
    line: 'rw-s 00000000 00:01 2058 /memfd:wayland (deleted)',
    store: 'none',
    missing: 'memfd',
    unsure: true,
  },
  'secret memory': {
    line: 'rw-s 00000000 00:0e 3 /secretmem (deleted)',
    flags: 'rd wr sh mr mw me ms lo dd',
    store: 'none',
    missing: 'secret-memory',
    unsure: false,
  },
  'an AIO ring': { line: 'rw-s 00000000 00:0d 11 /[aio] (deleted)', store: 'whole', unsure: true },
  'an AIO ring of old kernels': { line: 'rw-s 00000000 00:0d 11 /[aio]', store: 'whole', unsure: true },
  'an io_uring': {
    line: 'rw-s 08000000 00:0f 1036 anon_inode:[io_uring]',
    store: 'none',
    missing: 'kernel-object',
    unsure: true,
  },
  'a BPF map': {
    line: 'rw-s 00000000 00:0f 1036 anon_inode:bpf-map',
    store: 'none',
    missing: 'kernel-object',
    unsure: true,
  },
  'a packet socket': {
    line: 'rw-s 00000000 00:08 4711 socket:[4711]',
    store: 'none',
    missing: 'kernel-object',
    unsure: true,
  },
  'a device, by its flags': {
    line: 'rw-s 00000000 00:06 9 /dev/dri/card0',
    flags: 'rd wr sh mr mw me ms pf io de dd',
    store: 'none',
    missing: 'device-memory',
    unsure: false,
  },
  'a device, by its path': {
    line: 'rw-s 00000000 00:06 9 /dev/nvidia0',
    store: 'none',
    missing: 'device-memory',
    unsure: true,
  },
  'device memory of a file elsewhere': {
    line: 'rw-s 00000000 00:15 9 /sys/devices/pci0000:00/resource0',
    flags: 'rd wr sh mr mw me ms pf io de dd',
    store: 'none',
    missing: 'device-memory',
    unsure: false,
  },
}

const named = Object.entries(CASES).map(([name, facts]): [string, Case] => [name, facts])

describe('the fate of a VMA', () => {
  it.each(named)('%s', (_name, { line, flags, store, missing }) => {
    const fate = missing === undefined ? { store } : { store, missing }
    expect(vmaFate(vmaOfLine(`10000-20000 ${line}`, flags))).toEqual(fate)
  })

  it.each(named)('needs flags to be sure of it, or not: %s', (_name, { line, flags, unsure }) => {
    expect(needsFlags(vmaOfLine(`10000-20000 ${line}`, flags))).toBe(unsure)
  })
})

describe('what a snapshot lacks', () => {
  it('is each VMA whose content is in no file, in address order, with its path', () => {
    const vmas = [
      vmaOfLine('10000-20000 rw-p 00000000 00:00 0'),
      vmaOfLine('20000-28000 rw-s 00000000 00:01 2057 /dev/zero (deleted)'),
      vmaOfLine('30000-34000 rw-p 00000000 fe:00 9 /tmp/gone (deleted)'),
      vmaOfLine('40000-41000 r--s 00000000 fe:00 9 /tmp/kept'),
      vmaOfLine('ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]'),
    ]
    const shared = {
      ...{ reason: 'shared-anonymous', path: '/dev/zero (deleted)' },
      ...{ startPage: 0x20, endPage: 0x28, pages: 8 },
    }
    const gone = { reason: 'deleted-file', path: '/tmp/gone (deleted)', startPage: 0x30, endPage: 0x34 }
    expect(missingRanges(vmas, () => 0)).toEqual([shared, { ...gone, pages: 4 }])
    const stored = (count: number) => (start: number) => (start === 0x30 ? count : 0)
    expect(missingRanges(vmas, stored(3))).toEqual([shared, { ...gone, pages: 1 }])
    expect(missingRanges(vmas, stored(4))).toEqual([shared])
  })

  it('is nothing where everything is stored or in a file', () => {
    expect(missingRanges([], () => 0)).toEqual([])
    expect(missingRanges([vmaOfLine('10000-20000 rw-p 00000000 00:00 0 [heap]')], () => 0)).toEqual([])
  })
})
