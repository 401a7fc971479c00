/* The four functions that gcc may call by itself in a freestanding program. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/*
 * Thirty-two bytes a round, by plain moves: under emulation a string instruction costs as much for each of its steps as a round
 * of this loop, and copying is most of what this program does. In assembly so that gcc does not make a call of memcpy of it.
 */
void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;
	size_t rounds = n / 32;

	if (rounds)
		__asm__ volatile("1:	movl (%1), %%eax\n"
				 "	movl 4(%1), %%edx\n"
				 "	movl %%eax, (%0)\n"
				 "	movl %%edx, 4(%0)\n"
				 "	movl 8(%1), %%eax\n"
				 "	movl 12(%1), %%edx\n"
				 "	movl %%eax, 8(%0)\n"
				 "	movl %%edx, 12(%0)\n"
				 "	movl 16(%1), %%eax\n"
				 "	movl 20(%1), %%edx\n"
				 "	movl %%eax, 16(%0)\n"
				 "	movl %%edx, 20(%0)\n"
				 "	movl 24(%1), %%eax\n"
				 "	movl 28(%1), %%edx\n"
				 "	movl %%eax, 24(%0)\n"
				 "	movl %%edx, 28(%0)\n"
				 "	addl $32, %1\n"
				 "	addl $32, %0\n"
				 "	decl %2\n"
				 "	jnz 1b"
				 : "+D"(d), "+S"(from), "+c"(rounds)
				 :
				 : "eax", "edx", "memory", "cc");
	n %= 32;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	if ((uintptr_t)to <= (uintptr_t)from || (uintptr_t)to >= (uintptr_t)from + n)
		return memcpy(to, from, n);
	void *d = (char *)to + n - 1;
	const void *s = (const char *)from + n - 1;
	__asm__ volatile("std; rep movsb; cld" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	void *d = to;
	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}
