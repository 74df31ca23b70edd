//! The work of verifying passwords: expensive on purpose, bounded, and the same whether or not there is such a user.

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Argon2, PasswordVerifier};
use lodeway_domain::Error;
use tokio::sync::Semaphore;

/// Verifications at a time: a password hash costs some 20 MiB and 20 ms, and this bounds what a stranger can make us spend.
const AT_A_TIME: usize = 2;

/// Verifies passwords, a few at a time.
pub(super) struct Passwords {
    pub(super) turns: Arc<Semaphore>,
    #[cfg(test)]
    pub(super) verified: AtomicUsize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            #[cfg(test)]
            verified: AtomicUsize::new(0),
        }
    }
}

impl Passwords {
    /// Whether the password is that of the hash. Errors: `Internal`.
    pub(super) async fn is_of(&self, phc: &str, password: String) -> Result<bool, Error> {
        let turn = self
            .turns
            .clone()
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        #[cfg(test)]
        self.verified.fetch_add(1, Ordering::SeqCst);
        let phc = phc.to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            // It goes on though its caller hangs up, and so it keeps its turn.
            let _turn = turn;
            is_password(&phc, &password)
        })
        .await;
        verified.map_err(Error::internal)
    }
}

fn is_password(phc: &str, password: &str) -> bool {
    argon2::PasswordHash::new(phc).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}
