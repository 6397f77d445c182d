#![no_main]

fuzzing::target!(witness_fuzz::ledger::run);
