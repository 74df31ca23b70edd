//! Rows on their way to the kernels: typed, without values that cannot be scored.

use lodeway_metrics::Column;
use lodeway_tables::Texts;

/// Values of a target or a prediction, one a row.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Texts),
}

/// Some of [`Cells`], borrowed.
pub(crate) enum Lent<'a> {
    Bools(&'a [bool]),
    Ints(&'a [i64]),
    Floats(&'a [f64]),
    Texts(Vec<&'a str>),
}

impl Lent<'_> {
    pub(crate) fn column(&self) -> Column<'_> {
        match self {
            Self::Bools(values) => Column::Bools(values),
            Self::Ints(values) => Column::Ints(values),
            Self::Floats(values) => Column::Floats(values),
            Self::Texts(values) => Column::Texts(values),
        }
    }
}

impl Cells {
    /// No values, of the same kind.
    fn blank(&self) -> Self {
        match self {
            Self::Bools(_) => Self::Bools(Vec::new()),
            Self::Ints(_) => Self::Ints(Vec::new()),
            Self::Floats(_) => Self::Floats(Vec::new()),
            Self::Texts(_) => Self::Texts(Texts::default()),
        }
    }

    pub(crate) fn lend(&self, from: usize, to: usize) -> Lent<'_> {
        match self {
            Self::Bools(values) => Lent::Bools(values.get(from..to).unwrap_or_default()),
            Self::Ints(values) => Lent::Ints(values.get(from..to).unwrap_or_default()),
            Self::Floats(values) => Lent::Floats(values.get(from..to).unwrap_or_default()),
            Self::Texts(values) => Lent::Texts(lend_texts(values, from, to)),
        }
    }

    /// The value of a row as text.
    pub(crate) fn text(&self, row: usize) -> String {
        match self {
            Self::Bools(values) => values.get(row).map(ToString::to_string),
            Self::Ints(values) => values.get(row).map(ToString::to_string),
            Self::Floats(values) => values.get(row).map(ToString::to_string),
            Self::Texts(values) => values.get(row).map(str::to_owned),
        }
        .unwrap_or_default()
    }

    fn drain(&mut self, rows: usize) {
        match self {
            Self::Bools(values) => drop_first(values, rows),
            Self::Ints(values) => drop_first(values, rows),
            Self::Floats(values) => drop_first(values, rows),
            Self::Texts(values) => drain_texts(values, rows),
        }
    }

    fn select(&self, places: &[usize]) -> Self {
        match self {
            Self::Bools(values) => Self::Bools(pick(values, places)),
            Self::Ints(values) => Self::Ints(pick(values, places)),
            Self::Floats(values) => Self::Floats(pick(values, places)),
            Self::Texts(values) => Self::Texts(pick_texts(values, places)),
        }
    }
}

/// Columns of rows that can be scored, all of one length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    /// Where each row stands in the data, from 0.
    pub(crate) numbers: Vec<u64>,
    pub(crate) target: Option<Cells>,
    pub(crate) prediction: Option<Cells>,
    /// `[rows, width]`, row-major.
    pub(crate) probability: Vec<f64>,
    /// Columns of probabilities.
    pub(crate) width: usize,
    pub(crate) weights: Option<Vec<f64>>,
    pub(crate) query: Option<Texts>,
    pub(crate) answer: Option<Texts>,
    pub(crate) expected: Option<Texts>,
    /// For each slice column the code of the value.
    pub(crate) slices: Vec<Vec<u32>>,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// No rows of the same columns.
    fn blank(&self) -> Self {
        let texts = |texts: &Option<Texts>| texts.as_ref().map(|_| Texts::default());
        Self {
            numbers: Vec::new(),
            target: self.target.as_ref().map(Cells::blank),
            prediction: self.prediction.as_ref().map(Cells::blank),
            probability: Vec::new(),
            width: self.width,
            weights: self.weights.as_ref().map(|_| Vec::new()),
            query: texts(&self.query),
            answer: texts(&self.answer),
            expected: texts(&self.expected),
            slices: vec![Vec::new(); self.slices.len()],
        }
    }

    /// Drops the first rows.
    pub(crate) fn drain(&mut self, rows: usize) {
        if rows >= self.len() {
            *self = self.blank();
            return;
        }
        drop_first(&mut self.numbers, rows);
        for cells in [&mut self.target, &mut self.prediction].into_iter().flatten() {
            cells.drain(rows);
        }
        drop_first(&mut self.probability, rows * self.width);
        if let Some(weights) = &mut self.weights {
            drop_first(weights, rows);
        }
        for texts in [&mut self.query, &mut self.answer, &mut self.expected]
            .into_iter()
            .flatten()
        {
            drain_texts(texts, rows);
        }
        for codes in &mut self.slices {
            drop_first(codes, rows);
        }
    }

    /// The rows at these places.
    pub(crate) fn select(&self, places: &[usize]) -> Self {
        let texts = |texts: &Option<Texts>| texts.as_ref().map(|texts| pick_texts(texts, places));
        let probability = places.iter().flat_map(|&at| {
            let row = self.probability.get(at * self.width..(at + 1) * self.width);
            row.unwrap_or_default().iter().copied()
        });
        Self {
            numbers: pick(&self.numbers, places),
            target: self.target.as_ref().map(|cells| cells.select(places)),
            prediction: self.prediction.as_ref().map(|cells| cells.select(places)),
            probability: probability.collect(),
            width: self.width,
            weights: self.weights.as_ref().map(|weights| pick(weights, places)),
            query: texts(&self.query),
            answer: texts(&self.answer),
            expected: texts(&self.expected),
            slices: Vec::new(),
        }
    }

    /// Some of the rows.
    pub(crate) fn view(&self, from: usize, to: usize) -> View<'_> {
        View {
            rows: self,
            from,
            to: to.min(self.len()),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> View<'_> {
        self.view(0, self.len())
    }
}

/// Adjacent rows, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl<'a> View<'a> {
    pub(crate) fn len(&self) -> usize {
        self.to.saturating_sub(self.from)
    }

    pub(crate) fn target(&self) -> Lent<'a> {
        let target = self.rows.target.as_ref();
        target.map_or(Lent::Floats(&[]), |cells| cells.lend(self.from, self.to))
    }

    pub(crate) fn prediction(&self) -> Option<Lent<'a>> {
        let prediction = self.rows.prediction.as_ref();
        prediction.map(|cells| cells.lend(self.from, self.to))
    }

    pub(crate) fn probability(&self) -> Option<&'a [f64]> {
        let width = self.rows.width;
        let values = || self.rows.probability.get(self.from * width..self.to * width);
        (width > 0).then(|| values().unwrap_or_default())
    }

    pub(crate) fn weights(&self) -> Option<&'a [f64]> {
        let weights = self.rows.weights.as_ref()?;
        Some(weights.get(self.from..self.to).unwrap_or_default())
    }

    pub(crate) fn texts(&self, of: fn(&Rows) -> &Option<Texts>) -> Vec<&'a str> {
        let texts = of(self.rows).as_ref();
        texts
            .map(|texts| lend_texts(texts, self.from, self.to))
            .unwrap_or_default()
    }

    /// Where a row stands in the data.
    pub(crate) fn number(&self, row: usize) -> u64 {
        self.rows
            .numbers
            .get(self.from + row)
            .copied()
            .unwrap_or_default()
    }
}

fn drop_first<T>(values: &mut Vec<T>, rows: usize) {
    values.drain(..rows.min(values.len()));
}

fn drain_texts(texts: &mut Texts, rows: usize) {
    *texts = lend_texts(texts, rows, texts.len()).into_iter().collect();
}

fn lend_texts(texts: &Texts, from: usize, to: usize) -> Vec<&str> {
    (from..to).filter_map(|row| texts.get(row)).collect()
}

fn pick<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().filter_map(|&at| values.get(at).copied()).collect()
}

fn pick_texts(texts: &Texts, places: &[usize]) -> Texts {
    places.iter().filter_map(|&at| texts.get(at)).collect()
}
