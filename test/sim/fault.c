/* fault.c - see fault.h. */
#include "sim/fault.h"

const struct fault_kind fault_kinds[FAULTS] = {
    [FAULT_KILLED]         = {"servers", "killed"},
    [FAULT_KILLED_KEPT]    = {"servers", "killed, memory kept"},
    [FAULT_STOPPED]        = {"servers", "stopped"},
    [FAULT_MOVED]          = {"servers", "moved"},
    [FAULT_TRIALS_ONLY]    = {"servers", "answers trials only"},
    [FAULT_PASSWORD]       = {"servers", "password changed"},
    [FAULT_LIST]           = {"servers", "another list"},
    [FAULT_FLUSHED]        = {"servers", "flushed by another client"},
    [FAULT_LEASE_TAKEN]    = {"servers", "a lease taken by another client"},

    [FAULT_NETWORK_CUT]    = {"network", "cut"},
    [FAULT_REFUSED]        = {"network", "dial refused"},
    [FAULT_DIAL_HANGS]     = {"network", "dial hangs"},
    [FAULT_FULL]           = {"network", "too many connections"},
    [FAULT_SHORT_SEND]     = {"network", "short send"},
    [FAULT_SHORT_RECV]     = {"network", "short receive"},

    [FAULT_SILENT]         = {"answers", "none"},
    [FAULT_LATE]           = {"answers", "late"},
    [FAULT_TRICKLE]        = {"answers", "trickled"},
    [FAULT_CUT]            = {"answers", "cut, then silence"},
    [FAULT_CUT_CLOSE]      = {"answers", "cut, then closed"},
    [FAULT_CUT_RESET]      = {"answers", "cut, then reset"},
    [FAULT_HALF_CLOSE]     = {"answers", "the last"},
    [FAULT_SERVER_ERROR]   = {"answers", "SERVER_ERROR"},
    [FAULT_GARBAGE]        = {"answers", "garbage"},
    [FAULT_WRONG_KEY]      = {"answers", "of another key"},
    [FAULT_WRONG_OPAQUE]   = {"answers", "of another opaque"},
    [FAULT_TWICE]          = {"answers", "twice"},
    [FAULT_UNASKED]        = {"answers", "unasked"},

    [FAULT_NO_NAME]        = {"names", "not found"},
    [FAULT_SLOW_NAME]      = {"names", "slow"},
    [FAULT_HUNG_NAME]      = {"names", "hung"},
    [FAULT_NEW_LIST]       = {"names", "other addresses"},
    [FAULT_NOT_LISTED]     = {"names", "the server's not among them"},
    [FAULT_DEAD_ADDRESS]   = {"names", "dead address dialed"},
    [FAULT_SILENT_ADDRESS] = {"names", "silent address dialed"},

    [FAULT_NO_DESCRIPTOR]  = {"here", "no descriptor"},
    [FAULT_NO_MEMORY]      = {"here", "no memory"},
    [FAULT_STALL]          = {"here", "stopped ourselves"},
    [FAULT_WALL_CLOCK]     = {"here", "wall clock jumped"},
};
