/* record.c - see record.h. */
#include "record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

enum { KEY_MAX = 250, VALUE_MAX = 1 << 30, LINE_MAX_BYTES = 512 };

void record_write(FILE *file, mend_bytes key, mend_bytes value, uint32_t flags, int64_t expires_s)
{
    char encoded[(KEY_MAX + 2) / 3 * 4 + 1];

    if (is_visible(key.data, key.len)) {
        fprintf(file, "set %.*s %" PRIu32 " %" PRId64 " %zu\r\n", (int)key.len, (const char *)key.data, flags, expires_s, value.len);
    } else {
        base64_encode(encoded, key.data, key.len);
        fprintf(file, "ms %s %zu b F%" PRIu32 " T%" PRId64 "\r\n", encoded, value.len, flags, expires_s);
    }
    fwrite(value.data, 1, value.len, file);
    fputs("\r\n", file);
}

void record_write_end(FILE *file)
{
    fputs("mn\r\n", file);
}

/* The head; the value's length is left in value_len. */
static enum record_read parse(struct record *r, const char *line)
{
    char     key[LINE_MAX_BYTES];
    unsigned end = 0;

    if (strcmp(line, "mn\r\n") == 0)
        return RECORD_END;
    if (sscanf(line, "set %511s %" SCNu32 " %" SCNd64 " %zu%n", key, &r->flags, &r->expires_s, &r->value_len, (int *)&end) == 4) {
        r->key_len = strlen(key);
        if (r->key_len > KEY_MAX)
            return RECORD_BAD;
        memcpy(r->key, key, r->key_len);
    } else if (sscanf(line, "ms %511s %zu b F%" SCNu32 " T%" SCNd64 "%n", key, &r->value_len, &r->flags, &r->expires_s, (int *)&end) == 4) {
        if (strlen(key) > sizeof r->key / 3 * 4 || !base64_decode(r->key, &r->key_len, key, strlen(key)))
            return RECORD_BAD;
    } else {
        return RECORD_BAD;
    }
    return strcmp(line + end, "\r\n") == 0 && r->value_len <= VALUE_MAX ? RECORD_READ : RECORD_BAD;
}

static bool make_room(struct record *r, size_t bytes)
{
    char *value;

    if (bytes <= r->room)
        return true;
    if (!(value = realloc(r->value, bytes)))
        return false;
    r->value = value;
    r->room = bytes;
    return true;
}

enum record_read record_read(struct record *r, FILE *file, int64_t *offset)
{
    char line[LINE_MAX_BYTES];

    if (!fgets(line, sizeof line, file))
        return RECORD_MISSING;
    size_t n = strlen(line);
    if (n == 0 || line[n - 1] != '\n')
        return feof(file) ? RECORD_CUT : RECORD_BAD;

    enum record_read read = parse(r, line);
    if (read != RECORD_READ)
        return read;
    if (!make_room(r, r->value_len + 2))
        return RECORD_BAD;
    if (fread(r->value, 1, r->value_len + 2, file) < r->value_len + 2)
        return RECORD_CUT;
    if (memcmp(r->value + r->value_len, "\r\n", 2) != 0)
        return RECORD_BAD;
    *offset += (int64_t)(n + r->value_len + 2);
    return RECORD_READ;
}

void record_free(struct record *r)
{
    free(r->value);
    *r = (struct record){0};
}
