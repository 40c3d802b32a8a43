#include <mend.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    mend_client *cache;
    mend_reply r = MEND_REPLY;

    if (mend_open(&MEND_CONFIG(.servers = argc > 1 ? argv[1] : "127.0.0.1", .timeout_ms = 50), &cache, &r) < 0) {
        fprintf(stderr, "%s\n", r.error); /* a mistake in the configuration; a server that is down is none */
        return 1;
    }
    mend_set(cache, mend_str("greeting"), mend_str("hello"), &(mend_store){.ttl_s = 60}, NULL);

    switch (mend_get(cache, mend_str("greeting"), &r)) {
    case MEND_OK:   printf("%.*s, says %s\n", (int)r.len, r.data, r.server); break;
    case MEND_MISS: puts("not cached");                                      break;
    default:        printf("no cache today: %s\n", r.error);                 break;
    }
    mend_reply_free(&r);
    mend_close(cache);
}
