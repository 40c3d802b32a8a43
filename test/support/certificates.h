/* certificates.h - certificates for the tests, good ones and bad ones, made as they run.
 *
 *     struct authority *ca = authority_new("the tests' own");
 *     authority_write(ca, "/tmp/.../ca.pem");                                         for mend_tls.ca_file
 *     certificate_write(ca, "/tmp/.../server.pem", &(struct certificate){.names = "IP:127.0.0.1"});
 *     authority_free(ca);
 *
 *     struct secured t;
 *     secured_begin(&t);                          good ones for a memcached on the loopback addresses, in a directory of their own
 *     memcached_start(&m, "127.0.0.1", t.args);
 *     ... MEND_CONFIG(.servers = m.name, .tls = &t.tls) ...
 *     secured_end(&t);
 */
#ifndef SUPPORT_CERTIFICATES_H
#define SUPPORT_CERTIFICATES_H

#include <mend.h>

struct certificate {
    const char *names;             /* "DNS:a.example,IP:127.0.0.1" */
    int         from_s, until_s;   /* seconds from now; both 0: since an hour, for a day */
};

struct authority *authority_new(const char *name);
void              authority_free(struct authority *a);

void authority_write(const struct authority *a, const char *path);
void certificate_write(const struct authority *by, const char *path, const struct certificate *c); /* and its key, in one file */

struct secured {
    struct authority *ca;
    char              directory[32], ca_file[48], server_file[48]; /* "" if it has not begun */
    char              args[160];  /* memcached's */
    mend_tls          tls;
};

void secured_begin(struct secured *t);
void secured_end(struct secured *t); /* all zeros: nothing to do */

#endif
