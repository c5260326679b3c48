#ifndef PICK_H
#define PICK_H

const char *pick(int number);

#endif
