//! The timeline of a scenario, drawn.

mod draw;
mod lanes;

pub(super) use draw::{Size, draw};
pub(super) use lanes::{Kind, LEGEND, words_of};
