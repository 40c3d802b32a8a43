// readme.cpp - the README's program in C++11, where structs are filled in field by field.
#include <cstdio>
#include <mend.h>

int main(int argc, char **argv)
{
    mend_config config = MEND_CONFIG_INIT;
    mend_store store = mend_store();
    mend_client *cache;
    mend_reply r = MEND_REPLY;

    config.servers = argc > 1 ? argv[1] : "127.0.0.1";
    config.timeout_ms = 50;
    store.ttl_s = 60;

    if (mend_open(&config, &cache, &r) < 0) {
        std::fprintf(stderr, "%s\n", r.error);
        return 1;
    }
    mend_set(cache, mend_str("greeting"), mend_str("hello"), &store, NULL);

    switch (mend_get(cache, mend_str("greeting"), &r)) {
    case MEND_OK:   std::printf("%.*s, says %s\n", static_cast<int>(r.len), r.data, r.server); break;
    case MEND_MISS: std::puts("not cached");                                                  break;
    default:        std::printf("no cache today: %s\n", r.error);                             break;
    }
    mend_reply_free(&r);
    mend_close(cache);
}
