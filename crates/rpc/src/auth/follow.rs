//! The token table of a running process follows its file, so that a token that is taken away is refused soon.

use std::{path::PathBuf, time::Duration};

use super::{Authenticator, TokenTable};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

impl Authenticator {
    /// Takes over what the file of the token table says whenever it changes; never ends.
    ///
    /// A file that cannot be read, or is no token table, changes nothing and is told once in the log. What counts is the text,
    /// not the time in the folder: mounted secrets are replaced by links, and some editors keep the time.
    pub async fn follow_table(self, path: PathBuf) {
        let mut last = None;
        loop {
            let read = tokio::fs::read_to_string(&path).await.map_err(|e| e.to_string());
            if last.as_ref() != Some(&read) {
                let table = match &read {
                    Ok(text) => TokenTable::parse(text).map_err(|e| e.to_string()),
                    Err(why) => Err(why.clone()),
                };
                let path = path.display();
                match table {
                    Ok(table) => {
                        // The first look finds what the process began with, or what came a moment later.
                        if last.is_some() {
                            tracing::info!(%path, credentials = table.len(), "the token table is read again");
                        }
                        self.replace_table(table);
                    }
                    Err(why) => {
                        tracing::error!(%path, why, "the token table cannot be read again; the one before stays in force");
                    }
                }
                last = Some(read);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
