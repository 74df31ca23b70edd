//! Holds: folders whose files nobody may change or remove, because others rely on them as they are.
//!
//! A writer records its write as pending (see [`index`](super::index)), looks for holds, and gives the file its name; a
//! holder records its hold, and waits until no write is pending. So no write ends in a folder after its hold was made.

use lodeway_domain::{
    Error, FieldViolation, Reason, Result,
    caller::Workspace,
    page::{KeyValue, Page, PageRequest, Position},
    time::Timestamp,
};

use crate::{
    args,
    sql::{Arg, Db, Row},
};

/// A folder that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The folder, as the holder named it.
    pub uri: String,
    /// Who holds it, for machines; the same holder holds a folder once.
    pub holder: String,
    /// Who holds it, in words that stand in refusals.
    pub reason: String,
    /// Since when.
    pub created: Timestamp,
}

/// The table of holds. Cheap to clone.
#[derive(Clone)]
pub struct Holds {
    db: Db,
}

const HOLD: &str = "uri, holder, reason, created_ms";

fn hold(row: &Row) -> Result<Hold> {
    Ok(Hold {
        uri: row.text(0)?,
        holder: row.text(1)?,
        reason: row.text(2)?,
        created: Timestamp::from_millis(row.int(3)?),
    })
}

impl Holds {
    /// Over a database that has [`MIGRATIONS`](super::MIGRATIONS).
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Adds one, durably; of what the holder holds already only the reason changes.
    pub(super) async fn add(&self, key: String, workspace: &Workspace, hold: Hold) -> Result<()> {
        let sql = "SELECT 1 FROM artifact_holds WHERE location = $1 AND holder = $2 AND reason = $3";
        if self
            .db
            .query_opt(sql, &args![&key, &hold.holder, &hold.reason])
            .await?
            .is_some()
        {
            return Ok(());
        }
        let state = (key, workspace.as_str().to_owned(), hold);
        let run = self.db.write_with(state, |tx, (key, workspace, hold)| {
            Box::pin(async move {
                let sql = "INSERT INTO artifact_holds (location, holder, workspace, uri, reason, created_ms) \
                           VALUES ($1, $2, $3, $4, $5, $6) \
                           ON CONFLICT (location, holder) DO UPDATE SET reason = excluded.reason";
                let args = args![
                    key,
                    &hold.holder,
                    workspace,
                    &hold.uri,
                    &hold.reason,
                    hold.created.millis()
                ];
                tx.execute(sql, &args).await.map(drop)
            })
        });
        run.await
    }

    /// Whether a write below these places began after the one time, at the latest at the other, and has not ended.
    pub(super) async fn is_written_to(
        &self,
        prefixes: &[String],
        (since, latest): (Timestamp, Timestamp),
    ) -> Result<bool> {
        let sql = "SELECT 1 FROM artifact_digests WHERE location >= $1 AND location < $2 AND NOT is_current \
                   AND begun_ms > $3 AND begun_ms <= $4 LIMIT 1";
        for prefix in prefixes {
            let until = format!("{prefix}\u{10ffff}");
            let args = args![prefix, until, since.millis(), latest.millis()];
            if self.db.query_opt(sql, &args).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes one away.
    pub(super) async fn remove(&self, key: String, holder: &str) -> Result<()> {
        let run = self.db.write_with((key, holder.to_owned()), |tx, (key, holder)| {
            Box::pin(async move {
                let sql = "DELETE FROM artifact_holds WHERE location = $1 AND holder = $2";
                tx.execute(sql, &args![key, holder]).await.map(drop)
            })
        });
        run.await
    }

    /// A workspace's holds, by place and holder.
    pub(super) async fn list(&self, workspace: &Workspace, page: &PageRequest) -> Result<Page<Hold>> {
        let (key, holder) = match page.after.as_ref().map(|position| position.0.as_slice()) {
            None => ("", ""),
            Some([KeyValue::Text(key), KeyValue::Text(holder)]) => (key.as_str(), holder.as_str()),
            Some(_) => {
                let violation = FieldViolation::new("page_token", "is not a token that this server made");
                return Err(Error::Invalid(vec![violation.because(Reason::InvalidPageToken)]));
            }
        };
        let sql = format!(
            "SELECT {HOLD}, location FROM artifact_holds WHERE workspace = $1 AND (location, holder) > ($2, $3) \
             ORDER BY location, holder LIMIT $4"
        );
        let limit = i64::try_from(page.size.saturating_add(1)).unwrap_or(i64::MAX);
        let rows = self
            .db
            .query(&sql, &args![workspace.as_str(), key, holder, limit])
            .await?;
        let one = |row: &Row| {
            let position = Position(vec![KeyValue::Text(row.text(4)?), KeyValue::Text(row.text(1)?)]);
            Ok((hold(row)?, position))
        };
        let rows = rows.iter().map(one).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_lookahead(rows, page.size))
    }

    /// A hold on one of these places, or on one whose name begins with one of these.
    pub(super) async fn find(&self, at: &[String], beginning: &[String]) -> Result<Option<Hold>> {
        let places: Vec<String> = (1..=at.len()).map(|n| format!("${n}")).collect();
        let mut args: Vec<Arg<'_>> = at.iter().map(Arg::from).collect();
        let mut found = format!("location IN ({})", places.join(", "));
        for prefix in beginning {
            let n = args.len();
            found.push_str(&format!(" OR (location >= ${} AND location < ${})", n + 1, n + 2));
            // texts compare by bytes, and no location holds the highest character right after the prefix
            args.extend([Arg::from(prefix), Arg::from(format!("{prefix}\u{10ffff}"))]);
        }
        let sql =
            format!("SELECT {HOLD} FROM artifact_holds WHERE {found} ORDER BY location, holder LIMIT 1");
        let row = self.db.query_opt(&sql, &args).await?;
        row.as_ref().map(hold).transpose()
    }
}
