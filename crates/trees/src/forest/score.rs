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

/// What a walk must look out for; most trees have no categories and most rows nothing missing, and are faster for it.
const PLAIN: u8 = 0;
const MISSING: u8 = 1;
const CATEGORIES: u8 = 2;
const ANYTHING: u8 = MISSING | CATEGORIES;

impl<T: Cell> Forest<T> {
    /// Adds the leaves of `trees`, in their order, to `start`, which has one value for each group.
    ///
    /// Returns `[rows, groups]`, row-major. Errors: [`TreeError::Input`] if that would be more than 2^28 values.
    pub(crate) fn sum(&self, rows: &Matrix<'_>, trees: Range<usize>, start: &[T]) -> Result<Vec<T>> {
        let scores = rows.rows().checked_mul(start.len());
        if scores.is_none_or(|scores| scores > MAX_SCORES) {
            return Err(TreeError::Input(format!(
                "{} rows of {} scores are too many for one call",
                rows.rows(),
                start.len()
            )));
        }
        let mut sums = start.repeat(rows.rows());
        let trees = self.trees.get(trees).unwrap_or_default();
        let groups = start.len().max(1);
        let width = self.slots.len().max(1);
        let block_rows = (BLOCK_VALUES / width).clamp(1, BLOCK_ROWS);
        let mut block = vec![T::ZERO; width * block_rows.min(rows.rows())];
        for (index, sums) in sums.chunks_mut(groups * block_rows).enumerate() {
            gather(rows, index * block_rows, &self.slots, &mut block);
            let block = block.get(..sums.len() / groups * width).unwrap_or_default();
            match block.iter().any(|value| value.is_nan()) {
                true => self.add_block::<MISSING, ANYTHING>(trees, block, width, sums, groups),
                false => self.add_block::<PLAIN, CATEGORIES>(trees, block, width, sums, groups),
            }
        }
        Ok(sums)
    }

    /// A block of rows: those that fill all lanes go through one tree at a time, the others through many at once.
    ///
    /// `LOOK` is what to look out for in a tree without categories, `LOOK_MORE` in one with them.
    fn add_block<const LOOK: u8, const LOOK_MORE: u8>(
        &self,
        trees: &[Tree],
        block: &[T],
        width: usize,
        sums: &mut [T],
        groups: usize,
    ) {
        let in_step = sums.len() / groups / LANES * LANES;
        let (sums_in_step, sums_alone) = sums.split_at_mut(in_step * groups);
        let (block_in_step, block_alone) = block.split_at(in_step * width);
        for tree in trees {
            let chunks = block_in_step.chunks_exact(width * LANES);
            for (rows, sums) in chunks.zip(sums_in_step.chunks_exact_mut(groups * LANES)) {
                let mut lanes: [&[T]; LANES] = [&[]; LANES];
                for (lane, row) in lanes.iter_mut().zip(rows.chunks_exact(width)) {
                    *lane = row;
                }
                let ends = match tree.has_categories {
                    true => self.walk::<LOOK_MORE, LANES>([tree.root; LANES], lanes),
                    false => self.walk::<LOOK, LANES>([tree.root; LANES], lanes),
                };
                for (end, sums) in ends.iter().zip(sums.chunks_exact_mut(groups)) {
                    self.add_leaf(*end, tree.group, sums);
                }
            }
        }
        for (row, sums) in block_alone
            .chunks_exact(width)
            .zip(sums_alone.chunks_exact_mut(groups))
        {
            self.add_row::<LOOK, LOOK_MORE>(trees, row, sums);
        }
    }

    /// One row through all trees.
    fn add_row<const LOOK: u8, const LOOK_MORE: u8>(&self, trees: &[Tree], row: &[T], sums: &mut [T]) {
        let (chunks, rest) = trees.as_chunks::<LANES>();
        for chunk in chunks {
            let roots = chunk.map(|tree| tree.root);
            let ends = match chunk.iter().any(|tree| tree.has_categories) {
                true => self.walk::<LOOK_MORE, LANES>(roots, [row; LANES]),
                false => self.walk::<LOOK, LANES>(roots, [row; LANES]),
            };
            for (end, tree) in ends.iter().zip(chunk) {
                self.add_leaf(*end, tree.group, sums);
            }
        }
        for tree in rest {
            let [end] = self.walk::<LOOK_MORE, 1>([tree.root], [row]);
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
    fn walk<const LOOK: u8, const N: usize>(&self, mut nodes: [u32; N], rows: [&[T]; N]) -> [u32; N] {
        loop {
            let mut moves = 0;
            for (node, row) in nodes.iter_mut().zip(rows) {
                let next = self.step::<LOOK>(*node, row);
                moves |= next ^ *node;
                *node = next;
            }
            if moves == 0 {
                return nodes;
            }
        }
    }

    #[inline(always)]
    fn step<const LOOK: u8>(&self, index: u32, row: &[T]) -> u32 {
        let Some(&node) = self.nodes.get(index as usize) else {
            return index;
        };
        let Some(&value) = row.get((node.slot & SLOT) as usize) else {
            return index;
        };
        if LOOK & CATEGORIES != 0 && node.slot & BY_CATEGORY != 0 {
            return self.step_by_category(node, value);
        }
        let is_missing = LOOK & MISSING != 0 && value.is_nan() & (node.slot & NAN_RIGHT != 0);
        node.left + u32::from((value >= node.threshold) | is_missing)
    }

    #[inline(never)]
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
