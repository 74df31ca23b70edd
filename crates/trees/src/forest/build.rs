//! Laying trees out, and refusing what is no tree.

use std::{collections::HashMap, fmt};

use super::{BY_CATEGORY, ByCategory, Cell, Forest, NAN_RIGHT, Node, Reading, SLOT, Slot, Tree};
use crate::{Result, TreeError};

/// How many nodes and how many words of category sets a model may have, so that all indices fit.
const MAX_NODES: usize = 1 << 29;
const MAX_SET_WORDS: usize = 1 << 26;

/// One node as a file has it, by the file's own indices.
#[derive(Debug, Clone)]
pub(crate) enum Branch<T> {
    /// Adds a value.
    Leaf(T),
    /// Sends a row left or right.
    Split {
        /// The column looked at.
        feature: usize,
        reading: Reading,
        test: Test<T>,
        nan_right: bool,
        left: usize,
        right: usize,
    },
}

/// What sends a row right.
#[derive(Debug, Clone)]
pub(crate) enum Test<T> {
    /// A value at or above this; nothing, if it is NaN.
    AtOrAbove(T),
    /// A category whose bit is set; bit `n % 32` of word `n / 32`, and those beyond the words are not.
    In(Vec<u32>),
}

/// A forest that grows.
#[derive(Debug)]
pub(crate) struct Builder<T> {
    forest: Forest<T>,
    features: usize,
    slots: HashMap<Slot, u32>,
}

impl<T: Cell> Builder<T> {
    /// An empty forest over rows of `features` columns.
    pub(crate) fn new(features: usize) -> Self {
        Self {
            forest: Forest {
                nodes: Vec::new(),
                leaves: Vec::new(),
                by_category: Vec::new(),
                sets: Vec::new(),
                trees: Vec::new(),
                slots: Vec::new(),
            },
            features,
            slots: HashMap::new(),
        }
    }

    /// Adds a tree of at most `nodes` nodes, asked for by `branch`, beginning at `root`. `place` is for messages.
    ///
    /// Errors: a child out of range or reached twice, a feature out of range, too many nodes or categories, and what
    /// `branch` refuses. Nodes that the root does not reach are left out.
    pub(crate) fn add_tree(
        &mut self,
        place: &dyn fmt::Display,
        nodes: usize,
        root: usize,
        group: usize,
        branch: impl Fn(usize) -> Result<Branch<T>>,
    ) -> Result<()> {
        let first = self.forest.nodes.len();
        if nodes > MAX_NODES - first.min(MAX_NODES) {
            return Err(TreeError::too_large(place, "nodes", MAX_NODES));
        }
        let categories_before = self.forest.by_category.len();
        let mut reached = vec![false; nodes];
        // The file's index of every node laid out so far, whose children are yet to be laid out from `next` on.
        let mut order = Vec::with_capacity(nodes);
        let mut reach = |index: usize, order: &mut Vec<usize>| match reached.get_mut(index) {
            Some(seen) if !*seen => {
                *seen = true;
                order.push(index);
                Ok(())
            }
            Some(_) => Err(TreeError::malformed(
                place,
                format!("node {index} has two parents"),
            )),
            None => Err(TreeError::malformed(place, format!("there is no node {index}"))),
        };
        reach(root, &mut order)?;
        let mut next = 0;
        while let Some(&index) = order.get(next) {
            let node = match branch(index)? {
                Branch::Leaf(value) => {
                    self.forest.leaves.push(value);
                    Node {
                        threshold: T::NAN,
                        slot: 0,
                        left: index_u32(first + next),
                    }
                }
                Branch::Split {
                    feature,
                    reading,
                    test,
                    nan_right,
                    left,
                    right,
                } => {
                    let laid_out = index_u32(first + order.len());
                    reach(left, &mut order)?;
                    reach(right, &mut order)?;
                    self.forest.leaves.push(T::ZERO);
                    let mut node = self.split(place, test, laid_out)?;
                    node.slot |= self.slot(place, feature, reading)?;
                    node.slot |= if nan_right { NAN_RIGHT } else { 0 };
                    node
                }
            };
            self.forest.nodes.push(node);
            next += 1;
        }
        self.forest.trees.push(Tree {
            root: index_u32(first),
            group: index_u32(group),
            has_categories: self.forest.by_category.len() > categories_before,
        });
        Ok(())
    }

    fn split(&mut self, place: &dyn fmt::Display, test: Test<T>, left: u32) -> Result<Node<T>> {
        let set = match test {
            Test::AtOrAbove(threshold) => {
                return Ok(Node {
                    threshold,
                    slot: 0,
                    left,
                });
            }
            Test::In(set) => set,
        };
        let first_word = self.forest.sets.len();
        if set.len() > MAX_SET_WORDS - first_word {
            return Err(TreeError::too_large(
                place,
                "words of category sets",
                MAX_SET_WORDS,
            ));
        }
        let node = Node {
            threshold: T::NAN,
            slot: BY_CATEGORY,
            left: index_u32(self.forest.by_category.len()),
        };
        self.forest.by_category.push(ByCategory {
            left,
            first_word: index_u32(first_word),
            words: index_u32(set.len()),
        });
        self.forest.sets.extend(set);
        Ok(node)
    }

    fn slot(&mut self, place: &dyn fmt::Display, feature: usize, reading: Reading) -> Result<u32> {
        if feature >= self.features {
            let problem = format!("a split looks at feature {feature} of {}", self.features);
            return Err(TreeError::malformed(place, problem));
        }
        let slot = Slot {
            feature: index_u32(feature),
            reading,
        };
        let count = self.slots.len();
        if count >= SLOT as usize {
            return Err(TreeError::too_large(place, "features in use", SLOT as usize));
        }
        let slots = &mut self.forest.slots;
        Ok(*self.slots.entry(slot).or_insert_with(|| {
            slots.push(slot);
            index_u32(count)
        }))
    }

    /// The forest, which grows no more.
    pub(crate) fn finish(mut self) -> Forest<T> {
        self.forest.nodes.shrink_to_fit();
        self.forest.leaves.shrink_to_fit();
        self.forest
    }
}

/// An index that a bound above keeps within 32 bits.
fn index_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
