/* Preloaded into User-Mode Linux: lets it run on processors whose register state it does not know the size of.
 *
 * Linux takes a process's extended state (NT_X86_XSTATE) only whole: 11008 bytes with AMX. User-Mode Linux 6.1 reads and
 * writes the 2696 bytes that it was built for, and the kernel refuses with EFAULT. So what it writes is laid over the rest
 * as it is, which guests do not use.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum { LARGEST = 1 << 16 };

typedef long caller(enum __ptrace_request request, ...);

static long set_whole_state(caller *call, int pid, const struct iovec *part)
{
	static char state[LARGEST] __attribute__((aligned(64)));
	struct iovec whole = { state, sizeof state };

	if (call(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &whole) < 0)
		return -1;
	memcpy(state, part->iov_base, part->iov_len < whole.iov_len ? part->iov_len : whole.iov_len);
	return call(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	caller *call = (caller *)dlsym(RTLD_NEXT, "ptrace");
	va_list more;
	int pid;
	void *address, *data;

	va_start(more, request);
	pid = va_arg(more, int);
	address = va_arg(more, void *);
	data = va_arg(more, void *);
	va_end(more);
	long result = call(request, pid, address, data);
	if (result < 0 && errno == EFAULT && request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
		return set_whole_state(call, pid, data);
	return result;
}
