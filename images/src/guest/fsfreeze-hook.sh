#!/bin/sh
# Called by the guest agent with freeze or thaw: the applications rest before their file systems do.
exec witness hook "$1"
