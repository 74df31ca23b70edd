//! Axes and what is drawn between them. Colours suit a white and a dark page.

use std::fmt::Write as _;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;
const INK: &str = "#667085";
const FAINT: &str = "#98a2b355";
const MODEL: &str = "#2e7bd6";
const OTHER: &str = "#98a2b3";

/// How points are drawn.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Line,
    Dashed,
    Marked,
    Dots,
    Bars,
}

/// Points that belong together.
pub(super) struct Series<'a> {
    name: &'a str,
    x: &'a [f64],
    y: &'a [f64],
    style: Style,
}

impl<'a> Series<'a> {
    pub(super) fn line(name: &'a str, x: &'a [f64], y: &'a [f64]) -> Self {
        Self::of(name, x, y, Style::Line)
    }

    pub(super) fn dashed(name: &'a str, x: &'a [f64], y: &'a [f64]) -> Self {
        Self::of(name, x, y, Style::Dashed)
    }

    pub(super) fn marked(name: &'a str, x: &'a [f64], y: &'a [f64]) -> Self {
        Self::of(name, x, y, Style::Marked)
    }

    pub(super) fn dots(name: &'a str, x: &'a [f64], y: &'a [f64]) -> Self {
        Self::of(name, x, y, Style::Dots)
    }

    /// `x` has one more than `y`: the edges of the bars.
    pub(super) fn bars(name: &'a str, x: &'a [f64], y: &'a [f64]) -> Self {
        Self::of(name, x, y, Style::Bars)
    }

    fn of(name: &'a str, x: &'a [f64], y: &'a [f64], style: Style) -> Self {
        Self { name, x, y, style }
    }
}

/// The ends of an axis.
type Range = (f64, f64);

/// Two axes with series.
pub(super) struct Chart<'a> {
    title: &'a str,
    labels: (&'a str, &'a str),
    ranges: [Option<Range>; 2],
    note: Option<String>,
    series: Vec<Series<'a>>,
}

impl<'a> Chart<'a> {
    pub(super) fn new(title: &'a str, x: &'a str, y: &'a str) -> Self {
        Self {
            title,
            labels: (x, y),
            ranges: [None, None],
            note: None,
            series: Vec::new(),
        }
    }

    /// The ends of the axes; none: as the points need it.
    pub(super) fn ranges(mut self, x: Option<Range>, y: Option<Range>) -> Self {
        self.ranges = [x, y];
        self
    }

    pub(super) fn note(mut self, note: Option<String>) -> Self {
        self.note = note;
        self
    }

    pub(super) fn with(mut self, series: Series<'a>) -> Self {
        self.series.push(series);
        self
    }

    pub(super) fn svg(&self) -> String {
        let has_bars = self.series.iter().any(|series| series.style == Style::Bars);
        let all = |pick: fn(&Series<'a>) -> &'a [f64]| {
            self.series.iter().flat_map(move |s| pick(s).iter().copied())
        };
        let x = Axis::of(self.ranges[0], all(|series| series.x), false);
        let y = Axis::of(self.ranges[1], all(|series| series.y), has_bars);
        let (across, down) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let place =
            |at_x: f64, at_y: f64| (LEFT + across * x.share(at_x), TOP + down * (1.0 - y.share(at_y)));
        let mut out = begin(self.title, WIDTH, HEIGHT);
        for tick in x.ticks() {
            let (at, _) = place(tick, y.low);
            let bottom = HEIGHT - BOTTOM;
            line(&mut out, (at, TOP), (at, bottom), FAINT);
            text(&mut out, (at, bottom + 16.0), "middle", &label(tick));
        }
        for tick in y.ticks() {
            let (_, at) = place(x.low, tick);
            line(&mut out, (LEFT, at), (WIDTH - RIGHT, at), FAINT);
            text(&mut out, (LEFT - 6.0, at + 4.0), "end", &label(tick));
        }
        text(
            &mut out,
            (LEFT + across / 2.0, HEIGHT - 10.0),
            "middle",
            self.labels.0,
        );
        let middle = TOP + down / 2.0;
        let _ = write!(
            out,
            "<text x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
            escape(self.labels.1)
        );
        for series in &self.series {
            draw(&mut out, series, &place, y.low);
        }
        if let Some(note) = &self.note {
            text(
                &mut out,
                (WIDTH - RIGHT - 8.0, HEIGHT - BOTTOM - 10.0),
                "end",
                note,
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn draw(out: &mut String, series: &Series<'_>, place: &dyn Fn(f64, f64) -> (f64, f64), floor: f64) {
    let colour = if series.style == Style::Dashed {
        OTHER
    } else {
        MODEL
    };
    let points = || series.x.iter().zip(series.y).map(|(&x, &y)| place(x, y));
    let title = format!("<title>{}</title>", escape(series.name));
    if matches!(series.style, Style::Line | Style::Dashed | Style::Marked) {
        let path: Vec<String> = points().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dash = if series.style == Style::Dashed {
            " stroke-dasharray=\"5 4\""
        } else {
            ""
        };
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}>{title}</polyline>",
            path.join(" ")
        );
    }
    if matches!(series.style, Style::Marked | Style::Dots) {
        let (radius, opacity) = if series.style == Style::Dots {
            (2.5, 0.5)
        } else {
            (4.0, 1.0)
        };
        for (x, y) in points() {
            let _ = write!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
            );
        }
    }
    if series.style == Style::Bars {
        for (edges, &height) in series.x.windows(2).zip(series.y) {
            let [left, right] = edges else { continue };
            let ((x, top), (end, bottom)) = (place(*left, height), place(*right, floor));
            let _ = write!(
                out,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                (end - x - 0.5).max(0.5),
                (bottom - top).max(0.0)
            );
        }
    }
}

/// One axis: its ends.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(said: Option<Range>, values: impl Iterator<Item = f64>, from_zero: bool) -> Self {
        if let Some((low, high)) = said {
            return Self { low, high };
        }
        let finite = values.filter(|value| value.is_finite());
        let (mut low, mut high) =
            finite.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if from_zero {
            low = 0.0;
        }
        if low == high {
            (low, high) = (low - 0.5, high + 0.5);
        }
        let step = step(low, high);
        Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
        }
    }

    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        let step = step(self.low, self.high);
        let count = ((self.high - self.low) / step).round().clamp(1.0, 20.0) as u32;
        (0..=count).map(|at| self.low + f64::from(at) * step).collect()
    }
}

/// About five steps of 1, 2 or 5 times a power of ten.
fn step(low: f64, high: f64) -> f64 {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = match rough / power {
        part if part < 1.5 => power,
        part if part < 3.5 => 2.0 * power,
        part if part < 7.5 => 5.0 * power,
        _ => 10.0 * power,
    };
    if step.is_finite() && step > 0.0 { step } else { 1.0 }
}

/// A number on an axis.
fn label(value: f64) -> String {
    let value = if value.abs() < 1e-12 { 0.0 } else { value };
    if value != 0.0 && !(1e-3..1e5).contains(&value.abs()) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Counts of true and predicted classes.
pub(super) fn matrix(labels: &[String], counts: &[Vec<f64>]) -> String {
    let many = labels.len().max(1) as f64;
    let cell = (320.0 / many).clamp(14.0, 72.0);
    let (left, top) = (110.0, 56.0);
    let (width, height) = (left + cell * many + 16.0, top + cell * many + 40.0);
    let mut out = begin("Confusion matrix", width.max(260.0), height);
    text(
        &mut out,
        (left + cell * many / 2.0, top - 6.0 + cell * many + 34.0),
        "middle",
        "predicted",
    );
    for (at, name) in labels.iter().enumerate() {
        let middle = (at as f64 + 0.5) * cell;
        text(&mut out, (left - 8.0, top + middle + 4.0), "end", &short(name));
        text(&mut out, (left + middle, top - 6.0), "middle", &short(name));
    }
    for (row, values) in counts.iter().enumerate() {
        let total: f64 = values.iter().sum();
        for (at, &value) in values.iter().enumerate() {
            let share = if total > 0.0 { value / total } else { 0.0 };
            let (x, y) = (left + at as f64 * cell, top + row as f64 * cell);
            let _ = write!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{0:.1}\" height=\"{0:.1}\" fill=\"{MODEL}\" fill-opacity=\"{1:.3}\" \
                 stroke=\"{FAINT}\"/>",
                cell - 1.0,
                0.06 + 0.84 * share
            );
            if cell >= 26.0 {
                text(
                    &mut out,
                    (x + cell / 2.0, y + cell / 2.0 + 4.0),
                    "middle",
                    &label(value),
                );
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Metrics in [0, 1] with their intervals: name, value, low, high.
pub(super) fn intervals(metrics: &[(&str, f64, f64, f64)]) -> String {
    let (left, row) = (150.0, 20.0);
    let across = WIDTH - left - 60.0;
    let height = TOP + row * metrics.len() as f64 + 30.0;
    let mut out = begin("Metrics with intervals", WIDTH, height);
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = left + across * tick;
        line(&mut out, (at, TOP - 4.0), (at, height - 24.0), FAINT);
        text(&mut out, (at, height - 8.0), "middle", &label(tick));
    }
    for (at, (name, value, low, high)) in metrics.iter().enumerate() {
        let y = TOP + row * (at as f64 + 0.5);
        text(&mut out, (left - 8.0, y + 4.0), "end", &short(name));
        let x = |value: f64| left + across * value.clamp(0.0, 1.0);
        line(&mut out, (x(*low), y), (x(*high), y), MODEL);
        let _ = write!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{MODEL}\"/>",
            x(*value)
        );
        text(&mut out, (WIDTH - 8.0, y + 4.0), "end", &format!("{value:.4}"));
    }
    out.push_str("</svg>\n");
    out
}

fn begin(title: &str, width: f64, height: f64) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"{INK}\" role=\"img\">\
         <title>{}</title>",
        escape(title)
    );
    let _ = write!(
        out,
        "<text x=\"12\" y=\"20\" font-size=\"14\" font-weight=\"600\">{}</text>",
        escape(title)
    );
    out
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = write!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, content: &str) {
    let _ = write!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escape(content)
    );
}

/// The beginning of a long name.
fn short(name: &str) -> String {
    const LONGEST: usize = 18;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or(name)),
        None => name.to_owned(),
    }
}

/// Text that is not to be read as markup.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}
