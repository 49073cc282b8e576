/*
 * A process that checks all the time whether its threads are what they should be.
 *
 *   self-checking FILE [errno|kill|no-vdso|rseq|one]
 *
 * FILE gets one page, shared: `rounds` of each thread, `errors`, `signals`, and what was wrong first. When all
 * threads have begun it prints its pid and the ids of its threads.
 *
 * Modes: a seccomp filter that answers userfaultfd by EPERM, or by the end of the process; no vdso; a thread that
 * is always in a restartable sequence; one thread only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { COMPUTE, CALLS, SLEEP, POLL, READ, WRITE, FUTEX, SIGNALS, THREADS };

struct page {
  volatile uint64_t rounds[THREADS];
  volatile uint64_t errors;
  volatile uint64_t signals;
  char first[256];
};

static struct page *page;
static int pipe_ends[2];
static volatile int tids[THREADS];
static int has_avx;

static void wrong(const char *what, long a, long b) {
  if (__sync_fetch_and_add(&page->errors, 1) == 0)
    snprintf(page->first, sizeof page->first, "%s: %ld %ld errno %d", what, a, b, errno);
}

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

/* Registers that keep a value for a while, with or without system calls meanwhile. */
static void check_registers(long loops, int calls) {
  static const double halves[4] = {0.5, 1.5, 2.5, 3.5};
  uint64_t vectors[8], sum = 0;
  double x = 1.0;
  if (has_avx) {
    __asm__ volatile("vmovupd (%[in]), %%ymm3\n vaddpd %%ymm3, %%ymm3, %%ymm11\n"
                     "mov $0x1122334455667788, %%r12\n mov $0x99aabbccddeeff01, %%r13\n mov $0x5a5a, %%r14\n"
                     "mov %[loops], %%r15\n"
                     "1: test %[calls], %[calls]\n jz 2f\n mov $39, %%eax\n syscall\n"
                     "2: add $3, %%r14\n dec %%r15\n jnz 1b\n"
                     "vmovupd %%ymm3, (%[out])\n vmovupd %%ymm11, 32(%[out])\n"
                     "mov $0x1122334455667788, %%rax\n sub %%rax, %%r12\n mov %%r12, %[sum]\n"
                     "mov $0x99aabbccddeeff01, %%rax\n sub %%rax, %%r13\n add %%r13, %[sum]\n"
                     "lea (%[loops],%[loops],2), %%rax\n sub %%rax, %%r14\n sub $0x5a5a, %%r14\n add %%r14, %[sum]\n"
                     : [sum] "=&b"(sum)
                     : [in] "r"(halves), [out] "r"(vectors), [loops] "r"(loops), [calls] "r"((long)calls)
                     : "rax", "rcx", "r11", "r12", "r13", "r14", "r15", "xmm3", "xmm11", "memory", "cc");
    double *seen = (double *)vectors;
    for (int i = 0; i < 4; i++)
      if (seen[i] != halves[i] || seen[i + 4] != 2 * halves[i]) wrong("vector", i, (long)seen[i]);
    if (sum != 0) wrong("register", sum, calls);
  }
  for (int i = 0; i < 1000; i++) x = x * 1.0000001 + 0.5;
  static double known;
  if (known == 0) known = x;
  if (known != x) wrong("double", 0, 0);
}

static void check_mask(int me) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  for (int s = 1; s < 65; s++) {
    int want = s == SIGRTMIN + 1 + me || (s == SIGUSR2 && me != SIGNALS);
    if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33 && sigismember(&mask, s) != want)
      wrong("mask", me, s);
  }
}

static void begin(int me) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGRTMIN + 1 + me);
  if (me != SIGNALS) sigaddset(&mask, SIGUSR2);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  tids[me] = syscall(SYS_gettid);
}

static void done(int me) {
  check_mask(me);
  page->rounds[me]++;
}

static void *compute(void *unused) {
  begin(COMPUTE);
  for (;;) check_registers(100000, 0), usleep(300), done(COMPUTE);
}
static void *calls(void *unused) {
  begin(CALLS);
  for (;;) check_registers(500, 1), usleep(300), done(CALLS);
}
static void *sleeper(void *unused) {
  begin(SLEEP);
  for (;;) {
    struct timespec t = {0, 3000000};
    uint64_t from = now_us();
    int r = nanosleep(&t, NULL);
    if (r != 0 || now_us() - from < 3000) wrong("nanosleep", r, now_us() - from);
    done(SLEEP);
  }
}
static void *poller(void *unused) {
  int ends[2];
  if (pipe(ends)) abort();
  begin(POLL);
  for (;;) {
    struct pollfd p = {ends[0], POLLIN, 0};
    uint64_t from = now_us();
    int r = poll(&p, 1, 4);
    if (r != 0 || now_us() - from < 3900) wrong("poll", r, now_us() - from);
    done(POLL);
  }
}
static void *reader(void *unused) {
  begin(READ);
  for (uint64_t want = 0;; want++) {
    uint64_t got = -1;
    long r = read(pipe_ends[0], &got, 8);
    if (r != 8 || got != want) wrong("read", r, got - want);
    done(READ);
  }
}
static void *writer(void *unused) {
  begin(WRITE);
  for (uint64_t next = 0;; next++) {
    usleep(2000);
    if (write(pipe_ends[1], &next, 8) != 8) wrong("write", next, 0);
    done(WRITE);
  }
}
static void *futexes(void *unused) {
  uint32_t word = 7;
  begin(FUTEX);
  for (;;) {
    struct timespec t = {0, 2000000};
    long r = syscall(SYS_futex, &word, FUTEX_WAIT, 7, &t, NULL, 0);
    if (r != -1 || errno != ETIMEDOUT) wrong("futex", r, 0);
    done(FUTEX);
  }
}

static char alternate[65536];
static volatile uint64_t handled;
static void on_usr1(int s) {
  char here;
  if (&here < alternate || &here >= alternate + sizeof alternate) wrong("alternate stack", 0, 0);
  handled++;
}
static void on_usr2(int s) { page->signals++; }

static void signals(int alone) {
  stack_t stack = {alternate, 0, sizeof alternate}, seen;
  struct sigaction on1 = {.sa_handler = on_usr1, .sa_flags = SA_ONSTACK};
  struct sigaction on2 = {.sa_handler = on_usr2, .sa_flags = SA_RESTART};
  sigaltstack(&stack, NULL);
  sigaction(SIGUSR1, &on1, NULL);
  sigaction(SIGUSR2, &on2, NULL);
  begin(SIGNALS);
  for (;;) {
    uint64_t before = handled;
    raise(SIGUSR1);
    if (handled != before + 1) wrong("handler", handled, before);
    sigaltstack(NULL, &seen);
    if (seen.ss_sp != alternate || seen.ss_flags != 0 || seen.ss_size != sizeof alternate)
      wrong("sigaltstack", seen.ss_flags, seen.ss_size);
    check_registers(alone ? 10000 : 1000, 1);
    if (!alone) usleep(500);
    done(SIGNALS);
    if (alone) for (int i = 0; i < THREADS; i++) page->rounds[i]++;
  }
}

static void filter(int action) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 323, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, rules};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) abort();
}

static void say(int only) {
  printf("{\"pid\":%d,\"tids\":[", getpid());
  for (int i = 0; i < THREADS; i++)
    if (!only || i == SIGNALS) printf("%s%d", i && !only ? "," : "", tids[i]);
  printf("]}\n");
  fflush(stdout);
}

/* A loop that is one restartable sequence: whoever interrupts it finds it there. */
static void stay_in_sequence(void) {
#if defined __GLIBC__ && defined RSEQ_SIG
  struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
  static struct rseq_cs section;
  __asm__ volatile("lea 1f(%%rip), %%rax\n mov %%rax, 8(%[cs])\n"
                   "lea 2f(%%rip), %%rcx\n sub %%rax, %%rcx\n mov %%rcx, 16(%[cs])\n"
                   "lea 3f(%%rip), %%rax\n mov %%rax, 24(%[cs])\n"
                   "4: mov %[cs], 8(%[area])\n"
                   "1: incq (%[count])\n jmp 1b\n"
                   "2: ud2\n .long 0x53053053\n"
                   "3: jmp 4b\n"
                   :
                   : [cs] "r"(&section), [area] "r"(area), [count] "r"(&page->rounds[0])
                   : "rax", "rcx", "memory");
#endif
}

int main(int argc, char **argv) {
  const char *mode = argc > 2 ? argv[2] : "";
  int file = open(argv[1], O_RDWR);
  page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (page == MAP_FAILED || pipe(pipe_ends)) return 1;
  alarm(600); /* Nobody is left to end it if the test was killed. */
  has_avx = __builtin_cpu_supports("avx2");
  if (!strcmp(mode, "errno")) filter(SECCOMP_RET_ERRNO | EPERM);
  if (!strcmp(mode, "kill")) filter(SECCOMP_RET_KILL_PROCESS);
  if (!strcmp(mode, "no-vdso") || !strcmp(mode, "rseq")) {
    tids[SIGNALS] = getpid();
    say(1);
    if (!strcmp(mode, "rseq")) stay_in_sequence();
    munmap((void *)getauxval(AT_SYSINFO_EHDR), 8192);
    for (;;) syscall(SYS_getppid), page->rounds[0]++;
  }
  if (!strcmp(mode, "one")) {
    tids[SIGNALS] = getpid();
    say(1);
    signals(1);
  }
  void *(*bodies[])(void *) = {compute, calls, sleeper, poller, reader, writer, futexes};
  tids[SIGNALS] = getpid();
  for (int i = 0; i < SIGNALS; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, bodies[i], NULL)) return 1;
    while (tids[i] == 0) usleep(100);
  }
  say(0);
  signals(0);
}
