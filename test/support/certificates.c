/* certificates.c - see certificates.h. */
#include "support/certificates.h"
#include "support/wait.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct authority {
    EVP_PKEY *key;
    X509     *certificate;
};

static void extend(X509 *certificate, int what, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, what, value);
    must(extension && X509_add_ext(certificate, extension, -1), "%s", value);
    X509_EXTENSION_free(extension);
}

static X509 *certify(const char *name, EVP_PKEY *key, int from_s, int until_s)
{
    static long serial = 1;
    X509       *c = X509_new();
    must(c && key, "no certificate for %s", name);
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c), from_s);
    X509_gmtime_adj(X509_getm_notAfter(c), until_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_pubkey(c, key);
    return c;
}

struct authority *authority_new(const char *name)
{
    struct authority *a = calloc(1, sizeof *a);
    a->key = EVP_EC_gen("P-256");
    a->certificate = certify(name, a->key, -3600, 24 * 3600);
    X509_set_issuer_name(a->certificate, X509_get_subject_name(a->certificate));
    extend(a->certificate, NID_basic_constraints, "critical,CA:TRUE");
    must(X509_sign(a->certificate, a->key, EVP_sha256()), "%s", name);
    return a;
}

void authority_free(struct authority *a)
{
    X509_free(a->certificate);
    EVP_PKEY_free(a->key);
    free(a);
}

static void write_pem(const char *path, X509 *certificate, EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");
    must(file && PEM_write_X509(file, certificate), "%s", path);
    must(!key || PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), "%s", path);
    fclose(file);
}

void authority_write(const struct authority *a, const char *path)
{
    write_pem(path, a->certificate, NULL);
}

void certificate_write(const struct authority *by, const char *path, const struct certificate *wish)
{
    bool      usual = wish->from_s == wish->until_s;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509     *c = certify("a test's", key, usual ? -3600 : wish->from_s, usual ? 24 * 3600 : wish->until_s);
    X509_set_issuer_name(c, X509_get_subject_name(by->certificate));
    if (wish->names)
        extend(c, NID_subject_alt_name, wish->names);
    must(X509_sign(c, by->key, EVP_sha256()), "%s", path);
    write_pem(path, c, key);
    X509_free(c);
    EVP_PKEY_free(key);
}

void secured_begin(struct secured *t)
{
    *t = (struct secured){.directory = "/tmp/mend-test-XXXXXX"};
    must(mkdtemp(t->directory), "no directory for certificates: %s", strerror(errno));
    snprintf(t->ca_file, sizeof t->ca_file, "%s/ca.pem", t->directory);
    snprintf(t->server_file, sizeof t->server_file, "%s/server.pem", t->directory);
    snprintf(t->args, sizeof t->args, "-Z -o ssl_chain_cert=%s -o ssl_key=%s", t->server_file, t->server_file);
    t->ca = authority_new("the tests' own authority");
    authority_write(t->ca, t->ca_file);
    certificate_write(t->ca, t->server_file, &(struct certificate){.names = "IP:127.0.0.1,IP:::1,DNS:localhost"});
    t->tls = (mend_tls){.ca_file = t->ca_file};
}

void secured_end(struct secured *t)
{
    if (!t->ca)
        return;
    authority_free(t->ca);
    unlink(t->ca_file);
    unlink(t->server_file);
    rmdir(t->directory);
    *t = (struct secured){0};
}
