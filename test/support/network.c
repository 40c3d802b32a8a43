/* network.c - see network.h. */
#include "support/network.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool loopback_is_up(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int          fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool         up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
    if (fd >= 0)
        close(fd);
    return up;
}

bool namespaces_of_our_own(int what)
{
    char     map[64];
    unsigned user = geteuid();
    if (user == 0)
        return unshare(what) == 0;
    snprintf(map, sizeof map, "%u %u 1", user, user);
    if (unshare(CLONE_NEWUSER | what) < 0)
        return false;
    FILE *f = fopen("/proc/self/uid_map", "we");
    return f && fputs(map, f) >= 0 && fclose(f) == 0;
}

bool network_of_our_own(int more)
{
    return namespaces_of_our_own(CLONE_NEWNET | more) && loopback_is_up();
}

/* Adds (or deletes) a queue for the loopback's packets that has no room for any. */
bool network_drops(bool on)
{
    struct {
        struct nlmsghdr head;
        struct tcmsg    about;
        struct rtattr   kind;
        char            name[8];
        struct rtattr   options;
        struct tc_fifo_qopt room;
    } ask = {
        .head = {.nlmsg_len = sizeof ask, .nlmsg_type = RTM_DELQDISC, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .about = {.tcm_family = AF_UNSPEC, .tcm_ifindex = (int)if_nametoindex("lo"), .tcm_parent = TC_H_ROOT},
        .kind = {.rta_len = RTA_LENGTH(sizeof ask.name), .rta_type = TCA_KIND},
        .name = "pfifo",
        .options = {.rta_len = RTA_LENGTH(sizeof ask.room), .rta_type = TCA_OPTIONS},
        .room = {.limit = 0},
    };
    struct { struct nlmsghdr head; struct nlmsgerr error; char rest[256]; } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (on) {
        ask.head.nlmsg_type = RTM_NEWQDISC;
        ask.head.nlmsg_flags |= NLM_F_CREATE | NLM_F_REPLACE;
    }
    bool heard = fd >= 0 && send(fd, &ask, sizeof ask, 0) == sizeof ask && recv(fd, &answer, sizeof answer, 0) >= (ssize_t)sizeof answer.head;
    if (heard)
        errno = -answer.error.error;
    if (fd >= 0)
        close(fd);
    return heard && answer.error.error == 0;
}

const char *network_that_drops(void)
{
    static char why[128];
    const char *failed = !network_of_our_own(0) ? "a network" : !network_drops(true) ? "a queue without room" : !network_drops(false) ? "its end" : NULL;

    if (!failed)
        return NULL;
    snprintf(why, sizeof why, "%s: %s", failed, strerror(errno));
    return why;
}
