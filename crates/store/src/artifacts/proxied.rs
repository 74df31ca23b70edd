//! By which URIs and addresses the proxied store is named.

use lodeway_domain::uri;
use percent_encoding::percent_decode_str;

/// Where the REST edge serves the proxied store.
const ROUTES: [[&str; 4]; 2] = [
    ["api", "2.0", "mlflow-artifacts", "artifacts"],
    ["ajax-api", "2.0", "mlflow-artifacts", "artifacts"],
];

/// The path in the proxied store that a URI without a query names, without slashes around it, of which clients read many as one;
/// none for a URI of another place.
pub(super) fn path_in(uri: &str) -> Option<&str> {
    if let Some((_, path)) = uri::split_store(uri) {
        return Some(path);
    }
    let address = uri
        .strip_prefix("http://")
        .or_else(|| uri.strip_prefix("https://"))?;
    below_route(address).map(|path| path.trim_matches('/'))
}

/// The path below the route of the proxied store in an address without a scheme, wherever that route begins: a server may be
/// behind a folder of another. Empty and single-dot segments on the way are none for clients and servers.
fn below_route(address: &str) -> Option<&str> {
    let (_, path) = address.split_once('/')?;
    let mut at = 0;
    let mut way = Vec::new();
    for segment in path.split('/') {
        at = (at + segment.len() + 1).min(path.len());
        let segment = percent_decode_str(segment).decode_utf8_lossy();
        if segment.is_empty() || segment == "." {
            continue;
        }
        way.push(segment);
        let last = way.len().checked_sub(4).and_then(|from| way.get(from..));
        if last.is_some_and(|last| ROUTES.iter().any(|route| last.iter().eq(route))) {
            return path.get(at..);
        }
    }
    None
}
