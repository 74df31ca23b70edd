//! The native runtime over gRPC: one row, and a batch.

use anyhow::Result;

use super::{
    ECHO, LODEWAY, MLFLOW, MLSERVER,
    hall::Hall,
    input::{document, tensors},
};
use crate::{
    contest::{self, Side},
    report::{Report, Row, Verdict},
};

const ONE_ROW: &str = "serving: native ONNX, OIP gRPC";
const BATCH: &str = "serving: batch of 1,024 rows, OIP gRPC";

/// One row at concurrency 1, 8 and 32, beside the peers and the bare echo.
pub fn one_row(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    for concurrency in [1, 8, 32] {
        let variant = format!("concurrency {concurrency}");
        if !hall.options.wants(ONE_ROW, &variant) {
            continue;
        }
        let workers = format!(
            "{concurrency} connection(s); lodeway: model host alone, 1 process; mlflow over HTTP; all called directly"
        );
        let (own, theirs) = (tensors(hall.deployment()?, 1), tensors("iris", 1));
        let document = document(1);
        let mut sides = vec![Side::new(LODEWAY, || hall.infer(hall.host()?, &own, concurrency))];
        if hall.has_peers() {
            sides.push(Side::new(MLFLOW, || {
                hall.post(hall.mlflow()?, "/invocations", &document, concurrency)
            }));
            sides.push(Side::new(MLSERVER, || {
                hall.infer(hall.mlserver()?, &theirs, concurrency)
            }));
        }
        sides.push(Side::new(ECHO, || hall.infer(hall.echo()?, &own, concurrency)));
        let mut row = contest::row(ONE_ROW, &variant, &workers);
        contest::alternate(&mut row, hall.options.rounds(), &sides);
        judge(&mut row);
        report.add(row)?;
    }
    Ok(())
}

fn judge(row: &mut Row) {
    let cpu = |name: &str| row.stats(name).map(|stats| stats.cpu_ms);
    let Some(ours) = cpu(LODEWAY) else { return };
    // A round too short for the clock would otherwise be infinitely good.
    let ours = ours.max(1e-6);
    let peers = [MLFLOW, MLSERVER].into_iter().filter_map(cpu);
    let better = peers.min_by(f64::total_cmp);
    let verdicts = [
        better.map(|better| Verdict::at_least("CPU against the better peer", better / ours, 30.0, "×")),
        cpu(ECHO)
            .filter(|echo| *echo > 0.0)
            .map(|echo| Verdict::at_most("CPU against the bare echo", ours / echo, 3.0, "×")),
    ];
    row.verdicts.extend(verdicts.into_iter().flatten());
}

/// 1,024 rows in one tensor of raw bytes.
pub fn batch(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    let variant = "concurrency 1";
    if !hall.options.wants(BATCH, variant) {
        return Ok(());
    }
    let (own, theirs) = (tensors(hall.deployment()?, 1_024), tensors("iris", 1_024));
    let mut sides = vec![Side::new(LODEWAY, || hall.infer(hall.host()?, &own, 1))];
    if hall.has_peers() {
        sides.push(Side::new(MLSERVER, || hall.infer(hall.mlserver()?, &theirs, 1)));
    }
    sides.push(Side::new(ECHO, || hall.infer(hall.echo()?, &own, 1)));
    let workers = "1 connection; lodeway: model host alone, 1 process; FP32 [1024, 4] in raw bytes";
    let mut row = contest::row(BATCH, variant, workers);
    contest::alternate(&mut row, hall.options.rounds(), &sides);
    if let Some(ours) = &row.lodeway {
        row.verdicts
            .push(Verdict::at_most("p50", ours.p50_ms, 0.5, " ms"));
    }
    report.add(row)
}
