//! Reads tables that are texts: CSV and JSON Lines.
//!
//! A row is read when it is whole in memory; rows longer than a bound are refused. Types come from hints or from what the
//! rows hold, see [`guess`].

mod build;
mod cell;
mod csv;
mod feed;
mod guess;
mod json;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use self::{build::Builder, cell::Cell, csv::Csv, feed::Feed, guess::Guess, json::Json};
pub(crate) use self::{cell::is_missing, json::write as write_json};
use crate::{
    Batch, Field, Format, MAX_COLUMNS, Options, Place, Position, Result, Schema, Source, TableError,
    decode::Decode, options::TARGET_BYTES,
};

/// A text being read.
pub(crate) struct Lines {
    feed: Feed,
    rows: Rows,
    schema: Schema,
    options: Options,
    /// For each column of the file the one that is read.
    places: Places,
    /// Rows given out, and all of them if they were counted.
    row: u64,
    count: Option<u64>,
    /// Where the first row begins.
    first: u64,
}

/// The two ways of writing rows.
enum Rows {
    Csv(Csv),
    Json(Json),
}

/// Which columns of the file are read.
#[derive(Debug, Default)]
struct Places {
    /// By place in the file; `None` for those that are left out.
    reads: Vec<Option<usize>>,
}

/// What is done with the cells of a row.
trait Take {
    /// A column that did not come before, of the next place in the file. Errors: it is unexpected.
    fn name(&mut self, name: &str) -> Result<()>;
    /// Whether the cells of a place are wanted.
    fn wants(&self, place: usize) -> bool;
    /// A cell.
    fn cell(&mut self, place: usize, cell: Cell<'_>) -> Result<()>;
}

impl Rows {
    /// Reads one row; false at the end.
    fn next(&mut self, feed: &mut Feed, take: &mut dyn Take) -> Result<bool> {
        match self {
            Self::Csv(csv) => csv.next(feed, take),
            Self::Json(json) => json.next(feed, take),
        }
    }
}

impl Lines {
    pub(crate) fn open(source: Source, format: Format, options: &Options) -> Result<Self> {
        let mut feed = Feed::new(source, options.max_bytes)?;
        let (mut rows, mut names) = match format {
            Format::Csv => {
                let (csv, names) = Csv::open(&mut feed, options)?;
                (Rows::Csv(csv), names)
            }
            _ => (Rows::Json(Json::default()), Vec::new()),
        };
        let is_csv = format == Format::Csv;
        let first = feed.at();
        let is_hinted = |name: &String| options.hint(name).is_some();
        let all_hinted = match &options.columns {
            Some(columns) => columns.iter().all(is_hinted),
            None => is_csv && names.iter().all(is_hinted),
        };
        let mut look = Look::new(options, &names);
        let mut count = None;
        let mut row = 0;
        while !all_hinted && row < options.infer_rows {
            look.row = row;
            match rows.next(&mut feed, &mut look) {
                Ok(true) => row += 1,
                Ok(false) => {
                    count = Some(row);
                    break;
                }
                Err(error) => return Err(error.at(Place::Row(row))),
            }
            if row > options.max_rows {
                return Err(too_many(options));
            }
        }
        names = look.names;
        if !is_csv {
            // columns that are hinted and asked for need not be met
            let known = options.hints.iter().map(|(name, _)| name);
            let absent: Vec<_> = known.filter(|name| !names.contains(name)).cloned().collect();
            names.extend(absent);
            rows = Rows::Json(Json::new(&names));
        }
        let (schema, places) = plan(&names, &look.guesses, count, options)?;
        feed.wind(first);
        Ok(Self {
            feed,
            rows,
            schema,
            places,
            options: options.clone(),
            row: 0,
            count,
            first,
        })
    }
}

/// The columns that are read, in the order that is asked for.
fn plan(
    names: &[String],
    guesses: &[Guess],
    count: Option<u64>,
    options: &Options,
) -> Result<(Schema, Places)> {
    if names.len() > MAX_COLUMNS {
        return Err(TableError::too_large(format!(
            "has more than {MAX_COLUMNS} columns"
        )));
    }
    let mut known = HashSet::with_capacity(names.len());
    // Also where only some are wanted: of two columns of one name nobody knows which is meant.
    if let Some(name) = names.iter().find(|name| !known.insert(name.as_str())) {
        return Err(TableError::in_column(name, "comes twice"));
    }
    let wanted = options.columns.as_deref().unwrap_or(names);
    let mut reads = vec![None; names.len()];
    let mut fields = Vec::with_capacity(wanted.len());
    for (at, name) in wanted.iter().enumerate() {
        let place = match &options.columns {
            Some(_) => names.iter().position(|known| known == name),
            None => Some(at),
        };
        let place = place.ok_or_else(|| TableError::in_column(name, "does not exist"))?;
        let guess = guesses.get(place).copied().unwrap_or_default();
        fields.push(Field {
            name: name.as_str().into(),
            dtype: options.hint(name).unwrap_or_else(|| guess.dtype()),
            is_nullable: count.is_none_or(|count| guess.has_nulls(count)),
        });
        if let Some(read) = reads.get_mut(place) {
            *read = Some(at);
        }
    }
    Ok((Schema::new(fields)?, Places { reads }))
}

fn too_many(options: &Options) -> TableError {
    TableError::too_large(format!("has more than {} rows", options.max_rows))
}

impl Decode for Lines {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn rows(&self) -> Option<u64> {
        self.count
    }

    fn position(&self) -> Position {
        Position {
            row: self.row,
            part: self.feed.at(),
            skip: 0,
        }
    }

    fn seek(&mut self, to: Position) -> Result<()> {
        let at = if to == Position::default() {
            self.first
        } else {
            to.part
        };
        if at < self.first || at > self.feed.len() || to.skip != 0 {
            return Err(TableError::invalid(format!("has no position {to}")));
        }
        self.feed.wind(at);
        self.row = to.row;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Batch>> {
        let mut fill = Fill {
            builders: self.schema.fields().iter().map(Builder::new).collect(),
            places: &self.places,
            rows: 0,
            is_partial: self.options.columns.is_some(),
        };
        while fill.rows < self.options.batch_rows.max(1) && fill.size_bytes() < TARGET_BYTES {
            let row = self.row + fill.rows as u64;
            match self.rows.next(&mut self.feed, &mut fill) {
                Ok(true) if row >= self.options.max_rows => return Err(too_many(&self.options)),
                Ok(true) => fill.end_row(),
                Ok(false) => break,
                Err(error) => return Err(error.at(Place::Row(row))),
            }
        }
        self.row += fill.rows as u64;
        let rows = fill.rows;
        let columns = fill.builders.into_iter().map(Builder::finish);
        Ok((rows > 0).then(|| Batch::unchecked(columns.collect(), rows)))
    }
}

/// Looks at rows to learn names and types.
struct Look<'a> {
    options: &'a Options,
    names: Vec<String>,
    guesses: Vec<Guess>,
    row: u64,
}

impl<'a> Look<'a> {
    fn new(options: &'a Options, names: &[String]) -> Self {
        let mut look = Self {
            options,
            names: Vec::new(),
            guesses: Vec::new(),
            row: 0,
        };
        names.iter().for_each(|name| look.add(name));
        look
    }

    fn add(&mut self, name: &str) {
        let hint = self.options.hint(name);
        let wanted = self
            .options
            .columns
            .as_ref()
            .is_none_or(|columns| columns.iter().any(|column| column == name));
        self.names.push(name.to_owned());
        self.guesses
            .push(Guess::new(wanted && hint.is_none(), self.row > 0));
    }
}

impl Take for Look<'_> {
    fn name(&mut self, name: &str) -> Result<()> {
        if self.names.len() >= MAX_COLUMNS {
            return Err(TableError::too_large(format!(
                "has more than {MAX_COLUMNS} columns"
            )));
        }
        self.add(name);
        Ok(())
    }

    fn wants(&self, _: usize) -> bool {
        true
    }

    fn cell(&mut self, place: usize, cell: Cell<'_>) -> Result<()> {
        let Some(guess) = self.guesses.get_mut(place) else {
            return Ok(());
        };
        guess.add(&cell, self.row).map_err(|why| {
            let name = self.names.get(place).map_or("", String::as_str);
            TableError::in_column(name, why)
        })
    }
}

/// Fills the columns of a batch.
struct Fill<'a> {
    builders: Vec<Builder>,
    places: &'a Places,
    rows: usize,
    is_partial: bool,
}

impl Fill<'_> {
    fn end_row(&mut self) {
        self.rows += 1;
        self.builders
            .iter_mut()
            .for_each(|builder| builder.pad(self.rows));
    }

    fn size_bytes(&self) -> u64 {
        self.builders
            .iter()
            .map(|builder| builder.size_bytes() as u64)
            .sum()
    }
}

impl Take for Fill<'_> {
    fn name(&mut self, name: &str) -> Result<()> {
        if self.is_partial {
            return Ok(());
        }
        Err(TableError::in_column(
            name,
            "did not come in the rows from which columns were inferred; hint it",
        ))
    }

    fn wants(&self, place: usize) -> bool {
        matches!(self.places.reads.get(place), Some(Some(_)))
    }

    fn cell(&mut self, place: usize, cell: Cell<'_>) -> Result<()> {
        let read = self.places.reads.get(place).copied().flatten();
        match read.and_then(|read| self.builders.get_mut(read)) {
            Some(builder) => builder.add(cell, self.rows),
            None => Ok(()),
        }
    }
}
