//! Walking rows down trees.

use std::ops::Range;

use super::{BY_CATEGORY, Cell, Forest, NAN_RIGHT, Node, SLOT, Tree, slot::gather};
use crate::{Matrix, Result, TreeError};

/// How many walks go in step.
const LANES: usize = 8;

/// How many rows are gathered at a time; the nodes of a tree stay in the nearest cache meanwhile.
const BLOCK_ROWS: usize = 64;

/// How many values are gathered at a time at most.
const BLOCK_VALUES: usize = 1 << 20;

/// How many values one call may return.
const MAX_SCORES: usize = 1 << 28;

impl<T: Cell> Forest<T> {
    /// Adds the leaves of `trees`, in their order, to `start`, which has one value for each group.
    ///
    /// Returns `[rows, groups]`, row-major. Errors: [`TreeError::Input`] if that would be more than 2^28 values.
    pub(crate) fn sum(&self, rows: &Matrix<'_>, trees: Range<usize>, start: &[T]) -> Result<Vec<T>> {
        let scores = rows
            .rows()
            .checked_mul(start.len())
            .filter(|scores| *scores <= MAX_SCORES);
        if scores.is_none() {
            let text = format!(
                "{} rows of {} scores are too many for one call",
                rows.rows(),
                start.len()
            );
            return Err(TreeError::Input(text));
        }
        let mut sums = start.repeat(rows.rows());
        let trees = self.trees.get(trees).unwrap_or_default();
        let groups = start.len().max(1);
        let width = self.slots.len().max(1);
        let block_rows = (BLOCK_VALUES / width).clamp(1, BLOCK_ROWS);
        let mut block = vec![T::NAN; width * block_rows.min(rows.rows())];
        for (index, sums) in sums.chunks_mut(groups * block_rows).enumerate() {
            gather(rows, index * block_rows, &self.slots, &mut block);
            let whole = sums.len() / groups / LANES * LANES;
            let (in_step, alone) = sums.split_at_mut(whole * groups);
            let (block_in_step, block_alone) = block.split_at(whole * width);
            for tree in trees {
                let chunks = block_in_step.chunks_exact(width * LANES);
                for (rows, sums) in chunks.zip(in_step.chunks_exact_mut(groups * LANES)) {
                    self.add_tree(*tree, rows, width, sums, groups);
                }
            }
            for (row, sums) in block_alone
                .chunks_exact(width)
                .zip(alone.chunks_exact_mut(groups))
            {
                self.add_row(trees, row, sums);
            }
        }
        Ok(sums)
    }

    /// One tree, [`LANES`] rows.
    fn add_tree(&self, tree: Tree, rows: &[T], width: usize, sums: &mut [T], groups: usize) {
        let mut lanes: [&[T]; LANES] = [&[]; LANES];
        for (lane, row) in lanes.iter_mut().zip(rows.chunks_exact(width)) {
            *lane = row;
        }
        let ends = match tree.has_categories {
            true => self.walk::<true, LANES>([tree.root; LANES], lanes),
            false => self.walk::<false, LANES>([tree.root; LANES], lanes),
        };
        for (end, sums) in ends.iter().zip(sums.chunks_exact_mut(groups)) {
            self.add_leaf(*end, tree.group, sums);
        }
    }

    /// All trees, one row.
    fn add_row(&self, trees: &[Tree], row: &[T], sums: &mut [T]) {
        let (chunks, rest) = trees.as_chunks::<LANES>();
        for chunk in chunks {
            let roots = chunk.map(|tree| tree.root);
            let ends = match chunk.iter().any(|tree| tree.has_categories) {
                true => self.walk::<true, LANES>(roots, [row; LANES]),
                false => self.walk::<false, LANES>(roots, [row; LANES]),
            };
            for (end, tree) in ends.iter().zip(chunk) {
                self.add_leaf(*end, tree.group, sums);
            }
        }
        for tree in rest {
            let [end] = self.walk::<true, 1>([tree.root], [row]);
            self.add_leaf(end, tree.group, sums);
        }
    }

    fn add_leaf(&self, leaf: u32, group: u32, sums: &mut [T]) {
        if let (Some(sum), Some(leaf)) = (sums.get_mut(group as usize), self.leaves.get(leaf as usize)) {
            *sum += *leaf;
        }
    }

    /// Walks from each of `nodes` to a leaf, and returns the leaves.
    #[inline(always)]
    fn walk<const CATEGORIES: bool, const N: usize>(&self, mut nodes: [u32; N], rows: [&[T]; N]) -> [u32; N] {
        loop {
            let mut has_moved = false;
            for lane in 0..N {
                let node = nodes[lane];
                let next = self.step::<CATEGORIES>(node, rows[lane]);
                has_moved |= next != node;
                nodes[lane] = next;
            }
            if !has_moved {
                return nodes;
            }
        }
    }

    #[inline(always)]
    fn step<const CATEGORIES: bool>(&self, index: u32, row: &[T]) -> u32 {
        let Some(&node) = self.nodes.get(index as usize) else {
            return index;
        };
        let Some(&value) = row.get((node.slot & SLOT) as usize) else {
            return index;
        };
        if CATEGORIES && node.slot & BY_CATEGORY != 0 {
            return self.step_by_category(node, value);
        }
        let is_missing = value.is_nan() & (node.slot & NAN_RIGHT != 0);
        node.left + u32::from((value >= node.threshold) | is_missing)
    }

    fn step_by_category(&self, node: Node<T>, value: T) -> u32 {
        let Some(split) = self.by_category.get(node.left as usize) else {
            return node.left;
        };
        let is_in_set = value.category().is_some_and(|category| {
            let word = category / 32;
            let bits = self.sets.get((split.first_word + word.min(split.words)) as usize);
            word < split.words && bits.is_some_and(|bits| bits >> (category % 32) & 1 != 0)
        });
        let is_missing = value.is_nan() & (node.slot & NAN_RIGHT != 0);
        split.left + u32::from(is_in_set | is_missing)
    }
}
