//! Between rows and the kernels of [`lodeway_metrics`]: rows as these take them, and their errors in the caller's words.

use lodeway_domain::{Error, Result};
use lodeway_metrics::Columns;

use crate::{
    plan::{Plan, in_row},
    rows::{Lent, View},
    setting::Setting,
};

/// Calls `use_them` with the rows as the kernels take them.
pub(crate) fn with_columns<T>(
    rows: View<'_>,
    setting: &Setting,
    use_them: impl FnOnce(&Columns<'_>) -> T,
) -> T {
    let (target, prediction) = (rows.target(), rows.prediction());
    use_them(&Columns {
        target: target.column(),
        prediction: prediction.as_ref().map(|lent| lent.column()),
        probability: rows.probability(),
        classes: setting.classes.as_deref(),
        weights: rows.weights(),
    })
}

/// Numbers of rows that came before the task was known are classes only if they are whole.
pub(crate) fn check_classes(plan: &Plan, rows: View<'_>) -> Result<()> {
    let roles = &plan.roles;
    for (lent, name) in [
        (Some(rows.target()), &roles.target),
        (rows.prediction(), &roles.prediction),
    ] {
        if let (Some(Lent::Floats(values)), Some(name)) = (lent, name)
            && let Some(row) = values.iter().position(|value| value.fract() != 0.0)
        {
            return Err(in_row(
                name,
                rows.number(row),
                "is not a whole number, and so no class label",
            ));
        }
    }
    Ok(())
}

/// The same error with the caller's name of the column and the number of the row in the data.
pub(crate) fn located(error: Error, plan: &Plan, rows: View<'_>) -> Error {
    let Error::Invalid(mut violations) = error else {
        return error;
    };
    let roles = &plan.roles;
    for violation in &mut violations {
        let (field, row) = match violation
            .field
            .strip_suffix(']')
            .and_then(|field| field.split_once('['))
        {
            Some((field, row)) => (field, row.parse::<usize>().ok()),
            None => (violation.field.as_str(), None),
        };
        let (name, width) = match field {
            "target" | "relevance" => (&roles.target, 1),
            "prediction" | "score" => (&roles.prediction, 1),
            "weight" => (&roles.weight, 1),
            "query" => (&roles.query, 1),
            "probability" => (&None, rows.rows.width.max(1)),
            _ => continue,
        };
        let column = match (field, roles.probabilities.as_slice(), row) {
            ("probability", all, Some(at)) => all.get(at % width).map(|probability| &probability.column),
            ("probability", [first, ..], None) => Some(&first.column),
            _ => name.as_ref(),
        };
        if let Some(column) = column {
            violation.field = format!("columns[\"{column}\"]");
        }
        if let Some(row) = row {
            violation.description = format!("row {}: {}", rows.number(row / width), violation.description);
        }
    }
    Error::Invalid(violations)
}
