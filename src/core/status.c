/* status.c - the names and the meanings of every status, in words. */
#include "mend.h"

#include <stddef.h>

struct meaning {
    mend_status status;
    const char *name, *text;
};

static const struct meaning meanings[] = {
    {MEND_OK, "MEND_OK", "done"},
    {MEND_MISS, "MEND_MISS", "there is no such key"},
    {MEND_EXISTS, "MEND_EXISTS", "somebody stored since the cas was read"},
    {MEND_NOT_STORED, "MEND_NOT_STORED", "the condition for storing did not hold"},
    {MEND_TOO_LARGE, "MEND_TOO_LARGE", "the value is larger than the server stores"},
    {MEND_NOT_NUMBER, "MEND_NOT_NUMBER", "the value is not a decimal number"},
    {MEND_ABSENT, "MEND_ABSENT", "there is no such thing, says the loader"},
    {MEND_E_ARGUMENT, "MEND_E_ARGUMENT", "an argument that cannot be right"},
    {MEND_E_MEMORY, "MEND_E_MEMORY", "out of memory"},
    {MEND_E_TIMEOUT, "MEND_E_TIMEOUT", "no answer by the deadline"},
    {MEND_E_DOWN, "MEND_E_DOWN", "the server is down"},
    {MEND_E_BUSY, "MEND_E_BUSY", "no turn was had in time"},
    {MEND_E_IO, "MEND_E_IO", "the connection failed"},
    {MEND_E_SERVER, "MEND_E_SERVER", "the server answered with an error"},
    {MEND_E_PROTOCOL, "MEND_E_PROTOCOL", "the server's answer makes no sense"},
    {MEND_E_AUTH, "MEND_E_AUTH", "the server wants authentication"},
    {MEND_E_LOADER, "MEND_E_LOADER", "the loader failed"},
};

static const struct meaning unknown = {0, "MEND_?", "a status that this version does not know"};

static const struct meaning *meaning_of(mend_status status)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (meanings[i].status == status)
            return &meanings[i];
    return &unknown;
}

const char *mend_status_name(mend_status status)
{
    return meaning_of(status)->name;
}

const char *mend_status_text(mend_status status)
{
    return meaning_of(status)->text;
}

const char *mend_version(void)
{
    return MEND_VERSION;
}
