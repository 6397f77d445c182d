//! What a vendor may publish about a run, and a reader can verify.
//!
//! A certificate is a JSON file with a rendering in Markdown beside it. It states what the run
//! found and holds the SHA-256 digests of every file of the run, of the rendering and of itself. A
//! digest is no signature: it shows that nothing was altered since the certificate was written, and
//! not who wrote it.
//!
//! - `claims`: what it states; `naming` says stand-in wherever it names a platform
//! - `files`: the digests of the files of a run
//! - `text`: the rendering
//! - `document`: the file
//! - `verify`: compares a certificate with a run

mod claims;
mod document;
mod files;
mod naming;
#[cfg(test)]
mod tests;
mod text;
mod verify;

pub use document::{Certificate, FILE};
pub use verify::{certify, verify};
