#!/bin/sh
# Called by the guest agent with freeze or thaw: quiesces the applications before their file systems are frozen.
exec witness hook "$1"
