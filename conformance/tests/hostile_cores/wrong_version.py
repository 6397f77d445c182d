"""Speaks another version of the protocol."""

import sys

import hostile

hostile.connect("2.0")
sys.stdin.read()
