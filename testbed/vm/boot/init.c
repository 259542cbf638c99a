/* Process 1 of a QEMU guest, alone in its initramfs: loads modules, makes the host's files its root, and goes on there.
 *
 * Modules are /modules/0, /modules/1, ... From the kernel's command line: JOB, the folder of the job on the host, or PROBE,
 * if all that is asked is whether a guest gets this far. Whatever fails ends the guest by a panic, with one line in its log.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void check(int result, const char *what)
{
	if (result < 0) {
		printf("init: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static void load_modules(void)
{
	char name[32];

	for (int number = 0;; number++) {
		snprintf(name, sizeof name, "/modules/%d", number);
		int file = open(name, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			return;
		check(syscall(SYS_finit_module, file, "", 0), name);
		close(file);
	}
}

int main(void)
{
	char script[4096];

	setvbuf(stdout, NULL, _IONBF, 0);
	load_modules();
	mkdir("/host", 0755);
	check(mount("host", "/host", "9p", MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"), "the host's files");
	check(chdir("/host"), "the host's files");
	check(mount(".", "/", NULL, MS_MOVE, NULL), "the root");
	check(chroot("."), "the root");
	if (getenv("PROBE")) {
		printf("init: alive\n");
		check(reboot(RB_POWER_OFF), "the end");
	}
	snprintf(script, sizeof script, "%s/guest/root.sh", getenv("JOB"));
	execl(script, script, (char *)NULL);
	check(-1, script);
}
