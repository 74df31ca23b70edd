//! The gateway as a process of its own, beside Envoy in the same place.
//!
//! In these rows CPU and memory are those of the process in between alone; latencies are what callers see.

use anyhow::Result;

use super::{
    DIRECT, ENVOY, LODEWAY,
    hall::{Hall, SPLIT_NAME},
    input,
};
use crate::{
    contest::{self, Side},
    report::{Report, Row, Verdict, short},
};

const TENSORS: &str = "serving: through the gateway, OIP gRPC";
const DOCUMENTS: &str = "serving: through the gateway, /invocations";

/// Tensors: the gateway splits 90/10 and measures; Envoy passes on.
fn tensors_at(hall: &Hall<'_>, report: &mut Report, concurrency: usize) -> Result<()> {
    let variant = format!("two versions 90/10, concurrency {concurrency}");
    if !hall.options.wants(TENSORS, &variant) {
        return Ok(());
    }
    let (split, model) = (
        input::tensors(SPLIT_NAME, 1),
        input::tensors(hall.deployment()?, 1),
    );
    let mut sides = vec![Side::new(LODEWAY, || {
        hall.infer(hall.gateway()?, &split, concurrency)
    })];
    if hall.has_peers() {
        sides.push(Side::new(ENVOY, || {
            hall.infer(hall.envoy_http2()?, &model, concurrency)
        }));
    }
    sides.push(Side::new(DIRECT, || {
        hall.infer(hall.host()?, &model, concurrency)
    }));
    let workers = format!(
        "{concurrency} connection(s); gateway, Envoy and model host each 1 process over loopback, HTTP/2 on both sides; \
         CPU and MiB of the process in between alone"
    );
    let mut row = contest::row(TENSORS, &variant, &workers);
    contest::alternate(&mut row, hall.options.rounds(), &sides);
    added(&mut row);
    judge(&mut row);
    report.add(row)
}

/// At concurrency 1, 8 and 32.
pub fn tensors(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    [1, 8, 32]
        .into_iter()
        .try_for_each(|concurrency| tensors_at(hall, report, concurrency))
}

/// Documents: the gateway reads each and asks the model host in tensors, Envoy passes bytes on to a process that does
/// the same; no bar, because the two do different work.
pub fn documents(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    let path = format!("/endpoints/{SPLIT_NAME}/invocations");
    let document = input::document(1);
    for concurrency in [1, 32] {
        let variant = format!("two versions 90/10, concurrency {concurrency}");
        if !hall.options.wants(DOCUMENTS, &variant) {
            continue;
        }
        let round = |served| hall.post(served, &path, &document, concurrency);
        let mut sides = vec![Side::new(LODEWAY, || round(hall.gateway()?))];
        if hall.has_peers() {
            sides.push(Side::new(ENVOY, || round(hall.envoy_http1()?)));
        }
        sides.push(Side::new(DIRECT, || round(hall.single()?)));
        let workers = format!(
            "{concurrency} connection(s), HTTP/1.1; gateway in front of the model host; Envoy in front of a process with both; \
             CPU and MiB of the process in between alone"
        );
        let mut row = contest::row(DOCUMENTS, &variant, &workers);
        contest::alternate(&mut row, hall.options.rounds(), &sides);
        added(&mut row);
        report.add(row)?;
    }
    Ok(())
}

/// Notes what each process in between adds to the median and to the slowest calls.
fn added(row: &mut Row) {
    let Some(direct) = row.stats(DIRECT) else { return };
    let notes = [LODEWAY, ENVOY].into_iter().filter_map(|name| {
        let stats = row.stats(name)?;
        Some(format!(
            "{name} adds {} ms CPU, p50 {} ms, p99 {} ms",
            short(stats.cpu_ms),
            short(stats.p50_ms - direct.p50_ms),
            short(stats.p99_ms - direct.p99_ms)
        ))
    });
    let notes: Vec<String> = notes.collect();
    row.notes.extend(notes);
}

/// Less CPU and less p99 than Envoy adds. Both are added to the same calls, so the difference of p99 is that of the sums.
fn judge(row: &mut Row) {
    let (Some(ours), Some(theirs)) = (row.stats(LODEWAY), row.stats(ENVOY)) else {
        return;
    };
    let verdicts = [
        Verdict::at_most(
            "CPU added, against Envoy's",
            ours.cpu_ms / theirs.cpu_ms.max(1e-6),
            1.0,
            "×",
        ),
        Verdict::at_most(
            "p99 added, beyond Envoy's",
            ours.p99_ms - theirs.p99_ms,
            0.0,
            " ms",
        ),
    ];
    row.verdicts.extend(verdicts);
}
