/* migrating.h - what the code of doc/MIGRATING.md takes for granted. Declared only: test_pages.py compiles it, and no more. */
#ifndef MIGRATING_H
#define MIGRATING_H

#include <mend.h>

extern mend_client *cache;
extern mend_reply   r;
extern mend_replies rs;
extern mend_bytes  *keys;
extern size_t       n;
extern const void  *value;
extern size_t       len;

void use(mend_bytes key, const char *data, size_t bytes);
void compute(mend_bytes key);
void log_line(const char *text);

#endif
