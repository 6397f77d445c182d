//! Holds the structure that ARCHITECTURE.md describes: who may import whom, how long files and lines are, and that
//! every environment variable is documented.

mod cycles;
mod environment;
mod layers;
mod modules;
mod size;
mod tokens;
mod tree;
