//! People: tokens that the platform knows, and calls with them.

use lodeway_rpc::auth::hash_token;
use lodeway_testkit::platform::Settings;
use tempfile::TempDir;
use tonic::Request;

/// Whoever has no token.
pub const ANYBODY: &str = "";
/// Who sets rules and may do everything else too; known to every table.
pub const RULER: &str = "grace";
/// What the processes of a platform share, so that evaluation is believed to be itself.
pub const PEER_TOKEN: &str = "between ourselves";

/// Settings with a table of tokens for these, all writers, and for [`RULER`], and the folder that holds it.
pub fn known(people: &[&str]) -> (Settings, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("tokens.toml");
    let row = |who: &&str| {
        let hash = hash_token(&token(who));
        let role = if *who == RULER { "admin" } else { "writer" };
        format!("[[token]]\nprincipal = \"{who}\"\nsha256 = \"{hash}\"\nrole = \"{role}\"\n")
    };
    let table_text: String = people.iter().chain([&RULER]).map(row).collect();
    std::fs::write(&table, table_text).unwrap();
    let settings = Settings::default()
        .env("LODEWAY_AUTH__TOKEN_TABLE", table.display().to_string())
        .env("LODEWAY_PEER_TOKEN", PEER_TOKEN);
    (settings, folder)
}

/// Somebody's token.
pub fn token(who: &str) -> String {
    format!("t-{who}")
}

/// The header of somebody's calls.
pub fn bearer(who: &str) -> String {
    format!("Bearer {}", token(who))
}

/// A call with somebody's token, or with none.
pub fn of<T>(who: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if who != ANYBODY {
        let header = bearer(who).parse().unwrap();
        request.metadata_mut().insert("authorization", header);
    }
    request
}
