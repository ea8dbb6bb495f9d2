/* What a function written in C needs besides its own logic: the allocator that
 * the host calls, and the conventions of the canonical ABI. No libc, no imports.
 * Refuses to know any signal, parameter or device: those are in the WIT file.
 *
 * The canonical ABI, as far as a function needs it (WIT -> C):
 *
 *   f64                   double
 *   u32 / s32 / bool      uint32_t / int32_t / int32_t (0 or 1)
 *   record                its fields, in order, each as an argument of its own
 *   list<f64>             two arguments: pointer to the doubles, number of them
 *   option<T>             one int32_t (0: none, 1: some), then T's arguments
 *   result record with    that field, returned
 *     one plain field
 *   any larger result     a pointer to the fields in memory, laid out as a C
 *                         struct of the same fields: use a static one
 *
 * The arguments of `evaluate` are those of its parameters, in order. At most 16
 * fit; above that the host passes one pointer to a struct of them all.
 *
 * Include this file in exactly one translation unit.
 */
#ifndef GNOMON_H
#define GNOMON_H

#include <stddef.h>
#include <stdint.h>

/* Gives a function the name that its WIT world exports. */
#define GNOMON_EXPORT(name) __attribute__((export_name(name)))

#define GNOMON_PAGE_BYTES 65536u

/* The linker's first address after the stack and the data. */
extern unsigned char __heap_base;

/* First free address; 0 before the first allocation. */
static uintptr_t gnomon_heap_next;

/* Hands out memory upwards and never takes it back: the host makes a fresh
 * instance for every evaluation and drops its memory whole. Traps when the
 * address space or the memory limit is exhausted: the canonical ABI has no way
 * to say no. */
static void *gnomon_alloc(size_t size, size_t align) {
    uintptr_t next = gnomon_heap_next ? gnomon_heap_next : (uintptr_t)&__heap_base;
    uintptr_t mask = (uintptr_t)align - 1;
    uintptr_t start, end;
    if (__builtin_add_overflow(next, mask, &start)) __builtin_trap();
    start &= ~mask;
    if (__builtin_add_overflow(start, size, &end)) __builtin_trap();

    size_t pages = __builtin_wasm_memory_size(0);
    size_t needed = end / GNOMON_PAGE_BYTES + (end % GNOMON_PAGE_BYTES != 0);
    if (needed > pages && __builtin_wasm_memory_grow(0, needed - pages) == SIZE_MAX) {
        __builtin_trap();
    }
    gnomon_heap_next = end;
    return (void *)start;
}

/* The host calls this to place lists and strings into the function's memory. */
GNOMON_EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t new_size) {
    unsigned char *to = gnomon_alloc(new_size, align);
    const unsigned char *from = old;
    size_t kept = old_size < new_size ? old_size : new_size;
    for (size_t i = 0; i < kept; i++) to[i] = from[i];
    return to;
}

#endif
