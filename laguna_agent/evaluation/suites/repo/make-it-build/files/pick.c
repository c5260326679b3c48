#include "pick.h"

static const char *SAYINGS[] = {"Rest first.", "Ask twice.", "Ship it."}

const char *pick(int number) {
    return SAYINGS[number % 3];
}
