/** What this kernel and our rights allow, a row a feature, with what to do about each "no". */
import { release } from 'node:os'
import { SYS_KCMP, KCMP_VM } from '../kernel/abi.js'
import { probeAsyncProtect } from '../kernel/async-protect.js'
import { availableCpus, availableMemory, memoryHeadroom } from '../kernel/cgroups.js'
import { probeKernel } from '../kernel/features.js'
import { syscall } from '../kernel/libc.js'
import { pageSize } from '../kernel/page-size.js'
import { hasPtraceCapability, yamaScope } from '../kernel/permission.js'
import { readProcText } from '../kernel/procfs.js'

/** One feature. */
export interface CheckRow {
  readonly feature: string
  /** `no` costs something, `missing` makes dumps impossible. */
  readonly verdict: 'yes' | 'no' | 'missing'
  /** What was found. */
  readonly detail: string
  /** What it means and what to do about it; empty for a `yes`. */
  readonly remedy: string
}

/** All rows. Throws `UNSUPPORTED_PLATFORM` where nothing works at all. */
export function checkSystem(): CheckRow[] {
  const features = probeKernel()
  return [
    row('platform', true, `Linux ${release()} x86-64, pages of ${String(pageSize())} bytes`, ''),
    row(
      'PAGEMAP_SCAN',
      features.pagemapScan,
      features.pagemapScan ? 'the kernel filters pages' : 'pages are read from /proc/PID/pagemap',
      'scans are slower, above all of sparse address spaces; Linux 6.7 has it',
    ),
    row(
      'guard pages',
      features.guardCategory,
      features.guardCategory ? 'told apart by the kernel' : 'found by trying to read them',
      'Linux 6.13 and 6.14 have guard pages but do not tell; 6.15 does; older kernels have none',
    ),
    row(
      'zero page',
      features.pagemapScan || features.zeroPfn !== undefined,
      features.pagemapScan || features.zeroPfn !== undefined ? 'told apart' : 'its frame number is hidden',
      'pages that were only read are stored as zeros: larger images, no harm; run with CAP_SYS_ADMIN',
    ),
    row(
      'soft-dirty',
      features.softDirty,
      features.softDirty ? 'shown by a write, a reset and a write' : 'the kernel never sets the bit',
      'the kernel was built without CONFIG_MEM_SOFT_DIRTY; full dumps do not need it',
    ),
    uffdWpRow(),
    ptraceRow(),
    kcmpRow(),
    hugePagesRow(),
    budgetRow(),
  ]
}

function uffdWpRow(): CheckRow {
  const works = probeAsyncProtect(probeKernel())
  return row(
    'uffd-wp',
    works,
    works ? 'shown by a write, a reset and a write' : 'no asynchronous write protection by userfaultfd',
    'Linux 6.7 has it, where it is built in (CONFIG_USERFAULTFD) and no seccomp filter forbids userfaultfd; without it and soft-dirty, increments compare contents',
  )
}

function ptraceRow(): CheckRow {
  const scope = yamaScope()
  if (scope === 3) {
    return {
      feature: 'ptrace',
      verdict: 'missing',
      detail: 'Yama forbids it (ptrace_scope 3)',
      remedy: 'boot with kernel.yama.ptrace_scope below 3',
    }
  }
  if (hasPtraceCapability())
    return row('ptrace', true, 'CAP_SYS_PTRACE: any process of this user namespace', '')
  if (scope !== 1 && scope !== 2) return row('ptrace', true, 'processes of your own uid; as root, any', '')
  return row(
    'ptrace',
    false,
    `Yama's ptrace_scope is ${String(scope)}`,
    'run as root, or let the process call prctl(PR_SET_PTRACER, ...) where ptrace_scope is 1',
  )
}

function kcmpRow(): CheckRow {
  const works = syscall(SYS_KCMP, process.pid, process.pid, KCMP_VM, 0, 0) === 0
  return row(
    'kcmp',
    works,
    works
      ? 'processes that share memory are found for certain'
      : 'not in this kernel, or forbidden by seccomp',
    'only children that share memory are found, by their size; a kernel with CONFIG_KCMP has it',
  )
}

function hugePagesRow(): CheckRow {
  const text = readProcText('/sys/kernel/mm/transparent_hugepage/enabled') ?? ''
  const works = !text.includes('[never]') && text !== ''
  return row(
    'huge pages',
    works,
    works ? 'staging memory is in huge pages' : 'transparent huge pages are off',
    'preparing a dump takes three times longer, the freeze does not; echo madvise > /sys/kernel/mm/transparent_hugepage/enabled',
  )
}

function budgetRow(): CheckRow {
  const mib = (bytes: number): string => `${String(Math.floor(bytes / 2 ** 20))} MiB`
  const headroom = memoryHeadroom(process.pid)
  const limit = headroom === Infinity ? 'no cgroup limit' : `${mib(headroom)} left by cgroups`
  return row(
    'resources',
    true,
    `${String(availableCpus())} cores, ${mib(availableMemory())} available, ${limit}`,
    '',
  )
}

function row(feature: string, works: boolean, detail: string, remedy: string): CheckRow {
  return { feature, verdict: works ? 'yes' : 'no', detail, remedy: works ? '' : remedy }
}
