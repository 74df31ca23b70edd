//! What is wrong with a configuration beyond the shape of single values, each fault under the name of its setting.

use std::path::Path;

use lodeway_domain::Error;
use lodeway_rpc::auth::{TokenTable, TokenTableError};
use lodeway_store::{artifacts::Roots, sql::StoreUrl};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{Config, Peer, ServiceName};
use crate::credential::header_text;

impl Config {
    /// Addresses and files that this process could not begin with, as far as that can be told on another machine, where a
    /// configuration may be looked at before it is used.
    fn unopenable(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let store = self.store.url.reveal().as_str();
        match StoreUrl::parse(store) {
            _ if store.is_empty() => {}
            Err(error) => faults.push(("store.url".to_owned(), error.to_string())),
            Ok(StoreUrl::Sqlite(_)) if self.services.len() > 1 => faults.push((
                "store.url".to_owned(),
                "a file of SQLite is the database of one service, and this process runs several; leave it empty, and each \
                 has a file of its own in `data_dir`"
                    .to_owned(),
            )),
            Ok(_) => {}
        }
        // A process that only names places need not be able to open them.
        if self.runs(ServiceName::Artifacts) || !self.artifacts.url.is_empty() {
            match Roots::named(&self.root_settings()) {
                Ok(_) => {}
                Err(Error::Invalid(violations)) => {
                    let each = violations.into_iter();
                    faults.extend(each.map(|one| (one.field.to_string(), one.description.to_string())));
                }
                Err(error) => faults.push(("artifacts".to_owned(), error.to_string())),
            }
        }
        let table = &self.auth.token_table;
        if !table.as_os_str().is_empty()
            // A pipe gives its table once, to the process that begins with it.
            && (table.is_file() || table.is_dir())
            && let Err(why) = check_token_table(table)
        {
            faults.push(("auth.token_table".to_owned(), why));
        }
        faults
    }

    /// Folders that this process makes or opens, where a file of this machine is in the way, as (key, message).
    pub fn blocked_folders(&self) -> Vec<(String, String)> {
        let mut folders = vec![("data_dir", self.data_dir.clone())];
        if self.runs(ServiceName::Artifacts) {
            let own = self.root_settings().folders().into_iter();
            // What no setting names is in `data_dir`.
            folders.extend(own.filter(|(key, _)| *key != "artifacts.url" || !self.artifacts.url.is_empty()));
        }
        let blocked = folders.into_iter().filter_map(|(key, folder)| {
            let there = folder.ancestors().find(|above| above.exists())?;
            let why = || format!("must be a folder, and `{}` is a file", there.display());
            (!there.is_dir()).then(|| (key.to_owned(), why()))
        });
        blocked.collect()
    }

    /// Texts that the edge and the exporters read when they start.
    fn unreadable(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut note = |key: &str, why: Result<(), String>| {
            faults.extend(why.err().map(|why| (key.to_owned(), why)));
        };
        if let Err(error) = EnvFilter::try_new(&self.telemetry.log) {
            let why = format!("is no filter such as `info,lodeway_store=debug`: {error}");
            note("telemetry.log", Err(why));
        }
        note(
            "telemetry.otlp_endpoint",
            check_collector(&self.telemetry.otlp_endpoint),
        );
        let origins = &self.server.cors_origins;
        note(
            "server.cors_origins",
            origins.iter().try_for_each(|origin| check_cors_origin(origin)),
        );
        let pattern = &self.registry.source_regex;
        let compiled = lodeway_gateway::Config::default().with_model_version_source_regex(pattern);
        note(
            "registry.source_regex",
            compiled.map(drop).map_err(|error| error.to_string()),
        );
        note("peers.token", header_text(self.peers.token.reveal()).map(drop));
        faults
    }

    /// What is wrong beyond the shape of single values, as (key, message).
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if self.services.is_empty() {
            faults.push(("services".to_owned(), "names no service".to_owned()));
        }
        if self.listen.parse::<std::net::SocketAddr>().is_err() {
            faults.push((
                "listen".to_owned(),
                "is not ADDRESS:PORT, such as 127.0.0.1:5000".to_owned(),
            ));
        }
        if self.endpoints.window.get().is_zero() {
            faults.push((
                "endpoints.window".to_owned(),
                "must be longer than nothing".to_owned(),
            ));
        }
        if !(self.endpoints.drift_psi >= 0.0 && self.endpoints.drift_psi.is_finite()) {
            faults.push((
                "endpoints.drift_psi".to_owned(),
                "must be at least 0, such as 0.25".to_owned(),
            ));
        }
        for (key, span) in [
            ("endpoints.drift_window", self.endpoints.drift_window),
            ("endpoints.drift_every", self.endpoints.drift_every),
        ] {
            if span.get().is_zero() {
                faults.push((key.to_owned(), "must be longer than nothing".to_owned()));
            }
        }
        if self.evaluation.max_running == 0 {
            faults.push((
                "evaluation.max_running".to_owned(),
                "must be at least 1".to_owned(),
            ));
        }
        for name in self.llm.keys.keys() {
            if lodeway_domain::llm::LlmKeyName::parse("llm.keys", name).is_err() {
                let why = "is not a name of a key; use a-z, 0-9, `-`, `_` and `.`, first a letter or digit";
                faults.push((format!("llm.keys.{name}"), why.to_owned()));
            }
        }
        for (name, origins) in &self.llm.key_origins {
            let field = format!("llm.key_origins.{name}");
            if !self.llm.keys.contains_key(name) {
                faults.push((field, format!("there is no `llm.keys.{name}`")));
            } else if let Some(bad) = origins.iter().find(|origin| !is_origin(origin)) {
                let why = format!("`{bad}` is not an origin such as `https://api.openai.com`");
                faults.push((field, why));
            } else if origins.is_empty() {
                let why = "is empty; name an origin, or leave it out".to_owned();
                faults.push((field, why));
            }
        }
        let peers = &self.peers;
        let all = [
            &peers.artifacts,
            &peers.tracking,
            &peers.registry,
            &peers.serving,
            &peers.gateway,
            &peers.evaluation,
        ];
        let is_elsewhere = all.iter().any(|peer| matches!(peer, Peer::At(_)));
        if is_elsewhere
            && !self.auth.token_table.as_os_str().is_empty()
            && self.peer_token.reveal().is_empty()
        {
            let why = "must be set, the same for all: callers need credentials (`auth.token_table`), and what this process \
                       does for itself at services elsewhere is nobody's call; by `peers.token` alone all of them would be \
                       whoever has that token";
            faults.push(("peer_token".to_owned(), why.to_owned()));
        }
        let root = self.artifacts.default_root.as_str();
        if !root.is_empty() && !root.contains(":/") && !root.starts_with('/') {
            let why = "must be a URI or a path from the root: clients would take another one for a folder of theirs";
            faults.push(("artifacts.default_root".to_owned(), why.to_owned()));
        }
        if self.calls.max_in_flight == 0 {
            faults.push(("calls.max_in_flight".to_owned(), "must be at least 1".to_owned()));
        }
        if self.store.pool_size == 0 {
            faults.push(("store.pool_size".to_owned(), "must be at least 1".to_owned()));
        }
        faults.extend(self.unreadable());
        faults.extend(self.unopenable());
        faults
    }
}

fn check_token_table(table: &Path) -> Result<(), String> {
    if table.is_dir() {
        return Err("is a folder; name the file in it".to_owned());
    }
    match TokenTable::load(table) {
        Ok(_) => Ok(()),
        // The path is the value of the setting already.
        Err(TokenTableError::Unreadable { cause, .. }) => Err(format!("cannot be read: {cause}")),
        Err(other) => Err(other.to_string()),
    }
}

/// Whether traces and metrics can go to this address, if it is one.
fn check_collector(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let wrong = |why: &dyn std::fmt::Display| {
        Err(format!(
            "is no address of a collector such as `http://collector:4317`: {why}"
        ))
    };
    match Url::parse(text) {
        Err(error) => wrong(&error),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            wrong(&"it begins with neither http:// nor https://")
        }
        // What sends traces reads it by other rules, for one without letters beyond ASCII.
        Ok(_) => text.parse::<http::Uri>().map(drop).or_else(|error| wrong(&error)),
    }
}

/// Whether a browser can send this as the origin of a page; `*` is every one.
fn check_cors_origin(text: &str) -> Result<(), String> {
    if matches!(text, "*" | "null") {
        return Ok(());
    }
    let wrong = |why: &str| {
        Err(format!(
            "`{text}` is not an origin such as `https://lab.example.com`: {why}"
        ))
    };
    let url = match Url::parse(text) {
        Err(error) => return wrong(&error.to_string()),
        Ok(url) => url,
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return wrong("it has no `scheme://host`");
    };
    if host.contains('*') {
        return wrong("patterns are not known here; `*` alone is every origin");
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let sent = format!("{}://{host}{port}", url.scheme());
    match sent == text {
        true => Ok(()),
        false => wrong(&format!("browsers send it as `{sent}`")),
    }
}

/// Whether a text is a scheme, a host and perhaps a port, and nothing else.
fn is_origin(text: &str) -> bool {
    let parsed = Url::parse(text);
    parsed.is_ok_and(|url| url.origin().ascii_serialization() == text.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use lodeway_rpc::config::Secret;

    use super::*;

    #[test]
    fn a_filter_of_logs_is_looked_at() {
        let mut config = Config::default();
        config.telemetry.log = "a=b=c".to_owned();
        let faults = config.faults();
        assert!(
            matches!(faults.as_slice(), [(key, why)] if key == "telemetry.log" && why.contains("filter")),
            "{faults:?}"
        );
        config.telemetry.log = "info,lodeway_store=debug".to_owned();
        assert_eq!(config.faults(), []);
    }

    #[test]
    fn what_cannot_be_opened_is_a_fault_of_its_setting() {
        let fields = |config: &Config| {
            let faults = config.faults().into_iter();
            faults.map(|(field, _)| field).collect::<Vec<_>>()
        };
        let mut config = Config::default();
        assert_eq!(fields(&config), Vec::<String>::new());
        config.store.url = Secret::new("zz".to_owned());
        config.artifacts.url = "ftp://x".to_owned();
        // TOML, and no table of tokens.
        config.auth.token_table = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into();
        assert_eq!(
            fields(&config),
            ["store.url", "artifacts.url", "auth.token_table"]
        );
        let mut config = Config::default();
        // A file of the machine that it is for.
        config.auth.token_table = "/no/such/table".into();
        config.artifacts.default_root = "ftp://x".to_owned();
        assert_eq!(fields(&config), ["artifacts.default_root"]);
        config.artifacts.default_root = String::new();
        config.artifacts.allow_roots = vec!["http://x/y".to_owned()];
        assert_eq!(fields(&config), ["artifacts.allow_roots"]);
        config.artifacts.allow_roots = vec!["/data/models".to_owned()];
        config.store.url = Secret::new("postgres://db/lodeway".to_owned());
        assert_eq!(fields(&config), Vec::<String>::new());
        // One file for all, which is not how services keep their tables; one alone may name its file.
        config.store.url = Secret::new("sqlite:///data/all.db".to_owned());
        assert_eq!(fields(&config), ["store.url"]);
        config.services = vec![ServiceName::Tracking];
        assert_eq!(fields(&config), Vec::<String>::new());
    }

    #[test]
    fn texts_that_the_edge_and_exporters_read_are_looked_at() {
        let fault = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            let faults = config.faults();
            assert!(faults.len() < 2, "{faults:?}");
            faults.into_iter().next().unwrap_or_default()
        };
        for (text, why) in [
            ("", ""),
            ("http://collector:4317", ""),
            ("https://u:pw@collector.example/v1", ""),
            ("collector", "relative URL"),
            ("collector:4317", "neither http://"),
            ("ftp://collector", "neither http://"),
            ("http://", "empty host"),
            ("http://sammler\u{f6}:4317", "invalid"),
        ] {
            let (key, said) = fault(&|config| config.telemetry.otlp_endpoint = text.to_owned());
            let wanted = if why.is_empty() {
                ""
            } else {
                "telemetry.otlp_endpoint"
            };
            assert!(key == wanted && said.contains(why), "{text}: {key} {said}");
        }
        for (text, why) in [
            ("*", ""),
            ("null", ""),
            ("http://10.0.0.7:8080", ""),
            ("https://[::1]:1", ""),
            ("chrome-extension://abcdef", ""),
            ("lab.example.com", "relative URL"),
            ("localhost:8080", "no `scheme://host`"),
            ("https://lab.example.com/", "as `https://lab.example.com`"),
            ("https://lab.example.com:443", "as `https://lab.example.com`"),
            ("https://Lab.example.com", "as `https://lab.example.com`"),
            ("https://*.example.com", "patterns"),
            ("", "relative URL"),
        ] {
            let origins = || vec!["http://h".to_owned(), text.to_owned()];
            let (key, said) = fault(&|config| config.server.cors_origins = origins());
            let wanted = if why.is_empty() { "" } else { "server.cors_origins" };
            assert!(key == wanted && said.contains(why), "{text}: {key} {said}");
        }
        let (key, said) = fault(&|config| config.registry.source_regex = "([".to_owned());
        let wanted = "is not a regular expression: unclosed character class";
        assert_eq!((key.as_str(), said.as_str()), ("registry.source_regex", wanted));
        assert_eq!(
            fault(&|config| config.registry.source_regex = "^s3://".to_owned()).0,
            ""
        );
        let (key, _) = fault(&|config| config.peers.token = Secret::new("a\n".to_owned()));
        assert_eq!(key, "peers.token");
        // Whose callers are known needs more than somebody's token to speak for them.
        let table = tempfile::NamedTempFile::new().unwrap();
        let knowing = |config: &mut Config| {
            config.auth.token_table = table.path().to_owned();
            config.peers.tracking = Peer::At("http://127.0.0.1:1".parse().unwrap());
            config.peers.token = Secret::new("t".to_owned());
        };
        assert_eq!(fault(&knowing).0, "peer_token");
        let trusted = |config: &mut Config| {
            knowing(config);
            config.peer_token = Secret::new("p".to_owned());
        };
        assert_eq!(fault(&trusted).0, "");
    }

    #[test]
    fn a_folder_in_place_of_a_file_is_said_to_be_one() {
        let mut config = Config::default();
        config.auth.token_table = env!("CARGO_MANIFEST_DIR").into();
        let why = "is a folder; name the file in it".to_owned();
        assert_eq!(config.faults(), [("auth.token_table".to_owned(), why)]);
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_a_fault_of_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let blocked = |config: &Config| {
            let blocked = config.blocked_folders();
            let is_told = |why: &str| why.contains(&format!("`{}` is a file", file.display()));
            assert!(blocked.iter().all(|(_, why)| is_told(why)), "{blocked:?}");
            blocked.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let mut config = Config {
            data_dir: folder.path().join("new/data"),
            ..Config::default()
        };
        assert_eq!(blocked(&config), Vec::<String>::new());
        config.artifacts.url = format!("file://{}", file.display());
        config.artifacts.default_root = file.join("below").display().to_string();
        config.artifacts.allow_roots = vec![file.display().to_string(), "s3://bucket/x".to_owned()];
        let all = ["artifacts.url", "artifacts.default_root", "artifacts.allow_roots"];
        assert_eq!(blocked(&config), all);
        // Who only names the places opens none of them.
        config.services = vec![ServiceName::Tracking];
        assert_eq!(blocked(&config), Vec::<String>::new());
        let config = Config {
            data_dir: file.join("data"),
            ..Config::default()
        };
        assert_eq!(blocked(&config), ["data_dir"]);
    }
}
