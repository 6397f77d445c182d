//! Sound variants: the core under test, made to do correctly what other cores do differently. A
//! suite that fails one of them demands more than the rules do.
//!
//! - [`VARIANTS`]: every variant, with the sentence that allows what it does
//! - [`CoreVariant`]: a variant that a run or a check has asked for
//! - `difference`: what a variant can do differently
//! - `core`, `platform`: the decorators that do it
//! - `activity`: whether a variant has done anything differently
//! - `views`, `pace`, `names`, `answers`, `health`, `data`: the differences, by topic

mod activity;
mod answers;
mod core;
mod data;
mod difference;
mod health;
mod names;
mod pace;
mod platform;
mod selected;
mod table;
mod views;

pub use self::selected::{CoreVariant, UnknownVariant};
pub use self::table::{VARIANTS, Variant};
