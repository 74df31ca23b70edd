//! Several sides that take turns, and the row that comes of it.

use anyhow::Result;

use crate::{
    load::Round,
    report::{Other, Row, Stats},
};

/// One side of a row.
pub struct Side<'a> {
    /// What it is.
    pub name: &'static str,
    /// One round of it; the first may start its server.
    pub round: Box<dyn Fn() -> Result<Round> + 'a>,
}

impl<'a> Side<'a> {
    /// A side.
    pub fn new(name: &'static str, round: impl Fn() -> Result<Round> + 'a) -> Self {
        Self {
            name,
            round: Box::new(round),
        }
    }
}

/// A row without figures; there is no database in it and nothing is made durable.
pub fn row(scenario: &'static str, variant: &str, workers: &str) -> Row {
    Row {
        scenario,
        variant: variant.to_owned(),
        engine: None,
        keys: 0,
        workers: workers.to_owned(),
        durability: "durability n/a".to_owned(),
        lodeway: None,
        reference: None,
        reference_name: String::new(),
        others: Vec::new(),
        verdicts: Vec::new(),
        notes: Vec::new(),
    }
}

/// Lets the sides take turns for so many rounds and fills the row: the first is Lodeway, the second the reference.
///
/// A side that fails is named in the row and left out from then on.
pub fn alternate(row: &mut Row, rounds: usize, sides: &[Side<'_>]) {
    let mut done: Vec<Vec<Round>> = sides.iter().map(|_| Vec::new()).collect();
    let mut failed = vec![false; sides.len()];
    for number in 1..=rounds {
        for ((side, rounds), failed) in sides.iter().zip(&mut done).zip(&mut failed) {
            if *failed {
                continue;
            }
            match (side.round)() {
                Ok(round) => rounds.push(round),
                Err(error) => {
                    *failed = true;
                    row.notes
                        .push(format!("{} failed in round {number}: {error:#}", side.name));
                }
            }
        }
    }
    for (at, (side, rounds)) in sides.iter().zip(done).enumerate() {
        let stats = Stats::of(rounds);
        match at {
            0 => row.lodeway = stats,
            1 => {
                row.reference = stats;
                side.name.clone_into(&mut row.reference_name);
            }
            _ => row.others.extend(stats.map(|stats| Other {
                name: side.name.to_owned(),
                stats,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::bail;

    use super::*;

    fn round(ops: usize) -> Round {
        Round {
            ops,
            seconds: 1.0,
            latencies_ms: vec![1.0; ops],
            ..Round::default()
        }
    }

    #[test]
    fn sides_take_turns_and_one_that_fails_is_left_out() {
        let tries = Cell::new(0);
        let sides = [
            Side::new("lodeway", || Ok(round(10))),
            Side::new("broken", || {
                tries.set(tries.get() + 1);
                bail!("it does not start")
            }),
            Side::new("other", || Ok(round(20))),
        ];
        let mut row = row("serving: test", "", "");
        alternate(&mut row, 3, &sides);
        let names: Vec<&str> = row.sides().map(|(name, _)| name).collect();
        assert_eq!((names, tries.get()), (vec!["lodeway", "other"], 1));
        assert_eq!(row.stats("other").map(|stats| stats.per_second), Some(20.0));
        assert!(row.notes.iter().any(|note| note.contains("it does not start")));
    }
}
