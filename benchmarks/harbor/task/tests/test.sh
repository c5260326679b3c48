#!/bin/bash
# 1 when the program greets whom it is given, else 0.
reward=0
[ "$(cd /app && python3 greet.py Grace Hopper)" = "Hello, Grace!" ] && reward=1
echo "$reward" > /logs/verifier/reward.txt
