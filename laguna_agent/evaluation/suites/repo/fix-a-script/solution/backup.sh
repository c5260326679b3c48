#!/bin/sh
# Copies the files of a folder to a folder beside it whose name ends in .bak.
set -e
source=$1
target=$source.bak
mkdir -p "$target"
cp -R "$source/." "$target/"
echo $(ls "$target" | wc -l) files
