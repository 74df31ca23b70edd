//! Live metrics, as evaluation reports them.

use lodeway_domain::{Error, Result, serving::EndpointKey};

use super::{LiveMetric, endpoints::number};
use crate::{
    args,
    sql::{Conn, Tx},
};

pub(super) async fn record(tx: &mut Tx, key: EndpointKey, metrics: &[LiveMetric]) -> Result<()> {
    let sql = "INSERT INTO live_metrics (endpoint_key, target, model_version, metric, end_ms, body) \
               VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT (endpoint_key, target, model_version, metric) \
               DO UPDATE SET end_ms = excluded.end_ms, body = excluded.body \
               WHERE excluded.end_ms >= live_metrics.end_ms";
    for metric in metrics {
        let body = serde_json::to_string(metric).map_err(Error::internal)?;
        let args = args![
            number(key),
            metric.target.as_str(),
            &metric.model_version,
            &metric.metric,
            metric.end.millis(),
            &body
        ];
        tx.execute(sql, &args).await?;
    }
    Ok(())
}

pub(super) async fn find(conn: &mut Conn, key: EndpointKey) -> Result<Vec<LiveMetric>> {
    let sql = "SELECT body FROM live_metrics WHERE endpoint_key = $1 ORDER BY target, model_version, metric";
    let rows = conn.query(sql, &args![number(key)]).await?;
    let each = rows
        .iter()
        .map(|row| serde_json::from_str(row.str(0)?).map_err(Error::internal));
    each.collect()
}
