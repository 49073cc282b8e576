import { expect, it } from '@jest/globals'
import { borrowUserfaultfd, findUserfaultfds } from '../../src/kernel/userfaultfd.js'
import { userfaultfdsOf } from '../support/descriptors.js'
import { pageSize } from '../support/kernel-vmas.js'
import { describeIf, kernelAtLeast } from '../support/privileges.js'
import { withVictim } from '../support/victim.js'
import { fill, unmapPages } from '../victims/memory.js'
import { withMapped, withUserfaultfd } from './watched-memory.js'

const PAGE = pageSize()
const PIDFD_GETFD_REASON = 'inodes of descriptors need Linux 5.14'

describeIf(kernelAtLeast(5, 14), PIDFD_GETFD_REASON)('the userfaultfds of a process', () => {
  it('are found by what they are, each with an inode of its own', () => {
    expect(findUserfaultfds(process.pid).map(({ fd }) => fd)).toEqual(userfaultfdsOf(process.pid))
    withUserfaultfd((_, first) => {
      withUserfaultfd((_second, second) => {
        const found = findUserfaultfds(process.pid)
        const inodes = [first, second].map((fd) => found.find((each) => each.fd === fd)?.inode ?? 0)
        expect(found.map(({ fd }) => fd)).toEqual(userfaultfdsOf(process.pid))
        expect(inodes.every((inode) => inode > 0)).toBe(true)
        expect(new Set(inodes).size).toBe(2)
      })
    })
  })

  it('are none of a process without any, and none of one that is gone', async () => {
    await withVictim('plain', [], async ({ pid, stop }) => {
      expect(findUserfaultfds(pid)).toEqual([])
      await stop()
      expect(findUserfaultfds(pid)).toEqual([])
    })
  })

  it('are borrowed as the same file under another number', () => {
    withUserfaultfd((_, fd) => {
      const borrowed = borrowUserfaultfd(process.pid, process.pid, fd)
      try {
        const found = findUserfaultfds(process.pid).filter(({ inode }) => inode === borrowed.inode)
        expect(borrowed.remoteFd).toBe(fd)
        expect(found).toHaveLength(2)
        expect(found.map((each) => each.fd)).toContain(fd)
      } finally {
        borrowed.close()
      }
      expect(findUserfaultfds(process.pid).map((each) => each.fd)).toContain(fd)
    })
  })

  it('are not borrowed where there is no such descriptor, or no such process', async () => {
    const failure = (syscall: string, errno: string): unknown =>
      expect.objectContaining({
        code: 'SYSCALL_FAILED',
        details: expect.objectContaining({ syscall, errno }),
      })
    expect(() => borrowUserfaultfd(process.pid, process.pid, 99_999)).toThrow(failure('pidfd_getfd', 'EBADF'))
    await withVictim('plain', [], async ({ pid, stop }) => {
      await stop()
      expect(() => borrowUserfaultfd(pid, pid, 0)).toThrow(failure('pidfd_open', 'ESRCH'))
    })
  })
})

describeIf(kernelAtLeast(6, 7), 'asynchronous write protection needs Linux 6.7')('a userfaultfd', () => {
  it('can be set up once', () => {
    withUserfaultfd((uffd) => {
      uffd.enableAsyncWriteProtect()
      expect(() => {
        uffd.enableAsyncWriteProtect()
      }).toThrow(expect.objectContaining({ code: 'TRACKER_UNAVAILABLE' }))
    })
  })

  it('cannot be set up when it is closed, and says with which errno', () => {
    withUserfaultfd((_, fd) => {
      const borrowed = borrowUserfaultfd(process.pid, process.pid, fd)
      borrowed.close()
      expect(() => {
        borrowed.enableAsyncWriteProtect()
      }).toThrow('UFFDIO_API failed with EBADF')
    })
  })

  it('watches memory with a gap in it, and lets writes through as before', () => {
    withUserfaultfd((uffd) => {
      uffd.enableAsyncWriteProtect()
      withMapped(9, (address) => {
        unmapPages(address + 3 * PAGE, 2)
        expect(uffd.register(address / PAGE, address / PAGE + 9)).toBe(true)
        expect(() => {
          fill(address, 3, 1)
        }).not.toThrow()
      })
    })
  })

  it('does not watch what another one watches, or what is not mapped', () => {
    withUserfaultfd((first) => {
      withUserfaultfd((second) => {
        first.enableAsyncWriteProtect()
        second.enableAsyncWriteProtect()
        withMapped(4, (address) => {
          const page = address / PAGE
          expect(first.register(page, page + 4)).toBe(true)
          expect(second.register(page, page + 4)).toBe(false)
          expect(first.register(page, page + 4)).toBe(true)
          unmapPages(address, 4)
          expect(first.register(page, page + 4)).toBe(false)
        })
      })
    })
  })

  it('is closed alone: the process keeps its own', () => {
    withUserfaultfd((_, fd) => {
      borrowUserfaultfd(process.pid, process.pid, fd).close()
      expect(userfaultfdsOf(process.pid)).toContain(fd)
    })
  })
})
