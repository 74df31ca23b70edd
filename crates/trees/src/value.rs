//! The tree of values in an XGBoost file, whether written as JSON or as UBJSON, and reading it by name.
//!
//! Nothing is copied that need not be: strings and arrays of numbers borrow the file, and numbers are decoded when
//! somebody asks for them. So a damaged or hostile file costs little more memory than its own size.

use std::{borrow::Cow, fmt};

use crate::{
    Result, TreeError,
    numbers::{EMPTY, Numbers},
};

/// How deep lists and objects may be nested; XGBoost's own files need eight.
pub(crate) const MAX_DEPTH: usize = 32;

/// How many values a file may hold, where an array of numbers counts as one. A tree is some twenty.
pub(crate) const MAX_VALUES: usize = 4_000_000;

/// One value of the file.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    /// `null`, `true` or `false`, which nothing that is read uses by itself.
    Word,
    /// A number, or a whole array of them.
    Numbers(Numbers<'a>),
    /// A string.
    Text(Cow<'a, str>),
    /// An array with anything else than numbers in it, or an empty one.
    List(Vec<Value<'a>>),
    /// An object, in the file's order.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// A value together with its path from the top, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'p> {
    pub(crate) value: &'p Value<'p>,
    parent: Option<&'p At<'p>>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'p> {
    Field(&'p str),
    Item(usize),
}

impl<'p> At<'p> {
    /// The top of a file.
    pub(crate) fn top(value: &'p Value<'p>) -> Self {
        Self {
            value,
            parent: None,
            step: Step::Field("the file"),
        }
    }

    /// The field of an object, if it is there.
    pub(crate) fn find(&'p self, name: &'p str) -> Result<Option<At<'p>>> {
        let Value::Object(fields) = self.value else {
            return Err(self.malformed("is not an object"));
        };
        let found = fields.iter().find(|(key, _)| key == name);
        Ok(found.map(|(_, value)| At {
            value,
            parent: Some(self),
            step: Step::Field(name),
        }))
    }

    /// The field of an object.
    pub(crate) fn get(&'p self, name: &'p str) -> Result<At<'p>> {
        self.find(name)?
            .ok_or_else(|| self.malformed(format!("has no `{name}`")))
    }

    /// The fields of an object with their names.
    pub(crate) fn fields(&'p self) -> Result<impl Iterator<Item = (&'p str, At<'p>)>> {
        let Value::Object(fields) = self.value else {
            return Err(self.malformed("is not an object"));
        };
        Ok(fields.iter().map(move |(name, value)| {
            let step = Step::Field(name);
            let parent = Some(self);
            (&**name, At { value, parent, step })
        }))
    }

    /// The items of an array that are not numbers; none for an empty array.
    pub(crate) fn items(&'p self) -> Result<impl ExactSizeIterator<Item = At<'p>>> {
        let Value::List(items) = self.value else {
            return Err(self.malformed("is not a list"));
        };
        Ok(items.iter().enumerate().map(move |(index, value)| At {
            value,
            parent: Some(self),
            step: Step::Item(index),
        }))
    }

    /// A string.
    pub(crate) fn text(&self) -> Result<&'p str> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.malformed("is not a string")),
        }
    }

    /// A list of strings.
    pub(crate) fn texts(&self) -> Result<Vec<String>> {
        self.items()?.map(|item| item.text().map(str::to_owned)).collect()
    }

    /// A number that XGBoost writes as a string, as it does with parameters.
    pub(crate) fn parameter<T: std::str::FromStr>(&self) -> Result<T> {
        let text = self.text()?;
        text.parse()
            .map_err(|_| self.malformed(format!("`{text}` is not a number in range")))
    }

    /// An array of numbers.
    pub(crate) fn numbers(&self) -> Result<&'p Numbers<'p>> {
        match self.value {
            Value::Numbers(numbers) => Ok(numbers),
            Value::List(items) if items.is_empty() => Ok(&EMPTY),
            _ => Err(self.malformed("is not a list of numbers")),
        }
    }

    /// An array of numbers, decoded. Flags count as 0 and 1.
    pub(crate) fn integers(&self) -> Result<Vec<i64>> {
        self.numbers()?
            .integers()
            .map_err(|problem| self.malformed(problem))
    }

    /// An array of numbers, decoded and rounded to 32 bits.
    pub(crate) fn reals(&self) -> Result<Vec<f32>> {
        self.numbers()?.reals().map_err(|problem| self.malformed(problem))
    }

    /// A fault at this place.
    pub(crate) fn malformed(&self, problem: impl Into<String>) -> TreeError {
        TreeError::malformed(self, problem)
    }
}

/// The path, as in `learner.objective.name`.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below_top = self.parent.is_some_and(|parent| parent.parent.is_some());
        if let Some(parent) = self.parent.filter(|_| below_top) {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if below_top => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

/// Counts down what is left of the bounds while a file is read.
#[derive(Debug)]
pub(crate) struct Budget {
    values: usize,
}

impl Budget {
    /// All of it.
    pub(crate) fn new() -> Self {
        Self { values: MAX_VALUES }
    }

    /// Takes one value at a depth; errors when there are too many or it lies too deep.
    pub(crate) fn take(&mut self, depth: usize, byte: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(TreeError::too_large(
                format_args!("byte {byte}"),
                "levels of nesting",
                MAX_DEPTH,
            ));
        }
        self.values = self
            .values
            .checked_sub(1)
            .ok_or_else(|| TreeError::too_large(format_args!("byte {byte}"), "values", MAX_VALUES))?;
        Ok(())
    }
}
