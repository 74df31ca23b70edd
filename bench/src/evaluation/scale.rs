//! Ten and a hundred times as many rows: time a row and memory.

use std::fs;

use anyhow::Result;

use super::{
    site::Site,
    tables::{NUMBERS, PROBABILITIES},
};
use crate::{
    contest::{self, Side},
    report::{Report, Row, Verdict},
};

const SCENARIO: &str = "evaluation: many rows";
const FEW: &str = "lodeway at 10^6 rows";

/// Rows of [`FEW`], and of an operation.
const UNIT: u64 = 1_000_000;

/// 10^7 and 10^8 rows of both kinds, each beside 10^6.
pub fn run(site: &Site<'_>, report: &mut Report) -> Result<()> {
    let kinds = [
        (
            "classifier, labels and probabilities",
            "classifier",
            PROBABILITIES,
        ),
        ("regression", "regressor", NUMBERS),
    ];
    for (exponent, times) in [(7, 10), (8, 100)] {
        for (name, table, roles) in kinds {
            let variant = format!("10^{exponent}, {name}");
            // What is not quoted need not take minutes.
            let is_wanted = !(site.options.quick && times > 10);
            if is_wanted && site.options.wants(SCENARIO, &variant) {
                report.add(row(site, (&variant, table), roles, times)?)?;
            }
        }
    }
    Ok(())
}

fn row(site: &Site<'_>, (variant, table): (&str, &str), roles: &[&str], times: usize) -> Result<Row> {
    let unit = site.rows(UNIT);
    let (few, many) = (site.table(table, unit)?, site.table(table, unit * times as u64)?);
    let sides = [
        Side::new("lodeway", || Ok(site.lodeway(&many, roles)?.round(times))),
        Side::new(FEW, || Ok(site.lodeway(&few, roles)?.round(1))),
    ];
    let workers = "1 process, intervals on; an operation is 10^6 rows, so times and CPU are of a million rows; MiB is VmHWM";
    let mut row = contest::row(SCENARIO, variant, workers);
    contest::alternate(&mut row, site.options.rounds(), &sides);
    drop(sides);
    // Gigabytes that no other row reads.
    fs::remove_file(many)?;
    if let (Some(ours), Some(few)) = (&row.lodeway, &row.reference) {
        let verdicts = [
            Verdict::at_most("time a row, against 10^6", ours.p50_ms / few.p50_ms, 1.3, "×"),
            Verdict::at_most("CPU a row, against 10^6", ours.cpu_ms / few.cpu_ms, 1.3, "×"),
            Verdict::at_most("peak memory", ours.pss_mib, 512.0, " MiB"),
        ];
        row.verdicts.extend(verdicts);
    }
    Ok(row)
}
