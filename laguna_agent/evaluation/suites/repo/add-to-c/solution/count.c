#include <stdio.h>

int main(void) {
    int c, lines = 0, words = 0, inside = 0;
    while ((c = getchar()) != EOF) {
        if (c == '\n') lines++;
        int space = c == ' ' || c == '\n';
        if (!space && !inside) words++;
        inside = !space;
    }
    printf("%d lines, %d words\n", lines, words);
    return 0;
}
