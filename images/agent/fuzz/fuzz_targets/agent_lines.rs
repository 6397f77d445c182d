#![no_main]

fuzzing::target!(agent_fuzz::agent_lines::run);
