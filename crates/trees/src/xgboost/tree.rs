//! One tree of the file.

use std::ops::Range;

use crate::{
    Result, TreeError,
    forest::{Branch, Builder, Reading, Test},
    value::At,
};

/// Categories from here on cannot be told apart in 32-bit floats. Source: `OutOfRangeCat` in XGBoost's `categorical.h`.
const MAX_CATEGORY: usize = 1 << 24;

/// The arrays of a tree, one entry a node.
struct Tree<'p> {
    at: &'p At<'p>,
    left: Vec<i64>,
    right: Vec<i64>,
    features: Vec<i64>,
    /// Thresholds of splits, values of leaves.
    conditions: Vec<f32>,
    default_left: Vec<i64>,
    sets: Sets,
    weight: f32,
}

/// Adds a tree to the forest, its leaves multiplied with `weight`.
pub(super) fn add(forest: &mut Builder<f32>, at: &At<'_>, group: usize, weight: f32) -> Result<()> {
    let param = at.get("tree_param")?;
    if let Some(size) = param.find("size_leaf_vector")?
        && size.parameter::<usize>()? > 1
    {
        return Err(TreeError::unsupported(
            at,
            "a tree with a vector in each leaf (`multi_output_tree`) is",
        ));
    }
    let tree = Tree {
        at,
        left: at.get("left_children")?.integers()?,
        right: at.get("right_children")?.integers()?,
        features: at.get("split_indices")?.integers()?,
        conditions: at.get("split_conditions")?.reals()?,
        default_left: at.get("default_left")?.integers()?,
        sets: Sets::read(at)?,
        weight,
    };
    let nodes = tree.left.len();
    let lengths = [
        tree.right.len(),
        tree.features.len(),
        tree.conditions.len(),
        tree.default_left.len(),
    ];
    if lengths.iter().any(|length| *length != nodes) {
        return Err(at.malformed("the arrays of the tree are not of one length"));
    }
    forest.add_tree(at, nodes, 0, group, |node| tree.branch(node))
}

impl Tree<'_> {
    fn branch(&self, node: usize) -> Result<Branch<f32>> {
        let entries = (
            self.left.get(node),
            self.right.get(node),
            self.features.get(node),
            self.conditions.get(node),
            self.default_left.get(node),
        );
        let (Some(&left), Some(&right), Some(&feature), Some(&condition), Some(&default_left)) = entries
        else {
            return Err(self.at.malformed(format!("there is no node {node}")));
        };
        if left == -1 {
            // Adding the product is what the predictors do: the weight is no part of the tree.
            return Ok(Branch::Leaf(condition * self.weight));
        }
        let index = |index: i64| {
            let problem = || self.at.malformed(format!("node {node} has the index {index}"));
            usize::try_from(index).map_err(|_| problem())
        };
        let set = self.sets.of(self.at, node)?;
        if set.is_none() && condition.is_nan() {
            return Err(self.at.malformed(format!("node {node} splits at NaN")));
        }
        Ok(Branch::Split {
            feature: index(feature)?,
            reading: Reading::Plain,
            test: match set {
                Some(set) => Test::In(set),
                None => Test::AtOrAbove(condition),
            },
            nan_right: default_left == 0,
            left: index(left)?,
            right: index(right)?,
        })
    }
}

/// Which categories go right at which node.
#[derive(Default)]
struct Sets {
    /// By node: where its categories lie; shorter than the nodes if the tree splits on numbers only.
    ranges: Vec<Option<Range<usize>>>,
    categories: Vec<i64>,
}

impl Sets {
    /// `categories` holds the sets one after the other, `categories_nodes` says whose they are, `categories_segments`
    /// and `categories_sizes` where they lie.
    fn read(at: &At<'_>) -> Result<Self> {
        let Some(kinds) = at.find("split_type")? else {
            return Ok(Self::default());
        };
        let kinds = kinds.integers()?;
        if kinds.iter().all(|kind| *kind == 0) {
            return Ok(Self::default());
        }
        let categories = at.get("categories")?.integers()?;
        let nodes = at.get("categories_nodes")?.integers()?;
        let firsts = at.get("categories_segments")?.integers()?;
        let sizes = at.get("categories_sizes")?.integers()?;
        if firsts.len() != nodes.len() || sizes.len() != nodes.len() {
            return Err(at.malformed("the arrays of categories are not of one length"));
        }
        let mut ranges: Vec<_> = kinds.iter().map(|kind| (*kind != 0).then_some(0..0)).collect();
        let mut unused = categories.len();
        for ((node, first), size) in nodes.iter().zip(firsts).zip(sizes) {
            let wrong = || at.malformed(format!("the categories of node {node} are out of range"));
            let range = usize::try_from(*node).ok().and_then(|node| ranges.get_mut(node));
            let (Some(Some(range)), Ok(first), Ok(size)) =
                (range, usize::try_from(first), usize::try_from(size))
            else {
                return Err(wrong());
            };
            // Sets do not overlap; otherwise a small file could describe far more categories than it lists.
            unused = unused.checked_sub(size).ok_or_else(wrong)?;
            let end = first.checked_add(size).filter(|end| *end <= categories.len());
            *range = first..end.ok_or_else(wrong)?;
        }
        Ok(Self { ranges, categories })
    }

    /// The set of a node that splits by category.
    fn of(&self, at: &At<'_>, node: usize) -> Result<Option<Vec<u32>>> {
        let Some(Some(range)) = self.ranges.get(node) else {
            return Ok(None);
        };
        let set = self.categories.get(range.clone()).and_then(bits);
        let wrong = || at.malformed(format!("the categories of node {node} are out of range"));
        set.map(Some).ok_or_else(wrong)
    }
}

/// The set with a bit for each category.
fn bits(categories: &[i64]) -> Option<Vec<u32>> {
    let Some(highest) = categories.iter().max() else {
        return Some(Vec::new());
    };
    let highest = usize::try_from(*highest).ok()?;
    if highest >= MAX_CATEGORY {
        return None;
    }
    let mut words = vec![0; highest / 32 + 1];
    for category in categories {
        let category = usize::try_from(*category).ok()?;
        *words.get_mut(category / 32)? |= 1 << (category % 32);
    }
    Some(words)
}
