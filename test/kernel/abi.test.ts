import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { describe, expect, it } from '@jest/globals'
import * as abi from '../../src/kernel/abi.js'
import { itIf } from '../support/privileges.js'

const HEADERS = '/usr/include/linux'
const FS = `${HEADERS}/fs.h`
const hasScanHeader = existsSync(FS) && readFileSync(FS, 'latin1').includes('pm_scan_arg')

describe('the layout of pm_scan_arg', () => {
  it('is that of include/uapi/linux/fs.h, member by member', () => {
    const offsets = Object.entries(abi.PM_SCAN_ARG).map(([name, word]) => [name, 8 * word])
    expect(Object.fromEntries(offsets)).toEqual({
      size: 0,
      flags: 8,
      start: 16,
      end: 24,
      walkEnd: 32,
      vec: 40,
      vecLen: 48,
      inverted: 64,
      mask: 72,
      anyOf: 80,
      returned: 88,
    })
    expect(abi.PM_SCAN_ARG_BYTES).toBe(96)
  })

  itIf(hasScanHeader, 'the kernel headers of this machine have no pm_scan_arg')(
    'is in the order of the header of this machine',
    () => {
      const body = /struct pm_scan_arg \{(.*?)\n\};/s.exec(readFileSync(FS, 'latin1'))?.[1] ?? ''
      const members = [...body.matchAll(/__u64 (\w+);/g)].map((match) => match[1])
      expect(members).toHaveLength(abi.PM_SCAN_ARG_BYTES / 8)
      const at = (name: string): number => members.indexOf(name)
      expect(abi.PM_SCAN_ARG).toEqual({
        size: at('size'),
        flags: at('flags'),
        start: at('start'),
        end: at('end'),
        walkEnd: at('walk_end'),
        vec: at('vec'),
        vecLen: at('vec_len'),
        inverted: at('category_inverted'),
        mask: at('category_mask'),
        anyOf: at('category_anyof_mask'),
        returned: at('return_mask'),
      })
    },
  )

  it('has the request that _IOWR makes of its size', () => {
    // source: include/uapi/asm-generic/ioctl.h: direction (2 bits), size (14), type (8), number (8)
    const iowr = (type: string, number: number, size: number): number =>
      3 * 2 ** 30 + size * 2 ** 16 + type.charCodeAt(0) * 2 ** 8 + number
    expect(abi.PAGEMAP_SCAN).toBe(iowr('f', 16, 96))
  })

  it('has the categories of a page as single bits', () => {
    expect(abi.PAGE_IS).toEqual({
      WPALLOWED: 2 ** 0,
      WRITTEN: 2 ** 1,
      FILE: 2 ** 2,
      PRESENT: 2 ** 3,
      SWAPPED: 2 ** 4,
      PFNZERO: 2 ** 5,
      HUGE: 2 ** 6,
      SOFT_DIRTY: 2 ** 7,
      GUARD: 2 ** 8,
    })
  })
})

describe('the numbers of the kernel', () => {
  it('are those of x86-64, as its headers give them', () => {
    expect(abi.PTRACE).toEqual({
      CONT: 7,
      DETACH: 17,
      SYSCALL: 24,
      SETOPTIONS: 0x4200,
      GETEVENTMSG: 0x4201,
      GETREGSET: 0x4204,
      SETREGSET: 0x4205,
      SEIZE: 0x4206,
      INTERRUPT: 0x4207,
      GETSIGMASK: 0x420a,
      SETSIGMASK: 0x420b,
      GET_RSEQ_CONFIGURATION: 0x420f,
      GET_SYSCALL_USER_DISPATCH_CONFIG: 0x4211,
    })
    expect(abi.PTRACE_EVENT_STOP).toBe(128)
    expect(abi.WAIT).toEqual({ NOHANG: 1, STOPPED: 2, EXITED: 4, NOWAIT: 0x1000000, ALL: 0x40000000 })
    expect(abi.P_PID).toBe(1)
    expect(abi.SIGINFO).toEqual({ byteLength: 128, pid: 16, status: 24 })
    expect([abi.PROT_READ_WRITE, abi.MAP_PRIVATE_ANONYMOUS, abi.MAP_NORESERVE]).toEqual([3, 0x22, 0x4000])
    expect(abi.MADV).toEqual({ HUGEPAGE: 14, DONTDUMP: 16, POPULATE_WRITE: 23 })
    expect([abi.SYS_KCMP, abi.KCMP_VM, abi.PF_KTHREAD, abi.LOCK_EXCLUSIVE_NOW]).toEqual([312, 1, 0x200000, 6])
  })

  it('stand for a machine whose signals are those of Linux', () => {
    expect([constants.signals.SIGTRAP, constants.signals.SIGSTOP]).toEqual([5, 19])
  })
})
