//! The operations, a table for each area.

mod filters;
mod folds;
mod groups;
mod maps;
mod measures;
mod numbers;
mod order;
mod pairs;
mod questions;
mod several;
mod text;
mod word_filters;
mod words;

use super::op::Op;

const TABLES: [&[Op]; 13] = [
    filters::OPS,
    maps::OPS,
    folds::OPS,
    order::OPS,
    words::OPS,
    word_filters::OPS,
    text::OPS,
    measures::OPS,
    numbers::OPS,
    questions::OPS,
    groups::OPS,
    several::OPS,
    pairs::OPS,
];

/// Every operation, in a fixed order.
pub(super) fn all() -> impl Iterator<Item = &'static Op> {
    TABLES.into_iter().flatten()
}
