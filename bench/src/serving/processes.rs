//! How each server of these rows is started; all listen on the loopback and are ended when dropped.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    client::Client,
    servers::{Child, Places, Running, free_addr, wait_until},
};

/// Which services a process of Lodeway runs, and which it reaches elsewhere.
pub struct Role<'a> {
    /// Its folder below the work folder.
    pub name: &'a str,
    /// As `lodeway serve` names them.
    pub services: &'a [&'a str],
    /// Flags and the addresses that go with them.
    pub peers: &'a [(&'a str, SocketAddr)],
    /// Whether a Python interpreter is started at once.
    pub warm_python: bool,
}

/// Starts `lodeway serve`. Python models find the environment of the reference, ONNX models the library among the peers.
pub fn lodeway(places: &Places, work: &Path, role: &Role<'_>) -> Result<Running> {
    let (data, addr) = (work.join(role.name), free_addr()?);
    fs::create_dir_all(&data)?;
    let mut command = Command::new(&places.lodeway);
    command
        .arg("serve")
        .args(role.services)
        .args(["--listen", &addr.to_string(), "--data-dir"])
        .arg(&data)
        .env("ORT_DYLIB_PATH", onnx_library(places)?)
        .current_dir(&data);
    activate(&mut command, &places.mlflow)?;
    for (flag, peer) in role.peers {
        command.args([flag, format!("http://{peer}").as_str()]);
    }
    if role.warm_python {
        command.env("LODEWAY_SERVING__WARM_PYTHON", "true");
    }
    started(command, addr, addr, &data.join("server.log"), |_| Ok(()))
}

/// Starts `mlflow models serve` on a model's folder, with its defaults in the environment that it is installed in.
pub fn mlflow(places: &Places, work: &Path, model: &Path) -> Result<Running> {
    let addr = free_addr()?;
    let mut command = Command::new(&places.mlflow);
    command
        .args(["models", "serve", "--env-manager", "local", "--host", "127.0.0.1"])
        .args(["--port", &addr.port().to_string(), "--model-uri"])
        .arg(model)
        .current_dir(work);
    activate(&mut command, &places.mlflow)?;
    started(command, addr, addr, &work.join("mlflow-serve.log"), |client| {
        client.ok("GET", "/ping", b"").map(drop)
    })
}

/// Starts MLServer on a model's folder, with its defaults; the address is that of gRPC.
pub fn mlserver(places: &Places, work: &Path, model: &Path) -> Result<Running> {
    let (grpc, http, metrics) = (free_addr()?, free_addr()?, free_addr()?);
    let settings = json!({
        "host": "127.0.0.1", "grpc_port": grpc.port(), "http_port": http.port(), "metrics_port": metrics.port(),
    });
    fs::write(model.join("settings.json"), settings.to_string())?;
    let program = places.peers.join("bin/mlserver");
    let mut command = Command::new(&program);
    command.args(["start", "."]).current_dir(model);
    activate(&mut command, &program)?;
    started(command, grpc, http, &work.join("mlserver.log"), |client| {
        client.ok("GET", "/v2/models/iris/ready", b"").map(drop)
    })
}

/// Starts the bare echo: this program again.
pub fn echo(work: &Path) -> Result<Running> {
    let addr = free_addr()?;
    let mut command = Command::new(std::env::current_exe().context("where this program is")?);
    command.args(["echo", &addr.to_string()]);
    started(command, addr, addr, &work.join("echo.log"), |_| Ok(()))
}

/// Starts Envoy as a bare proxy in front of `upstream`: one route, no filter but the router, a worker a processor.
pub fn envoy(places: &Places, work: &Path, upstream: SocketAddr, http2: bool) -> Result<Running> {
    let addr = free_addr()?;
    let name = if http2 { "envoy-http2" } else { "envoy-http1" };
    let config = work.join(format!("{name}.json"));
    fs::write(&config, envoy_config(addr, upstream, http2).to_string())?;
    let mut command = Command::new(places.peers.join("bin/envoy"));
    command
        .args(["--disable-hot-restart", "--log-level", "warning", "--config-path"])
        .arg(config)
        .current_dir(work);
    started(command, addr, addr, &work.join(format!("{name}.log")), |_| Ok(()))
}

fn envoy_config(addr: SocketAddr, upstream: SocketAddr, http2: bool) -> serde_json::Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let at = |addr: SocketAddr| json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}});
    let protocol = if http2 {
        "http2_protocol_options"
    } else {
        "http_protocol_options"
    };
    json!({"static_resources": {
        "listeners": [{
            "name": "edge",
            "address": at(addr),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "edge",
                    "route_config": {"virtual_hosts": [{
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "host", "timeout": "60s"}}],
                    }]},
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": kind("filters.http.router.v3.Router")},
                    }],
                },
            }]}],
        }],
        "clusters": [{
            "name": "host",
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": kind("upstreams.http.v3.HttpProtocolOptions"),
                    "explicit_http_config": {protocol: {}},
                },
            },
            "load_assignment": {
                "cluster_name": "host",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}],
            },
        }],
    }})
}

/// Makes the models: some register with the platform at `registry`, some are folders below `folder`.
pub fn make_models(places: &Places, registry: SocketAddr, folder: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/serving_models.py");
    fs::create_dir_all(folder)?;
    let steps = [
        ("python", places.mlflow.with_file_name("python")),
        ("native", places.peers.join("bin/python")),
    ];
    for (step, python) in steps {
        let out = Command::new(&python)
            .arg(&script)
            .args([step, &format!("http://{registry}")])
            .arg(folder)
            .current_dir(folder)
            .output()
            .with_context(|| format!("running {}", python.display()))?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "making the models ({step}) failed: {said}");
    }
    Ok(())
}

/// The version of a package in the environment of `python`; empty if it is not there.
pub fn version(python: &Path, package: &str) -> String {
    let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
    let out = Command::new(python).args(["-c", &code]).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// The library of ONNX Runtime in its package.
fn onnx_library(places: &Places) -> Result<PathBuf> {
    let pythons = files(&places.peers.join("lib"));
    let found = pythons
        .iter()
        .flat_map(|python| files(&python.join("site-packages/onnxruntime/capi")))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libonnxruntime.so")
        });
    found.with_context(|| format!("no library of ONNX Runtime below {}", places.peers.display()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Runs a command in the virtual environment that `program` is in, as its `activate` would.
fn activate(command: &mut Command, program: &Path) -> Result<()> {
    let bin = program.parent().context("a program has a folder")?;
    let mut path = vec![bin.to_owned()];
    if let Some(old) = std::env::var_os("PATH") {
        path.extend(std::env::split_paths(&old));
    }
    let path: OsString = std::env::join_paths(path)?;
    command.env("PATH", path);
    command.env(
        "VIRTUAL_ENV",
        bin.parent().context("an environment has a folder")?,
    );
    Ok(())
}

/// Starts it and waits until `probe` succeeds at `asked`; it is called at `addr`.
fn started(
    command: Command,
    addr: SocketAddr,
    asked: SocketAddr,
    log: &Path,
    probe: impl Fn(&mut Client) -> Result<()>,
) -> Result<Running> {
    let begun = Instant::now();
    let mut child = Child::spawn(command, log, "TERM")?;
    let start = wait_until(&mut child, asked, begun, probe)?;
    Ok(Running { child, addr, start })
}
