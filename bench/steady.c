/* steady.c - reads, for strace and valgrind to count what they cost: figures.sh runs it with N and with twice N.
 *
 *     bench-steady N SERVER     N hits on a warm connection
 *     bench-steady N down       N reads while their server is known to be down
 */
#include "support/memcached.h"
#include "support/wait.h"

#include <string.h>

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench-steady N SERVER|down\n");
        return 2;
    }
    bool         down = strcmp(argv[2], "down") == 0;
    char         nobody[32];
    mend_reply   r = MEND_REPLY;
    mend_client *client = NULL;

    snprintf(nobody, sizeof nobody, "127.0.0.1:%d", port_free("127.0.0.1"));
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = down ? nobody : argv[2], .timeout_ms = 5000), &client, &r), &r);
    if (down)
        await(!mend_connection_available(client), SOON_MS);
    else
        must_be(MEND_OK, mend_set(client, mend_str("steady"), mend_str("the value of a steady read"), NULL, &r), &r);

    for (long n = atol(argv[1]); n > 0; n--)
        if (mend_get(client, mend_str("steady"), &r) != (down ? MEND_E_DOWN : MEND_OK))
            fail_msg("%s (%s)", mend_status_name(r.status), r.error);
    mend_reply_free(&r);
    mend_close(client);
    return 0;
}
