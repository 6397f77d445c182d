//! Fuzz target of what the agent sends and receives.

pub mod agent_lines;
