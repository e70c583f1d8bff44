/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation. A FUSE mount in a user namespace needs /dev/fuse opened by a process in that namespace, and
 * mapped ids. mount(2) returns at once; the first look at a path in it waits for the server (the shepherd's relay),
 * which therefore gets the descriptor before that. /proc is mounted before the old root goes: the kernel allows a new
 * one only while an old one is fully visible. Device nodes can't be made, so the host's are bound.
 */
#include "capsule_wire.h"
#include "init.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int loopback_up(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct ifreq request = {.ifr_name = "lo"};
    int result = ioctl(fd, SIOCGIFFLAGS, &request) ? -errno : 0;
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (!result && ioctl(fd, SIOCSIFFLAGS, &request))
        result = -errno;
    close(fd);
    return result;
}

static int bind_device(const char *name) {
    char from[64], to[64];
    snprintf(from, sizeof from, "/dev/%s", name);
    snprintf(to, sizeof to, "dev/%s", name);
    int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    close(fd);
    return mount(from, to, NULL, MS_BIND, NULL) ? -errno : 0;
}

static int make_dev(const char **step) {
    static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *const links[][2] = {{"pts/ptmx", "dev/ptmx"},
                                           {"/proc/self/fd", "dev/fd"},
                                           {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"},
                                           {"/proc/self/fd/2", "dev/stderr"}};
    *step = "mount /dev";
    if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755"))
        return -errno;
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        *step = devices[i];
        int result = bind_device(devices[i]);
        if (result)
            return result;
    }
    *step = "mount /dev/pts";
    if (mkdir("dev/pts", 0755) || mkdir("dev/shm", 01777) || chmod("dev/shm", 01777))
        return -errno;
    if (mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"))
        return -errno;
    if (mount("tmpfs", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"))
        return -errno;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]))
            return -errno;
    return 0;
}

int init_mounts(int control, const struct capsule_identity *identity, const char **step) {
    *step = "host name";
    if (sethostname(identity->host_name, strnlen(identity->host_name, 64)))
        return -errno;
    *step = "loopback";
    int result = loopback_up();
    if (result)
        return result;
    *step = "private mounts";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("tmpfs", "/tmp", "tmpfs", 0, "mode=700") ||
        mkdir("/tmp/root", 0755))
        return -errno;
    *step = "open /dev/fuse (it must be open to every user: sudo chmod 666 /dev/fuse)";
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0)
        return -errno;
    char options[160];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other", fuse, identity->uid,
             identity->gid);
    *step = "mount home";
    if (mount("skein", "/tmp/root", "fuse", MS_NOSUID | MS_NODEV, options))
        return -errno;
    result = capsule_send(control, CAPSULE_FUSE, 0, NULL, 0, &fuse, 1);
    close(fuse);
    if (result)
        return result;
    *step = "enter home";
    struct stat root;
    /* Until it is asked for its attributes the root of a FUSE mount has an owner that is not mapped here, and nothing
     * can be made in it. */
    if (chdir("/tmp/root") || stat(".", &root))
        return -errno;
    *step = "mount /proc";
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
        return -errno;
    if ((result = make_dev(step)))
        return result;
    *step = "change root";
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
        return -errno;
    return 0;
}
