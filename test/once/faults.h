/* faults.h - the calls that the library makes of the C library and the kernel, each of which can be made to fail.
 *
 * The linker's --wrap puts these in between, so the library has no hook of the tests' own. A call is the client's if it
 * is made between faults_enter and faults_leave, or on a thread that such a call began; all others, the test's own and
 * cmocka's, pass through unseen. The client's are counted, and may be failed, while faults are armed. What it has
 * allocated is counted always.
 *
 *     faults_plan(&(struct fault){.call = CALL_SOCKET, .nth = 3, .error = EMFILE});
 *     faults_arm(true);
 *     faults_enter();  mend_get(...);  faults_leave();
 *     faults_arm(false);
 *     faults_met();                      how often it was failed: 0 if there was no third call
 */
#ifndef ONCE_FAULTS_H
#define ONCE_FAULTS_H

#include <stdbool.h>

enum call {
    CALL_MALLOC, CALL_CALLOC, CALL_REALLOC,
    CALL_SOCKET, CALL_CONNECT, CALL_SETSOCKOPT, CALL_GETSOCKOPT, CALL_GETSOCKNAME, CALL_GETPEERNAME, CALL_FCNTL,
    CALL_SEND, CALL_SENDMSG, CALL_RECV, CALL_RECVMSG, CALL_PPOLL,
    CALL_EVENTFD, CALL_READ, CALL_WRITE, CALL_FUTEX_WAIT,
    CALL_MMAP, CALL_MADVISE, CALL_GETADDRINFO,
    CALL_PTHREAD_CREATE, CALL_PTHREAD_MUTEX_INIT, CALL_PTHREAD_ATTR_INIT,
    CALL_CLOCK_GETRES, CALL_GETRANDOM,
    CALLS
};

/* Errors that are none of errno's. */
enum { FAULT_CLOSED = 10001, FAULT_SHORT, FAULT_REFUSED_LATER, FAULT_EAI = 20000 }; /* FAULT_EAI - EAI_...: those are negative */

/* What a call is named, and the ways in which it may fail. */
struct faulty {
    const char *name;
    bool        never_for_good; /* no kernel does that for good: the library may rely on it */
    int         errors[10];     /* ends with 0 */
};
extern const struct faulty faulty[CALLS];

struct fault {
    enum call call;
    long      nth; /* from 1; 0: none fails */
    int       error;
    bool      for_good; /* and all after it */
};

const char *faults_text(int error); /* lives until the next */

void faults_plan(const struct fault *fault); /* counts begin anew; not armed */
void faults_arm(bool armed);
void faults_enter(void);
void faults_leave(void);
long faults_met(void);
long faults_count(enum call call);
long faults_live(void); /* blocks that the client has and has not given back */

#endif
