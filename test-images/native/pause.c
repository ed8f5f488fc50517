/*
 * The first process of a pod: it does nothing, and thereby keeps the pod's namespaces.
 *
 * It takes its signals by rt_sigtimedwait(2) and has no handlers. A blocked signal reaches even the first
 * process of a PID namespace, which the kernel otherwise spares what it does not handle. SIGTERM and
 * SIGINT end it. As first process of a PID namespace that the pod shares it reaps what others leave.
 *
 * No C library: a start loads two pages.
 */

#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/wait.h>

static long call(long number, long a, long b, long c, long d)
{
	long result;
	register long fourth __asm__("r10") = d;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
			 : "rcx", "r11", "memory");
	return result;
}

static unsigned long bit(int signal)
{
	return 1ul << (signal - 1);
}

void _start(void)
{
	unsigned long signals = bit(SIGTERM) | bit(SIGINT) | bit(SIGCHLD);

	call(__NR_rt_sigprocmask, SIG_BLOCK, (long)&signals, 0, sizeof signals);
	for (;;) {
		long signal = call(__NR_rt_sigtimedwait, (long)&signals, 0, 0, sizeof signals);

		if (signal == SIGTERM || signal == SIGINT)
			call(__NR_exit_group, 0, 0, 0, 0);
		while (call(__NR_wait4, -1, 0, WNOHANG, 0) > 0)
			;
	}
}
