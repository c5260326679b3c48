#include <stdio.h>
#include <stdlib.h>

#include "pick.h"

int main(int argc, char **argv) {
    int number = argc > 1 ? atoi(argv[1]) : 0;
    printf("%s\n", pick(number));
    return 0;
}
