//! One outcome from several repeats.

use serde::{Deserialize, Serialize};

use crate::{Judgement, Outcome, OutcomeKind, Score};

/// How far repeats differ; over those with a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Repeats with a score.
    pub scored: u32,
    /// The share of them with the score voted for.
    pub agreement: f64,
    /// The least value; none for categories without weights.
    pub min: Option<f64>,
    /// The greatest value.
    pub max: Option<f64>,
    /// The standard deviation of values over these repeats (divided by their number).
    pub deviation: Option<f64>,
}

/// The outcome that repeats agree on, and how far they do.
///
/// The kind of outcome that most repeats have wins. Among scores: the most frequent of booleans and categories, the median
/// of numbers and of scales (of a scale's two middle scores the lower, so that it stays on the scale; of two middle numbers
/// their mean). Of what is equally frequent, what came first wins. Reason and findings are those of the first repeat with
/// the score voted for, or the nearest to it.
pub fn vote(repeats: &[Outcome]) -> (Outcome, Option<Spread>) {
    let kind = most_frequent(repeats.iter().map(Outcome::kind)).unwrap_or(OutcomeKind::Error);
    let scored: Vec<&Judgement> = repeats.iter().filter_map(Outcome::judgement).collect();
    let winner = elect(&scored);
    let spread = winner.as_ref().map(|winner| spread(&scored, &winner.score));
    let outcome = match winner {
        Some(winner) if kind == OutcomeKind::Scored => Outcome::Scored(winner),
        _ => repeats
            .iter()
            .find(|outcome| outcome.kind() == kind)
            .cloned()
            .unwrap_or(Outcome::Error {
                message: "there are no repeats".to_owned(),
            }),
    };
    (outcome, spread)
}

fn elect(scored: &[&Judgement]) -> Option<Judgement> {
    let first = scored.first()?;
    let score = match &first.score {
        Score::Boolean(_) | Score::Category(_) => {
            most_frequent(scored.iter().map(|judgement| &judgement.score))?.clone()
        }
        Score::Scale(_) => {
            let mut scores: Vec<i64> = scored
                .iter()
                .filter_map(|judgement| match judgement.score {
                    Score::Scale(score) => Some(score),
                    _ => None,
                })
                .collect();
            scores.sort_unstable();
            Score::Scale(*scores.get((scores.len().checked_sub(1)?) / 2)?)
        }
        Score::Number(_) => Score::Number(median(scored)?),
    };
    let distance = |judgement: &Judgement| match (&judgement.score, &score) {
        (one, other) if one == other => 0.0,
        (Score::Number(one), Score::Number(other)) => (one - other).abs(),
        _ => f64::INFINITY,
    };
    let nearest = scored
        .iter()
        .min_by(|one, other| distance(one).total_cmp(&distance(other)))?;
    let mut winner = Judgement::clone(nearest);
    if let Score::Number(value) = score {
        winner.value = Some(value);
    }
    winner.score = score;
    Some(winner)
}

fn median(scored: &[&Judgement]) -> Option<f64> {
    let mut values: Vec<f64> = scored.iter().filter_map(|judgement| judgement.value).collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(values.len() / 2 - 1)?;
    Some(lower + (upper - lower) / 2.0)
}

fn spread(scored: &[&Judgement], winner: &Score) -> Spread {
    let agreeing = scored
        .iter()
        .filter(|judgement| judgement.score == *winner)
        .count();
    let values: Vec<f64> = scored.iter().filter_map(|judgement| judgement.value).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    Spread {
        scored: u32::try_from(scored.len()).unwrap_or(u32::MAX),
        agreement: agreeing as f64 / scored.len().max(1) as f64,
        min: values.iter().copied().min_by(f64::total_cmp),
        max: values.iter().copied().max_by(f64::total_cmp),
        deviation: Some(variance.sqrt()).filter(|deviation| deviation.is_finite()),
    }
}

/// The most frequent item; of several the one that came first.
fn most_frequent<T: PartialEq>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for item in items {
        match counts.iter_mut().find(|(seen, _)| *seen == item) {
            Some((_, count)) => *count += 1,
            None => counts.push((item, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(item, _)| item)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(value: f64) -> Outcome {
        Outcome::Scored(Judgement::number(value, format!("{value}")))
    }

    fn yes(score: bool) -> Outcome {
        Outcome::Scored(Judgement::boolean(score, ""))
    }

    fn scale(score: i64) -> Outcome {
        Outcome::Scored(Judgement::new(Score::Scale(score), Some(score as f64), ""))
    }

    fn score(outcome: &Outcome) -> &Score {
        &outcome.judgement().unwrap().score
    }

    #[test]
    fn majorities_and_medians_win() {
        let (outcome, spread) = vote(&[yes(true), yes(false), yes(true)]);
        assert_eq!(score(&outcome), &Score::Boolean(true));
        assert_eq!(spread.unwrap().agreement, 2.0 / 3.0);

        let (outcome, _) = vote(&[yes(false), yes(true)]);
        assert_eq!(score(&outcome), &Score::Boolean(false), "the first of a tie");

        let (outcome, spread) = vote(&[scale(5), scale(1), scale(2), scale(4)]);
        assert_eq!(score(&outcome), &Score::Scale(2));
        let spread = spread.unwrap();
        assert_eq!((spread.min, spread.max), (Some(1.0), Some(5.0)));
        assert!((spread.deviation.unwrap() - 2.5_f64.sqrt()).abs() < 1e-12);

        let (outcome, _) = vote(&[number(0.0), number(1.0), number(0.2), number(0.4)]);
        let judgement = outcome.judgement().unwrap();
        assert!((judgement.value.unwrap() - 0.3).abs() < 1e-12);
    }

    #[test]
    fn failures_win_where_they_are_most() {
        let (outcome, spread) = vote(&[Outcome::Timeout, yes(true), Outcome::Timeout]);
        assert_eq!(outcome, Outcome::Timeout);
        assert_eq!(spread.unwrap().scored, 1);
        let (outcome, spread) = vote(&[Outcome::Timeout, yes(true)]);
        assert_eq!((outcome, spread.is_none()), (Outcome::Timeout, false));
        let (outcome, spread) = vote(&[]);
        assert_eq!((outcome.kind(), spread), (OutcomeKind::Error, None));
    }

    proptest! {
        #[test]
        fn a_vote_lies_between_its_repeats(values in prop::collection::vec(-5.0..5.0_f64, 1..12)) {
            let repeats: Vec<Outcome> = values.iter().copied().map(number).collect();
            let (outcome, spread) = vote(&repeats);
            let (value, spread) = (outcome.judgement().unwrap().value.unwrap(), spread.unwrap());
            prop_assert!(spread.min.unwrap() <= value && value <= spread.max.unwrap());
            prop_assert!(spread.deviation.unwrap().is_finite());
        }
    }
}
