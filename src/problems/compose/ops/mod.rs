//! The operations, a table for each area.

mod filters;
mod folds;
mod groups;
mod maps;
mod numbers;
mod order;
mod several;
mod text;
mod words;

use super::op::Op;

const TABLES: [&[Op]; 9] = [
    filters::OPS,
    maps::OPS,
    folds::OPS,
    order::OPS,
    words::OPS,
    text::OPS,
    numbers::OPS,
    groups::OPS,
    several::OPS,
];

/// Every operation, in a fixed order.
pub(super) fn all() -> impl Iterator<Item = &'static Op> {
    TABLES.into_iter().flatten()
}
