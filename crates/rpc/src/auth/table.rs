//! The token table: a TOML file that names who may call, holding hashes only.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use argon2::{Argon2, PasswordHasher, password_hash::SaltString};
use lodeway_domain::{
    Error,
    caller::{Workspace, is_reserved},
};
use serde::Deserialize;

use super::{Hash, sha256};
use crate::access::Role;

/// The largest table that is read: ten thousand callers.
const MAX_BYTES: u64 = 2 << 20;

/// Who may call, and by which credential.
///
/// ```toml
/// [[token]]
/// principal = "ci"                      # used as a bearer token, or as the password of the basic user `ci`
/// sha256 = "9f86d081884c7d65…"          # of the token, 64 hex digits
/// workspaces = ["default", "team-a"]    # absent: all
/// role = "writer"                       # or `reader`, `admin`; absent: `writer`
///
/// [[token]]
/// principal = "alice"
/// password = "$argon2id$v=19$…"         # for basic auth with a password that people choose
/// ```
#[derive(Debug, Default)]
pub struct TokenTable {
    entries: Vec<Entry>,
    tokens: HashMap<Hash, usize>,
    passwords: HashMap<String, usize>,
    /// The entries that have passwords, in the order of the file.
    hashed: Vec<usize>,
}

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenTableError {
    /// The file cannot be read.
    #[error("token table `{path}` cannot be read: {cause}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The text is not a token table.
    #[error("token table: {0}")]
    Malformed(String),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) principal: String,
    pub(super) role: Role,
    credential: Credential,
    workspaces: Option<Vec<Workspace>>,
}

#[derive(Debug)]
pub(super) enum Credential {
    Token(Hash),
    Password(String),
}

impl Entry {
    /// The workspace of a credential that is for one alone.
    pub(super) fn only_workspace(&self) -> Option<&Workspace> {
        match self.workspaces.as_deref() {
            Some([only]) => Some(only),
            _ => None,
        }
    }

    pub(super) fn admits(&self, workspace: &Workspace) -> Result<(), Error> {
        match &self.workspaces {
            Some(allowed) if !allowed.contains(workspace) => {
                let (who, what) = (&self.principal, workspace.as_str());
                Err(Error::Denied(format!("`{who}` may not use workspace `{what}`")))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    #[serde(default)]
    token: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    principal: String,
    sha256: Option<String>,
    password: Option<String>,
    workspaces: Option<Vec<String>>,
    #[serde(default)]
    role: Role,
}

impl TokenTable {
    /// Reads the table from a file.
    pub fn load(path: &Path) -> Result<Self, TokenTableError> {
        let unreadable = |cause| TokenTableError::Unreadable {
            path: path.display().to_string(),
            cause,
        };
        let text = File::open(path).and_then(|file| read(&file));
        Self::parse(&text.map_err(unreadable)?)
    }

    /// Reads the table from TOML text.
    pub fn parse(text: &str) -> Result<Self, TokenTableError> {
        let file: Rows =
            toml::from_str(text).map_err(|e| TokenTableError::Malformed(e.message().to_owned()))?;
        let mut table = Self::default();
        for row in file.token {
            let principal = row.principal.clone();
            let why = |why: String| TokenTableError::Malformed(format!("principal `{principal}`: {why}"));
            let added = entry(row).and_then(|entry| table.add(entry));
            added.map_err(why)?;
        }
        Ok(table)
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        let index = self.entries.len();
        let (before, what) = match &entry.credential {
            Credential::Token(hash) => (self.tokens.insert(*hash, index), "`sha256`"),
            Credential::Password(_) => {
                self.hashed.push(index);
                let before = self.passwords.insert(entry.principal.clone(), index);
                (before, "`password` of this principal")
            }
        };
        if before.is_some() {
            return Err(format!("the same {what} stands twice in the table"));
        }
        self.entries.push(entry);
        Ok(())
    }

    pub(super) fn by_token(&self, hash: &Hash) -> Option<&Entry> {
        self.entry(*self.tokens.get(hash)?)
    }

    pub(super) fn password_of(&self, user: &str) -> Option<(usize, &str)> {
        let index = *self.passwords.get(user)?;
        Some((index, self.hash_at(index)?))
    }

    /// The password hash to verify for a user who has none, so that the answer takes as long as that to a user who has one:
    /// always the same for one name, and over all names each of the table. None where nobody has a password.
    pub(super) fn decoy(&self, user: &str) -> Option<&str> {
        let [a, b, c, d, ..] = sha256(user.as_bytes());
        let users = u32::try_from(self.hashed.len()).ok()?;
        let place = u32::from_be_bytes([a, b, c, d]).checked_rem(users)?;
        self.hash_at(*self.hashed.get(usize::try_from(place).ok()?)?)
    }

    fn hash_at(&self, index: usize) -> Option<&str> {
        match &self.entry(index)?.credential {
            Credential::Password(phc) => Some(phc),
            Credential::Token(_) => None,
        }
    }

    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// How many credentials there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nobody may call.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The text of the table at a path, as it is now; none if that is no file but a pipe or a device, which gives what is in it once
/// and may keep its reader waiting.
pub(super) fn text_of_file(path: &Path) -> io::Result<Option<String>> {
    // To open a pipe would wait for somebody who writes to it.
    let now = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(now).open(path)?;
    match file.metadata()?.is_file() {
        true => read(&file).map(Some),
        false => Ok(None),
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match u64::try_from(read).is_ok_and(|read| read <= MAX_BYTES) {
        true => Ok(text),
        false => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_BYTES} bytes"),
        )),
    }
}

fn entry(row: Row) -> Result<Entry, String> {
    if row.principal.is_empty() {
        return Err("must have a name".to_owned());
    }
    if is_reserved(&row.principal) {
        return Err("names that begin with `service:` belong to services of the platform".to_owned());
    }
    let credential = match (row.sha256, row.password) {
        (Some(text), None) => {
            let mut hash = Hash::default();
            hex::decode_to_slice(&text, &mut hash).map_err(|_| "`sha256` is not 64 hex digits".to_owned())?;
            if hash == sha256(b"") {
                return Err("`sha256` is that of an empty token".to_owned());
            }
            Credential::Token(hash)
        }
        (None, Some(phc)) => {
            argon2::PasswordHash::new(&phc)
                .map_err(|_| "`password` is not an argon2 hash (`$argon2id$…`)".to_owned())?;
            Credential::Password(phc)
        }
        _ => return Err("needs either `sha256` or `password`".to_owned()),
    };
    let workspaces = row.workspaces.map(|names| {
        names
            .iter()
            .map(|n| Workspace::parse(n))
            .collect::<Result<_, _>>()
    });
    Ok(Entry {
        principal: row.principal,
        role: row.role,
        credential,
        workspaces: workspaces.transpose().map_err(|e| e.to_string())?,
    })
}

/// The hash of a token as it stands in the table. For random tokens of 128 bits or more only.
pub fn hash_token(token: &str) -> String {
    hex::encode(sha256(token.as_bytes()))
}

/// The argon2id hash of a password that somebody chose, as it stands in the table. Takes some 20 ms on purpose.
pub fn hash_password(password: &str) -> Result<String, Error> {
    let salt = SaltString::encode_b64(uuid::Uuid::now_v7().as_bytes())
        .map_err(|e| Error::internal(e.to_string()))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.map(|h| h.to_string())
        .map_err(|e| Error::internal(e.to_string()))
}
