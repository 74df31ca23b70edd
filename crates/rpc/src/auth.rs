//! Who calls: from a table of tokens if there is one, else as the caller says, unverified.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use lodeway_domain::{
    Caller, Error,
    caller::{ANONYMOUS, Workspace, is_reserved},
};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{access::Access, config::Secret, seldom::Seldom, wire};

mod follow;
mod passwords;
mod table;
use passwords::Passwords;
use table::Entry;
pub use table::{TokenTable, TokenTableError, hash_password, hash_token};

/// How long a verified password is believed without hashing it again.
const PASSWORD_TTL: Duration = Duration::from_secs(60);
const MAX_CACHED: usize = 1_024;
const MAX_PRINCIPAL: usize = 256;

type Hash = [u8; 32];

/// Decides who a caller is. Clones share the table and its cache of verified passwords.
#[derive(Clone)]
pub struct Authenticator {
    known: Option<Arc<RwLock<Arc<Known>>>>,
    peer_token: Option<Hash>,
    passwords: Arc<Passwords>,
    refused_peers: Arc<Seldom>,
}

/// What the headers of a peer say.
enum Word {
    /// Nothing that a peer would say.
    None,
    /// With the peer token: who calls, and whether a credential proved it.
    Of(String, bool),
    /// Something, with a peer token that is not ours.
    Untrusted,
}

/// A table, and which passwords were verified against it. Both are replaced together: a password says nothing of another table.
struct Known {
    table: TokenTable,
    verified: Mutex<HashMap<Hash, (Instant, usize)>>,
}

impl Authenticator {
    /// Believes everybody: the principal is the basic user or `anonymous`, never verified.
    pub fn open() -> Self {
        Self {
            known: None,
            peer_token: None,
            passwords: Arc::default(),
            refused_peers: Arc::default(),
        }
    }

    /// Lets in only who is in the table.
    pub fn with_table(table: TokenTable) -> Self {
        Self {
            known: Some(Arc::new(RwLock::new(Known::new(table)))),
            ..Self::open()
        }
    }

    /// Also believes what other processes of the platform say of a caller, if they hold the same token.
    #[must_use]
    pub fn trusting_peers(mut self, token: Option<&Secret<String>>) -> Self {
        self.peer_token = token.map(|t| sha256(peer_proof(t).as_bytes()));
        self
    }

    /// True if callers need credentials.
    pub fn is_closed(&self) -> bool {
        self.known.is_some()
    }

    /// Goes on with another table: what is not in it is refused from the next call on. Without effect where everybody is let in.
    pub fn replace_table(&self, table: TokenTable) {
        if let Some(known) = &self.known {
            *known.write().unwrap_or_else(PoisonError::into_inner) = Known::new(table);
        }
    }

    fn known(&self) -> Option<Arc<Known>> {
        let known = self.known.as_ref()?;
        Some(known.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The caller of a request by its headers, if the caller may do this. Who names no workspace is in the only one of a
    /// credential that is for one alone, else in the default one. Errors: `Unauthenticated`, `UntrustedPeer` (the same with
    /// a peer token that is not ours), `Denied` (workspace, role), `Invalid` (workspace name).
    pub async fn caller(&self, headers: &HeaderMap, access: Access) -> Result<Caller, Error> {
        let named = match headers.get(wire::WORKSPACE).map(|v| v.to_str()) {
            None => None,
            Some(Ok(name)) => Some(Workspace::parse(name)?),
            Some(Err(_)) => return Err(Error::invalid("workspace", "is not printable ASCII")),
        };
        let workspace = named.clone().unwrap_or_default();
        // A peer has asked for the role of whom it speaks for; what it does on the way to an answer is not the caller's.
        let word = self.word_of_peer(headers);
        if let Word::Of(principal, verified) = word {
            return Ok(Caller {
                principal,
                verified,
                workspace,
            });
        }
        let is_untrusted = matches!(word, Word::Untrusted);
        if is_untrusted {
            self.complain_of_peer();
        }
        let credential = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let Some(known) = self.known() else {
            let principal = credential
                .and_then(basic)
                .map(|(user, _)| user)
                .filter(|u| !u.is_empty());
            let principal = principal.unwrap_or_else(|| ANONYMOUS.to_owned());
            check_principal(&principal)?;
            return Ok(Caller {
                principal,
                verified: false,
                workspace,
            });
        };
        match self.by_credential(&known, credential, named, access).await {
            // Who may ask without credentials may do so with some that have expired: a probe is no place to find that out.
            Err(Error::Unauthenticated(_)) if access == Access::Public => Ok(Caller {
                workspace,
                ..Caller::anonymous()
            }),
            Err(Error::Unauthenticated(_)) if is_untrusted => Err(Error::UntrustedPeer(
                "the peer token is not the one of this server".to_owned(),
            )),
            answer => answer,
        }
    }

    /// The caller whom a credential proves, if it may be used for this in the workspace `named`.
    async fn by_credential(
        &self,
        known: &Known,
        credential: Option<&str>,
        named: Option<Workspace>,
        access: Access,
    ) -> Result<Caller, Error> {
        let missing = || "this server needs credentials; send a bearer token or basic auth".to_owned();
        let credential = credential.ok_or_else(|| Error::Unauthenticated(missing()))?;
        let entry = self.verify(known, credential).await?;
        // Clients that cannot name a workspace reach the only one that is theirs.
        let workspace = named
            .or_else(|| entry.only_workspace().cloned())
            .unwrap_or_default();
        entry.admits(&workspace)?;
        entry.role.check(access, &entry.principal)?;
        Ok(Caller {
            principal: entry.principal.clone(),
            verified: true,
            workspace,
        })
    }

    fn complain_of_peer(&self) {
        if !self.refused_peers.is_due() {
            return;
        }
        let own = match self.peer_token {
            Some(_) => "it is not the one of this process",
            None => "this process has none",
        };
        tracing::warn!(
            "a call came with a `peer_token`, and {own}: another process of the platform is configured otherwise, or a \
             stranger sent one; such callers are not believed"
        );
    }

    fn word_of_peer(&self, headers: &HeaderMap) -> Word {
        let Some(theirs) = headers.get(wire::PEER_TOKEN) else {
            return Word::None;
        };
        let theirs = sha256(theirs.as_bytes());
        let is_ours = self.peer_token.is_some_and(|ours| ours.ct_eq(&theirs).into());
        if !is_ours {
            return Word::Untrusted;
        }
        let principal = headers.get(wire::PRINCIPAL).and_then(|value| value.to_str().ok());
        let principal = principal.and_then(|text| percent_decode_str(text).decode_utf8().ok());
        match principal {
            Some(principal) => Word::Of(
                principal.into_owned(),
                headers.get(wire::VERIFIED).is_some_and(|v| v == "1"),
            ),
            None => Word::None,
        }
    }

    async fn verify<'a>(&self, known: &'a Known, credential: &str) -> Result<&'a Entry, Error> {
        let table = &known.table;
        let refuse = || Error::Unauthenticated("the credentials are not known here".to_owned());
        if let Some(token) = strip_scheme(credential, "bearer") {
            return table.by_token(&sha256(token.as_bytes())).ok_or_else(refuse);
        }
        let (user, password) = basic(credential).ok_or_else(refuse)?;
        let hash = sha256(password.as_bytes());
        if let Some(entry) = table.by_token(&hash).filter(|e| e.principal == user) {
            return Ok(entry);
        }
        let Some((index, phc)) = table.password_of(&user) else {
            // Whatever comes of it: how long a refusal takes must not tell who has a password.
            if let Some(phc) = table.decoy(&user) {
                self.passwords.is_of(phc, password).await?;
            }
            return Err(refuse());
        };
        let key = sha256(credential.as_bytes());
        if known.is_cached(&key, index) {
            return table.entry(index).ok_or_else(refuse);
        }
        if !self.passwords.is_of(phc, password).await? {
            return Err(refuse());
        }
        known.remember(key, index);
        table.entry(index).ok_or_else(refuse)
    }
}

impl Known {
    fn new(table: TokenTable) -> Arc<Self> {
        Arc::new(Self {
            table,
            verified: Mutex::default(),
        })
    }

    fn is_cached(&self, key: &Hash, index: usize) -> bool {
        let cache = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(key)
            .is_some_and(|(at, i)| *i == index && at.elapsed() < PASSWORD_TTL)
    }

    fn remember(&self, key: Hash, index: usize) {
        let mut cache = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, (at, _)| at.elapsed() < PASSWORD_TTL);
        }
        if cache.len() < MAX_CACHED {
            cache.insert(key, (Instant::now(), index));
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What a process sends to show that it holds the peer token: printable whatever the token is, and not the token.
pub(crate) fn peer_proof(token: &Secret<String>) -> String {
    hash_token(&format!("lodeway peer {}", token.reveal()))
}

fn check_principal(principal: &str) -> Result<(), Error> {
    if principal.len() > MAX_PRINCIPAL || principal.chars().any(char::is_control) {
        let why = format!("the user name is longer than {MAX_PRINCIPAL} bytes or holds control characters");
        return Err(Error::Unauthenticated(why));
    }
    if is_reserved(principal) {
        let why = "user names that begin with `service:` belong to services of the platform".to_owned();
        return Err(Error::Unauthenticated(why));
    }
    Ok(())
}

fn strip_scheme<'a>(credential: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = credential.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn basic(credential: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(strip_scheme(credential, "basic")?).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
