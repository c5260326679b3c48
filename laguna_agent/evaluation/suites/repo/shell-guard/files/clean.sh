#!/bin/sh
# Removes the temporary files (*.tmp) of a folder and says how many there were.

cd "$1"
count=0
for file in *.tmp; do
    [ -e "$file" ] || continue
    rm -- "$file"
    count=$((count + 1))
done
echo "removed $count"
