//! The files of the engines of continuous integration: they hold no logic, they are what their
//! engines accept, and their steps work.
//!
//! - `files`: the files, read
//! - `calls`: every step calls one program that exists, with arguments that it knows
//! - `lint`: schemas, actionlint and shellcheck, where `cargo xtask test` has installed them
//! - `github`, `gitlab`, `kubernetes`: rehearsals of their steps in the sim tier
//! - `shards`: merged shards are the same as one run
//! - `place`: a place for a rehearsal, and what runs in it

mod calls;
mod files;
mod github;
mod gitlab;
mod kubernetes;
mod lint;
mod place;
mod shards;
