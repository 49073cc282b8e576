/*
 * Victim: a program that uses of the kernel what a dirty tracker has to heed. Talks as test/victims/session.ts does.
 *
 *   kernel-user [leaderless|led]  another thread talks than the main one, which has ended, or waits
 *
 * Memory: 256 filled pages. Commands:
 *   ping, write N                 the first N pages are written
 *   own async|sync|missing|forks  64 more pages, watched by a userfaultfd of its own; all protected with "async"; with
 *                                 "forks" a fork would wait until somebody reads of it, and nobody does
 *   unwatched                     a userfaultfd that watches nothing
 *   touch N, written              writes N of those pages; how many were written since they were protected
 *   ring, read, unregister        a ring with 64 registered pages; a read into 10 of them, past the page tables
 *   close, unmap                  the ring's descriptor is closed; it is unmapped too, and ends
 *                                 (SIGUSR1 makes the ring too, SIGUSR2 does "own async")
 *   fork                          a child that pauses, and ends with its parent
 *   leave                         the main thread that waits ends
 *   open N, limit N               N descriptors more; no number from N on is given out any more
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 256, OWN_PAGES = 64, READ_PAGES = 10 };
enum { WP_ASYNC = 1 << 15, USER_MODE_ONLY = 1 };

/* linux/fs.h may be older than the kernel */
struct scan {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any, returned;
};
struct region {
  uint64_t start, end, categories;
};
#define SCAN _IOWR('f', 16, struct scan)
enum { IS_WRITTEN = 2 };

static char *memory, *own, *buffer, *queue;
static struct io_uring_sqe *entries;
static struct io_uring_params ring_layout;
static int ring = -1, file = -1;
static size_t queue_bytes, entries_bytes;
static volatile int is_left;
static pthread_t leader, speaker;

static char *map(int pages, int byte) {
  char *at = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  madvise(at, pages * PAGE, MADV_NOHUGEPAGE);
  memset(at, byte, pages * PAGE);
  return at;
}

static void check(int failed, const char *what) {
  if (!failed) return;
  printf("{\"error\":\"%s: %m\"}\n", what);
  fflush(stdout);
  exit(1);
}

static int watch_own(const char *mode) {
  int is_async = !strcmp(mode, "async"), is_missing = !strcmp(mode, "missing"), is_told = !strcmp(mode, "forks");
  own = map(OWN_PAGES, 5);
  int fd = syscall(SYS_userfaultfd, O_CLOEXEC | USER_MODE_ONLY);
  check(fd < 0, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
  if (is_async) api.features |= WP_ASYNC;
  if (is_told) api.features |= UFFD_FEATURE_EVENT_FORK;
  check(ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
  struct uffdio_register watch = {
      .range = {(uintptr_t)own, OWN_PAGES * PAGE},
      .mode = is_missing ? UFFDIO_REGISTER_MODE_MISSING : UFFDIO_REGISTER_MODE_WP};
  check(ioctl(fd, UFFDIO_REGISTER, &watch), "UFFDIO_REGISTER");
  struct uffdio_writeprotect protect = {.range = watch.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  check(is_async && ioctl(fd, UFFDIO_WRITEPROTECT, &protect), "UFFDIO_WRITEPROTECT");
  return fd;
}

static int written(void) {
  struct region regions[OWN_PAGES];
  struct scan scan = {sizeof scan, 0, (uintptr_t)own, (uintptr_t)own + OWN_PAGES * PAGE, 0, (uintptr_t)regions,
                      OWN_PAGES, 0, 0, IS_WRITTEN, 0, IS_WRITTEN};
  int fd = open("/proc/self/pagemap", O_RDONLY);
  int count = ioctl(fd, SCAN, &scan), pages = 0;
  for (int i = 0; i < count; i++) pages += (regions[i].end - regions[i].start) / PAGE;
  close(fd);
  return pages;
}

static void make_ring(void) {
  ring = syscall(SYS_io_uring_setup, 8, &ring_layout);
  check(ring < 0, "io_uring_setup");
  int flags = MAP_SHARED | MAP_POPULATE, protection = PROT_READ | PROT_WRITE;
  queue_bytes = ring_layout.sq_off.array + ring_layout.sq_entries * 4;
  entries_bytes = ring_layout.sq_entries * sizeof *entries;
  queue = mmap(0, queue_bytes, protection, flags, ring, IORING_OFF_SQ_RING);
  entries = mmap(0, entries_bytes, protection, flags, ring, IORING_OFF_SQES);
  buffer = map(OWN_PAGES, 9);
  struct iovec range = {buffer, OWN_PAGES * PAGE};
  check(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &range, 1), "io_uring_register");
  file = fileno(tmpfile());
  char page[PAGE];
  for (int i = 0; i < READ_PAGES; i++) check(pwrite(file, memset(page, 100 + i, PAGE), PAGE, i * PAGE) < 0, "pwrite");
}

static void on_signal(int signal) {
  if (signal == SIGUSR1) make_ring();
  else watch_own("async");
}

static unsigned *queue_word(unsigned offset) { return (unsigned *)(queue + offset); }

static void read_fixed(void) {
  unsigned tail = *queue_word(ring_layout.sq_off.tail), slot = tail & *queue_word(ring_layout.sq_off.ring_mask);
  entries[slot] = (struct io_uring_sqe){.opcode = IORING_OP_READ_FIXED, .fd = file, .addr = (uintptr_t)buffer,
                                        .len = READ_PAGES * PAGE};
  queue_word(ring_layout.sq_off.array)[slot] = slot;
  __sync_synchronize();
  *queue_word(ring_layout.sq_off.tail) = tail + 1;
  check(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) != 1, "io_uring_enter");
}

static void obey(const char *name, const char *word) {
  int number = atoi(word);
  if (!strcmp(name, "ping")) printf("{\"pong\":true}\n");
  else if (!strcmp(name, "own")) printf("{\"fd\":%d}\n", watch_own(word));
  else if (!strcmp(name, "written")) printf("{\"pages\":%d}\n", written());
  else if (!strcmp(name, "unwatched"))
    printf("{\"fd\":%ld}\n", syscall(SYS_userfaultfd, number ? number : O_CLOEXEC | USER_MODE_ONLY));
  else if (!strcmp(name, "fork")) {
    int child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) pause();
    }
    printf("{\"child\":%d}\n", child);
  } else {
    if (!strcmp(name, "write")) for (int i = 0; i < number; i++) memory[i * PAGE]++;
    else if (!strcmp(name, "touch")) for (int i = 0; i < number; i++) own[i * PAGE]++;
    else if (!strcmp(name, "ring")) make_ring();
    else if (!strcmp(name, "read")) read_fixed();
    else if (!strcmp(name, "unregister"))
      check(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, 0, 0), "io_uring_register");
    else if (!strcmp(name, "close")) close(ring);
    else if (!strcmp(name, "unmap")) {
      munmap(queue, queue_bytes);
      munmap(entries, entries_bytes);
    }
    else if (!strcmp(name, "leave")) {
      is_left = 1;
      pthread_join(leader, 0);
    } else if (!strcmp(name, "open")) for (int i = 0; i < number; i++) dup(0);
    else if (!strcmp(name, "limit")) check(setrlimit(RLIMIT_NOFILE, &(struct rlimit){number, number}), "setrlimit");
    printf("{}\n");
  }
  fflush(stdout);
}

static void *serve(void *is_leaderless) {
  if (is_leaderless) pthread_join(leader, 0);
  memory = map(PAGES, 7);
  printf("{\"pid\":%d,\"address\":%lu}\n", getpid(), (unsigned long)memory);
  fflush(stdout);
  char line[100], name[20], word[40];
  while (fgets(line, sizeof line, stdin)) {
    *word = 0;
    if (sscanf(line, "%19s %39s", name, word) < 1 || !strcmp(name, "exit")) break;
    obey(name, word);
  }
  exit(0);
}

int main(int count, char **words) {
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  signal(SIGUSR1, on_signal);
  signal(SIGUSR2, on_signal);
  if (count < 2) serve(0);
  leader = pthread_self();
  int is_led = !strcmp(words[1], "led");
  pthread_create(&speaker, 0, serve, is_led ? 0 : &leader);
  while (is_led && !is_left) usleep(1000);
  pthread_exit(0);
}
