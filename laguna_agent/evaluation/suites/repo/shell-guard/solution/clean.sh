#!/bin/sh
# Removes the temporary files (*.tmp) of a folder and says how many there were.

if [ $# -eq 0 ]; then
    echo "usage: clean.sh FOLDER"
    exit 2
fi
if [ ! -d "$1" ]; then
    echo "no such folder: $1"
    exit 1
fi

cd "$1" || exit 1
count=0
for file in *.tmp; do
    [ -e "$file" ] || continue
    rm -- "$file"
    count=$((count + 1))
done
echo "removed $count"
