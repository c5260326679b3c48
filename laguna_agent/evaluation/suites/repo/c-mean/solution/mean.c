#include <stdio.h>
#include <stdlib.h>

double mean(int count, char **numbers) {
    int sum = 0;
    for (int i = 0; i < count; i++) {
        sum += atoi(numbers[i]);
    }
    return (double)sum / count;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        printf("no numbers\n");
        return 1;
    }
    printf("%.2f\n", mean(argc - 1, argv + 1));
    return 0;
}
