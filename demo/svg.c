/* svg.c - see svg.h. */
#include "svg.h"

void svg_begin(FILE *file, int width, int height)
{
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
            "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"12.5\" fill=\"#1d2329\">\n"
            "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#ffffff\" stroke=\"#d0d5da\"/>\n",
            width, height, width, height, width, height);
}

bool svg_end(FILE *file)
{
    fprintf(file, "</svg>\n");

    bool written = !ferror(file);
    return fclose(file) == 0 && written;
}

void svg_rectangle(FILE *file, double x, double y, double width, double height, const char *fill)
{
    fprintf(file, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y,
            width < 0.4 ? 0.4 : width, height, fill);
}

void svg_line(FILE *file, double x1, double y1, double x2, double y2, const char *stroke, const char *dashes)
{
    fprintf(file, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-dasharray=\"%s\"/>\n", x1, y1,
            x2, y2, stroke, dashes);
}

void svg_words(FILE *file, double x, double y, const char *anchor, const char *style, const char *text)
{
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" %s>%s</text>\n", x, y, anchor, style, text);
}
