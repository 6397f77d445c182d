"""Connects and does nothing more: it notices neither requests nor the end of the suite."""

import time

import hostile

hostile.connect()
while True:
    time.sleep(600)
