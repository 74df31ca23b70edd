//! Trees laid out for scoring, the same for both libraries.
//!
//! A split asks one thing of a value: is it at or above a threshold, then right, else left. The libraries' own rules are
//! turned into that when the model is read ([`build`]) or when a row is copied into place ([`slot`]): LightGBM's
//! "at or below goes left" by taking the next float as threshold, its zeros that count as missing by a second copy of
//! the value in which they are NaN.
//!
//! **Layout.** The nodes of all trees lie in one array of 12 or 16 bytes each, each tree level by level, a left child
//! next to its right one, so a node needs one index for both. A leaf is its own left child and has a threshold that
//! nothing reaches; so a walk needs no test for leaves, and several walks can go in step until none moves any more.
//! Walks in step (eight rows through one tree, or one row through eight trees) hide each other's memory latency, which
//! is what a single walk consists of. Leaf values lie beside the nodes, out of the way of the walk.
//!
//! Children always lie behind their parent, which [`build`] makes sure of; so every walk ends.

mod build;
mod score;
mod slot;

pub(crate) use build::{Branch, Builder, Test};
use slot::Slot;
pub(crate) use slot::{Cell, Reading};

/// Marks a split that sends NaN to the right.
const NAN_RIGHT: u32 = 1 << 31;

/// Marks a split by category, whose `left` is an index into [`Forest::by_category`].
const BY_CATEGORY: u32 = 1 << 30;

/// What is left for the slot.
const SLOT: u32 = BY_CATEGORY - 1;

/// One node: 12 bytes with 32-bit thresholds, 16 with 64.
#[derive(Debug, Clone, Copy)]
struct Node<T> {
    /// Values at or above it go right; NaN in a leaf, which no value is at or above.
    threshold: T,
    /// Which value of the gathered row is looked at, and the two marks.
    slot: u32,
    /// The left child; the right one is next to it. A leaf names itself.
    left: u32,
}

/// The rest of a split by category: those in the set go right.
#[derive(Debug, Clone, Copy)]
struct ByCategory {
    left: u32,
    /// Where its bits begin in [`Forest::sets`], and how many words they are.
    first_word: u32,
    words: u32,
}

/// One tree.
#[derive(Debug, Clone, Copy)]
struct Tree {
    root: u32,
    /// Which of the sums its leaves add to.
    group: u32,
    has_categories: bool,
}

/// The trees of a model.
#[derive(Debug, Clone)]
pub(crate) struct Forest<T> {
    nodes: Vec<Node<T>>,
    /// By node: what a leaf adds; unused for splits.
    leaves: Vec<T>,
    by_category: Vec<ByCategory>,
    sets: Vec<u32>,
    trees: Vec<Tree>,
    /// What the trees look at, in the order of a gathered row.
    slots: Vec<Slot>,
}

impl<T> Forest<T> {
    /// How many trees.
    pub(crate) fn trees(&self) -> usize {
        self.trees.len()
    }
}
