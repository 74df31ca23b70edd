//! The `key=value` lines of a file.

use std::{collections::HashMap, fmt, iter::Peekable};

use crate::{Result, TreeError};

/// Numbered lines, from 1.
pub(super) type Lines<'a> = Peekable<Box<dyn Iterator<Item = (usize, &'a str)> + 'a>>;

/// The `key=value` lines of the header or of a tree.
pub(super) struct Block<'a> {
    first_line: usize,
    values: HashMap<&'a str, (usize, &'a str)>,
}

impl<'a> Block<'a> {
    /// Reads up to the line that ends it.
    pub(super) fn read(lines: &mut Lines<'a>, is_end: impl Fn(&str) -> bool) -> Self {
        let first_line = lines.peek().map_or(0, |(number, _)| *number);
        let mut values = HashMap::new();
        while let Some((number, line)) = lines.next_if(|(_, line)| !is_end(line)) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            values.insert(key.trim_end(), (number, value));
        }
        Self { first_line, values }
    }

    /// The value of a key, as it is.
    pub(super) fn find(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).map(|(_, value)| *value)
    }

    fn get(&self, key: &str) -> Result<(usize, &'a str)> {
        let found = self.values.get(key).copied();
        found.ok_or_else(|| self.wrong(format!("`{key}` is missing")))
    }

    /// A single number.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        let (line, text) = self.get(key)?;
        parse(line, key, text.trim())
    }

    /// `count` numbers with blanks between.
    pub(super) fn numbers<T: std::str::FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>> {
        let (line, text) = self.get(key)?;
        let numbers: Vec<T> = text
            .split_ascii_whitespace()
            .map(|text| parse(line, key, text))
            .collect::<Result<_>>()?;
        match numbers.len() == count {
            true => Ok(numbers),
            false => Err(TreeError::malformed(
                format_args!("line {line}"),
                format!("`{key}` has {} entries where {count} belong", numbers.len()),
            )),
        }
    }

    /// `count` words with blanks between.
    pub(super) fn words(&self, key: &str, count: usize) -> Result<Vec<String>> {
        let (line, text) = self.get(key)?;
        let words: Vec<String> = text.trim_end().split(' ').map(str::to_owned).collect();
        match words.len() == count {
            true => Ok(words),
            false => Err(TreeError::malformed(
                format_args!("line {line}"),
                format!("`{key}` has {} entries where {count} belong", words.len()),
            )),
        }
    }

    /// A fault of the block as a whole.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> TreeError {
        TreeError::malformed(self, problem)
    }
}

/// Where the block is.
impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lines from {}", self.first_line)
    }
}

fn parse<T: std::str::FromStr>(line: usize, key: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        TreeError::malformed(
            format_args!("line {line}"),
            format!("`{key}` has `{shown}`, which is not a number in range"),
        )
    })
}
