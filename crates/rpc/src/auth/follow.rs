//! The token table of a running process follows its file, so that a token that is taken away is refused soon.

use std::{path::PathBuf, time::Duration};

use super::{Authenticator, TokenTable, table::text_of_file};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

impl Authenticator {
    /// Takes over what the file of the token table says whenever it has changed; ends only where the path was no file to begin
    /// with, as that of a pipe, which gives its table once.
    ///
    /// A file that cannot be read, or is no token table, changes nothing and is told once in the log. A new text counts when two
    /// looks have found it, because a file that is written in place is cut short for a moment. What counts is the text, not the
    /// time in the folder: mounted secrets are replaced by links, and some editors keep the time.
    pub async fn follow_table(self, path: PathBuf) {
        let shown = path.display().to_string();
        // What the process began with is not known, so the first text is taken too: it may have come a moment later.
        let (mut taken, mut before) = (None, None);
        loop {
            let place = path.clone();
            let read = tokio::task::spawn_blocking(move || text_of_file(&place)).await;
            let read = match read {
                Ok(Ok(Some(text))) => Ok(text),
                Ok(Ok(None)) if before.is_none() => {
                    tracing::info!(
                        path = shown,
                        "the token table is no file, so its changes take a restart"
                    );
                    return;
                }
                Ok(Ok(None)) => Err("it is no file".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let is_settled = before.as_ref() == Some(&read);
            if is_settled && taken.as_ref() != Some(&read) {
                self.take_over(&read, taken.is_none(), &shown);
                taken = Some(read.clone());
            }
            before = Some(read);
            tokio::time::sleep(LOOK).await;
        }
    }

    fn take_over(&self, read: &Result<String, String>, is_first: bool, path: &str) {
        let table = match read {
            Ok(text) => TokenTable::parse(text).map_err(|e| e.to_string()),
            Err(why) => Err(why.clone()),
        };
        match table {
            Ok(table) => {
                let credentials = table.len();
                match (credentials, is_first) {
                    (0, _) => tracing::warn!(path, "the token table names nobody, so nobody may call"),
                    (_, false) => tracing::info!(path, credentials, "the token table is read again"),
                    (_, true) => {}
                }
                self.replace_table(table);
            }
            Err(why) => {
                tracing::error!(
                    path,
                    why,
                    "the token table cannot be read again; the one before stays in force"
                );
            }
        }
    }
}
