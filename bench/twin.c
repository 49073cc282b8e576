/*
 * The C twin: what Tidemark's workers do while the target stands, in C with the same system calls and as many threads.
 *
 *   gcc -O2 -pthread -o twin bench/twin.c
 *
 * On stdin first the work, as numbers (see bench/twin-work.ts):
 *
 *   PID THREADS PAGE_BYTES RETURNED_CATEGORIES
 *   count, chunk numbers          which parts of the address space have slots, as core/chunks
 *   count, first page, end, class of each segment
 *   count, first slot, end        of each shard
 *
 * It scans the running target for practice, maps staging memory and faults it in, says "ready", waits for a line (the
 * target is stopped by then), scans, plans and copies, and prints its times in microseconds as one line of JSON.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* source: include/uapi/linux/fs.h; headers of before Linux 6.7 lack it */
struct scan_region { uint64_t start, end, categories; };
struct scan_arg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any_of, returned;
};
#define SCAN_REQUEST _IOWR('f', 16, struct scan_arg)
enum { IS_FILE = 4, IS_PRESENT = 8, IS_SWAPPED = 16, IS_PFNZERO = 32, IS_GUARD = 256 };
enum { ANONYMOUS = 0, FILE_PRIVATE = 1, WHOLE = 2 };

#define CHUNK_PAGES 4096
#define WORD_SLOTS 32
#define CHUNK_WORDS (CHUNK_PAGES / WORD_SLOTS)
#define REGIONS 16384
#define IOVECS 1024
#define BATCH_PAGES 256
#define REHEARSED_BATCHES 4
#define POPULATE_BYTES (1UL << 25)
#define HUGE_PAGE_BYTES (1UL << 21)

enum phase { POPULATE, SCAN, COPY };

static pid_t pid;
static int threads;
static uint64_t page_bytes, returned;
static size_t chunk_count, segment_count, shard_count;
static uint64_t *chunks, *segment_start, *segment_end, *segment_class, *shard_start, *shard_end;

static uint32_t *present, *dirty;
static size_t run_count, run_room;
static uint64_t *run_page, *run_offset;
static char *staging;
static size_t staging_bytes, copied_end;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum phase phase;
static int phase_number, done;
/* Whether the target has been stopped. */
static int standing;
static atomic_size_t next_piece, slotless, forced;

static void die(const char *what) {
  fprintf(stderr, "twin: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static uint64_t read_number(void) {
  uint64_t number;
  if (scanf("%lu", &number) != 1) die("the work is not whole");
  return number;
}

static int open_proc(const char *file) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die(path);
  return fd;
}

/* Scanning: the twin of src/tasks/scan-shard.ts and src/kernel/pagemap-scan.ts. */

static void set_bits(uint32_t *bitmap, uint64_t start, uint64_t end) {
  uint64_t first = start / WORD_SLOTS, last = (end - 1) / WORD_SLOTS;
  uint32_t head = ~0u << (start % WORD_SLOTS), tail = ~0u >> (WORD_SLOTS - 1 - (end - 1) % WORD_SLOTS);
  if (first == last) {
    bitmap[first] |= head & tail;
    return;
  }
  bitmap[first] |= head;
  memset(bitmap + first + 1, 0xff, 4 * (last - first - 1));
  bitmap[last] |= tail;
}

static size_t lower_chunk(uint64_t chunk) {
  size_t low = 0, high = chunk_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (chunks[middle] < chunk) low = middle + 1;
    else high = middle;
  }
  return low;
}

static uint64_t page_of_slot(uint64_t slot) {
  return chunks[slot / CHUNK_PAGES] * CHUNK_PAGES + slot % CHUNK_PAGES;
}

static void mark(size_t *at_chunk, uint64_t start, uint64_t end) {
  for (uint64_t page = start; page < end;) {
    uint64_t chunk = page / CHUNK_PAGES, stop = (chunk + 1) * CHUNK_PAGES;
    if (stop > end) stop = end;
    if (*at_chunk >= chunk_count || chunks[*at_chunk] != chunk) *at_chunk = lower_chunk(chunk);
    if (*at_chunk < chunk_count && chunks[*at_chunk] == chunk) {
      uint64_t slot = *at_chunk * CHUNK_PAGES + page % CHUNK_PAGES;
      set_bits(present, slot, slot + stop - page);
      set_bits(dirty, slot, slot + stop - page);
    } else {
      slotless++;
    }
    page = stop;
  }
}

static void scan_range(int fd, struct scan_region *regions, size_t *at_chunk, uint64_t from, uint64_t to, int class) {
  uint64_t unwanted = class == FILE_PRIVATE ? IS_FILE : IS_PFNZERO;
  while (from < to) {
    struct scan_arg arg = {.size = sizeof arg, .start = from * page_bytes, .end = to * page_bytes,
                           .vec = (uintptr_t)regions, .vec_len = REGIONS, .inverted = unwanted, .mask = unwanted,
                           .any_of = IS_PRESENT | IS_SWAPPED, .returned = returned};
    long found = ioctl(fd, SCAN_REQUEST, &arg);
    if (found < 0) die("PAGEMAP_SCAN");
    for (long i = 0; i < found; i++)
      if (!(regions[i].categories & IS_GUARD))
        mark(at_chunk, regions[i].start / page_bytes, regions[i].end / page_bytes);
    if (found < REGIONS) return;
    from = arg.walk_end > regions[found - 1].end ? arg.walk_end / page_bytes : regions[found - 1].end / page_bytes;
  }
}

static size_t first_segment_after(uint64_t page) {
  size_t low = 0, high = segment_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (segment_end[middle] <= page) low = middle + 1;
    else high = middle;
  }
  return low;
}

static void scan_shards(struct scan_region *regions) {
  int pagemap = open_proc("pagemap"), mem = open_proc("mem");
  size_t chunk = 0;
  for (size_t shard = next_piece++; shard < shard_count; shard = next_piece++) {
    uint64_t from = shard == 0 ? 0 : page_of_slot(shard_start[shard]);
    uint64_t to = shard == shard_count - 1 ? UINT64_MAX : page_of_slot(shard_start[shard + 1]);
    for (size_t s = first_segment_after(from); s < segment_count && segment_start[s] < to; s++) {
      uint64_t start = segment_start[s] > from ? segment_start[s] : from;
      uint64_t end = segment_end[s] < to ? segment_end[s] : to;
      if (segment_class[s] == WHOLE) mark(&chunk, start, end);
      else scan_range(pagemap, regions, &chunk, start, end, segment_class[s]);
    }
  }
  close(mem);
  close(pagemap);
}

/* Planning: the twin of src/core/plan.ts. */

static void add_run(uint64_t page, uint64_t pages) {
  if (run_count > 0) {
    uint64_t length = run_offset[run_count] - run_offset[run_count - 1];
    if (run_page[run_count - 1] + length == page) {
      run_offset[run_count] += pages;
      return;
    }
  }
  if (run_count + 2 > run_room) {
    run_room = run_room ? 2 * run_room : 1024;
    run_page = realloc(run_page, 8 * run_room);
    run_offset = realloc(run_offset, 8 * run_room);
    if (!run_page || !run_offset) die("realloc");
  }
  if (run_count == 0) run_offset[0] = 0;
  run_page[run_count] = page;
  run_offset[run_count + 1] = run_offset[run_count] + pages;
  run_count++;
}

static void plan(void) {
  run_count = 0;
  for (size_t word = 0; word < chunk_count * CHUNK_WORDS; word++) {
    uint64_t page = chunks[word / CHUNK_WORDS] * CHUNK_PAGES + word % CHUNK_WORDS * WORD_SLOTS;
    uint32_t bits = present[word];
    if (bits == ~0u) add_run(page, WORD_SLOTS);
    else
      for (int bit = 0; bits >> bit != 0;) {
        bit += __builtin_ctz(bits >> bit);
        int length = __builtin_ctz(~(bits >> bit));
        add_run(page + bit, length);
        bit += length;
        if (bit >= WORD_SLOTS) break;
      }
  }
}

/* Copying: the twin of src/tasks/copy-pages.ts, src/kernel/target-memory.ts and src/core/iovec.ts. */

static size_t run_at_offset(uint64_t offset) {
  size_t low = 0, high = run_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (run_offset[middle + 1] <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

static uint64_t force_run(int mem, uint64_t at, uint64_t end) {
  size_t run = run_at_offset(at);
  uint64_t stop = run_offset[run + 1] < end ? run_offset[run + 1] : end;
  uint64_t address = (run_page[run] + at - run_offset[run]) * page_bytes;
  ssize_t got = pread(mem, staging + at * page_bytes, (stop - at) * page_bytes, address);
  if (got < (ssize_t)page_bytes) {
    if (standing) die("a page cannot be read");
    /* In the rehearsal: it is gone since. */
    return at + 1;
  }
  forced += got / page_bytes;
  return at + got / page_bytes;
}

static void copy_batch(int mem, uint64_t at, uint64_t end) {
  struct iovec remote[IOVECS];
  while (at < end) {
    size_t count = 0;
    uint64_t fill = at;
    for (size_t run = run_at_offset(at); fill < end && count < IOVECS; run++) {
      uint64_t stop = run_offset[run + 1] < end ? run_offset[run + 1] : end;
      remote[count].iov_base = (void *)((run_page[run] + fill - run_offset[run]) * page_bytes);
      remote[count++].iov_len = (stop - fill) * page_bytes;
      fill = stop;
    }
    struct iovec local = {staging + at * page_bytes, (fill - at) * page_bytes};
    ssize_t got = process_vm_readv(pid, &local, 1, remote, count, 0);
    if (got < 0 && errno != EFAULT) die("process_vm_readv");
    at += got > 0 ? got / page_bytes : 0;
    if (at < fill) at = force_run(mem, at, fill);
  }
}

static void copy_batches(void) {
  int mem = open_proc("mem");
  size_t batches = (copied_end + BATCH_PAGES - 1) / BATCH_PAGES;
  for (size_t batch = next_piece++; batch < batches; batch = next_piece++) {
    uint64_t start = batch * BATCH_PAGES, end = start + BATCH_PAGES;
    copy_batch(mem, start, end < copied_end ? end : copied_end);
  }
  close(mem);
}

/* Threads: the twin of src/engine/crew.ts. */

static void populate(void) {
  size_t pieces = (staging_bytes + POPULATE_BYTES - 1) / POPULATE_BYTES;
  for (size_t piece = next_piece++; piece < pieces; piece = next_piece++) {
    size_t at = piece * POPULATE_BYTES;
    size_t length = staging_bytes - at < POPULATE_BYTES ? staging_bytes - at : POPULATE_BYTES;
    memset(staging + at, 0, length);
  }
}

static void *work(void *unused) {
  struct scan_region *regions = calloc(REGIONS, sizeof *regions);
  if (!regions) die("calloc");
  pthread_mutex_lock(&lock);
  for (int seen = 0;;) {
    while (phase_number == seen) pthread_cond_wait(&changed, &lock);
    seen = phase_number;
    pthread_mutex_unlock(&lock);
    if (phase == POPULATE) populate();
    else if (phase == SCAN) scan_shards(regions);
    else copy_batches();
    pthread_mutex_lock(&lock);
    done++;
    pthread_cond_broadcast(&changed);
  }
  return unused;
}

static void run_phase(enum phase wanted) {
  pthread_mutex_lock(&lock);
  phase = wanted;
  next_piece = 0;
  done = 0;
  phase_number++;
  pthread_cond_broadcast(&changed);
  while (done < threads) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

static void scan(void) {
  free(present);
  free(dirty);
  present = calloc(chunk_count * CHUNK_WORDS, 4);
  dirty = calloc(chunk_count * CHUNK_WORDS, 4);
  if (!present || !dirty) die("calloc");
  run_phase(SCAN);
}

static void read_columns(size_t *count, uint64_t **columns[], int width) {
  *count = read_number();
  for (int column = 0; column < width; column++)
    if (!(*columns[column] = calloc(*count + 1, 8))) die("calloc");
  for (size_t row = 0; row < *count; row++)
    for (int column = 0; column < width; column++) (*columns[column])[row] = read_number();
}

static void read_work(void) {
  pid = read_number();
  threads = read_number();
  page_bytes = read_number();
  returned = read_number();
  read_columns(&chunk_count, (uint64_t **[]){&chunks}, 1);
  read_columns(&segment_count, (uint64_t **[]){&segment_start, &segment_end, &segment_class}, 3);
  read_columns(&shard_count, (uint64_t **[]){&shard_start, &shard_end}, 2);
}

static void map_staging(void) {
  /* Room to grow, as engine/prepare.ts gives it. */
  staging_bytes = run_offset[run_count] * page_bytes / 20 * 21 + (1UL << 23);
  size_t mapped = staging_bytes + HUGE_PAGE_BYTES;
  char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) die("mmap");
  staging = (char *)(((uintptr_t)base + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1));
  madvise(staging, staging_bytes, MADV_HUGEPAGE);
  run_phase(POPULATE);
}

int main(void) {
  read_work();
  for (int thread = 0; thread < threads; thread++) {
    pthread_t id;
    if (pthread_create(&id, NULL, work, NULL) != 0) die("pthread_create");
  }
  for (int round = 0; round < 4; round++) {
    scan();
    plan();
  }
  map_staging();
  uint64_t rehearsed = (uint64_t)REHEARSED_BATCHES * threads * BATCH_PAGES;
  copied_end = rehearsed < run_offset[run_count] ? rehearsed : run_offset[run_count];
  run_phase(COPY);
  slotless = 0;
  forced = 0;
  puts("ready");
  fflush(stdout);
  char line[8];
  scanf(" ");
  if (!fgets(line, sizeof line, stdin)) return 1;

  standing = 1;
  double begun = now_us();
  scan();
  double scanned = now_us();
  plan();
  double planned = now_us();
  copied_end = run_offset[run_count];
  if (copied_end * page_bytes > staging_bytes) die("the target has grown");
  run_phase(COPY);
  double copied = now_us();
  printf("{\"scanUs\":%.1f,\"planUs\":%.1f,\"captureUs\":%.1f,", scanned - begun, planned - scanned, copied - planned);
  printf("\"pages\":%zu,\"runs\":%zu,\"forcedPages\":%zu,\"slotless\":%zu}\n", copied_end, run_count, (size_t)forced,
         (size_t)slotless);
  return 0;
}
