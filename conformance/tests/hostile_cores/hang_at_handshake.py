"""Says nothing."""

import sys

import hostile

hostile.leave_child()
sys.stdin.read()
