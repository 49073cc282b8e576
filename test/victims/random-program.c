/*
 * random-program [--thp on|off]: does to its own memory, in random order, what programs do to theirs.
 *
 *   step N SEED    performs N steps, which follow from SEED and from what was mapped before
 *   history ADDR   the latest steps that may have changed the page at ADDR, latest first
 *   ping, exit     as the other victims
 *
 * The answers are lines of JSON. It is C because a runtime's own heap never stands still, and forks badly.
 *
 * All that a step may change is in a table of regions, each uniform in kind and protection; the kernel may
 * merge neighbours. Where a call fails half done, the range is unmapped: the table never claims too much.
 *
 *   table    |  A rw anon  |B r|  C rw file  |g|   hole   |  D ...      g: guard pages, a region of their own
 *
 * A second thread writes into an arena of its own as long as a `step` is at work, and sleeps between them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Values of Linux, for C libraries older than the kernel. source: include/uapi/asm-generic/mman-common.h */
enum {
  ADVISE_DONTNEED = 4,
  ADVISE_FREE = 8,
  ADVISE_DONTFORK = 10,
  ADVISE_DOFORK = 11,
  ADVISE_MERGEABLE = 12,
  ADVISE_UNMERGEABLE = 13,
  ADVISE_HUGEPAGE = 14,
  ADVISE_NOHUGEPAGE = 15,
  ADVISE_WIPEONFORK = 18,
  ADVISE_KEEPONFORK = 19,
  ADVISE_COLD = 20,
  ADVISE_PAGEOUT = 21,
  ADVISE_POPULATE_READ = 22,
  ADVISE_POPULATE_WRITE = 23,
  ADVISE_COLLAPSE = 25,
  ADVISE_GUARD_INSTALL = 102,
  ADVISE_GUARD_REMOVE = 103,
};
#define FIXED_NOREPLACE 0x100000
#define DROPPABLE 0x08
#define DONTUNMAP 4
#define SET_PTRACER 0x59616d61

enum { MAX_REGIONS = 400, MAX_PAGES = 8192, FILE_PAGES = 700, STORM_PAGES = 256, LOGGED = 8192 };
#define MAX_HEAP_PAGES 1024

typedef unsigned char byte;
typedef enum { ANON, FILE_COPY, MEMFD_COPY, SHARED, DROPS } Kind;

typedef struct {
  uintptr_t start;
  size_t pages;
  Kind kind;
  int prot;
  int guarded;
  int dontfork;
  size_t file_page; /* of the first page, for FILE_COPY and MEMFD_COPY */
} Region;

typedef struct {
  uint64_t number;
  const char *name;
  uintptr_t start, end;
} Logged;

static Region regions[MAX_REGIONS + 8];
static int region_count;
static Logged logged[LOGGED];
static uint64_t step_number, log_count;
static uint64_t random_state;
static size_t page_size;
static int file_fd, memfd, mem_fd, pipe_fds[2];
static byte scratch[64 * 4096];
static byte *heap_base;
static volatile byte sink;

/* ---- chance ---- */

/* splitmix64 */
static uint64_t draw(void) {
  uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* 0 .. bound - 1 */
static size_t below(size_t bound) { return bound == 0 ? 0 : draw() % bound; }
static int one_in(size_t n) { return below(n) == 0; }

/* Mostly small, sometimes up to 600, and now and then the size of a huge page. */
static size_t random_size(void) {
  switch (below(8)) {
    case 0: return 1 + below(600);
    case 1: return 512;
    case 2: return 1;
    default: return 1 + below(48);
  }
}

/* ---- the table ---- */

static uintptr_t end_of(const Region *r) { return r->start + r->pages * page_size; }

static size_t total_pages(void) {
  size_t total = 0;
  for (int i = 0; i < region_count; i++) total += regions[i].pages;
  return total;
}

static void note(const char *name, uintptr_t start, size_t pages) {
  logged[log_count++ % LOGGED] = (Logged){step_number, name, start, start + pages * page_size};
}

/* For what may concern any page. */
static void note_all(const char *name) { logged[log_count++ % LOGGED] = (Logged){step_number, name, 0, UINTPTR_MAX}; }

static void add_region(Region r) {
  if (region_count >= MAX_REGIONS + 8) abort();
  regions[region_count++] = r;
}

/* `r` without its first `pages` pages. */
static Region tail_of(Region r, size_t pages) {
  r.start += pages * page_size;
  r.pages -= pages;
  r.file_page += pages;
  return r;
}

static void split_at(uintptr_t address) {
  for (int i = 0; i < region_count; i++) {
    Region r = regions[i];
    if (address <= r.start || address >= end_of(&r)) continue;
    size_t head = (address - r.start) / page_size;
    regions[i].pages = head;
    add_region(tail_of(r, head));
    return;
  }
}

/* Takes the range out of the table. */
static void forget(uintptr_t start, size_t pages) {
  uintptr_t end = start + pages * page_size;
  split_at(start);
  split_at(end);
  for (int i = region_count - 1; i >= 0; i--)
    if (regions[i].start >= start && regions[i].start < end) regions[i] = regions[--region_count];
}

/* The region that is exactly this part of one region; the others keep the rest. */
static Region *isolate(uintptr_t start, size_t pages) {
  split_at(start);
  split_at(start + pages * page_size);
  for (int i = 0; i < region_count; i++)
    if (regions[i].start == start && regions[i].pages == pages) return &regions[i];
  abort();
}

/* How many pages of the range the table has. */
static size_t owned_pages(uintptr_t start, size_t pages) {
  uintptr_t end = start + pages * page_size;
  size_t owned = 0;
  for (int i = 0; i < region_count; i++) {
    uintptr_t from = regions[i].start > start ? regions[i].start : start;
    uintptr_t to = end_of(&regions[i]) < end ? end_of(&regions[i]) : end;
    if (from < to) owned += (to - from) / page_size;
  }
  return owned;
}

/* Unmaps what is ours of the range. */
static void drop(uintptr_t start, size_t pages) {
  uintptr_t end = start + pages * page_size;
  if (owned_pages(start, pages) == pages) munmap((void *)start, end - start);
  else
    for (int i = 0; i < region_count; i++) {
      uintptr_t from = regions[i].start > start ? regions[i].start : start;
      uintptr_t to = end_of(&regions[i]) < end ? end_of(&regions[i]) : end;
      if (from < to) munmap((void *)from, to - from);
    }
  forget(start, pages);
}

/* Joins neighbours in the table that are alike, so that one step can cross what was once a border. */
static void join_neighbours(void) {
  for (int i = 0; i < region_count; i++)
    for (int j = 0; j < region_count; j++) {
      Region *a = &regions[i], *b = &regions[j];
      if (i == j || end_of(a) != b->start || a->pages + b->pages > 2048) continue;
      if (a->kind != b->kind || a->prot != b->prot || a->guarded != b->guarded) continue;
      if (a->dontfork != b->dontfork) continue;
      if ((a->kind == FILE_COPY || a->kind == MEMFD_COPY) && a->file_page + a->pages != b->file_page) continue;
      a->pages += b->pages;
      *b = regions[--region_count];
      return;
    }
}

static Region *any_region(void) { return region_count == 0 ? NULL : &regions[below(region_count)]; }

/* A random region that the CPU may access with `prot`. */
static Region *usable_region(int prot) {
  for (int tries = 0; tries < 16 && region_count > 0; tries++) {
    Region *r = any_region();
    if ((r->prot & prot) == prot && !r->guarded) return r;
  }
  return NULL;
}

/* A random part of `r`: all of it, a half, the middle, a page, or any. */
static void part_of(const Region *r, uintptr_t *start, size_t *pages) {
  size_t first = 0, count = r->pages;
  switch (below(6)) {
    case 0: break;
    case 1: count = (count + 1) / 2; break;
    case 2: first = count / 2; count -= first; break;
    case 3: first = count / 3; count = (count + 2) / 3; break;
    case 4: first = below(count); count = 1; break;
    default: first = below(count); count = 1 + below(count - first); break;
  }
  *start = r->start + first * page_size;
  *pages = count;
}

/* ---- mapping ---- */

static int flags_of(Kind kind) {
  switch (kind) {
    case ANON: return MAP_PRIVATE | MAP_ANONYMOUS;
    case SHARED: return MAP_SHARED | MAP_ANONYMOUS;
    case DROPS: return DROPPABLE | MAP_ANONYMOUS;
    default: return MAP_PRIVATE;
  }
}

static int fd_of(Kind kind) { return kind == FILE_COPY ? file_fd : kind == MEMFD_COPY ? memfd : -1; }

static Kind random_kind(void) {
  switch (below(12)) {
    case 0: case 1: case 2: return FILE_COPY;
    case 3: return MEMFD_COPY;
    case 4: return one_in(2) ? SHARED : DROPS;
    default: return ANON;
  }
}

static void map_at(const char *name, uintptr_t address, size_t pages, Kind kind, int more) {
  size_t file_page = fd_of(kind) >= 0 ? below(FILE_PAGES - pages) : 0;
  int prot = one_in(8) ? PROT_READ : PROT_READ | PROT_WRITE;
  void *got = mmap((void *)address, pages * page_size, prot, flags_of(kind) | more, fd_of(kind),
                   (off_t)(file_page * page_size));
  if (got == MAP_FAILED) return;
  if (address != 0 && (uintptr_t)got != address) {
    munmap(got, pages * page_size);
    return;
  }
  add_region((Region){(uintptr_t)got, pages, kind, prot, 0, 0, file_page});
  note(name, (uintptr_t)got, pages);
}

static void map_anywhere(void) {
  map_at("mmap", 0, random_size(), random_kind(), one_in(8) ? MAP_POPULATE : 0);
}

/* At a multiple of 2 MiB, for huge pages. */
static void map_aligned(void) {
  size_t pages = 512, huge = 512 * page_size;
  byte *got = mmap(NULL, 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return;
  uintptr_t start = ((uintptr_t)got + huge - 1) / huge * huge;
  if (start > (uintptr_t)got) munmap(got, start - (uintptr_t)got);
  munmap((void *)(start + huge), (uintptr_t)got + huge - start);
  mprotect((void *)start, huge, PROT_READ | PROT_WRITE);
  madvise((void *)start, huge, ADVISE_HUGEPAGE);
  add_region((Region){start, pages, ANON, PROT_READ | PROT_WRITE, 0, 0, 0});
  note("mmap-aligned", start, pages);
  if (one_in(2)) memset((void *)start, (int)below(256), huge);
}

/* Over our own memory, or next to it. What a MAP_FIXED would hit that is not ours stays. */
static void map_fixed(void) {
  Region *r = any_region();
  if (r == NULL) return;
  size_t pages = random_size();
  uintptr_t address = r->start;
  switch (below(4)) {
    case 0: address = r->start + below(r->pages) * page_size; break;
    case 1: address = end_of(r); break;
    case 2: address = r->start - pages * page_size; break;
    default: pages = r->pages < 600 ? r->pages : 600; break;
  }
  int whole = owned_pages(address, pages) == pages;
  if (whole) forget(address, pages);
  else drop(address, pages);
  size_t before = region_count;
  map_at(whole ? "mmap-over" : "mmap-beside", address, pages, random_kind(),
         whole ? MAP_FIXED : FIXED_NOREPLACE);
  if ((size_t)region_count == before && whole) munmap((void *)address, pages * page_size);
}

static void unmap_part(void) {
  Region *r = any_region();
  if (r == NULL) return;
  uintptr_t start;
  size_t pages;
  part_of(r, &start, &pages);
  note("munmap", start, pages);
  drop(start, pages);
}

/* A range that may cross borders and holes. */
static void unmap_across(void) {
  Region *r = any_region();
  if (r == NULL) return;
  uintptr_t start = r->start + below(r->pages) * page_size;
  size_t pages = 1 + below(64);
  note("munmap-across", start, pages);
  drop(start, pages);
}

/* The same place anew: what is not written must read as zero. */
static void remap_same(void) {
  Region *r = any_region();
  if (r == NULL) return;
  uintptr_t start;
  size_t pages;
  part_of(r, &start, &pages);
  drop(start, pages);
  byte *got = mmap((void *)start, pages * page_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | FIXED_NOREPLACE, -1, 0);
  if (got == MAP_FAILED) return;
  if ((uintptr_t)got != start) {
    munmap(got, pages * page_size);
    return;
  }
  add_region((Region){start, pages, ANON, PROT_READ | PROT_WRITE, 0, 0, 0});
  note("munmap-mmap", start, pages);
  size_t touched = one_in(3) ? 0 : below(pages + 1);
  for (size_t i = 0; i < touched; i++) {
    byte *page = got + i * page_size;
    if (page[0] != 0 || page[page_size - 1] != 0) abort();
    if (one_in(2)) page[7] = (byte)draw();
  }
}

static void move_region(void) {
  Region *r = any_region();
  if (r == NULL || r->kind == SHARED) return;
  uintptr_t start;
  size_t pages;
  part_of(r, &start, &pages);
  Region old = *isolate(start, pages);
  size_t bytes = pages * page_size;
  int keep = old.kind == ANON && one_in(4) ? DONTUNMAP : 0;
  void *got;
  Region *other = any_region();
  uintptr_t to = other->start;
  int over = !keep && one_in(2) && owned_pages(to, pages) == pages &&
             (to >= start + bytes || to + bytes <= start);
  if (over) {
    drop(to, pages);
    got = mremap((void *)start, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to);
  } else {
    byte *hole = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (hole == MAP_FAILED) return;
    to = (uintptr_t)hole;
    got = mremap((void *)start, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | keep, hole);
    if (got == MAP_FAILED) munmap(hole, bytes);
  }
  note(keep ? "mremap-keep" : over ? "mremap-over" : "mremap", start, pages);
  if (got == MAP_FAILED) {
    drop(start, pages);
    return;
  }
  if (!keep) forget(start, pages);
  else isolate(start, pages)->guarded = 0; /* its guards have moved along */
  Region moved = old;
  moved.start = (uintptr_t)got;
  note("mremap-to", moved.start, pages);
  add_region(moved);
}

static void resize_region(void) {
  Region *r = any_region();
  if (r == NULL || r->kind == SHARED) return;
  Region old = *r;
  size_t pages = one_in(2) ? old.pages + 1 + below(64) : 1 + below(old.pages);
  if (fd_of(old.kind) >= 0 && old.file_page + pages > FILE_PAGES) return;
  if (old.guarded && pages > old.pages) return;
  size_t old_bytes = old.pages * page_size, bytes = pages * page_size;
  note(pages > old.pages ? "mremap-grow" : "mremap-shrink", old.start, old.pages);
  void *got = mremap((void *)old.start, old_bytes, bytes, one_in(3) ? 0 : MREMAP_MAYMOVE);
  if (got == MAP_FAILED) {
    if (errno == EFAULT || pages < old.pages) drop(old.start, old.pages);
    return;
  }
  forget(old.start, old.pages);
  old.start = (uintptr_t)got;
  old.pages = pages;
  note("mremap-to", old.start, pages);
  add_region(old);
}

static void protect(void) {
  Region *r = any_region();
  if (r == NULL) return;
  static const int choices[] = {PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
  int prot = choices[below(4)];
  uintptr_t start;
  size_t pages;
  part_of(r, &start, &pages);
  note("mprotect", start, pages);
  Region *piece = isolate(start, pages);
  /* There and back, which merges and splits VMAs and leaves no trace in the table. */
  if (one_in(3)) mprotect((void *)start, pages * page_size, piece->prot ^ PROT_READ);
  if (mprotect((void *)start, pages * page_size, prot) == 0) piece->prot = prot;
  else drop(start, pages);
}

static void advise_one(const char *name, int advice) {
  Region *r = any_region();
  if (r == NULL) return;
  uintptr_t start;
  size_t pages;
  part_of(r, &start, &pages);
  note(name, start, pages);
  int failed = madvise((void *)start, pages * page_size, advice) != 0;
  if (advice == ADVISE_GUARD_INSTALL && failed && errno != EINVAL) drop(start, pages);
  if (failed) return;
  if (advice == ADVISE_GUARD_INSTALL) isolate(start, pages)->guarded = 1;
  if (advice == ADVISE_GUARD_REMOVE) isolate(start, pages)->guarded = 0;
  if (advice == ADVISE_DONTFORK || advice == ADVISE_DOFORK)
    isolate(start, pages)->dontfork = advice == ADVISE_DONTFORK;
}

static void advise_discard(void) { advise_one("dontneed", ADVISE_DONTNEED); }
static void advise_free(void) { advise_one("free", ADVISE_FREE); }
static void advise_guard(void) {
  if (one_in(2)) {
    advise_one("guard", ADVISE_GUARD_INSTALL);
    return;
  }
  for (int i = 0; i < region_count; i++)
    if (regions[i].guarded) {
      Region *r = &regions[i];
      note("unguard", r->start, r->pages);
      if (madvise((void *)r->start, r->pages * page_size, ADVISE_GUARD_REMOVE) == 0) r->guarded = 0;
      return;
    }
}
static void advise_huge(void) {
  static const struct { const char *name; int advice; } choices[] = {
    {"hugepage", ADVISE_HUGEPAGE}, {"nohugepage", ADVISE_NOHUGEPAGE}, {"collapse", ADVISE_COLLAPSE},
    {"collapse", ADVISE_COLLAPSE}};
  size_t choice = below(4);
  advise_one(choices[choice].name, choices[choice].advice);
}
static void advise_other(void) {
  static const struct { const char *name; int advice; } choices[] = {
    {"wipeonfork", ADVISE_WIPEONFORK}, {"keeponfork", ADVISE_KEEPONFORK}, {"dontfork", ADVISE_DONTFORK},
    {"dofork", ADVISE_DOFORK}, {"mergeable", ADVISE_MERGEABLE}, {"unmergeable", ADVISE_UNMERGEABLE},
    {"cold", ADVISE_COLD}, {"pageout", ADVISE_PAGEOUT}};
  size_t choice = below(8);
  advise_one(choices[choice].name, choices[choice].advice);
}
static void populate(void) {
  if (one_in(2)) advise_one("populate-read", ADVISE_POPULATE_READ);
  else advise_one("populate-write", ADVISE_POPULATE_WRITE);
}

/* ---- content ---- */

/* A writable part of a region, at most as long as the scratch buffer; NULL where there is none. */
static byte *writable_part(const char *name, size_t *bytes) {
  Region *r = usable_region(PROT_READ | PROT_WRITE);
  if (r == NULL) return NULL;
  uintptr_t start;
  size_t pages;
  part_of(r, &start, &pages);
  if (pages > 64) pages = 64;
  note(name, start, pages);
  *bytes = pages * page_size;
  return (byte *)start;
}

static void write_fill(void) {
  size_t bytes;
  byte *start = writable_part("memset", &bytes);
  if (start != NULL) memset(start, (int)(one_in(6) ? 0 : below(256)), bytes);
}

static void write_scattered(void) {
  Region *r = usable_region(PROT_READ | PROT_WRITE);
  if (r == NULL) return;
  note("write-bytes", r->start, r->pages);
  size_t stride = 1 + below(8);
  for (size_t i = below(r->pages); i < r->pages; i += stride)
    ((volatile byte *)r->start)[i * page_size + below(page_size)] = (byte)draw();
}

static void write_same(void) {
  size_t bytes;
  volatile byte *start = writable_part("write-same", &bytes);
  if (start == NULL) return;
  for (size_t i = below(page_size); i < bytes; i += page_size) start[i] = start[i];
}

static void read_only_touch(void) {
  Region *r = usable_region(PROT_READ);
  if (r == NULL) return;
  note("read", r->start, r->pages);
  for (size_t i = 0; i < r->pages; i++) sink = ((volatile byte *)r->start)[i * page_size];
}

/* Any region, also one that the CPU may not touch: the calls then fail or go through, as the kernel likes. */
static void system_write(void) {
  Region *r = any_region();
  if (r == NULL) return;
  uintptr_t start;
  size_t pages;
  part_of(r, &start, &pages);
  if (pages > 16) pages = 16;
  size_t bytes = pages * page_size;
  memset(scratch, (int)below(256), bytes);
  struct iovec local = {scratch, bytes}, remote = {(void *)start, bytes};
  switch (below(5)) {
    case 0:
      note("pread", start, pages);
      (void)!pread(file_fd, (void *)start, bytes, (off_t)(below(FILE_PAGES - 16) * page_size));
      break;
    case 1:
      note("pipe-read", start, pages);
      if (write(pipe_fds[1], scratch, bytes) == (ssize_t)bytes)
        for (size_t done = 0; done < bytes;) {
          ssize_t got = read(pipe_fds[0], (void *)(start + done), bytes - done);
          if (got <= 0) got = read(pipe_fds[0], scratch, bytes - done); /* empties the pipe */
          if (got <= 0) abort();
          done += (size_t)got;
        }
      break;
    case 2:
      note("getrandom", start, pages);
      /* Where the call fails early it leaves the rest as it was. */
      (void)!getrandom((void *)start, bytes, 0);
      break;
    case 3:
      note("process_vm_writev", start, pages);
      process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
      break;
    default:
      note("proc-mem", start, pages);
      (void)!pwrite(mem_fd, scratch, bytes, (off_t)start);
      break;
  }
}

static void change_file(void) {
  int fd = one_in(2) ? file_fd : memfd;
  if (one_in(3)) {
    /* Takes the copied pages behind the new end from every private mapping, too. */
    off_t keep = (off_t)(below(FILE_PAGES) * page_size);
    note_all("truncate");
    if (ftruncate(fd, keep) != 0 || ftruncate(fd, (off_t)FILE_PAGES * (off_t)page_size) != 0) abort();
    return;
  }
  note("write-file", 0, 0);
  memset(scratch, (int)below(256), 4 * page_size);
  (void)!pwrite(fd, scratch, 4 * page_size, (off_t)(below(FILE_PAGES - 4) * page_size));
}

/* ---- the process ---- */

static void move_break(void) {
  byte *top = sbrk(0);
  if (heap_base == NULL) heap_base = top;
  size_t pages = (size_t)(top - heap_base) / page_size;
  if (top < heap_base) return;
  if (one_in(2) && pages > 0) {
    size_t gone = 1 + below(pages);
    sbrk(-(intptr_t)(gone * page_size));
    note("brk-shrink", (uintptr_t)(top - gone * page_size), gone);
    return;
  }
  size_t more = 1 + below(64);
  if (pages + more > MAX_HEAP_PAGES || sbrk((intptr_t)(more * page_size)) == (void *)-1) return;
  note("brk-grow", (uintptr_t)top, more);
  for (size_t i = 0; i < more; i += 1 + below(3)) top[i * page_size] = (byte)draw();
}

static __attribute__((noinline)) int recurse(int depth) {
  volatile byte frame[2048];
  frame[below(sizeof frame)] = (byte)draw();
  return depth == 0 ? frame[0] : recurse(depth - 1) + frame[1];
}

static void grow_stack(void) {
  note("stack", (uintptr_t)__builtin_frame_address(0) - 512 * page_size, 512);
  sink = (byte)recurse(1 + (int)below(one_in(4) ? 800 : 60));
}

typedef struct {
  byte *start;
  size_t bytes;
  int value;
} Work;

static void *work_in_thread(void *argument) {
  Work *work = argument;
  memset(work->start, work->value, work->bytes);
  return NULL;
}

static void write_in_thread(void) {
  Work work = {NULL, 0, (int)below(256)};
  pthread_t thread;
  work.start = writable_part("thread", &work.bytes);
  if (work.start != NULL && pthread_create(&thread, NULL, work_in_thread, &work) == 0)
    pthread_join(thread, NULL);
}

/* Both sides write after a fork: the child's writes are its own, and ours break the sharing. */
static void fork_and_write(void) {
  note_all("fork");
  uint64_t seed = draw();
  pid_t child = fork();
  if (child < 0) return;
  if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  else random_state ^= seed;
  for (int i = 0; i < 4; i++) {
    Region *r = usable_region(PROT_READ | PROT_WRITE);
    if (r == NULL || (child == 0 && r->dontfork)) continue;
    if (child != 0) note("fork-write", r->start, r->pages);
    size_t pages = r->pages < 32 ? r->pages : 32;
    for (size_t page = 0; page < pages; page += 1 + below(2))
      ((volatile byte *)r->start)[page * page_size + 100] = (byte)draw();
  }
  if (child == 0) _exit(0);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
}

/* ---- the second thread ---- */

static pthread_mutex_t storm_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t storm_change = PTHREAD_COND_INITIALIZER;
static int storming;
static byte *storm_arena;

static void *storm(void *unused) {
  uint64_t turn = 0;
  for (;;) {
    pthread_mutex_lock(&storm_lock);
    while (!storming) pthread_cond_wait(&storm_change, &storm_lock);
    pthread_mutex_unlock(&storm_lock);
    for (int i = 0; i < 32; i++, turn++)
      *(volatile uint64_t *)(storm_arena + (turn * 7 % STORM_PAGES) * page_size) = turn;
    if (turn % 4096 == 0) madvise(storm_arena + 32 * page_size, 16 * page_size, ADVISE_DONTNEED);
    usleep(50);
  }
  return unused;
}

static void set_storm(int on) {
  pthread_mutex_lock(&storm_lock);
  storming = on;
  pthread_cond_signal(&storm_change);
  pthread_mutex_unlock(&storm_lock);
}

/* ---- steps ---- */

static const struct {
  const char *name;
  int weight;
  void (*perform)(void);
} steps[] = {
  {"map", 8, map_anywhere},
  {"map-aligned", 2, map_aligned},
  {"map-fixed", 6, map_fixed},
  {"unmap", 4, unmap_part},
  {"unmap-across", 2, unmap_across},
  {"unmap-and-map", 6, remap_same},
  {"move", 6, move_region},
  {"resize", 5, resize_region},
  {"protect", 6, protect},
  {"discard", 5, advise_discard},
  {"free", 3, advise_free},
  {"guard", 3, advise_guard},
  {"huge", 4, advise_huge},
  {"advise", 3, advise_other},
  {"populate", 2, populate},
  {"fill", 14, write_fill},
  {"scatter", 12, write_scattered},
  {"same", 3, write_same},
  {"read", 5, read_only_touch},
  {"system", 14, system_write},
  {"file", 3, change_file},
  {"break", 3, move_break},
  {"stack", 2, grow_stack},
  {"thread", 2, write_in_thread},
  {"fork", 2, fork_and_write},
};
enum { STEP_KINDS = sizeof steps / sizeof steps[0] };
static unsigned performed[STEP_KINDS];

static void make_room(void) {
  while (region_count > MAX_REGIONS - 16 || total_pages() > MAX_PAGES - 700) {
    Region *r = any_region();
    drop(r->start, r->pages);
  }
}

static void one_step(void) {
  int total = 0;
  for (int i = 0; i < STEP_KINDS; i++) total += steps[i].weight;
  int ticket = (int)below((size_t)total);
  int kind = 0;
  while (ticket >= steps[kind].weight) ticket -= steps[kind++].weight;
  make_room();
  step_number++;
  performed[kind]++;
  steps[kind].perform();
  if (one_in(4)) join_neighbours();
}

/* ---- the talk ---- */

static char answer[65536];
static size_t answer_bytes;

static __attribute__((format(printf, 1, 2))) void put(const char *format, ...) {
  __builtin_va_list arguments;
  __builtin_va_start(arguments, format);
  size_t left = sizeof answer - answer_bytes;
  int wanted = vsnprintf(answer + answer_bytes, left, format, arguments);
  __builtin_va_end(arguments);
  if (wanted > 0 && (size_t)wanted < left) answer_bytes += (size_t)wanted;
}

static void say(void) {
  put("\n");
  for (size_t done = 0; done < answer_bytes;) {
    ssize_t count = write(1, answer + done, answer_bytes - done);
    if (count > 0) done += (size_t)count;
    else if (errno != EINTR) _exit(1);
  }
  answer_bytes = 0;
}

static void do_steps(unsigned long count, unsigned long long seed) {
  random_state = seed;
  memset(performed, 0, sizeof performed);
  set_storm(1);
  for (unsigned long i = 0; i < count; i++) one_step();
  set_storm(0);
  put("{\"steps\":%lu,\"regions\":%d,\"pages\":%zu,\"performed\":{", count, region_count, total_pages());
  for (int i = 0; i < STEP_KINDS; i++) put("%s\"%s\":%u", i == 0 ? "" : ",", steps[i].name, performed[i]);
  put("}}");
}

static void tell_history(uintptr_t address) {
  const char *comma = "";
  uint64_t first = log_count < LOGGED ? 0 : log_count - LOGGED;
  put("{\"steps\":%llu,\"history\":[", (unsigned long long)step_number);
  for (uint64_t i = log_count; i > first && answer_bytes < sizeof answer - 512; i--) {
    Logged *l = &logged[(i - 1) % LOGGED];
    if (address < l->start || address >= l->end) continue;
    put("%s\"%llu %s %zx-%zx\"", comma, (unsigned long long)l->number, l->name, (size_t)l->start,
        (size_t)l->end);
    comma = ",";
  }
  put("]}");
}

static void obey(char *line) {
  char *word = strtok(line, " \n");
  char *first = strtok(NULL, " \n");
  char *second = strtok(NULL, " \n");
  if (word != NULL && strcmp(word, "step") == 0 && second != NULL)
    do_steps(strtoul(first, NULL, 10), strtoull(second, NULL, 10));
  else if (word != NULL && strcmp(word, "history") == 0 && first != NULL)
    tell_history(strtoull(first, NULL, 0));
  else if (word != NULL && strcmp(word, "ping") == 0) put("{\"pong\":true}");
  else if (word != NULL && strcmp(word, "exit") == 0) {
    put("{\"exiting\":true}");
    say();
    _exit(0);
  } else put("{\"error\":\"unknown command\"}");
  say();
}

static int new_file(void) {
  const char *directory = getenv("TMPDIR");
  char path[4096];
  snprintf(path, sizeof path, "%s/random-program-XXXXXX", directory == NULL ? "/tmp" : directory);
  int fd = mkstemp(path);
  if (fd < 0) {
    perror(path);
    exit(1);
  }
  return fd;
}

static void fill_file(int fd) {
  for (size_t page = 0; page < FILE_PAGES; page++) {
    memset(scratch, (int)(page % 255) + 1, page_size);
    if (pwrite(fd, scratch, page_size, (off_t)(page * page_size)) != (ssize_t)page_size) {
      perror("cannot fill a file");
      exit(1);
    }
  }
}

/* The same addresses in each run, where the kernel lets us: then a seed repeats its steps. */
static void fix_addresses(char **words) {
  int persona = personality(0xffffffff);
  if (persona < 0 || (persona & ADDR_NO_RANDOMIZE) != 0) return;
  if (personality((unsigned long)persona | ADDR_NO_RANDOMIZE) >= 0) execv("/proc/self/exe", words);
}

int main(int count, char **words) {
  fix_addresses(words);
  for (int i = 1; i + 1 < count; i += 2)
    if (strcmp(words[i], "--thp") == 0 && strcmp(words[i + 1], "off") == 0)
      prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  prctl(SET_PTRACER, -1, 0, 0, 0);
  page_size = (size_t)sysconf(_SC_PAGESIZE);
  file_fd = new_file();
  memfd = memfd_create("random-program", 0);
  mem_fd = open("/proc/self/mem", O_RDWR);
  if (memfd < 0 || mem_fd < 0 || pipe(pipe_fds) != 0 || page_size > 4096) {
    perror("cannot set up");
    return 1;
  }
  fill_file(file_fd);
  fill_file(memfd);
  storm_arena = mmap(NULL, STORM_PAGES * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_t thread;
  if (storm_arena == MAP_FAILED || pthread_create(&thread, NULL, storm, NULL) != 0) return 1;
  put("{\"pid\":%d}", (int)getpid());
  say();
  static char line[256];
  size_t filled = 0;
  for (;;) {
    ssize_t got = read(0, line + filled, sizeof line - 1 - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    filled += (size_t)got;
    line[filled] = '\0';
    char *end;
    while ((end = strchr(line, '\n')) != NULL) {
      *end = '\0';
      size_t used = (size_t)(end + 1 - line);
      static char command[sizeof line];
      memcpy(command, line, used);
      memmove(line, line + used, filled + 1 - used);
      filled -= used;
      obey(command);
    }
  }
  kill(getpid(), SIGKILL);
  return 1;
}
