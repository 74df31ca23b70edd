//! One tree of the file.

use super::block::Block;
use crate::{
    Result, TreeError,
    forest::{Branch, Builder, Reading, Test},
};

/// Bits of `decision_type`. Source: `kCategoricalMask`, `kDefaultLeftMask` and `GetMissingType` in LightGBM's `tree.h`.
const CATEGORICAL: i32 = 1;
const DEFAULT_LEFT: i32 = 2;

/// The arrays of a tree, one entry a split; leaves are counted by themselves.
struct Tree<'b> {
    block: &'b Block<'b>,
    features: Vec<usize>,
    thresholds: Vec<f64>,
    decisions: Vec<i32>,
    /// A split by its index, a leaf by the complement of its own.
    left: Vec<i64>,
    right: Vec<i64>,
    leaves: Vec<f64>,
    /// Where each category set begins among the words, and at last where they end.
    set_starts: Vec<usize>,
    set_words: Vec<u32>,
}

/// Adds a tree to the forest.
pub(super) fn add(forest: &mut Builder<f64>, block: &Block<'_>, group: usize) -> Result<()> {
    if block.find("is_linear").is_some_and(|value| value.trim() != "0") {
        return Err(TreeError::unsupported(block, "a linear tree is"));
    }
    let leaves: usize = block.number("num_leaves")?;
    let leaf_values = block.numbers("leaf_value", leaves)?;
    let Some(splits) = leaves.checked_sub(1) else {
        return Err(block.wrong("a tree without leaves"));
    };
    if splits == 0 {
        let value = leaf_values.first().copied().unwrap_or_default();
        return forest.add_tree(block, 1, 0, group, |_| Ok(Branch::Leaf(value)));
    }
    let sets: usize = block.number("num_cat")?;
    let set_starts = match sets {
        0 => Vec::new(),
        _ => block.numbers("cat_boundaries", sets.saturating_add(1))?,
    };
    let tree = Tree {
        block,
        features: block.numbers("split_feature", splits)?,
        thresholds: block.numbers("threshold", splits)?,
        decisions: match block.find("decision_type") {
            Some(_) => block.numbers("decision_type", splits)?,
            None => vec![0; splits],
        },
        left: block.numbers("left_child", splits)?,
        right: block.numbers("right_child", splits)?,
        leaves: leaf_values,
        set_words: match set_starts.last() {
            Some(words) => block.numbers("cat_threshold", *words)?,
            None => Vec::new(),
        },
        set_starts,
    };
    // Splits come first, leaves after them.
    forest.add_tree(block, splits + leaves, 0, group, |node| tree.branch(node))
}

impl Tree<'_> {
    fn branch(&self, node: usize) -> Result<Branch<f64>> {
        if let Some(leaf) = node.checked_sub(self.left.len()) {
            let value = self.leaves.get(leaf).copied();
            return value.map(Branch::Leaf).ok_or_else(|| self.wrong(node));
        }
        let entries = (
            self.features.get(node),
            self.thresholds.get(node),
            self.decisions.get(node),
            self.left.get(node).and_then(|child| self.node(*child)),
            self.right.get(node).and_then(|child| self.node(*child)),
        );
        let (Some(&feature), Some(&threshold), Some(&decision), Some(left), Some(right)) = entries else {
            return Err(self.wrong(node));
        };
        if decision & CATEGORICAL != 0 {
            // Those in the set go left here and right in the forest; NaN goes where those outside go.
            return Ok(Branch::Split {
                feature,
                reading: Reading::Whole,
                test: Test::In(self.set(threshold).ok_or_else(|| self.wrong(node))?),
                nan_right: false,
                left: right,
                right: left,
            });
        }
        if threshold.is_nan() {
            return Err(self.wrong(node));
        }
        let is_default_right = decision & DEFAULT_LEFT == 0;
        let (reading, nan_right) = match (decision >> 2) & 3 {
            0 => (Reading::Snapped, threshold < 0.0),
            1 => (Reading::ZeroMissing, is_default_right),
            2 => (Reading::Snapped, is_default_right),
            _ => return Err(self.wrong(node)),
        };
        Ok(Branch::Split {
            feature,
            reading,
            // At or below the threshold is below the next float; nothing is above infinity.
            test: Test::AtOrAbove(match threshold == f64::INFINITY {
                true => f64::NAN,
                false => threshold.next_up(),
            }),
            nan_right,
            left,
            right,
        })
    }

    /// A child by the index that the forest asks with.
    fn node(&self, child: i64) -> Option<usize> {
        match usize::try_from(child) {
            Ok(split) => (split < self.left.len()).then_some(split),
            Err(_) => self.left.len().checked_add(usize::try_from(!child).ok()?),
        }
    }

    /// The set that a categorical split names in place of a threshold.
    fn set(&self, threshold: f64) -> Option<Vec<u32>> {
        let index =
            (threshold >= 0.0 && threshold < self.set_starts.len() as f64).then_some(threshold as usize)?;
        let (start, end) = (self.set_starts.get(index)?, self.set_starts.get(index + 1)?);
        self.set_words.get(*start..*end).map(<[u32]>::to_vec)
    }

    fn wrong(&self, node: usize) -> TreeError {
        self.block.wrong(format!("split {node} names what is not there"))
    }
}
