/**
 * Numbers and layouts of the Linux x86-64 ABI that more than one file uses or a test checks, each with its source.
 */

/** _IOWR('f', 16, struct pm_scan_arg). source: include/uapi/linux/fs.h */
export const PAGEMAP_SCAN = 0xc0606610

/** sizeof(struct pm_scan_arg) */
export const PM_SCAN_ARG_BYTES = 96

/** Members of struct pm_scan_arg, in 64-bit words. source: include/uapi/linux/fs.h */
export const PM_SCAN_ARG = {
  size: 0,
  flags: 1,
  start: 2,
  end: 3,
  walkEnd: 4,
  vec: 5,
  vecLen: 6,
  inverted: 8,
  mask: 9,
  anyOf: 10,
  returned: 11,
} as const

/** Categories of a page. source: include/uapi/linux/fs.h PAGE_IS_* */
export const PAGE_IS = {
  WPALLOWED: 1,
  WRITTEN: 2,
  FILE: 4,
  PRESENT: 8,
  SWAPPED: 16,
  PFNZERO: 32,
  HUGE: 64,
  SOFT_DIRTY: 128,
  GUARD: 256,
} as const

/** Bits of a pagemap entry's upper 32-bit word, and the mask of the frame number's part in it. source: pagemap.rst */
export const PAGEMAP_HIGH = {
  softDirty: 1 << 23,
  guard: 1 << 26,
  file: 1 << 29,
  swapped: 1 << 30,
  present: 1 << 31,
  pfn: (1 << 23) - 1,
} as const

/** Bytes of a pagemap entry. */
export const ENTRY_BYTES = 8

/** Requests. source: include/uapi/linux/ptrace.h */
export const PTRACE = {
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
} as const

/** Options of PTRACE_SETOPTIONS. source: the same */
export const PTRACE_O = {
  TRACESYSGOOD: 1,
  TRACECLONE: 8,
  EXITKILL: 0x100000,
  SUSPEND_SECCOMP: 0x200000,
} as const

/** Sets of registers for PTRACE_GETREGSET. source: include/uapi/linux/elf.h */
export const NT = { PRSTATUS: 1, X86_XSTATE: 0x202 } as const

/** What a stop was for, in the third byte of its status. source: include/uapi/linux/ptrace.h */
export const PTRACE_EVENT_STOP = 128

/** Options of wait. source: include/uapi/linux/wait.h */
export const WAIT = {
  NOHANG: 1,
  STOPPED: 2,
  EXITED: 4,
  NOWAIT: 0x01000000,
  ALL: 0x40000000,
} as const

/** waitid's first argument for one process or thread. source: include/uapi/linux/wait.h */
export const P_PID = 1

/** sizeof(siginfo_t), and where its members for SIGCHLD stand. source: include/uapi/asm-generic/siginfo.h */
export const SIGINFO = { byteLength: 128, pid: 16, status: 24 } as const

/** PROT_READ | PROT_WRITE. source: include/uapi/asm-generic/mman-common.h */
export const PROT_READ_WRITE = 3

/** MAP_PRIVATE | MAP_ANONYMOUS. source: the same, and include/uapi/linux/mman.h */
export const MAP_PRIVATE_ANONYMOUS = 0x22

/** No swap is set aside for the mapping. source: the same */
export const MAP_NORESERVE = 0x4000

/** Bytes of a transparent huge page. source: arch/x86/include/asm/pgtable_64_types.h PMD_SIZE */
export const HUGE_PAGE_BYTES = 2 ** 21

/** Advice for madvise. source: include/uapi/asm-generic/mman-common.h */
export const MADV = { HUGEPAGE: 14, DONTDUMP: 16, POPULATE_WRITE: 23 } as const

/** System call numbers. source: arch/x86/entry/syscalls/syscall_64.tbl */
export const SYS_KCMP = 312

/** More of them, those that are run inside a target among them. source: the same */
export const SYS = {
  close: 3,
  rtSigreturn: 15,
  clone: 56,
  wait4: 61,
  fcntl: 72,
  restartSyscall: 219,
  exitGroup: 231,
  userfaultfd: 323,
  pidfdOpen: 434,
  closeRange: 436,
  pidfdGetfd: 438,
} as const

/** Flags of clone. Without a signal in the lowest byte the parent gets none when the child ends. source: include/uapi/linux/sched.h */
export const CLONE = { VM: 0x100, FILES: 0x400 } as const

/** close_range: in a table of descriptors of its own, into which those of the range are not even copied. source: include/uapi/linux/close_range.h */
export const CLOSE_RANGE_UNSHARE = 2

/** fcntl's command for a duplicate at or above a number. source: include/uapi/linux/fcntl.h */
export const F_DUPFD_CLOEXEC = 1030

/** O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY. source: asm-generic/fcntl.h, linux/userfaultfd.h */
export const UFFD_FLAGS = 0o2000000 + 0o4000 + 1

/** pidfd_open's flag for one thread: a process whose main thread has ended shows no descriptors (Linux 6.9). source: linux/pidfd.h */
export const PIDFD_THREAD = 0o200

/** kcmp's type for "same address space". source: include/uapi/linux/kcmp.h */
export const KCMP_VM = 1

/** Flag of a kernel thread in /proc/PID/stat. source: include/linux/sched.h */
export const PF_KTHREAD = 0x00200000

/** flock's operations. source: include/uapi/asm-generic/fcntl.h */
export const LOCK_EXCLUSIVE_NOW = 2 | 4

/** Flags of PAGEMAP_SCAN: protect what matches; fail where a VMA cannot be. source: include/uapi/linux/fs.h */
export const PM_SCAN = { WP_MATCHING: 1, CHECK_WPASYNC: 2 } as const

/** Requests: _IOWR(0xaa, 0x3f, 24), _IOWR(0xaa, 0, 32), _IOR(0xaa, 1, 16). source: include/uapi/linux/userfaultfd.h */
export const UFFDIO = { API: 0xc018aa3f, REGISTER: 0xc020aa00, UNREGISTER: 0x8010aa01 } as const

/** Constants of the interface. source: the same */
export const UFFD = {
  API: 0xaan,
  FEATURE_PAGEFAULT_FLAG_WP: 1n,
  FEATURE_EVENT_FORK: 1n << 1n,
  /** What WP_ASYNC brings along, and what the kernel itself notes. */
  FEATURE_WP_UNPOPULATED: 1n << 13n,
  FEATURE_WP_ASYNC: 1n << 15n,
  INITIALIZED: 1n << 31n,
  REGISTER_MODE_WP: 2n,
} as const
