/*
 * A coroutine whose stack lies in the frame of main: right below its stack pointer is live data of main's, which it
 * checks all the time. Prints its pid; ends with 3 where the data has changed.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>

enum { GUARD = 16384, STACK = 16384, USED = 13600 };

static volatile unsigned char *guard;

static void check(void) {
  for (long i = 0; i < GUARD; i++)
    if (guard[i] != (unsigned char)(i * 31 + 7)) _exit(3);
}

static void run(void) {
  volatile char local[USED];
  for (local[0] = 1;;) usleep(1000), check();
}

int main(void) {
  struct { unsigned char guard[GUARD]; char stack[STACK]; } area;
  ucontext_t outer, inner;
  guard = area.guard;
  for (long i = 0; i < GUARD; i++) guard[i] = i * 31 + 7;
  getcontext(&inner);
  inner.uc_stack.ss_sp = area.stack;
  inner.uc_stack.ss_size = STACK;
  inner.uc_link = &outer;
  makecontext(&inner, run, 0);
  printf("%d\n", getpid());
  fflush(stdout);
  alarm(600);
  return swapcontext(&outer, &inner);
}
