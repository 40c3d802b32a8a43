/* record.h - a dump's items, as memcached commands, so that memcached itself can read them:
 *
 *     set KEY FLAGS EXPIRES LENGTH           and the value, as ever
 *     ms BASE64 LENGTH b FFLAGS TEXPIRES     for keys that are not of visible ASCII characters
 *     mn                                     the end: this dump is whole
 *
 * EXPIRES is a time of day in seconds since 1970, which memcached tells from a ttl by its
 * size; 0 is never.
 */
#ifndef CLI_RECORD_H
#define CLI_RECORD_H

#include <mend.h>
#include <stdint.h>
#include <stdio.h>

struct record { /* all zeros to begin with; reused, and then freed */
    char     key[256];
    size_t   key_len;
    uint32_t flags;
    int64_t  expires_s;
    char    *value;
    size_t   value_len, room;
};

enum record_read {
    RECORD_READ,
    RECORD_END,     /* "mn" */
    RECORD_MISSING, /* the file ends between two records, without its end */
    RECORD_CUT,     /* the file ends within a record */
    RECORD_BAD,     /* this is no dump */
};

/* The next one. *offset, in bytes, is where it began, and where the next one begins after RECORD_READ. */
enum record_read record_read(struct record *r, FILE *file, int64_t *offset);
void             record_write(FILE *file, mend_bytes key, mend_bytes value, uint32_t flags, int64_t expires_s);
void             record_write_end(FILE *file);
void             record_free(struct record *r);

#endif
