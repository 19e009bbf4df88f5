// Preloaded into the build of the snapshot in place of the operating system's entropy, so that CPython's hash secret,
// and with it the order of sets, is the same in every runtime ever built. The snapshot itself never asks for entropy.
#include <stddef.h>
#include <sys/types.h>

ssize_t getrandom(void *buffer, size_t size, unsigned flags) {
  (void)flags;
  for (size_t at = 0; at < size; at++) ((unsigned char *)buffer)[at] = (unsigned char)(at * 167 + 13);
  return (ssize_t)size;
}
