#!/bin/sh
[ $# -gt 0 ] || set -- world
for name in "$@"; do
    echo "Hello, $name"
done
