/* terminal.c - see terminal.h. */
#include "terminal.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"
#include "demo/clock.h"
#include "say.h"

static struct termios before;
static bool           opened;
static FILE          *frame;
static char          *drawn; /* the frame's bytes */
static size_t         drawn_bytes;

static void put(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t written = write(STDOUT_FILENO, text, n);
        if (written <= 0)
            return;
        text += written;
        n -= (size_t)written;
    }
}

void terminal_open(void)
{
    static const char begin[] = "\033[?1049h\033[?25l\033[?7l"; /* a screen of our own, no cursor, no wrapping */

    if (tcgetattr(STDIN_FILENO, &before) != 0)
        fail(USAGE, "this is no terminal");
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* stopped, it would leave the terminal as it is now */
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    put(begin, sizeof begin - 1);
    opened = true;
    atexit(terminal_close);
}

void terminal_close(void)
{
    static const char end[] = "\033[0m\033[?7h\033[?25h\033[?1049l";

    if (!opened)
        return;
    opened = false;
    put(end, sizeof end - 1);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

void terminal_size(int *rows, int *columns)
{
    struct winsize size;
    bool           known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col;

    *rows = known ? size.ws_row : 24;
    *columns = known ? size.ws_col : 80;
}

FILE *terminal_frame(void)
{
    frame = open_memstream(&drawn, &drawn_bytes);
    if (!frame)
        fail(UNAVAILABLE, "out of memory");
    fputs("\033[H", frame);
    return frame;
}

void terminal_show(void)
{
    fputs("\033[J", frame);
    fclose(frame);
    put(drawn, drawn_bytes);
    free(drawn);
}

int terminal_key(int64_t until_ns)
{
    int64_t         left_ns = until_ns - clock_now();
    struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000), .tv_nsec = (long)(left_ns % 1000000000)};
    struct pollfd   p = {.fd = STDIN_FILENO, .events = POLLIN};
    unsigned char   key;

    if (left_ns <= 0 || ppoll(&p, 1, &left, NULL) <= 0)
        return -1;
    return read(STDIN_FILENO, &key, 1) == 1 ? key : 'q'; /* a terminal that is gone wants nothing more */
}
