//! What a target is: a registered version, or a model on somebody else's server.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, id::clip, registry::ModelRef};

/// The longest name or version of a model on another server, in characters.
pub const MAX_REMOTE_NAME_CHARS: usize = 128;

const MAX_HOST_CHARS: usize = 253;

/// The longest path of a folder (`PATH_MAX` of Linux).
const MAX_FOLDER_BYTES: usize = 4_096;

/// What answers for a target.
///
/// Written as a model URI (`models:/NAME/3`, `models:/NAME/Production`, `models:/NAME@champion`) or as an address of the
/// Open Inference Protocol v2 (`grpc://host:port/MODEL[/VERSION]`, also `grpcs`, `http`, `https`).
///
/// A model host that one person runs for themselves also serves folders, `file:///ABSOLUTE/PATH`.
///
/// Only versions, stages and aliases of registered models are taken. `latest`, runs and logged models would let a
/// version serve that no stage, alias or gate has let through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetRef {
    /// A version of a registered model; a stage or an alias is followed when it moves.
    Model(ModelRef),
    /// A model on a server of its own.
    External(External),
    /// A model's folder on the model host's machine, an absolute path; only a host that serves folders takes it.
    Folder(String),
}

impl TargetRef {
    /// Parses either form. Errors: `INVALID_FIELD` for `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file://") {
            if !path.starts_with('/') || path.contains('\0') || path.len() > MAX_FOLDER_BYTES {
                let why = "is no folder; write file:///ABSOLUTE/PATH";
                return Err(Error::invalid(field, format!("`{}` {why}", clip(text))));
            }
            return Ok(Self::Folder(path.to_owned()));
        }
        if !ModelRef::is_meant(text) {
            return External::parse(field, text).map(Self::External);
        }
        let reference = ModelRef::parse(field, text)?;
        match reference {
            ModelRef::Version { .. } | ModelRef::Stage { .. } | ModelRef::Alias { .. } => {
                Ok(Self::Model(reference))
            }
            ModelRef::Latest { .. } | ModelRef::LoggedModel(_) | ModelRef::Run { .. } => {
                let why = "cannot be served; name a version, a stage or an alias of a registered model";
                Err(Error::invalid(field, format!("`{}` {why}", clip(text))))
            }
        }
    }

    /// Whether what answers can change without a new revision, because a stage or an alias moves.
    pub fn is_moving(&self) -> bool {
        matches!(
            self,
            Self::Model(ModelRef::Stage { .. } | ModelRef::Alias { .. } | ModelRef::Latest { .. })
        )
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(reference) => reference.fmt(f),
            Self::External(external) => external.fmt(f),
            Self::Folder(path) => write!(f, "file://{path}"),
        }
    }
}

impl TryFrom<String> for TargetRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse("reference", &text)
    }
}

impl From<TargetRef> for String {
    fn from(reference: TargetRef) -> Self {
        reference.to_string()
    }
}

/// How to speak to a server of the Open Inference Protocol v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// gRPC without encryption.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// REST without encryption.
    Http,
    /// REST over TLS.
    Https,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Grpc, Self::Grpcs, Self::Http, Self::Https];

    /// The scheme as it stands before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A model on another server. Whether this server may connect there is the gateway's own rule, not decided here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct External {
    scheme: Scheme,
    host: String,
    port: u16,
    model: String,
    version: String,
}

impl External {
    /// Parses `SCHEME://HOST:PORT/MODEL[/VERSION]`. The host is a name, an IPv4 address or an IPv6 address in brackets;
    /// model and version are letters, digits, `_ - . : @ + ~`. Errors: `INVALID_FIELD` for `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| {
            let why = "is no target; write models:/NAME/3, models:/NAME/STAGE, models:/NAME@ALIAS or \
                       grpc|grpcs|http|https://HOST:PORT/MODEL[/VERSION]";
            Error::invalid(field, format!("`{}` {why}", clip(text)))
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = Scheme::ALL.into_iter().find(|s| s.as_str() == scheme)?;
        let (authority, path) = rest.split_once('/')?;
        let (host, port) = authority.rsplit_once(':')?;
        let (model, version) = match path.split_once('/') {
            Some((model, version)) if is_remote_name(version) => (model, version),
            Some(_) => return None,
            None => (path, ""),
        };
        let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        (is_host(host) && is_port && is_remote_name(model)).then_some(())?;
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port: port.parse().ok().filter(|port| *port > 0)?,
            model: model.to_owned(),
            version: version.to_owned(),
        })
    }

    /// How to speak to the server.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, lower case; an IPv6 address with its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, at least 1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The model's name on that server.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The model's version on that server; none leaves the choice to the server.
    pub fn version(&self) -> Option<&str> {
        (!self.version.is_empty()).then_some(self.version.as_str())
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return Ipv6Addr::from_str(inner).is_ok();
    }
    let is_label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= MAX_HOST_CHARS && host.split('.').all(is_label)
}

fn is_remote_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.:@+~".contains(&b);
    // `.` and `..` would be steps of a path and not names.
    (1..=MAX_REMOTE_NAME_CHARS).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != ".."
}

impl fmt::Display for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        write!(f, "{scheme}://{}:{}/{}", self.host, self.port, self.model)?;
        match self.version() {
            Some(version) => write!(f, "/{version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read_and_shown() {
        for (text, shown) in [
            ("models:/churn/3", "models:/churn/3"),
            ("models:/churn/production", "models:/churn/Production"),
            ("models:/churn@champion", "models:/churn@champion"),
            ("grpc://triton:8001/resnet", "grpc://triton:8001/resnet"),
            ("grpcs://a.b.example:443/m/2", "grpcs://a.b.example:443/m/2"),
            ("http://10.0.0.1:08080/m.onnx", "http://10.0.0.1:8080/m.onnx"),
            ("https://[::1]:8443/m/v1", "https://[::1]:8443/m/v1"),
            ("grpc://Triton:8001/ResNet", "grpc://triton:8001/ResNet"),
        ] {
            let read = TargetRef::parse("reference", text).unwrap();
            assert_eq!(read.to_string(), shown);
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(json, format!("\"{shown}\""));
            assert_eq!(serde_json::from_str::<TargetRef>(&json).unwrap(), read);
        }
        let TargetRef::External(external) = TargetRef::parse("r", "grpc://h:1/m/7").unwrap() else {
            panic!("not external")
        };
        assert_eq!((external.scheme(), external.port()), (Scheme::Grpc, 1));
        assert_eq!(
            (external.model(), external.version(), external.host()),
            ("m", Some("7"), "h")
        );
        assert_eq!(External::parse("r", "grpc://h:1/m").unwrap().version(), None);
    }

    #[test]
    fn only_stages_and_aliases_move() {
        let moving = |text| TargetRef::parse("r", text).unwrap().is_moving();
        assert!(moving("models:/a/Staging") && moving("models:/a@b"));
        assert!(!moving("models:/a/1") && !moving("grpc://h:1/m"));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for bad in [
            "",
            "models:/churn/latest",
            "models:/m-0123",
            "runs:/4f1/model",
            "models:/churn",
            "grpc://host/m",
            "grpc://host:0/m",
            "grpc://host:65536/m",
            "grpc://host:+1/m",
            "grpc://host:1",
            "grpc://host:1/",
            "grpc://host:1/m/",
            "grpc://host:1/m/1/2",
            "grpc://host:1/..",
            "grpc://host:1/m/.",
            "grpc://host:1/a b",
            "grpc://user@host:1/m",
            "grpc://:1/m",
            "grpc://a..b:1/m",
            "grpc://-a:1/m",
            "grpc://::1:1/m",
            "http://[::x]:1/m",
            "http://host:1/m?x=1",
            "ftp://host:1/m",
            "s3://bucket/x",
        ] {
            let Err(Error::Invalid(found)) = TargetRef::parse("targets[0].reference", bad) else {
                panic!("{bad} was taken")
            };
            assert_eq!(found[0].field, "targets[0].reference", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_shown_again(text in "(grpc|http|https|models|grpcs)(://|:/)[a-zA-Z0-9.\\[\\]:/@_-]{0,24}") {
            if let Ok(read) = TargetRef::parse("r", &text) {
                prop_assert_eq!(TargetRef::parse("r", &read.to_string()).unwrap(), read);
            }
        }
    }
}
