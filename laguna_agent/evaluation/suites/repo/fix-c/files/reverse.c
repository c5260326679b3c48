#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc != 2) return 1;
    for (size_t i = strlen(argv[1]) - 1; i > 0; i--) putchar(argv[1][i]);
    putchar('\n');
    return 0;
}
