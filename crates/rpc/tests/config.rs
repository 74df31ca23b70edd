//! Configuration: who wins, and that every fault is told at once.

use std::collections::BTreeMap;

use lodeway_rpc::config::{ByteSize, HumanDuration, Loader, Origin, Secret};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct House {
    listen: std::net::SocketAddr,
    services: Vec<String>,
    workers: u16,
    store: Store,
    peers: BTreeMap<String, String>,
}

impl Default for House {
    fn default() -> Self {
        let services = vec!["tracking".to_owned()];
        let listen = ([127, 0, 0, 1], 5000).into();
        Self {
            listen,
            services,
            workers: 2,
            store: Store::default(),
            peers: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Store {
    url: String,
    password: Option<Secret<String>>,
    cache: ByteSize,
    timeout: HumanDuration,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: None,
            cache: ByteSize::mib(64),
            timeout: HumanDuration::secs(30),
        }
    }
}

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn defaults_alone_are_a_working_house() {
    let house: House = Loader::new().load().unwrap();
    assert_eq!(
        (house.listen.port(), house.store.cache),
        (5000, ByteSize::mib(64))
    );
}

#[test]
fn file_then_environment_then_flags() {
    let file = "listen = '127.0.0.1:1'\nworkers = 3\n[store]\nurl = 'a'\ncache = '1MiB'\n[peers]\ntracking = 'local'";
    let variables = environment(&[
        ("LODEWAY_LISTEN", "127.0.0.1:2"),
        ("LODEWAY_STORE__URL", "b"),
        ("LODEWAY_STORE__PASSWORD", "12345"),
        ("LODEWAY_STORE__TIMEOUT", "250ms"),
        ("LODEWAY_SERVICES", "tracking, registry"),
        ("LODEWAY_WORKERS", "7"),
        ("LODEWAY_ADDRESS", "for the command line"),
        ("PATH", "/bin"),
    ]);
    let house: House = Loader::new()
        .file("lodeway.toml", file)
        .environment(&variables, &["LODEWAY_ADDRESS"])
        .flag("--listen", "listen", Some("127.0.0.1:3".to_owned()))
        .flag("--workers", "workers", None)
        .load()
        .unwrap();
    assert_eq!(house.listen.port(), 3);
    assert_eq!(
        (house.store.url.as_str(), house.store.cache),
        ("b", ByteSize::mib(1))
    );
    assert_eq!(house.store.password.unwrap().reveal(), "12345");
    assert_eq!(house.store.timeout.get().as_millis(), 250);
    assert_eq!(
        (house.services, house.workers),
        (vec!["tracking".to_owned(), "registry".to_owned()], 7)
    );
    assert_eq!(house.peers["tracking"], "local");
}

#[test]
fn every_fault_is_told_with_key_value_and_origin() {
    let file = "workers = 99999\ncolour = 'red'\n[store]\ncache = '12XB'\npassword = 5\n";
    let variables = environment(&[("LODEWAY_LISTEN", "nowhere"), ("LODEWAY_STORE__TIMEOUT", "30")]);
    let error = Loader::new()
        .file("lodeway.toml", file)
        .environment(&variables, &[])
        .load::<House>()
        .unwrap_err();
    let keys: Vec<_> = error.faults.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "colour",
            "listen",
            "store.cache",
            "store.password",
            "store.timeout",
            "workers"
        ]
    );
    assert_eq!(
        error.faults[1].origin,
        Origin::Environment("LODEWAY_LISTEN".to_owned())
    );
    assert_eq!(error.faults[1].value, "nowhere");
    assert_eq!(error.faults[3].value, "***");
    let text = error.to_string();
    assert!(
        text.contains("`store.cache` = `12XB` from file lodeway.toml: `12XB` is not a size"),
        "{text}"
    );
    assert!(text.contains("unknown field `colour`"), "{text}");
}

#[test]
fn a_list_that_is_set_to_nothing_is_empty() {
    let variables = environment(&[("LODEWAY_SERVICES", "")]);
    let house: House = Loader::new().environment(&variables, &[]).load().unwrap();
    assert_eq!(house.services, Vec::<String>::new());
}

#[test]
fn a_place_of_secrets_is_no_secret() {
    let file = "token_table = '/etc/tokens'\ntoken = 'hush'\n";
    let error = Loader::new().file("x.toml", file).load::<House>().unwrap_err();
    let shown: Vec<_> = error.faults.iter().map(|f| (&*f.key, &*f.value)).collect();
    assert_eq!(shown, [("token", "***"), ("token_table", "/etc/tokens")]);
}

#[test]
fn a_file_that_is_no_toml_names_the_line() {
    let error = Loader::new()
        .file("x.toml", "a = 1\nb = = 2\n")
        .load::<House>()
        .unwrap_err();
    assert!(error.to_string().contains("file x.toml: line 2:"), "{error}");
}

#[test]
fn rules_across_values_name_the_origin_too() {
    let valid = |house: &House| {
        (house.workers > 4)
            .then(|| ("workers".to_owned(), "is more than 4".to_owned()))
            .into_iter()
            .collect()
    };
    let loader = Loader::new().flag("--workers", "workers", Some("5".to_owned()));
    let error = loader.load_valid::<House>(valid).unwrap_err();
    assert_eq!(
        error.faults[0].to_string(),
        "`workers` = `5` from flag --workers: is more than 4"
    );
}

#[test]
fn a_name_with_dots_is_one_name() {
    let valid = |house: &House| {
        let peers = house.peers.keys();
        peers
            .map(|name| (format!("peers.{name}"), "is no peer".to_owned()))
            .collect()
    };
    let file = "[peers]\n'a.b' = 'local'\n'token.b' = 'hush'\n";
    let error = Loader::new()
        .file("lodeway.toml", file)
        .load_valid::<House>(valid)
        .unwrap_err();
    let texts: Vec<_> = error.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "`peers.a.b` = `local` from file lodeway.toml: is no peer",
            "`peers.token.b` = `***` from file lodeway.toml: is no peer",
        ]
    );
}
